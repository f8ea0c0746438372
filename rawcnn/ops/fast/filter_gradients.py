"""Filter gradients of convolutions with stride 1, as matrix products or from images joined to wide ones.

Each function takes (`x`, `dy`, `w`, `padding`), the input, the gradient of the output, the filter and "SAME" or
"VALID", and gives the gradient of the filter, `[size, size, C, K]`.
"""

import numpy as np
import tensorflow as tf

COLUMNS = 32  # of a map that TensorFlow's kernel for filter gradients takes at once


def suits_rows(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """One channel: LeNet's C1 in bfloat16."""
    return x.dtype == tf.bfloat16 and w.shape[2] == 1 and None not in x.shape[1:3]


def rows(x: tf.Tensor, dy: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """Of a convolution of one channel: the product of all rows of pixels of `x`, for each row of the filter, with the
    rows of `dy` holds what each column of `x` met in each column of `dy`; those that lie j columns apart belong to
    column j of the filter.
    """
    size = w.shape[0]
    _, height, width, filters = dy.shape
    pixels = _filled(tf.squeeze(x, 3), size, padding)  # zeros are put around rows of pixels faster than around pixels
    columns = pixels.shape[2]
    met = tf.reshape(tf.gather(pixels, np.arange(height)[:, None] + np.arange(size), axis=1), (-1, size * columns))
    pairs = tf.matmul(met, tf.reshape(dy, (-1, width * filters)), transpose_a=True)
    pairs = tf.reshape(tf.cast(pairs, tf.float32), (size, columns * width, filters))
    apart = (np.arange(width) + np.arange(size)[:, None]) * width + np.arange(width)
    return tf.cast(tf.reduce_sum(tf.gather(pairs, apart, axis=1), axis=2), dy.dtype)[:, :, None]


def suits_products(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """Large windows on many channels."""
    size, _, channels, _ = w.shape
    return size > 3 and channels >= (256 if x.dtype == tf.bfloat16 else 512)


def suits_1x1(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """Windows of one pixel."""
    return w.shape[0] == 1 and x.dtype == tf.bfloat16


def products(x: tf.Tensor, dy: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """A product of matrices for each pixel of the filter: pixel (i, j) met the pixels of `x` that lie (i, j) away from
    those of the result.
    """
    size = w.shape[0]
    x = _filled(x, size, padding)
    height, width, filters = tf.shape(dy)[1], tf.shape(dy)[2], dy.shape[-1]
    met = [x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    dy = tf.reshape(dy, (-1, filters))
    products = [tf.matmul(tf.reshape(part, (-1, x.shape[-1])), dy, transpose_a=True) for part in met]
    return tf.reshape(tf.stack(products), (size, size, x.shape[-1], filters))


def suits_abreast(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """Narrow maps, two or more of which fit where the kernel computes one, of enough channels to pay for the copies."""
    size, _, channels, filters = w.shape
    if None in x.shape or x.dtype != tf.bfloat16 or padding != "SAME":
        return False
    images = _images_abreast(x, size)
    return size > 1 and min(channels, filters) >= 192 and images > 1 and x.shape[0] % images == 0


def abreast(x: tf.Tensor, dy: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """Of a SAME convolution, from images laid abreast: the columns of zeros between two images are the padding
    of both, so no window sees more than one image.
    """
    size = w.shape[0]
    images = _images_abreast(x, size)
    return tf.raw_ops.Conv2DBackpropFilter(
        input=_abreast(x, images, size // 2),
        filter_sizes=w.shape,
        out_backprop=_abreast(dy, images, size // 2),
        strides=[1, 1, 1, 1],
        padding="SAME",
    )


def _images_abreast(x: tf.Tensor, size: int) -> int:
    return COLUMNS // (x.shape[2] + size // 2)


def _abreast(x: tf.Tensor, images: int, gap: int) -> tf.Tensor:
    """`[N, H, W, C] -> [N / images, H, images * (W + gap) - gap, C]`, with `gap` columns of zeros between images."""
    count, height, _, channels = x.shape
    zeros = tf.zeros((count // images, height, gap, channels), x.dtype)
    first, *others = tf.split(x, images)
    return tf.concat([first, *(part for other in others for part in (zeros, other))], axis=2)


def _filled(x: tf.Tensor, size: int, padding: str) -> tf.Tensor:
    """`x` `[N, H, W, ...]` with the zeros that a window moved by 1 sees around it."""
    if padding == "VALID":
        return x
    around = [(size - 1) // 2, size // 2]
    return tf.pad(x, [[0, 0], around, around, *[[0, 0]] * (x.shape.rank - 3)])
