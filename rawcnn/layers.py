"""Layers: small `tf.Module`s that own their variables and call one raw op each.

A layer is complete when its constructor returns: it is told the shape it follows, `in_shape`, without the batch axis.
Its whole contract is `.out_shape` (static), `.num_params()`, `.multiply_adds()` (per image), `.window` (size and
stride, for the receptive field) and `layer(x, *, training=False)`. Images are `[N, H, W, C]`; the result has the
dtype of `x`.

>>> conv = Conv2D(6, 5, in_shape=(28, 28, 1), activation=tf.nn.relu)
>>> conv.out_shape, conv.num_params(), conv(tf.zeros((2, 28, 28, 1))).shape
((28, 28, 6), 156, TensorShape([2, 28, 28, 6]))
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.variables import (
    Initializer,
    bias_variable,
    constant,
    counter_variable,
    fold,
    statistic_variable,
    weight_variable,
)

Activation = Callable[[tf.Tensor], tf.Tensor]
Shape = tuple[int, ...]


class Layer(tf.Module):
    """What all layers share; see the module's docstring for the contract."""

    window = (1, 1)

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]):
        super().__init__(name=type(self).__name__.lower())
        self.in_shape: Shape = tuple(int(d) for d in in_shape)
        self.out_shape: Shape = tuple(int(d) for d in out_shape)

    def num_params(self) -> int:
        """Trainable parameters."""
        return sum(math.prod(v.shape) for v in self.trainable_variables)

    def num_statistics(self) -> int:
        """Numbers that the layer follows without a gradient: batch normalisation's moving averages."""
        return sum(math.prod(v.shape) for v in self.variables if v.dtype.is_floating and not v.trainable)

    def multiply_adds(self) -> int:
        """Multiplications by a weight, per image; additions of a bias and activations are not counted."""
        return 0


def activate(x: tf.Tensor, activation: Activation | None) -> tf.Tensor:
    """The activation of `x`, if there is one."""
    if activation is tf.nn.relu:
        return ops.relu(x)
    return x if activation is None else activation(x)


class Conv2D(Layer):
    """Convolution with a bias and an optional activation. `[N, H, W, C] -> [N, H', W', filters]`.

    `size` and `stride` are in pixels and the same in both directions; `padding` is "SAME" or "VALID"; `groups` cuts
    channels and filters into so many parts that do not see each other (Krizhevsky et al. 2012, section 3.2: two GPUs);
    `b_init` is a number or an initializer. Raises `UsageError` when the window or the groups do not fit.
    """

    def __init__(
        self,
        filters: int,
        size: int,
        stride: int = 1,
        padding: str = "SAME",
        *,
        in_shape: Sequence[int],
        groups: int = 1,
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(in_shape, "Conv2D")
        if channels % groups or filters % groups:
            raise UsageError(f"{channels} channels and {filters} filters cannot both be cut into {groups} groups.")
        out = [ops.window_shape(length, size, stride, padding) for length in (height, width)]
        super().__init__(in_shape, (*out, filters))
        self.stride, self.padding, self.groups, self.activation = stride, padding, groups, activation
        self.window = (size, stride)
        self.w = weight_variable((size, size, channels // groups, filters), w_init, seed=fold(seed, "w"))
        self.b = bias_variable((filters,), b_init, fan_in=size * size * channels // groups, seed=fold(seed, "b"))

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        w, b = tf.cast(self.w, x.dtype), tf.cast(self.b, x.dtype)
        if self.groups == 1:
            return self.convolve(x, w, b)
        # In parts, because TensorFlow's grouped kernel has no gradients in float64 and is no faster.
        towers = zip(*(tf.split(t, self.groups, axis=-1) for t in (x, w, b)), strict=True)
        return tf.concat([self.convolve(*tower) for tower in towers], axis=-1)

    def convolve(self, x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """This layer's convolution, bias and activation, with other filters: some of its own, or more than those."""
        return activate(ops.conv2d(x, w, self.stride, self.padding, b), self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.out_shape[:2]) * math.prod(self.w.shape)


class PartialConv2D(Layer):
    """Convolution in which output map j sees only the input maps i with `table[i, j]`: LeNet-5's C3.

    `[N, H, W, in] -> [N, H', W', out]`. `table` is a bool array `[in, out]`, or the paper's drawing of it in rows of
    `X` and `.`. Only existing connections have weights: `w` is `[size, size, connections]`. Raises `UsageError` when
    the table does not match the input maps (LeCun et al. 1998, section II.B and table I).

    >>> layer = PartialConv2D("X . X\\nX X .", 3, in_shape=(8, 8, 2))
    >>> layer.out_shape, layer.num_params()
    ((6, 6, 3), 39)
    """

    def __init__(
        self,
        table: str | np.ndarray,
        size: int,
        padding: str = "VALID",
        *,
        in_shape: Sequence[int],
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(in_shape, "PartialConv2D")
        table = ops.connections(table) if isinstance(table, str) else np.asarray(table, bool)
        if table.ndim != 2 or len(table) != channels or not table.any(axis=0).all():
            raise UsageError(
                f"The connection table is {'x'.join(map(str, table.shape))}, but the input has {channels} maps: it "
                f"needs {channels} rows, and at least one connection in every column."
            )
        out = [ops.window_shape(length, size, 1, padding) for length in (height, width)]
        super().__init__(in_shape, (*out, table.shape[1]))
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


class Subsample(Layer):
    """LeNet's trainable subsampling: sum of each window, times a coefficient, plus a bias, then squashed.

    `[N, H, W, C] -> [N, H / size, W / size, C]` with two parameters a map (LeCun et al. 1998, section II.B, layer S2).
    """

    def __init__(
        self,
        size: int = 2,
        *,
        in_shape: Sequence[int],
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(in_shape, "Subsample")
        super().__init__(in_shape, (height // size, width // size, channels))
        self.size, self.activation, self.window = size, activation, (size, size)
        self.w = weight_variable((channels,), w_init, fan_in=size * size, seed=fold(seed, "w"))
        self.b = bias_variable((channels,), b_init, fan_in=size * size, seed=fold(seed, "b"))

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        x = ops.subsample(x, tf.cast(self.w, x.dtype), tf.cast(self.b, x.dtype), self.size)
        return activate(x, self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.out_shape)


class Dense(Layer):
    """Every output sees every input. `[N, D] -> [N, units]`."""

    def __init__(
        self,
        units: int,
        *,
        in_shape: Sequence[int],
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        b_init: float | Initializer = 0.0,
        seed: int = 0,
    ):
        if len(in_shape) != 1:
            raise UsageError(f"Dense needs a flat input, not {tuple(in_shape)}: put a Flatten row before it.")
        super().__init__(in_shape, (units,))
        self.activation = activation
        fan_in = int(in_shape[0])
        self.w = weight_variable((fan_in, units), w_init, seed=fold(seed, "w"))
        self.b = bias_variable((units,), b_init, fan_in=fan_in, seed=fold(seed, "b"))

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        x = tf.matmul(x, tf.cast(self.w, x.dtype))
        return activate(tf.nn.bias_add(x, tf.cast(self.b, x.dtype)), self.activation)

    def multiply_adds(self) -> int:
        return math.prod(self.w.shape)


class _Pool(Layer):
    def __init__(
        self,
        size: int = 2,
        stride: int | None = None,
        padding: str = "VALID",
        *,
        in_shape: Sequence[int],
        seed: int = 0,
    ):
        height, width, channels = ops.spatial(in_shape, type(self).__name__)
        self.size, self.stride, self.padding = size, stride or size, padding
        out = [ops.window_shape(length, size, self.stride, padding) for length in (height, width)]
        super().__init__(in_shape, (*out, channels))
        self.window = (size, self.stride)


class MaxPool(_Pool):
    """Largest value of each window. `[N, H, W, C] -> [N, H', W', C]`; `stride` is `size` unless given."""

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return tf.nn.max_pool2d(x, self.size, self.stride, self.padding)


class AveragePool(_Pool):
    """Mean of each window. `[N, H, W, C] -> [N, H', W', C]`; `stride` is `size` unless given.

    With "SAME", padding does not count in the mean.
    """

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        if self.stride == self.size and self.padding == "VALID":
            return ops.average_pool(x, self.size)
        return tf.nn.avg_pool2d(x, self.size, self.stride, self.padding)


class LRN(Layer):
    """Local response normalisation across `n` channels; see `ops.lrn` (Krizhevsky et al. 2012, section 3.3).

    Caffe's and PyTorch's `alpha` is `n` times this one.
    """

    def __init__(
        self,
        *,
        in_shape: Sequence[int],
        k: float = 2.0,
        n: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        seed: int = 0,
    ):
        ops.spatial(in_shape, "LRN")
        super().__init__(in_shape, in_shape)
        self.k, self.n, self.alpha, self.beta = k, n, alpha, beta

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return ops.lrn(x, k=self.k, n=self.n, alpha=self.alpha, beta=self.beta)


class BatchNorm(Layer):
    """Each channel shifted and scaled to mean `beta` and deviation `gamma`. `[N, H, W, C] -> [N, H, W, C]`.

    In training by the batch's own statistics, see `ops.batch_norm`; else by `moving_mean` and `moving_variance`, which
    every training call moves by a share of 1 - `momentum` towards the batch's. `momentum` 0.99 and `epsilon` 0.001
    are Keras's defaults, which the labs use; PyTorch's momentum of 0.1 is 0.9 here, its epsilon 1e-5. Statistics are
    float32 whatever `x` is. `scale=False` leaves `gamma` out (Ioffe & Szegedy 2015, algorithms 1 and 2); an
    `activation` comes last.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *,
        in_shape: Sequence[int],
        scale: bool = True,
        activation: Activation | None = None,
        seed: int = 0,
    ):
        _, _, channels = ops.spatial(in_shape, "BatchNorm")
        super().__init__(in_shape, in_shape)
        self.momentum, self.epsilon, self.activation = momentum, epsilon, activation
        self.gamma = weight_variable((channels,), constant(1.0), name="gamma") if scale else None
        self.beta = bias_variable((channels,), name="beta")
        self.moving_mean = statistic_variable((channels,), 0.0, name="moving_mean")
        self.moving_variance = statistic_variable((channels,), 1.0, name="moving_variance")

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        wide = tf.float64 if x.dtype == tf.float64 else tf.float32
        beta = tf.cast(self.beta, wide)
        gamma = tf.ones_like(beta) if self.gamma is None else tf.cast(self.gamma, wide)
        if training:
            y, mean, variance = ops.batch_norm(x, gamma, beta, self.epsilon)
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign_sub((1.0 - self.momentum) * (moving - tf.cast(now, tf.float32)))
            return activate(y, self.activation)
        mean, variance = tf.cast(self.moving_mean, wide), tf.cast(self.moving_variance, wide)
        return activate(ops.normalise(x, mean, variance, gamma, beta, self.epsilon), self.activation)


class Dropout(Layer):
    """In training, each number is 0 with probability `rate`, and else divided by 1 - `rate`. Any shape.

    The papers multiply by 1 - `rate` outside training instead; the net is the same. Which numbers are dropped is a
    function of (`seed`, `calls`), and `calls`, which counts the training calls, is a variable that checkpoints keep: a
    resumed run drops what an uninterrupted one would (Krizhevsky et al. 2012, section 4.2).
    """

    def __init__(self, rate: float = 0.5, *, in_shape: Sequence[int], seed: int = 0):
        if not 0 <= rate < 1:
            raise UsageError(f"Dropout's rate is a share from 0 up to but not 1, not {rate}.")
        super().__init__(in_shape, in_shape)
        self.rate, self.seed = rate, seed
        self.calls = counter_variable()

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return x
        key = tf.stack([tf.constant(self.seed, tf.int64), self.calls.read_value()])
        self.calls.assign_add(1)
        kept = tf.random.stateless_uniform(tf.shape(x), key) >= self.rate
        return tf.where(kept, x / (1.0 - self.rate), tf.zeros_like(x))


class Flatten(Layer):
    """`[N, H, W, C] -> [N, H * W * C]`, in reading order."""

    def __init__(self, *, in_shape: Sequence[int], seed: int = 0):
        super().__init__(in_shape, (math.prod(in_shape),))
        self.window = (int(in_shape[0]), 1)

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return tf.reshape(x, (-1, *self.out_shape))


class RBF(Layer):
    """Minus the squared Euclidean distance to fixed centres, so that larger means likelier. `[N, D] -> [N, K]`.

    `centres` is `[K, D]`; the distances are taken in float32 when `x` is narrower (LeCun et al. 1998, eq. 7).
    """

    def __init__(self, centres: np.ndarray, *, in_shape: Sequence[int], seed: int = 0):
        if tuple(in_shape) != centres.shape[1:]:
            raise UsageError(f"RBF has centres of {centres.shape[1]} numbers; the input has {tuple(in_shape)}.")
        super().__init__(in_shape, (len(centres),))
        self.centres = centres

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        wide = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        return tf.cast(-ops.rbf_distance(wide, tf.constant(self.centres, wide.dtype)), x.dtype)

    def multiply_adds(self) -> int:
        return int(self.centres.size)
