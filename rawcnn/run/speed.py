"""How fast this process can do arithmetic at best, and how fast the disk keeps what it is told to."""

import os
import tempfile
import time
from collections.abc import Callable

import tensorflow as tf

BATCH, SIDE, MAPS = 32, 32, 256  # of the convolution that stands for the best this processor can do
MATRIX = 1024  # rows and columns of the matrices whose product is measured


def convolution_peak(dtype: tf.DType, shards: int = 1, seconds: float = 1.0, batch: int = BATCH) -> float:
    """GFLOP/s of a 3x3 convolution, `[batch, 32, 32, 256]` to 256 maps, forward: the best of all calls in `seconds`.

    With `shards` > 1 it runs as so many convolutions of a part of the batch side by side, as nets of small ops do.
    """
    count = max(1, batch // shards)
    x = tf.cast(tf.random.stateless_uniform((count, SIDE, SIDE, MAPS), (0, 0)), dtype)
    w = tf.cast(tf.random.stateless_uniform((3, 3, MAPS, MAPS), (0, 1)), dtype)
    convolve = tf.function(lambda images, w: [tf.nn.conv2d(part, w, 1, "SAME") for part in images], autograph=False)
    return 2 * shards * count * SIDE**2 * 9 * MAPS**2 / _best(lambda: convolve([x] * shards, w), seconds) / 1e9


def product_peak(dtype: tf.DType, seconds: float = 1.0) -> float:
    """GFLOP/s of the product of two square matrices of 1024 rows: the best of all calls in `seconds`."""
    x = tf.cast(tf.random.stateless_uniform((MATRIX, MATRIX), (0, 0)), dtype)
    multiply = tf.function(tf.matmul, autograph=False)
    return 2 * MATRIX**3 / _best(lambda: multiply(x, x), seconds) / 1e9


def _best(call: Callable[[], object], seconds: float) -> float:
    """The least time that a call takes, after one that traces; at least one call is timed."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def fsync_seconds(directory: str = os.curdir, times: int = 5) -> float:
    """The median time that the disk under `directory` takes to keep 4 kB for good. Raises `OSError` if it cannot."""
    taken = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return sorted(taken)[times // 2]
