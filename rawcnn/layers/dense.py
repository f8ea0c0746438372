"""Layers of flat inputs: dense, RBF, and what stands around them (flatten, dropout)."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.layers.base import Activation, Layer, activate, check_training
from rawcnn.layers.passes import once
from rawcnn.layers.variables import (
    Initializer,
    bias_variable,
    counter_variable,
    weight_variable,
)
from rawcnn.seeds import fold


class Dense(Layer):
    """Every output sees every input, plus a bias unless `bias=False`. `[N, D] -> [N, units]`.

    `w`, `[D, units]`, begins by `w_init` (`lecun_normal` unless given), `b`, `[units]`, by `b_init`, a number or an
    initializer. Raises `UsageError` for an input that is not flat.

    >>> Dense(10, input_shape=(84,)).num_params()
    850
    """

    def __init__(
        self,
        units: int,
        *,
        input_shape: Sequence[int],
        bias: bool = True,
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        if len(input_shape) != 1:
            raise UsageError(f"Dense needs a flat input, not {tuple(input_shape)}: put a Flatten row before it.")
        super().__init__(input_shape, (units,))
        self.activation = activation
        fan_in = int(input_shape[0])
        self.w = weight_variable((fan_in, units), w_init, seed=fold(seed, "w"))
        self.b = bias_variable((units,), b_init, fan_in=fan_in, seed=fold(seed, "b")) if bias else None

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        x = tf.matmul(x, tf.cast(self.w, x.dtype))
        x = x if self.b is None else tf.nn.bias_add(x, tf.cast(self.b, x.dtype))
        return activate(x, self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.w.shape)


class Dropout(Layer):
    """In training, each number is 0 with probability `rate`, and otherwise divided by 1 - `rate`. Any shape.

    The papers multiply by 1 - `rate` outside training instead; the net is the same. Which numbers are dropped is a
    function of (`seed`, `calls`), and `calls`, which counts the training calls, is a variable that checkpoints keep: a
    resumed run drops what an uninterrupted one would (Krizhevsky et al. 2012, section 4.2). On several replicas of
    `tf.distribute` each drops of its part of a batch what would be dropped there of the whole batch. Raises
    `UsageError` unless `rate` is at least 0 and less than 1, and for a `training` that is not True or False.

    >>> layer = Dropout(0.5, input_shape=(4,))
    >>> layer(tf.ones((1, 4))).numpy()  # as it is, outside training
    array([[1., 1., 1., 1.]], dtype=float32)
    """

    def __init__(self, rate: float = 0.5, *, input_shape: Sequence[int], seed: int = 0):
        if not 0 <= rate < 1:
            raise UsageError(f"Dropout's rate is a fraction from 0 up to but not 1, not {rate}.")
        super().__init__(input_shape, input_shape)
        self.rate, self.seed = rate, seed
        self.calls = counter_variable()

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        check_training(training)
        if not training or self.rate == 0:
            return x
        key = tf.stack([tf.constant(self.seed, tf.int64), once(self._count)])
        shape, (k, replicas) = tf.shape(x), ops.replica()
        if replicas == 1:
            draws = tf.random.stateless_uniform(shape, key)
        else:
            count = shape[0]
            whole = tf.random.stateless_uniform(tf.concat([[replicas * count], shape[1:]], axis=0), key)
            draws = whole[k * count : (k + 1) * count]
        kept = draws >= self.rate
        return tf.where(kept, x / (1.0 - self.rate), tf.zeros_like(x))

    def _count(self) -> tf.Tensor:
        calls = self.calls.read_value()
        self.calls.assign_add(1)
        return calls


class Flatten(Layer):
    """An image as one row of numbers: pixel by pixel, and channel by channel. `[N, H, W, C] -> [N, H * W * C]`.

    >>> Flatten(input_shape=(5, 5, 16)).out_shape
    (400,)
    """

    def __init__(self, *, input_shape: Sequence[int], seed: int = 0):
        super().__init__(input_shape, (math.prod(input_shape),))
        self.window = (int(input_shape[0]), 1)

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return tf.reshape(x, (-1, *self.out_shape))


class RBF(Layer):
    """Minus the squared Euclidean distance to fixed centres, so that larger means likelier. `[N, D] -> [N, K]`.

    `centres` is `[K, D]`; the distances are taken in float32 when `x` is narrower. Raises `UsageError` unless the input
    has D numbers (LeCun et al. 1998, eq. 7).

    >>> layer = RBF(np.array([[0.0, 0.0], [1.0, 1.0]]), input_shape=(2,))
    >>> layer(tf.constant([[1.0, 1.0]])).numpy()
    array([[-2., -0.]], dtype=float32)
    """

    def __init__(self, centres: np.ndarray, *, input_shape: Sequence[int], seed: int = 0):
        centres = np.asarray(centres)
        if centres.ndim != 2:
            raise UsageError(f"RBF's centres are [K, D], two axes, not {centres.ndim}: {centres.shape}.")
        if tuple(input_shape) != centres.shape[1:]:
            raise UsageError(f"RBF has centres of {centres.shape[1]} numbers; the input has {tuple(input_shape)}.")
        super().__init__(input_shape, (len(centres),))
        self.centres = centres

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        wide = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        return tf.cast(-ops.rbf_distance(wide, tf.constant(self.centres, wide.dtype)), x.dtype)

    def multiply_adds(self) -> int:
        return int(self.centres.size)
