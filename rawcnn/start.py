"""Importing this module starts TensorFlow, without the remarks that it writes past every log level.

`rawcnn/__init__.py`, which Python runs before this, sets what TensorFlow reads then.

Every room that needs TensorFlow imports it first. Where TensorFlow was imported before rawcnn, nothing is changed.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_held() -> Iterator[None]:
    """Hold back what C++ code writes to stderr; shown after all if the block raises."""
    try:
        real = os.dup(2)
    except OSError:  # a program without stderr, as windowed ones are
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
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
    with stderr_held():
        import tensorflow as tf

        tf.config.list_physical_devices()


if "tensorflow" not in sys.modules:
    start_tensorflow()
