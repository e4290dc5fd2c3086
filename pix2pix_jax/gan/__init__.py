"""The algorithm: train state, losses, gradients and the train step; pure functions."""
