"""The page to draw on: what it shows of a model, and the server that brings it to a browser on this machine."""
