"""Training: `simple.fit`, `evaluate` and `predict`; below them one step, whole epochs, recipes and checkpoints."""
