"""Faster forms of ops: the same numbers but for rounding, in less time. `rawcnn.ops` chooses, `rawcnn.forms` switches.

A form wins by the way TensorFlow's kernels work on a CPU, not by another result: each is tested to equal the plain form
in value and gradient, and `docs/performance.md` says what each gained. Functions marked `jit_compile` are chains of
element-wise operations, which XLA runs in one pass through memory instead of one for each operation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Gradient = Callable[[tf.Tensor], tf.Tensor]
TwoGradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

BESIDE = 16  # images; a tile of the processor's matrix unit has as many rows
JOINED = 32  # columns of a map that TensorFlow's kernel for filter gradients takes at once


def average_pool(x: tf.Tensor, size: int) -> tf.Tensor:
    """Average pooling of windows that tile the image, whose gradient copies each number over its window.

    The copies along a row are made by a product: so few channels are joined pixel by pixel in twice the time.
    """
    height, width, channels = x.shape[1:]
    copies = np.tile(np.eye(channels), size) / size**2

    @tf.custom_gradient
    def pool(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        def spread(dy: tf.Tensor) -> tf.Tensor:
            wide = tf.matmul(tf.reshape(dy, (-1, channels)), tf.constant(copies, dy.dtype))
            rows = tf.reshape(wide, (-1, height // size, 1, width * channels))
            return tf.reshape(tf.concat([rows] * size, axis=2), (-1, height, width, channels))

        return tf.nn.avg_pool2d(x, size, size, "VALID"), spread

    return pool(x)


def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`tf.nn.bias_add` for few channels: the gradient of `b` first sums whole rows of pixels."""
    _, _, width, channels = x.shape

    def over_pixels(dy: tf.Tensor) -> tf.Tensor:
        row = tf.reduce_sum(tf.reshape(dy, (-1, width * channels)), axis=0)
        return tf.reduce_sum(tf.reshape(row, (width, channels)), axis=0)

    return _add_bias(x, b, over_pixels)


def add_bias_products(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`tf.nn.bias_add`, whose gradient of `b` is a product with ones.

    TensorFlow's convolution sums the bias' gradient along with its filter's; where the filter's is not its own, the sum
    on its own would cost three times this product.
    """

    def over_pixels(dy: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(dy, (-1, dy.shape[-1]))
        return tf.matmul(tf.ones((1, tf.shape(pixels)[0]), dy.dtype), pixels)[0]

    return _add_bias(x, b, over_pixels)


def _add_bias(x: tf.Tensor, b: tf.Tensor, over_pixels: Gradient) -> tf.Tensor:
    """`tf.nn.bias_add`, the gradient of `b` being the sum `over_pixels` of that of the result."""

    @tf.custom_gradient
    def add(x: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        return tf.nn.bias_add(x, b), lambda dy: (dy, over_pixels(dy))

    return add(x, b)


# Element-wise chains --------------------------------------------------------------------------------------------------


@tf.custom_gradient
def relu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`tf.nn.relu`."""
    y = tf.nn.relu(x)
    return y, lambda dy: _relu_gradient(y, dy)


@tf.function(jit_compile=True)
def _relu_gradient(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return tf.where(y > 0, dy, tf.zeros_like(dy))


@tf.custom_gradient
def tanh(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`tf.tanh`."""
    y = tf.tanh(x)
    return y, lambda dy: _tanh_gradient(y, dy)


@tf.function(jit_compile=True)
def _tanh_gradient(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    y, wide = tf.cast(y, tf.float32), tf.cast(dy, tf.float32)
    return tf.cast(wide * (1.0 - y * y), dy.dtype)


def lrn(x: tf.Tensor, band: np.ndarray, k: float, alpha: float, beta: float) -> tf.Tensor:
    """Local response normalisation; `band` `[C, C]` says which channels are neighbours. See `rawcnn.ops.lrn`.

    With s = k + alpha * (x * x) @ band, the value is x * s^-beta and the gradient
    dy * s^-beta - 2 alpha beta x * ((dy * x * s^(-beta - 1)) @ band): a pass through memory before each product and one
    after it. What is kept for the gradient is x and the sums, not the powers.
    """
    matrix = tf.constant(band, x.dtype)

    def neighbours(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.matmul(tf.reshape(x, (-1, len(band))), matrix), tf.shape(x))

    @tf.custom_gradient
    def normalise(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        energy = neighbours(_square(x))

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            pulled = neighbours(_lrn_pull(x, energy, dy, k, alpha, beta))
            return _lrn_gradient(x, energy, dy, pulled, k, alpha, beta)

        return _lrn_value(x, energy, k, alpha, beta), gradient

    return normalise(x)


def _wide(*tensors: tf.Tensor) -> list[tf.Tensor]:
    """At least float32."""
    return [t if t.dtype == tf.float64 else tf.cast(t, tf.float32) for t in tensors]


def _power(s: tf.Tensor, beta: float) -> tf.Tensor:
    """`s ** -beta`, by square roots for the paper's 0.75."""
    if beta != 0.75:
        return tf.pow(s, -beta)
    root = tf.math.rsqrt(s)
    return root * tf.sqrt(root)


@tf.function(jit_compile=True)
def _square(x: tf.Tensor) -> tf.Tensor:
    return x * x


@tf.function(jit_compile=True)
def _lrn_value(x: tf.Tensor, energy: tf.Tensor, k: float, alpha: float, beta: float) -> tf.Tensor:
    wide, energy = _wide(x, energy)
    return tf.cast(wide * _power(k + alpha * energy, beta), x.dtype)


@tf.function(jit_compile=True)
def _lrn_pull(x: tf.Tensor, energy: tf.Tensor, dy: tf.Tensor, k: float, alpha: float, beta: float) -> tf.Tensor:
    wide, energy, dy = _wide(x, energy, dy)
    s = k + alpha * energy
    return tf.cast(dy * wide * _power(s, beta) / s, x.dtype)


@tf.function(jit_compile=True)
def _lrn_gradient(
    x: tf.Tensor, energy: tf.Tensor, dy: tf.Tensor, pulled: tf.Tensor, k: float, alpha: float, beta: float
) -> tf.Tensor:
    wide, energy, dy, pulled = _wide(x, energy, dy, pulled)
    return tf.cast(dy * _power(k + alpha * energy, beta) - (2.0 * alpha * beta) * wide * pulled, x.dtype)


# Convolutions ---------------------------------------------------------------------------------------------------------


def suits_blocks(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """A first convolution: few channels, and windows that overlap."""
    return 1 < stride < w.shape[0] and w.shape[2] <= 4 and None not in x.shape[1:3]


def conv2d_blocks(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """A convolution with a stride as one without: on blocks of stride x stride pixels, each a pixel of more channels.

    Filters are filled up with zeros to whole blocks. AlexNet's 11 x 11 on 3 channels by 4 is 3 x 3 on 48 channels.
    """
    size, _, channels, filters = w.shape
    blocks = -(-size // stride)
    more = blocks * stride - size
    w = tf.pad(w, [[0, more], [0, more], [0, 0], [0, 0]])
    w = tf.transpose(tf.reshape(w, (blocks, stride, blocks, stride, channels, filters)), (0, 2, 1, 3, 4, 5))
    w = tf.reshape(w, (blocks, blocks, stride**2 * channels, filters))
    rows, columns = (_blocks(length, size, stride, padding, blocks) for length in x.shape[1:3])
    x = tf.pad(x[:, : rows.read, : columns.read], [[0, 0], rows.fill, columns.fill, [0, 0]])
    x = tf.reshape(x, (-1, x.shape[1] // stride, stride, x.shape[2] // stride, stride * channels))
    x = tf.reshape(tf.transpose(x, (0, 1, 3, 2, 4)), (-1, x.shape[1], x.shape[3], stride**2 * channels))
    return tf.nn.conv2d(x, w, 1, "VALID")


class _Blocks(NamedTuple):
    read: int  # pixels of the image
    fill: tuple[int, int]  # zeros before and after them


def _blocks(length: int, size: int, stride: int, padding: str, blocks: int) -> _Blocks:
    """How `length` pixels become whole blocks of `stride`, the first where the first window begins."""
    out = -(-length // stride) if padding == "SAME" else (length - size) // stride + 1
    before = max(0, (out - 1) * stride + size - length) // 2 if padding == "SAME" else 0
    total = (out - 1 + blocks) * stride
    read = min(length, total - before)
    return _Blocks(read, (before, total - before - read))


def suits_strips(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> bool:
    """A few channels, which fill only part of a vector register: LeNet's C3 in float32."""
    size, _, channels, _ = w.shape
    if None in x.shape[1:3] or x.dtype != tf.float32 or padding != "VALID" or stride != 1:
        return False
    return 1 < channels <= 32 // size and (x.shape[2] - size + 1) % size == 0


def suits_rows(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """One channel: LeNet's C1 in bfloat16."""
    return x.dtype == tf.bfloat16 and stride == 1 and w.shape[2] == 1 and None not in x.shape[1:3]


def suits_products(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """Large windows on many channels."""
    size, _, channels, _ = w.shape
    return stride == 1 and size > 3 and channels >= (256 if x.dtype == tf.bfloat16 else 512)


def suits_1x1(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """Windows of one pixel."""
    return stride == 1 and w.shape[0] == 1 and x.dtype == tf.bfloat16


def suits_beside(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> bool:
    """Large windows on many channels, and results so narrow that they fill less than half a tile."""
    if None in x.shape or x.dtype != tf.bfloat16 or padding != "VALID" or not suits_products(x, w, stride):
        return False
    return x.shape[0] % BESIDE == 0 and x.shape[2] - w.shape[0] + 1 < BESIDE // 2


def suits_joined(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> bool:
    """Narrow maps, two or more of which fit where the kernel computes one, of enough channels to pay for the copies."""
    size, _, channels, filters = w.shape
    if None in x.shape or x.dtype != tf.bfloat16 or padding != "SAME" or stride != 1:
        return False
    images = _images_joined(x, size)
    return size > 1 and min(channels, filters) >= 192 and images > 1 and x.shape[0] % images == 0


def _images_joined(x: tf.Tensor, size: int) -> int:
    return JOINED // (x.shape[2] + size // 2)


def conv2d(
    x: tf.Tensor, w: tf.Tensor, padding: str, *, rows: bool, strips: bool, products: bool, beside: bool, joined: bool
) -> tf.Tensor:
    """`tf.nn.conv2d` with stride 1, of which the named parts are computed in another form."""

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            plain = {"out_backprop": dy, "strides": [1, 1, 1, 1], "padding": padding}
            if strips:
                dx = strips_gradient(dy, w, x.shape[1])
            elif beside:
                dx = beside_gradient(dy, w, x.shape[1])
            else:
                dx = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=w, **plain)
            if rows:
                return dx, rows_gradient(x, dy, w.shape[0], padding)
            if products:
                return dx, products_gradient(x, dy, w.shape[0], padding)
            if joined:
                return dx, joined_gradient(x, dy, w.shape[0])
            return dx, tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, **plain)

        return (conv2d_beside(x, w) if beside else tf.nn.conv2d(x, w, 1, padding)), gradient

    return convolve(x, w)


def _filled(x: tf.Tensor, size: int, padding: str) -> tf.Tensor:
    """`x` `[N, H, W, ...]` with the zeros that a window moved by 1 sees around it."""
    if padding == "VALID":
        return x
    around = [(size - 1) // 2, size // 2]
    return tf.pad(x, [[0, 0], around, around, *[[0, 0]] * (x.shape.rank - 3)])


def products_gradient(x: tf.Tensor, dy: tf.Tensor, size: int, padding: str) -> tf.Tensor:
    """The gradient of a convolution's filter, `[size, size, C, K]`: a product of matrices for each of its pixels.

    Pixel (i, j) of the filter met the pixels of `x` that lie (i, j) away from those of the result.
    """
    x = _filled(x, size, padding)
    height, width, filters = tf.shape(dy)[1], tf.shape(dy)[2], dy.shape[-1]
    met = [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    dy = tf.reshape(dy, (-1, filters))
    products = [tf.matmul(tf.reshape(part, (-1, x.shape[-1])), dy, transpose_a=True) for part in met]
    return tf.reshape(tf.stack(products), (size, size, x.shape[-1], filters))


def joined_gradient(x: tf.Tensor, dy: tf.Tensor, size: int) -> tf.Tensor:
    """The gradient of a SAME convolution's filter, `[size, size, C, K]`, from images joined to wide ones.

    The columns of zeros between two images are the padding of both: no window sees more than one image.
    """
    images = _images_joined(x, size)
    return tf.raw_ops.Conv2DBackpropFilter(
        input=_joined(x, images, size // 2),
        filter_sizes=(size, size, x.shape[-1], dy.shape[-1]),
        out_backprop=_joined(dy, images, size // 2),
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def _joined(x: tf.Tensor, images: int, gap: int) -> tf.Tensor:
    """`[N, H, W, C] -> [N / images, H, images * (W + gap) - gap, C]`, with `gap` columns of zeros between images."""
    count, height, _, channels = x.shape
    zeros = tf.zeros((count // images, height, gap, channels), x.dtype)
    first, *others = tf.split(x, images)
    return tf.concat([first, *(part for other in others for part in (zeros, other))], axis=2)


def rows_gradient(x: tf.Tensor, dy: tf.Tensor, size: int, padding: str) -> tf.Tensor:
    """The gradient of the filter of a convolution of one channel, `[size, size, 1, K]`.

    The product of all rows of pixels of `x`, for each row of the filter, with the rows of `dy` holds what each column
    of `x` met in each column of `dy`; those that lie j columns apart belong to column j of the filter.
    """
    _, height, width, filters = dy.shape
    rows = _filled(tf.squeeze(x, 3), size, padding)  # zeros are put around rows of pixels faster than around pixels
    columns = rows.shape[2]
    met = tf.reshape(tf.gather(rows, np.arange(height)[:, None] + np.arange(size), axis=1), (-1, size * columns))
    pairs = tf.matmul(met, tf.reshape(dy, (-1, width * filters)), transpose_a=True)
    pairs = tf.reshape(tf.cast(pairs, tf.float32), (size, columns * width, filters))
    apart = (np.arange(width) + np.arange(size)[:, None]) * width + np.arange(width)
    return tf.cast(tf.reduce_sum(tf.gather(pairs, apart, axis=1), axis=2), dy.dtype)[:, :, None]


def _beside(x: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C] -> [N / 16, H, W * 16, C]`: the first columns of 16 images, then their second columns, ..."""
    _, height, width, channels = x.shape
    images = tf.transpose(tf.reshape(x, (-1, BESIDE, height, width, channels)), (0, 2, 3, 1, 4))
    return tf.reshape(images, (-1, height, width * BESIDE, channels))


def _apart(x: tf.Tensor) -> tf.Tensor:
    """Undoes `_beside`."""
    _, height, width, channels = x.shape
    columns = tf.reshape(x, (-1, height, width // BESIDE, BESIDE, channels))
    return tf.reshape(tf.transpose(columns, (0, 3, 1, 2, 4)), (-1, height, width // BESIDE, channels))


def conv2d_beside(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """A convolution without padding of 16 images at once: neighbouring columns of one image lie 16 columns apart."""
    return _apart(tf.nn.conv2d(_beside(x), w, 1, "VALID", dilations=(1, BESIDE)))


def beside_gradient(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """The gradient of `conv2d_beside`'s input: strips as in `strips_gradient`, added up 16 columns apart."""
    size = w.shape[0]
    strips = _strips(_beside(dy), w, height)
    parts = tf.split(strips, size, axis=-1)
    ends = [[BESIDE * k, BESIDE * (size - 1 - k)] for k in range(size)]
    placed = [tf.pad(part, [[0, 0], [0, 0], end, [0, 0]]) for part, end in zip(parts, ends, strict=True)]
    return _apart(tf.add_n(placed))


def strips_gradient(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """The gradient of a convolution's input, rows first: `[N, H', W', K] -> [N, height, W' + size - 1, C]`.

    The strip of column j belongs to the columns j ... j + size - 1 of the input. Strips that lie `size` columns apart
    tile the width, so all are added up as `size` tilings, each shifted by one column.
    """
    size, _, channels, _ = w.shape
    columns = dy.shape[2]
    strips = tf.reshape(_strips(dy, w, height), (-1, columns // size, size, size * channels))
    tilings = [tf.reshape(strips[:, :, k], (-1, columns * channels)) for k in range(size)]
    shifted = [tf.pad(t, [[0, 0], [k * channels, (size - 1 - k) * channels]]) for k, t in enumerate(tilings)]
    return tf.reshape(tf.add_n(shifted), (-1, height, columns + size - 1, channels))


def _strips(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """A convolution transposed along the height alone: of each column of `dy`, a strip of size * C numbers a row."""
    size, _, channels, filters = w.shape
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.stack([tf.shape(dy)[0], height, dy.shape[2], size * channels]),
        filter=tf.reshape(w, (size, 1, size * channels, filters)),
        out_backprop=dy,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
