"""Pure functions that `tf.nn` lacks: each takes tensors and computes in the dtype of its input."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from rawcnn.errors import UsageError


def window_shape(length: int, size: int, stride: int = 1, padding: str = "SAME") -> int:
    """Outputs of a window of `size` moved by `stride` over `length` pixels.

    SAME pads with zeros so that only the stride shrinks; VALID uses whole windows only. Raises `UsageError` when not
    one window fits.

    >>> window_shape(227, 11, 4, "VALID"), window_shape(28, 5)
    (55, 28)
    """
    if padding not in ("SAME", "VALID"):
        raise UsageError(f"Padding {padding!r} is unknown: choose 'SAME' or 'VALID'.")
    out = -(-length // stride) if padding == "SAME" else (length - size) // stride + 1
    if out < 1:
        raise UsageError(f"A {size}x{size} window does not fit into {length} pixels: enlarge the input or pad it.")
    return out


def scaled_tanh(x: tf.Tensor) -> tf.Tensor:
    """`1.7159 tanh(2x/3)`, so that f(1) = 1 and f(-1) = -1. Any shape (LeCun et al. 1998, eq. 6 and appendix A).

    >>> scaled_tanh(tf.constant([-1.0, 0.0, 1.0])).numpy().round(4)
    array([-1.,  0.,  1.], dtype=float32)
    """
    return 1.7159 * tf.tanh(x * (2.0 / 3.0))


def lrn(x: tf.Tensor, *, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> tf.Tensor:
    """Local response normalisation across `n` neighbouring channels. `[N, H, W, C] -> [N, H, W, C]`.

    `y_i = x_i / (k + alpha * sum_{j = i - n//2 ... i + n//2} x_j^2) ** beta` (Krizhevsky et al. 2012, section 3.3).
    Caffe and PyTorch divide alpha by n: their alpha is `n` times this one. The sum over neighbours is a product with a
    band matrix, and is taken in float32 when `x` is narrower. Raises `UsageError` for an even `n`.
    """
    if n < 1 or n % 2 == 0:
        raise UsageError(f"LRN needs an odd window of channels, not n={n}: the paper uses n=5.")
    wide = x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)
    channels = np.arange(x.shape[-1])
    band = tf.constant(np.abs(channels[:, None] - channels) <= n // 2, wide.dtype)
    energy = tf.tensordot(wide * wide, band, 1)
    return tf.cast(wide * tf.pow(k + alpha * energy, -beta), x.dtype)


def subsample(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor, size: int = 2) -> tf.Tensor:
    """LeNet's S layers before squashing: the sum of each window times its map's coefficient, plus its map's bias.

    `[N, H, W, C] -> [N, H/size, W/size, C]`; `w` and `b` are `[C]` (LeCun et al. 1998, section II.B, layer S2).
    """
    return average_pool(x, size) * (w * size**2) + b


def average_pool(x: tf.Tensor, size: int = 2) -> tf.Tensor:
    """Mean over windows that do not overlap; a rest at the lower and right edge is dropped.

    `[N, H, W, C] -> [N, H // size, W // size, C]`. Equals `tf.nn.avg_pool2d(x, size, size, "VALID")`, whose gradient
    kernel takes 3 times as long as the one written here.
    """
    height, width, channels = x.shape[1:]
    if height % size or width % size:
        return tf.nn.avg_pool2d(x, size, size, "VALID")

    @tf.custom_gradient
    def pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def spread(dy: tf.Tensor) -> tf.Tensor:
            wide = tf.concat([dy / size**2] * size, axis=-1)
            rows = tf.reshape(wide, (-1, height // size, 1, width * channels))
            return tf.reshape(tf.concat([rows] * size, axis=2), (-1, height, width, channels))

        return tf.nn.avg_pool2d(x, size, size, "VALID"), spread

    return pool(x)


def conv2d(x: tf.Tensor, w: tf.Tensor, stride: int = 1, padding: str = "SAME", groups: int = 1) -> tf.Tensor:
    """`tf.nn.conv2d`. `[N, H, W, C] -> [N, H', W', K]`; `w` is `[size, size, C / groups, K]`.

    With `groups` > 1, the g-th part of the filters sees the g-th part of the channels only (Krizhevsky et al. 2012,
    section 3.2: two GPUs); in parts because TensorFlow's grouped kernel has no gradients in float64 and is no faster.

    Two gradients are computed in equal forms that are faster: that of `x` where a few input channels fill only part of
    a vector register (LeNet's C3; see `_spread_columns`), and that of `w` where large windows see many channels
    (`cifar_wide`; see `_filter_products`).
    """
    if groups > 1:
        parts = zip(tf.split(x, groups, axis=-1), tf.split(w, groups, axis=-1), strict=True)
        return tf.concat([conv2d(part, filters, stride, padding) for part, filters in parts], axis=-1)
    size, _, channels, _ = w.shape
    columns = (x.shape[2] or 0) - size + 1
    few = padding == "VALID" and 1 < channels <= 32 // size and columns > 0 and columns % size == 0
    many = size > 3 and channels >= 256
    if stride != 1 or not (few or many):
        return tf.nn.conv2d(x, w, stride, padding)

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            plain = {"out_backprop": dy, "strides": [1, 1, 1, 1], "padding": padding}
            if few:
                dw = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, **plain)
                return _spread_columns(dy, w, x.shape[1]), dw
            dx = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=w, **plain)
            return dx, _filter_products(x, dy, size, padding)

        return tf.nn.conv2d(x, w, 1, padding), gradient

    return convolve(x, w)


def _filter_products(x: tf.Tensor, dy: tf.Tensor, size: int, padding: str) -> tf.Tensor:
    """The gradient of a convolution's filter, `[size, size, C, K]`: a product of matrices for each of its pixels.

    Pixel (i, j) of the filter met the pixels of `x` that lie (i, j) away from those of the result.
    """
    if padding == "SAME":
        before = (size - 1) // 2
        x = tf.pad(x, [[0, 0], [before, size - 1 - before], [before, size - 1 - before], [0, 0]])
    height, width, filters = tf.shape(dy)[1], tf.shape(dy)[2], dy.shape[-1]
    met = [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    dy = tf.reshape(dy, (-1, filters))
    products = [tf.matmul(tf.reshape(part, (-1, x.shape[-1])), dy, transpose_a=True) for part in met]
    return tf.reshape(tf.stack(products), (size, size, x.shape[-1], filters))


def _spread_columns(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """The gradient of a convolution's input, rows first: `[N, H', W', K] -> [N, height, W' + size - 1, C]`.

    A convolution that is transposed along the height alone gives each column of `dy` a strip of size * C numbers; the
    strip of column j belongs to the columns j ... j + size - 1 of the input. Strips that lie `size` columns apart
    tile the width, so all are added up as `size` tilings, each shifted by one column.
    """
    size, _, channels, filters = w.shape
    columns = dy.shape[2]
    strips = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.stack([tf.shape(dy)[0], height, columns, size * channels]),
        filter=tf.reshape(w, (size, 1, size * channels, filters)),
        out_backprop=dy,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    strips = tf.reshape(strips, (-1, columns // size, size, size * channels))
    tilings = [tf.reshape(strips[:, :, k], (-1, columns * channels)) for k in range(size)]
    shifted = [tf.pad(t, [[0, 0], [k * channels, (size - 1 - k) * channels]]) for k, t in enumerate(tilings)]
    return tf.reshape(tf.add_n(shifted), (-1, height, columns + size - 1, channels))


def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`x + b`, `b` being one number per channel. `[N, H, W, C] -> [N, H, W, C]`.

    Equals `tf.nn.bias_add`, whose gradient kernel is slow for a few channels: here it first sums whole rows of pixels.
    """
    _, _, width, channels = x.shape
    if channels > 32 or width is None:
        return tf.nn.bias_add(x, b)

    @tf.custom_gradient
    def add(x: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            row = tf.reduce_sum(tf.reshape(dy, (-1, width * channels)), axis=0)
            return dy, tf.reduce_sum(tf.reshape(row, (width, channels)), axis=0)

        return tf.nn.bias_add(x, b), gradient

    return add(x, b)


def batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-3
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalise each channel over the batch. `[N, H, W, C] -> [N, H, W, C]`, and the batch's mean and variance `[C]`.

    `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the batch's biased variance, which is returned
    unbiased, times m / (m - 1) for m pixels (Ioffe & Szegedy 2015, algorithms 1 and 2). `gamma`, `beta` and the
    statistics are float32 when `x` is narrower.
    """
    if x.dtype == tf.float64:  # the fused kernel has no such form
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
        pixels = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
        return y, mean, variance * pixels / tf.maximum(pixels - 1, 1)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    return y, mean, variance


def connections(drawing: str) -> np.ndarray:
    """Parse a connection table drawn as rows of `X` and `.`: one row an input map, one column an output map.

    Returns a bool array `[in_maps, out_maps]` (LeCun et al. 1998, table I). Raises `UsageError` for ragged rows.

    >>> connections("X . X\\n. X X").sum()
    np.int64(4)
    """
    rows = [line.split() for line in drawing.strip().splitlines()]
    if not all(len(row) == len(rows[0]) and set(row) <= {"X", "."} for row in rows):
        raise UsageError("A connection table is rows of 'X' and '.', all of the same length.")
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


def rbf_distance(x: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Squared Euclidean distance to every centre: `y_i = sum_j (x_j - w_ij)^2`, at least 0.

    `x` is `[N, D]`, `centres` `[K, D]`, the result `[N, K]` (LeCun et al. 1998, eq. 7).
    """
    return tf.reduce_sum(tf.math.squared_difference(x[:, None, :], centres[None]), axis=-1)


@functools.cache
def bitmaps(drawing: str, width: int, off: str = ".") -> np.ndarray:
    """Glyphs drawn side by side as text, `width` characters each between blanks, as rows of +1 (ink) and -1.

    Returns float32 `[glyphs, height * width]`; the targets of LeNet-5's RBF units (LeCun et al. 1998, figure 3).
    """
    lines = [line.split() for line in drawing.strip().splitlines()]
    cells = np.array([[[1.0 if c != off else -1.0 for c in glyph] for glyph in line] for line in lines], np.float32)
    if cells.shape[2] != width:
        raise UsageError(f"Every glyph must be {width} characters wide, not {cells.shape[2]}.")
    return cells.transpose(1, 0, 2).reshape(cells.shape[1], -1)


def spatial(shape: Sequence[int], what: str) -> tuple[int, int, int]:
    """`shape` as (height, width, channels), or a `UsageError` that says what `what` needs."""
    if len(shape) != 3:
        raise UsageError(f"{what} needs (height, width, channels), not {tuple(shape)}.")
    return int(shape[0]), int(shape[1]), int(shape[2])
