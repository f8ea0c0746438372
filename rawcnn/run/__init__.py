"""One command: from flags to a run directory with checkpoints, history and pictures."""
