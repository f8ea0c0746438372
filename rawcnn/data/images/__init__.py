"""Image files: headers first, then decoding, then batches; and photos of single digits."""
