"""Stands in for tensorboard; see README.md."""
