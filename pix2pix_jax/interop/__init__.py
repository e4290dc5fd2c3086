"""Weights of other implementations: reading and writing their files, and how their names map to ours."""
