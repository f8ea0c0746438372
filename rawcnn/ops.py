"""Pure functions that `tf.nn` lacks: each takes tensors and computes in the dtype of its input."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn import faster
from rawcnn.errors import UsageError
from rawcnn.forms import fast

FEW = 32  # channels: up to so many, TensorFlow's loops over single pixels cost more than those over rows of them


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


def relu(x: tf.Tensor) -> tf.Tensor:
    """`tf.nn.relu`. Any shape."""
    return faster.relu(x) if fast("relu") and x.dtype == tf.bfloat16 else tf.nn.relu(x)


def tanh(x: tf.Tensor) -> tf.Tensor:
    """`tf.tanh`. Any shape."""
    return faster.tanh(x) if fast("tanh") and x.dtype == tf.bfloat16 else tf.tanh(x)


def scaled_tanh(x: tf.Tensor) -> tf.Tensor:
    """`1.7159 tanh(2x/3)`, so that f(1) = 1 and f(-1) = -1. Any shape (LeCun et al. 1998, eq. 6 and appendix A).

    >>> scaled_tanh(tf.constant([-1.0, 0.0, 1.0])).numpy().round(4)
    array([-1.,  0.,  1.], dtype=float32)
    """
    return 1.7159 * tanh(x * (2.0 / 3.0))


def lrn(x: tf.Tensor, *, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> tf.Tensor:
    """Local response normalisation across `n` neighbouring channels. `[N, H, W, C] -> [N, H, W, C]`.

    `y_i = x_i / (k + alpha * sum_{j = i - n//2 ... i + n//2} x_j^2) ** beta` (Krizhevsky et al. 2012, section 3.3).
    Caffe and PyTorch divide alpha by n: their alpha is `n` times this one. The sum over neighbours is a product with a
    band matrix; powers are taken in float32 when `x` is narrower. Raises `UsageError` for an even `n`.
    """
    if n < 1 or n % 2 == 0:
        raise UsageError(f"LRN needs an odd window of channels, not n={n}: the paper uses n=5.")
    channels = np.arange(x.shape[-1])
    band = np.abs(channels[:, None] - channels) <= n // 2
    if fast("lrn"):
        return faster.lrn(x, band, k, alpha, beta)
    wide = x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)
    energy = tf.tensordot(wide * wide, tf.constant(band, wide.dtype), 1)
    return tf.cast(wide * tf.pow(k + alpha * energy, -beta), x.dtype)


def subsample(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor, size: int = 2) -> tf.Tensor:
    """LeNet's S layers before squashing: the sum of each window times its map's coefficient, plus its map's bias.

    `[N, H, W, C] -> [N, H/size, W/size, C]`; `w` and `b` are `[C]` (LeCun et al. 1998, section II.B, layer S2).
    """
    return average_pool(x, size) * (w * size**2) + b


def average_pool(x: tf.Tensor, size: int = 2) -> tf.Tensor:
    """Mean over windows that do not overlap; a rest at the lower and right edge is dropped.

    `[N, H, W, C] -> [N, H // size, W // size, C]`. Equals `tf.nn.avg_pool2d(x, size, size, "VALID")`.
    """
    height, width, channels = x.shape[1:]
    if fast("average_pool") and channels <= FEW and height and width and not (height % size or width % size):
        return faster.average_pool(x, size)
    return tf.nn.avg_pool2d(x, size, size, "VALID")


def conv2d(x: tf.Tensor, w: tf.Tensor, stride: int = 1, padding: str = "SAME", b: tf.Tensor | None = None) -> tf.Tensor:
    """`tf.nn.conv2d`, plus the bias `b` if there is one. `[N, H, W, C] -> [N, H', W', K]`.

    `w` is `[size, size, C, K]`, `b` `[K]`. Where another form of the convolution or of one of its gradients is known to
    be faster, that is used (`rawcnn.faster`).
    """
    forms = {
        "rows": fast("conv2d_rows") and faster.suits_rows(x, w, stride),
        "strips": fast("conv2d_strips") and faster.suits_strips(x, w, stride, padding),
        "products": (fast("conv2d_products") and faster.suits_products(x, w, stride))
        or (fast("conv2d_1x1") and faster.suits_1x1(x, w, stride)),
        "beside": fast("conv2d_beside") and faster.suits_beside(x, w, stride, padding),
        "joined": fast("conv2d_joined") and faster.suits_joined(x, w, stride, padding),
    }
    if fast("conv2d_blocks") and faster.suits_blocks(x, w, stride):
        y = faster.conv2d_blocks(x, w, stride, padding)
    elif any(forms.values()):
        y = faster.conv2d(x, w, padding, **forms)
    else:
        y = tf.nn.conv2d(x, w, stride, padding)
    if b is None:
        return y
    return faster.add_bias_products(y, b) if forms["products"] or forms["joined"] else add_bias(y, b)


def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`x + b`, `b` being one number per channel. `[N, H, W, C] -> [N, H, W, C]`."""
    if fast("add_bias") and x.shape[-1] <= FEW and x.shape[2]:
        return faster.add_bias(x, b)
    return tf.nn.bias_add(x, b)


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


def normalise(
    x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-3
) -> tf.Tensor:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, all `[C]`: `batch_norm` by statistics that are known.

    `[N, H, W, C] -> [N, H, W, C]`; the four are float32 when `x` is narrower.
    """
    if x.dtype == tf.float64:  # the fused kernel has no such form
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
    y, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    )
    return y


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
