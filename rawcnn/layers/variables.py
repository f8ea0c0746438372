"""Weights and biases: the only place that makes a `tf.Variable` for a layer, and the initializers of the papers.

Every initial value is a pure function of (seed, path): `fold` hashes a path into a seed step by step, so inserting a
row into a net changes no other row's initial weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

Initializer = Callable[[Sequence[int], Any, int], tf.Tensor]
"""`(shape, fan_in, seed) -> float32 values`; `fan_in` is a number, or one per output when units differ (LeNet's C3)."""


def _seed_pair(seed: int) -> tf.Tensor:
    return tf.constant([seed & 0xFFFFFFFF, 0], tf.int64)


def truncated_normal(stddev: float) -> Initializer:
    """Normal with mean 0, redrawn beyond two standard deviations (the courses' `tf.truncated_normal`)."""
    return lambda shape, fan_in, seed: tf.random.stateless_truncated_normal(shape, _seed_pair(seed), stddev=stddev)


def gaussian(std: float) -> Initializer:
    """Normal with mean 0 (Krizhevsky et al. 2012, section 5: std 0.01)."""
    return lambda shape, fan_in, seed: tf.random.stateless_normal(shape, _seed_pair(seed), stddev=std)


def lecun_uniform(scale: float = 2.4) -> Initializer:
    """Uniform in +-scale / fan_in (LeCun et al. 1998, section III.C: 2.4 / F_i)."""

    def init(shape: Sequence[int], fan_in: Any, seed: int) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, _seed_pair(seed), -1.0, 1.0) * (scale / tf.cast(fan_in, tf.float32))

    return init


def lecun_normal(shape: Sequence[int], fan_in: Any, seed: int) -> tf.Tensor:
    """Normal with variance 1 / fan_in: the default, for layers that do not know what activation follows them.

    A sum of `fan_in` inputs then varies as much as one input, so signals neither die nor explode, whatever the sizes of
    the layers (LeCun, Bottou, Orr & Mueller 1998, "Efficient BackProp", eq. 16). Flax, Haiku and Sonnet begin so too,
    and Keras's `glorot_uniform` is the same where a layer has as many outputs as inputs. ReLU halves the signal's
    variance: in deep nets of ReLU without batch normalisation choose `he_normal`, which makes up for that.
    """
    return tf.random.stateless_normal(shape, _seed_pair(seed)) * tf.sqrt(1.0 / tf.cast(fan_in, tf.float32))


def he_normal(shape: Sequence[int], fan_in: Any, seed: int) -> tf.Tensor:
    """Normal with variance 2 / fan_in, which keeps the scale of ReLU activations (He et al. 2015, eq. 10)."""
    return tf.random.stateless_normal(shape, _seed_pair(seed)) * tf.sqrt(2.0 / tf.cast(fan_in, tf.float32))


def glorot_uniform(shape: Sequence[int], fan_in: Any, seed: int) -> tf.Tensor:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): how Keras's layers begin.

    `fan_out` is the outputs that one input feeds: the last axis of `shape` times all axes but the last two.
    """
    fan_out = shape[-1] * math.prod(shape[:-2])
    limit = tf.sqrt(6.0 / (tf.cast(fan_in, tf.float32) + fan_out))
    return tf.random.stateless_uniform(shape, _seed_pair(seed), -1.0, 1.0) * limit


def identity(rest: Initializer) -> Initializer:
    """The first filters of a convolution pass their input on, filter i channel i; those that remain begin as `rest`.

    A row of as many filters as channels then begins by changing nothing, so that gradients reach the first rows as they
    would by a residual connection (Zagoruyko & Komodakis 2017, "DiracNets"; Jordan 2024, section 3.2).

    >>> identity(constant(0.5))((1, 1, 2, 3), 2, 0).numpy()[0, 0]
    array([[1. , 0. , 0.5],
           [0. , 1. , 0.5]], dtype=float32)
    """

    def init(shape: Sequence[int], fan_in: Any, seed: int) -> tf.Tensor:
        height, width, channels, filters = shape
        passed = min(channels, filters)
        centre = tf.pad(
            tf.eye(channels, passed)[None, None],
            [[(height - 1) // 2, height // 2], [(width - 1) // 2, width // 2], [0, 0], [0, 0]],
        )
        return tf.concat([centre, rest(shape, fan_in, seed)[..., passed:]], axis=-1)

    return init


def constant(value: float) -> Initializer:
    """The same value everywhere."""
    return lambda shape, fan_in, seed: tf.fill(tuple(shape), tf.constant(value, tf.float32))


def weight_variable(
    shape: Sequence[int], init: Initializer | None = None, *, fan_in: Any = None, seed: int = 0, name: str = "w"
) -> tf.Variable:
    """A trainable float32 weight of `shape`, drawn by `init`, which is `lecun_normal` unless given.

    `fan_in` (inputs per output unit) is the product of all axes but the last unless given.

    >>> weight_variable((5, 5, 1, 6)).shape
    TensorShape([5, 5, 1, 6])
    """
    init = init or lecun_normal
    fan_in = math.prod(shape[:-1]) if fan_in is None else fan_in
    return tf.Variable(init(shape, fan_in, seed), name=name)


def bias_variable(
    shape: Sequence[int], value: float | Initializer = 0.0, *, fan_in: Any = 1, seed: int = 0, name: str = "b"
) -> tf.Variable:
    """A trainable float32 bias of `shape`, filled with `value` or drawn from an initializer.

    >>> bias_variable((3,), 0.1).numpy()
    array([0.1, 0.1, 0.1], dtype=float32)
    """
    init = value if callable(value) else constant(value)
    return tf.Variable(init(shape, fan_in, seed), name=name)


def statistic_variable(shape: Sequence[int], value: float = 0.0, *, name: str) -> tf.Variable:
    """A float32 variable that layers update themselves and no gradient changes, such as a moving average."""
    return tf.Variable(tf.fill(tuple(shape), tf.constant(value, tf.float32)), trainable=False, name=name)


def counter_variable(name: str = "calls") -> tf.Variable:
    """An int64 that counts up from 0: the part of a random key that a checkpoint keeps."""
    return tf.Variable(0, dtype=tf.int64, trainable=False, name=name)


def named_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Every variable below `module` by its path, such as `c1/w`, in the order in which they were made."""
    return dict(_walk(module, ""))


def named_weights(module: tf.Module | Mapping[str, Any]) -> dict[str, tf.Variable]:
    """The trainable variables below `module`, or below a mapping of modules or variables by name, by path.

    >>> from rawcnn.nets import NETS
    >>> list(named_weights(NETS["lenet5"]()))[:4]
    ['c1/w', 'c1/b', 's2/w', 's2/b']
    """
    return {name: v for name, v in _walk(module, "") if v.trainable}


def _walk(node: Any, path: str) -> Iterator[tuple[str, tf.Variable]]:
    if isinstance(node, tf.Variable):
        yield path, node
    elif isinstance(node, tf.Module | Mapping):
        children = node.items() if isinstance(node, Mapping) else vars(node).items()
        for name, child in children:
            if not name.startswith("_"):
                yield from _walk(child, f"{path}/{name}" if path else name)
