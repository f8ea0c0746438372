"""Rows that are small nets themselves."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rawcnn.layers.base import Activation, Layer
from rawcnn.layers.convolution import Conv2D
from rawcnn.layers.pooling import MaxPool
from rawcnn.layers.variables import Initializer
from rawcnn.ops.fast.forms import fast
from rawcnn.seeds import fold


class Inception(Layer):
    """Four branches side by side, their outputs joined along the channels. `[N, H, W, C] -> [N, H, W, C']`.

    The six numbers are filters, in the order of the paper's table 1: 1x1; 3x3 after a reduction; 5x5 after a reduction;
    and the projection of a 3x3 max pooling. Every convolution has a bias and the activation. Raises `UsageError` for an
    input that is not an image (Szegedy et al. 2014, figure 2b and table 1).

    >>> module = Inception(64, 96, 128, 16, 32, 32, input_shape=(28, 28, 192))
    >>> module.out_shape, module.num_params(), module.conv5x5.w.shape
    ((28, 28, 256), 163696, TensorShape([5, 5, 16, 32]))
    """

    window = (5, 1)

    def __init__(
        self,
        conv1x1: int,
        conv3x3_reduce: int,
        conv3x3: int,
        conv5x5_reduce: int,
        conv5x5: int,
        pool_proj: int,
        *,
        input_shape: Sequence[int],
        activation: Activation | None = tf.nn.relu,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        super().__init__(input_shape, (*input_shape[:2], conv1x1 + conv3x3 + conv5x5 + pool_proj))

        def conv(name: str, filters: int, size: int, shape: Sequence[int] = input_shape) -> Conv2D:
            settings: dict[str, Any] = {"activation": activation, "w_init": w_init, "b_init": b_init}
            with tf.name_scope(name):  # so that variables are called conv1x1/w
                return Conv2D(filters, size, input_shape=shape, seed=fold(seed, name), **settings)

        self.conv1x1 = conv("conv1x1", conv1x1, 1)
        self.conv3x3_reduce = conv("conv3x3_reduce", conv3x3_reduce, 1)
        self.conv3x3 = conv("conv3x3", conv3x3, 3, self.conv3x3_reduce.out_shape)
        self.conv5x5_reduce = conv("conv5x5_reduce", conv5x5_reduce, 1)
        self.conv5x5 = conv("conv5x5", conv5x5, 5, self.conv5x5_reduce.out_shape)
        self.pool = MaxPool(3, 1, "SAME", input_shape=input_shape)
        self.pool_proj = conv("pool_proj", pool_proj, 1)

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        read = (self.conv1x1, self.conv3x3_reduce, self.conv5x5_reduce)
        conv1x1, conv3x3_reduce, conv5x5_reduce = _as_one(read, x) if fast("inception") else [row(x) for row in read]
        branches = (
            conv1x1,
            self.conv3x3(conv3x3_reduce),
            self.conv5x5(conv5x5_reduce),
            self.pool_proj(self.pool(x)),
        )
        return tf.concat(branches, axis=-1)

    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds() for layer in self.submodules if isinstance(layer, Conv2D))


def _as_one(rows: Sequence[Conv2D], x: tf.Tensor) -> list[tf.Tensor]:
    """What convolutions of one size and activation make of the same input: one convolution of all their filters."""
    w = tf.concat([tf.cast(row.w, x.dtype) for row in rows], axis=-1)
    b = tf.concat([tf.cast(row.b, x.dtype) for row in rows], axis=0)
    return tf.split(rows[0].convolve(x, w, b), [row.out_shape[-1] for row in rows], axis=-1)
