"""Training as a few functions: one step, whole epochs (`fit`), evaluation, recipes and checkpoints."""

import rawcnn.start  # noqa: F401
