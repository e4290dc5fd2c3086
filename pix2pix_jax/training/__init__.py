"""Training: set-up, the loop and its callbacks."""
