"""Importing this module starts TensorFlow: with oneDNN, and without the remarks it writes past every log level.

Every room that needs TensorFlow imports it first. Where TensorFlow was imported before rawcnn, nothing is changed.
"""

import os
import platform
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # TensorFlow itself uses oneDNN on the newest processors only; it is 1.4 to 3.2 times as fast on AVX2 too.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with stderr_held():
        import tensorflow as tf

        tf.config.list_physical_devices()


if "tensorflow" not in sys.modules:
    start_tensorflow()
