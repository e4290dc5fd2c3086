"""Convolutions in the forms that suit the platforms."""
