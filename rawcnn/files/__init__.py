"""File formats, each written completely or not at all, and checked before use. This room knows no TensorFlow."""
