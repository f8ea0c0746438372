"""Convolutions: full, grouped, and with LeNet's connection table."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.layers.base import Activation, Layer, activate
from rawcnn.layers.variables import (
    Initializer,
    bias_variable,
    weight_variable,
)
from rawcnn.seeds import fold


class Conv2D(Layer):
    """Convolution with a bias (unless `bias=False`) and an optional activation. `[N, H, W, C] -> [N, H', W', filters]`.

    `size` and `stride` are in pixels and the same in both directions. `padding` is "SAME", "VALID" or, as in PyTorch, a
    number of pixels of 0 on every side. `groups` cuts channels and filters into so many groups that do not see each
    other (Krizhevsky et al. 2012, section 3.2: two GPUs). `w`, `[size, size, C / groups, filters]`, begins by `w_init`
    (`lecun_normal` unless given), `b`, `[filters]`, by `b_init`, a number or an initializer. Raises `UsageError` when
    the window or the groups do not fit.

    >>> layer = Conv2D(96, 11, stride=4, padding="VALID", input_shape=(227, 227, 3))
    >>> layer.out_shape, layer.num_params()  # the first row of AlexNet
    ((55, 55, 96), 34944)
    """

    def __init__(
        self,
        filters: int,
        size: int,
        stride: int = 1,
        padding: str | int = "SAME",
        *,
        input_shape: Sequence[int],
        groups: int = 1,
        bias: bool = True,
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(input_shape, "Conv2D")
        if channels % groups or filters % groups:
            raise UsageError(f"{channels} channels and {filters} filters cannot both be cut into {groups} groups.")
        self.margin, self.padding = (0, padding) if isinstance(padding, str) else (int(padding), "VALID")
        out = [ops.window_shape(length + 2 * self.margin, size, stride, self.padding) for length in (height, width)]
        super().__init__(input_shape, (*out, filters))
        self.stride, self.groups, self.activation = stride, groups, activation
        self.window = (size, stride)
        self.w = weight_variable((size, size, channels // groups, filters), w_init, seed=fold(seed, "w"))
        fan_in = size * size * channels // groups
        self.b = bias_variable((filters,), b_init, fan_in=fan_in, seed=fold(seed, "b")) if bias else None

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        w, b = tf.cast(self.w, x.dtype), None if self.b is None else tf.cast(self.b, x.dtype)
        if self.groups == 1:
            return self.convolve(x, w, b)
        # In parts, because TensorFlow's grouped kernel has no gradients in float64 and is no faster.
        biases = [None] * self.groups if b is None else tf.split(b, self.groups)
        towers = zip(*(tf.split(t, self.groups, axis=-1) for t in (x, w)), biases, strict=True)
        return tf.concat([self.convolve(*tower) for tower in towers], axis=-1)

    def convolve(self, x: tf.Tensor, w: tf.Tensor, b: tf.Tensor | None) -> tf.Tensor:
        """This layer's convolution, bias and activation, with other filters: some of its own, or more than those."""
        if self.margin:
            x = tf.pad(x, [[0, 0], [self.margin] * 2, [self.margin] * 2, [0, 0]])
        return activate(ops.conv2d(x, w, self.stride, self.padding, b), self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.out_shape[:2]) * math.prod(self.w.shape)


class PartialConv2D(Layer):
    """Convolution in which output map j sees only the input maps i with `table[i, j]`: LeNet-5's C3.

    `[N, H, W, in] -> [N, H', W', out]`. `table` is a bool array `[in, out]`, or the paper's drawing of it in rows of
    `X` and `.`. Only existing connections have weights: `w` is `[size, size, connections]`. Raises `UsageError` when
    the table does not match the input maps (LeCun et al. 1998, section II.B and table I).

    >>> layer = PartialConv2D("X . X\\nX X .", 3, input_shape=(8, 8, 2))
    >>> layer.out_shape, layer.num_params()
    ((6, 6, 3), 39)
    """

    def __init__(
        self,
        table: str | np.ndarray,
        size: int,
        padding: str = "VALID",
        *,
        input_shape: Sequence[int],
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(input_shape, "PartialConv2D")
        table = ops.connections(table) if isinstance(table, str) else np.asarray(table, bool)
        if table.ndim != 2:
            raise UsageError(f"The connection table is [in, out], two axes, not {table.ndim}: {table.shape}.")
        if len(table) != channels:
            raise UsageError(
                f"The connection table has {len(table)} rows and {table.shape[1]} columns, but the input has "
                f"{channels} maps: it needs {channels} rows, one for each input map."
            )
        if not table.size or not table.any(axis=0).all():
            empty = np.flatnonzero(~table.any(axis=0)) + 1
            which = f"column {empty[0]} has none" if len(empty) else "there is no column"
            raise UsageError(f"The connection table needs a connection in every column, but {which}.")
        out = [ops.window_shape(length, size, 1, padding) for length in (height, width)]
        super().__init__(input_shape, (*out, table.shape[1]))
        self.table, self.padding, self.activation, self.window = table, padding, activation, (size, 1)
        fan_in = size * size * table.sum(axis=0)
        of_connection = fan_in[np.nonzero(table)[1]]
        self.w = weight_variable((size, size, table.sum()), w_init, fan_in=of_connection, seed=fold(seed, "w"))
        self.b = bias_variable((table.shape[1],), b_init, fan_in=fan_in, seed=fold(seed, "b"))

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        x = ops.partial_conv2d(x, tf.cast(self.w, x.dtype), self.table, self.padding)
        return activate(ops.add_bias(x, tf.cast(self.b, x.dtype)), self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.out_shape[:2]) * math.prod(self.w.shape)
