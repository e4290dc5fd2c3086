"""What a run leaves: checkpoints, logs, event files."""
