"""Trained generators as files for other programs: a table of formats, one function each."""
