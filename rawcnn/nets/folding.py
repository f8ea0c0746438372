"""Batch normalisation folded into the convolutions around it: the same net for inference, with fewer rows."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from rawcnn.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Whitening,
    activate,
)
from rawcnn.nets.chain import Chain, Row, row
from rawcnn.nets.precision import FLOAT32

Rows = list[tuple[str, Layer]]


def fold_batch_norm(net: Chain) -> Chain:
    """A twin of `net` for inference without its batch normalisation, where that is exact but for rounding.

    In inference batch normalisation is `x * scale + shift` with numbers that are known (Ioffe & Szegedy 2015, algorithm
    2, line 11). They go into the filters and the bias of the convolution before the row; where an activation stands
    between, into the next convolution or dense layer. There, zero padding has no shift: its border gets a shift of its
    own. Max pooling is passed where no scale is negative. A row that cannot be folded stays.

    Rows that do not change are those of `net`, with their variables; the others have new variables, which later changes
    of `net` do not reach. Heads, which only training uses, are left out. What `fit` noted about images goes along:
    `predict` and `evaluate` show the twin images as they show them to `net`.

    >>> from rawcnn.nets import NETS
    >>> net = NETS["vgg11_bn"]((32, 32, 3), 10)
    >>> [name for name, _ in fold_batch_norm(net).rows][:4]
    ['conv1_1', 'pool1', 'conv2_1', 'pool2']
    """
    rows = _forward(_backward(list(net.rows)))
    twin = Chain(
        tuple((name, _ready(layer)) for name, layer in rows), input_shape=net.input_shape, policy=net.policy
    )  # fmt: skip
    twin.expects = net.expects
    if (shown := getattr(net, "_shown", None)) is not None:  # how `fit` showed it images, for `predict` and `evaluate`
        twin._shown = copy(shown)  # without the functions that are traced for `net`
    return twin


def for_inference(net: Chain) -> Chain:
    """`fold_batch_norm(net)` if its answers are those of `net` but for float32's rounding; else `net` itself.

    In bfloat16 they are not: there the folded filters are rounded, and not those of `net`.

    >>> from rawcnn.nets import NETS
    >>> net = NETS["lenet5_relu"]()
    >>> for_inference(net) is net  # there is nothing to fold
    True
    """
    return fold_batch_norm(net) if folds(net) else net


def folds(net: Chain) -> bool:
    """Whether `for_inference` folds something of `net`."""
    return net.policy == FLOAT32 and any(isinstance(layer, BatchNorm) for _, layer in net.rows)


def _backward(rows: Rows) -> Rows:
    """Fold each batch normalisation into the convolution before it, unless an activation stands between."""
    done: Rows = []
    for name, layer in rows:
        at = _convolution_before(done, layer) if isinstance(layer, BatchNorm) else None
        if at is None:
            done.append((name, layer))
            continue
        scale, shift = _affine(layer)
        before, conv = done[at]
        adjacent = at == len(done) - 1
        w, b = _numbers(conv.w), _numbers(conv.b, len(scale))
        with tf.name_scope(before):
            done[at] = before, _conv(conv, w * scale, b * scale + shift, layer.activation if adjacent else None)
        if not adjacent and layer.activation is not None:
            done.append((name, _Activation(layer)))
    return done


def _convolution_before(done: Rows, norm: BatchNorm) -> int | None:
    scale, _ = _affine(norm)
    for i in reversed(range(len(done))):
        layer = done[i][1]
        if type(layer) in (Conv2D, Whitening):
            return i if layer.activation is None else None
        if not _passes(layer, scale):
            return None
    return None


def _forward(rows: Rows) -> Rows:
    """Fold each batch normalisation that is left into the convolution or dense layer after it."""
    rows = list(rows)
    for i in reversed(range(len(rows))):  # the last first: of two in a row, both are folded
        norm = rows[i][1]
        if not isinstance(norm, BatchNorm) or norm.activation is not None:
            continue
        scale, shift = _affine(norm)
        for j in range(i + 1, len(rows)):
            name, layer = rows[j]
            if type(layer) is Dense or (type(layer) in (Conv2D, Whitening) and _takes_shift(layer)):
                with tf.name_scope(name):
                    rows[j] = name, _after_affine(layer, scale, shift)
                del rows[i]
                break
            if not isinstance(layer, Flatten) and not _passes(layer, scale):
                break
            if isinstance(layer, Flatten):
                pixels = layer.out_shape[0] // len(scale)
                scale, shift = np.tile(scale, pixels), np.tile(shift, pixels)
    return rows


def _padded(conv: Conv2D) -> bool:
    return conv.window[0] > 1 and (conv.padding == "SAME" or conv.margin > 0)


def _takes_shift(conv: Conv2D) -> bool:
    """Whether a shift of the input can be put behind a convolution: not where each group has its own activation."""
    return conv.groups == 1 or not _padded(conv)


def _passes(layer: Layer, scale: np.ndarray) -> bool:
    """Whether `layer(x * scale + shift)` is `layer(x) * scale + shift`."""
    return isinstance(layer, AveragePool | Dropout) or (isinstance(layer, MaxPool) and bool((scale >= 0).all()))


def _affine(norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """What `norm` multiplies each channel by in inference, and what it adds then: both float64 `[C]`."""
    gamma = 1.0 if norm.gamma is None else _numbers(norm.gamma)
    scale = gamma / np.sqrt(_numbers(norm.moving_variance) + norm.epsilon)
    return scale, _numbers(norm.beta) - _numbers(norm.moving_mean) * scale


def _numbers(variable: tf.Variable | None, length: int = 0) -> np.ndarray:
    """A variable in float64; `length` zeros where there is none."""
    return np.zeros(length) if variable is None else np.asarray(variable.numpy(), np.float64)


def _after_affine(layer: Conv2D | Dense, scale: np.ndarray, shift: np.ndarray) -> Layer:
    """The layer that makes of x what `layer` makes of `x * scale + shift`."""
    w, b = _numbers(layer.w), _numbers(layer.b, layer.out_shape[-1])
    if isinstance(layer, Dense):
        return Dense(
            *layer.out_shape, input_shape=layer.input_shape, activation=layer.activation,
            w_init=_is(w * scale[:, None]), b_init=_is(b + shift @ w),
        )  # fmt: skip
    groups = layer.groups
    by_group = w.reshape(*w.shape[:3], groups, -1) * scale.reshape(groups, -1).T[:, :, None]
    bare = _conv(layer, w, np.zeros_like(b), None)
    constant = np.broadcast_to(shift, (1, *layer.input_shape))
    added = bare(tf.constant(constant, tf.float64))[0].numpy()  # [H', W', K]: less at the border, where zeros are seen
    if not _padded(layer):
        return _conv(layer, by_group.reshape(w.shape), b + added[0, 0], layer.activation)
    return _conv(layer, by_group.reshape(w.shape), b, _Shifted(added, layer.activation))


def _conv(like: Conv2D, w: np.ndarray, b: np.ndarray, activation: Activation | None) -> Conv2D:
    return Conv2D(
        like.out_shape[-1], like.window[0], like.stride, like.margin or like.padding, input_shape=like.input_shape,
        groups=like.groups, activation=activation, w_init=_is(w), b_init=_is(b),
    )  # fmt: skip


def _is(values: np.ndarray) -> Callable[..., tf.Tensor]:
    """An initializer that gives `values`."""
    return lambda shape, fan_in, seed: tf.constant(values, tf.float32)


@dataclass(frozen=True, eq=False)
class _Shifted:
    """An activation of x + `shift`, which is `[H, W, C]`."""

    shift: np.ndarray
    activation: Activation | None

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return activate(x + tf.constant(self.shift, x.dtype), self.activation)


class _Activation(Layer):
    """The activation of a batch normalisation that was folded into the convolution before a pool."""

    def __init__(self, norm: BatchNorm):
        super().__init__(norm.input_shape, norm.out_shape)
        self.activation = norm.activation

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return activate(x, self.activation)


def _ready(layer: Layer) -> Row:
    """A row of a table whose layer is made already."""
    return row(lambda *, input_shape, seed: layer)()
