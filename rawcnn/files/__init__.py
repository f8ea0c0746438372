"""File formats, each written whole or not at all and read with suspicion. This room knows no TensorFlow."""
