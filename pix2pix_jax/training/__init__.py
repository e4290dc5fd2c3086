"""The run: set-up, the loop, and what happens beside its steps."""
