"""Pooling: largest value, mean, and LeNet's trainable subsampling."""

import math
from collections.abc import Sequence

import tensorflow as tf

from rawcnn import ops
from rawcnn.layers.base import Activation, Layer, activate
from rawcnn.layers.variables import (
    Initializer,
    bias_variable,
    weight_variable,
)
from rawcnn.seeds import fold


class Subsample(Layer):
    """LeNet's trainable subsampling: sum of each window, times a coefficient, plus a bias, then squashed.

    `[N, H, W, C] -> [N, H // size, W // size, C]` with two parameters a map: `w` and `b` are `[C]`. The windows of
    `size` pixels do not overlap. Raises `UsageError` when no window fits (LeCun et al. 1998, section II.B, layer S2).

    >>> Subsample(2, input_shape=(28, 28, 6)).num_params()
    12
    """

    def __init__(
        self,
        size: int = 2,
        *,
        input_shape: Sequence[int],
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(input_shape, "Subsample")
        out = [ops.window_shape(length, size, size, "VALID") for length in (height, width)]
        super().__init__(input_shape, (*out, channels))
        self.size, self.activation, self.window = size, activation, (size, size)
        self.w = weight_variable((channels,), w_init, fan_in=size * size, seed=fold(seed, "w"))
        self.b = bias_variable((channels,), b_init, fan_in=size * size, seed=fold(seed, "b"))

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        x = ops.subsample(x, tf.cast(self.w, x.dtype), tf.cast(self.b, x.dtype), self.size)
        return activate(x, self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.out_shape)


class _Pool(Layer):
    def __init__(
        self,
        size: int = 2,
        stride: int | None = None,
        padding: str = "VALID",
        *,
        input_shape: Sequence[int],
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(input_shape, type(self).__name__)
        self.size, self.stride, self.padding = size, stride or size, padding
        out = [ops.window_shape(length, size, self.stride, padding) for length in (height, width)]
        super().__init__(input_shape, (*out, channels))
        self.window = (size, self.stride)


class MaxPool(_Pool):
    """Largest value of each window. `[N, H, W, C] -> [N, H', W', C]`.

    `size` and `stride` are in pixels, and `stride` is `size` unless given; windows overlap where it is smaller, as in
    AlexNet (Krizhevsky et al. 2012, section 3.4). `padding` is "SAME" or "VALID". Raises `UsageError` when no window
    fits.

    >>> MaxPool(3, 2, input_shape=(55, 55, 96)).out_shape
    (27, 27, 96)
    """

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return tf.nn.max_pool2d(x, self.size, self.stride, self.padding)


class AveragePool(_Pool):
    """Mean of each window. `[N, H, W, C] -> [N, H', W', C]`.

    `size` and `stride` are in pixels, and `stride` is `size` unless given. `padding` is "SAME" or "VALID"; the pixels
    that "SAME" adds do not count in the mean. Raises `UsageError` when no window fits.

    >>> layer = AveragePool(2, input_shape=(2, 2, 1))
    >>> layer(tf.reshape([1.0, 2.0, 3.0, 6.0], (1, 2, 2, 1))).numpy().item()
    3.0
    """

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        if self.stride == self.size and self.padding == "VALID":
            return ops.average_pool(x, self.size)
        return tf.nn.avg_pool2d(x, self.size, self.stride, self.padding)
