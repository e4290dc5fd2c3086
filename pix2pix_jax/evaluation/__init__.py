"""Scores, reports, galleries, curves and comparisons."""
