"""The embedded data set: drawings of buildings and their label maps."""
