"""The trained model, and files translated by it."""
