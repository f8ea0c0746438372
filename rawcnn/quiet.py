"""Start TensorFlow without its remarks on CUDA and oneDNN, which it writes past every log level."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_held() -> Iterator[None]:
    """Hold back what C++ code writes to stderr; shown after all if the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


def start_tensorflow() -> None:
    """Import TensorFlow and let it look for devices, quietly."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with stderr_held():
        import tensorflow as tf

        tf.config.list_physical_devices()
