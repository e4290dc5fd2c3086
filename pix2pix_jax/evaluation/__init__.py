"""Evaluation of trained models: reports, galleries, curves and comparisons."""
