"""Configs by name: `default` holds every field, the others override a few for one data set."""
