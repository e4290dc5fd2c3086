"""Stands in for clu; see README.md."""
