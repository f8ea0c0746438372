"""Pooling: the mean of each window, and LeNet's trainable form of it."""

import tensorflow as tf

from rawcnn.ops.fast import pointwise as faster
from rawcnn.ops.fast.forms import fast


def subsample(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor, size: int = 2) -> tf.Tensor:
    """LeNet's S layers before squashing: the sum of each window times its map's coefficient, plus its map's bias.

    `[N, H, W, C] -> [N, H // size, W // size, C]`; `w` and `b` are `[C]` (LeCun et al. 1998, section II.B, layer S2).
    """
    return average_pool(x, size) * (w * size**2) + b


def average_pool(x: tf.Tensor, size: int = 2) -> tf.Tensor:
    """Mean over windows of `size` pixels that do not overlap; what is left at the lower and right edge is dropped.

    `[N, H, W, C] -> [N, H // size, W // size, C]`. Equals `tf.nn.avg_pool2d(x, size, size, "VALID")`.
    """
    height, width, channels = x.shape[1:]
    tiled = height and width and not (height % size or width % size)
    if fast("average_pool", bool(tiled and channels <= faster.FEW)):
        return faster.average_pool(x, size)
    return tf.nn.avg_pool2d(x, size, size, "VALID")
