"""Inference: the trained model, and the translation of image files."""
