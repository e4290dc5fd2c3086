"""Stands in for tensorboardX; see README.md."""
