"""Convolution: full, by a connection table, its bias, and the shapes of windows."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.ops.fast import convolution as faster
from rawcnn.ops.fast import pointwise
from rawcnn.ops.fast.forms import fast


def window_shape(length: int, size: int, stride: int = 1, padding: str = "SAME") -> int:
    """Outputs of a window of `size` moved by `stride` over `length` pixels.

    SAME pads with zeros so that only the stride shrinks; VALID uses whole windows only. Raises `UsageError` when not
    one window fits.

    >>> window_shape(227, 11, 4, "VALID"), window_shape(28, 5)
    (55, 28)
    """
    if padding not in ("SAME", "VALID"):
        known = " in capitals" if str(padding).upper() in ("SAME", "VALID") else ""
        raise UsageError(f"Padding {padding!r} is unknown: choose 'SAME' or 'VALID'{known}.")
    out = -(-length // stride) if padding == "SAME" else (length - size) // stride + 1
    if out < 1:
        raise UsageError(f"A {size}x{size} window does not fit into {length} pixels: enlarge the input or pad it.")
    return out


def conv2d(x: tf.Tensor, w: tf.Tensor, stride: int = 1, padding: str = "SAME", b: tf.Tensor | None = None) -> tf.Tensor:
    """`tf.nn.conv2d`, plus the bias `b` if there is one. `[N, H, W, C] -> [N, H', W', K]`.

    `w` is `[size, size, C, K]`, `b` `[K]`. Where another form of the convolution or of one of its gradients is known to
    be faster, that is used (`rawcnn.ops.fast`). A batch of no images gives none where the graph knows that N is 0; a
    graph traced for any N must not be given an empty batch: TensorFlow's kernel returns a wrong shape.
    """
    if x.shape[0] == 0:
        y, form = _conv2d_of_nothing(x, w, stride, padding), None
    else:
        y, form = faster.conv2d(x, w, stride, padding)
    if b is None:
        return y
    return pointwise.add_bias_products(y, b) if form in faster.SUM_BIAS_BY_PRODUCT else add_bias(y, b)


def _conv2d_of_nothing(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """Of an empty batch, for which TensorFlow's kernel returns the shape of its input: an empty matrix product."""
    height, width = (window_shape(length, w.shape[0], stride, padding) for length in x.shape[1:3])
    inputs = math.prod(w.shape[:3])
    product = tf.matmul(tf.reshape(x, (0, inputs)), tf.reshape(w, (inputs, w.shape[3])))
    return tf.reshape(product, (0, height, width, w.shape[3]))


def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`x + b`, where `b`, `[C]`, has one number for each channel. `[N, H, W, C] -> [N, H, W, C]`."""
    if fast("add_bias", bool(x.shape[-1] <= pointwise.FEW_BIASES and x.shape[2])):
        return pointwise.add_bias(x, b)
    return tf.nn.bias_add(x, b)


def connections(drawing: str) -> np.ndarray:
    """Parse a connection table drawn as rows of `X` and `.`: one row an input map, one column an output map.

    Blanks between the cells and around the drawing do not count. Returns a bool array `[in_maps, out_maps]` (LeCun et
    al. 1998, table I). Raises `UsageError` for other characters, rows of different lengths and an empty drawing.

    >>> connections("X . X\\n. X X").sum()
    np.int64(4)
    """
    rows = ["".join(line.split()) for line in drawing.strip().splitlines()]
    rule = "A connection table is rows of 'X' and '.', all of the same length"
    if not rows:
        raise UsageError(f"{rule}, but the drawing is empty.")
    for number, row in enumerate(rows, 1):
        if other := set(row) - {"X", "."}:
            raise UsageError(f"{rule}, but row {number} has {min(other)!r}.")
        if len(row) != len(rows[0]):
            raise UsageError(f"{rule}, but row 1 has {len(rows[0])} cells and row {number} has {len(row)}.")
    return np.array([[cell == "X" for cell in row] for row in rows])


def partial_kernel(w: tf.Tensor, table: np.ndarray) -> tf.Tensor:
    """The dense kernel `[size, size, in, out]` of the compact `w` `[size, size, connections]`, 0 where no `X` is.

    Connections are counted in reading order of the table `[in, out]`.
    """
    placed = np.zeros((int(table.sum()), table.size), np.float32)
    placed[np.arange(len(placed)), np.flatnonzero(table)] = 1.0
    size = w.shape[0]
    dense = tf.matmul(tf.reshape(w, (size * size, -1)), tf.constant(placed, w.dtype))
    return tf.reshape(dense, (size, size, *table.shape))


def partial_conv2d(x: tf.Tensor, w: tf.Tensor, table: np.ndarray, padding: str = "VALID") -> tf.Tensor:
    """Convolution in which each output map sees only its own choice of input maps.

    `[N, H, W, in] -> [N, H', W', out]`; `w` is `[size, size, connections]` (LeCun et al. 1998, layer C3 and table I).
    """
    return conv2d(x, partial_kernel(w, table), 1, padding)


def spatial(shape: Sequence[int], what: str) -> tuple[int, int, int]:
    """`shape` as (height, width, channels), or a `UsageError` that says what `what` needs."""
    if len(shape) != 3:
        raise UsageError(f"{what} needs (height, width, channels), not {tuple(shape)}.")
    return int(shape[0]), int(shape[1]), int(shape[2])
