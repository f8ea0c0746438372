"""Optimizers: TensorFlow's fused update kernels over slot variables of our own.

The first argument says what is trained: a net, one of its rows, or a mapping of weights, rows or nets by name. Weights
that the optimizer is not given stay as they are, and a training step computes no gradient for them:
`Adam(net.logits)` trains the last row alone, `Adam(net.rows_named("conv5..logits"))` all from conv5 on.

`optimizer.apply(gradients, step)` updates the weights; `step` counts the updates already made, and decides the learning
rate and Adam's bias correction, so an optimizer has no hidden state apart from its slots.

>>> w = tf.Variable([1.0])
>>> SGD({"w": w}, learning_rate=0.1).apply([tf.constant([2.0])], step=tf.constant(0))
>>> w.numpy()
array([0.8], dtype=float32)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.layers.variables import named_weights
from rawcnn.nets.chain import Chain
from rawcnn.train.muon import orthogonalised
from rawcnn.train.schedules import Schedule, constant

Trained: TypeAlias = tf.Module | Mapping[str, Any]
"""A net, a row, or weights, rows or nets by name."""
Gradients: TypeAlias = Sequence[tf.Tensor] | Mapping[str, tf.Tensor]
Factors: TypeAlias = Mapping[str, float]


class Optimizer(tf.Module):
    """What all optimizers share: their `weights` by name, a slot variable for each of them, the learning rate.

    `learning_rate` is a number above 0, or a schedule (see `rawcnn.train.schedules`). `weight_decay` times the weight
    is added to the gradient of every weight called `w`, and to nothing else: L2 on weights, not on biases nor on batch
    normalisation's gamma and beta (Krizhevsky et al. 2012, section 5). `rate_factors` gives rows a learning rate of
    their own: `{"conv1..conv5": 0.1}` a tenth of the others'. `factor`, a variable, multiplies all rates; code that
    divides the rate by 10 on a plateau sets it. Raises `UsageError` if there is nothing to train, and for rows that are
    not trained.

    >>> from rawcnn.nets import NETS
    >>> optimizer = Adam(NETS["lenet5"](), 0.001, rate_factors={"c1..c5": 0.1})
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        trained: Trained | None = None,
        learning_rate: float | Schedule = 0.01,
        *,
        weight_decay: float = 0.0,
        rate_factors: Factors | None = None,
    ):
        super().__init__(name=type(self).__name__.lower())
        self._weights = _weights_of(trained, type(self).__name__)
        self._rate_factors = _by_weight(rate_factors or {}, trained, self._weights)
        self.learning_rate = learning_rate if callable(learning_rate) else constant(checked_rate(learning_rate))
        self.weight_decay = weight_decay
        self.factor = tf.Variable(1.0, trainable=False, name=f"{self.name}/factor")
        self.slots = {
            slot: {
                name: tf.Variable(tf.zeros_like(w), trainable=False, name=f"{self.name}/{slot}/{name}")
                for name, w in self._weights.items()
            }
            for slot in self.slot_names
        }

    @property
    def weights(self) -> dict[str, tf.Variable]:
        """The weights that are trained, by name."""
        return dict(self._weights)

    def apply(self, gradients: Gradients, step: tf.Tensor | int, updates: tf.Tensor | int | None = None) -> None:
        """One update; `gradients` in the order of `weights`, or by name: weights without one then stay as they are.

        `updates` counts the updates that these weights have had before, where that is not `step`. Raises `UsageError`
        that names a weight without a gradient.
        """
        if not isinstance(gradients, Mapping):
            if len(gradients) != len(self._weights):
                raise UsageError(
                    f"There are {len(gradients)} gradients for {len(self._weights)} weights: give one for each."
                )
            gradients = dict(zip(self._weights, gradients, strict=True))
        check_gradients(gradients, list(gradients.values()))
        rate = self.learning_rate(tf.convert_to_tensor(step)) * self.factor
        updates = step if updates is None else updates
        for name, gradient in gradients.items():
            weight, own = self._weights[name], self._rate_factors.get(name, 1.0)
            if self.weight_decay and name.rpartition("/")[2] == "w":
                gradient += self.weight_decay * weight
            slots = (self.slots[slot][name] for slot in self.slot_names)
            self._update(weight, gradient, rate if own == 1 else own * rate, updates, *slots)

    def _update(
        self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, updates: tf.Tensor, *slots: tf.Variable
    ) -> None:
        raise TypeError(f"{type(self).__name__} has no update rule.")


def check_gradients(weights: Iterable[str], gradients: Sequence[tf.Tensor | None]) -> None:
    """Raise `UsageError` naming the weights whose gradient is None: those that the loss does not depend on."""
    if missing := [name for name, gradient in zip(weights, gradients, strict=True) if gradient is None]:
        raise UsageError(
            f"The loss does not depend on {', '.join(missing[:5])}, so there is no gradient to train on. Give the "
            "optimizer only weights that the loss depends on: a net, rows of it, or weights by name."
        )


def _weights_of(trained: Trained | None, kind: str) -> dict[str, tf.Variable]:
    if not isinstance(trained, tf.Module | Mapping):
        raise UsageError(
            f"{kind}'s first argument is what it trains, not a {type(trained).__name__}: give the net, as in "
            f"{kind}(net, learning_rate=0.001), or weights by name, as in {kind}(named_weights(net))."
        )
    if not (weights := named_weights(trained)):
        raise UsageError(f"{kind} was given no weights that can be trained: give the net, rows of it, or weights.")
    return weights


def _by_weight(rate_factors: Factors, trained: Trained | None, weights: Mapping[str, tf.Variable]) -> dict[str, float]:
    """The factor of each weight that has one, by name; rows are named as `Chain.rows_named` takes them."""
    found: dict[str, float] = {}
    for names, factor in rate_factors.items():
        if isinstance(factor, bool) or not math.isfinite(factor) or factor <= 0:
            raise UsageError(f"The rate factor of {names} is a number above 0, not {factor}.")
        meant = _below(names, weights)
        if not meant and isinstance(trained, Chain):
            meant = [weight for row in trained.rows_named(names) for weight in _below(row, weights)]
        elif not meant:
            raise UsageError(f"rate_factors names {names!r}, which this optimizer does not train.")
        found |= dict.fromkeys(meant, factor)
    return found


def _below(row: str, weights: Iterable[str]) -> list[str]:
    return [name for name in weights if name == row or name.startswith(f"{row}/")]


def checked_rate(learning_rate: float) -> float:
    """`learning_rate`; raises `UsageError` unless it is a number above 0."""
    number = isinstance(learning_rate, Real) and not isinstance(learning_rate, bool)
    if not number or not math.isfinite(learning_rate) or learning_rate <= 0:
        raise UsageError(f"A learning rate is a number above 0, not {learning_rate}: 0.001 is a good first try.")
    return learning_rate


class SGD(Optimizer):
    """Stochastic gradient descent: `w -= lr * g`."""

    def _update(
        self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, updates: tf.Tensor, *slots: tf.Variable
    ) -> None:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=rate, delta=g)


class Momentum(Optimizer):
    """`v = momentum * v - lr * g; w += v` (Krizhevsky et al. 2012, section 5, whose first learning rate is 0.01)."""

    slot_names = ("v",)
    nesterov = False

    def __init__(
        self,
        trained: Trained | None = None,
        learning_rate: float | Schedule = 0.01,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
        rate_factors: Factors | None = None,
    ):
        super().__init__(trained, learning_rate, weight_decay=weight_decay, rate_factors=rate_factors)
        self.momentum = momentum

    def _update(
        self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, updates: tf.Tensor, *slots: tf.Variable
    ) -> None:
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight.handle,
            accum=slots[0].handle,
            lr=rate,
            grad=g,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class Nesterov(Momentum):
    """`v = momentum * v - lr * g; w += momentum * v - lr * g` (Sutskever et al. 2013, section 3)."""

    nesterov = True


class Adam(Optimizer):
    """Step sizes from running means of the gradient and of its square (Kingma & Ba 2015, algorithm 1).

    In the form of its section 2, in which the bias corrections are part of the step size, with t = updates + 1:

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        w -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)

    The defaults are the paper's, but for `epsilon`, which is Keras's: the paper's 1e-8 stands outside the correction.
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        trained: Trained | None = None,
        learning_rate: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        weight_decay: float = 0.0,
        rate_factors: Factors | None = None,
    ):
        super().__init__(trained, learning_rate, weight_decay=weight_decay, rate_factors=rate_factors)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def _update(
        self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, updates: tf.Tensor, *slots: tf.Variable
    ) -> None:
        t = tf.cast(updates + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=weight.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=tf.pow(self.beta1, t),
            beta2_power=tf.pow(self.beta2, t),
            lr=rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            grad=g,
        )


class Muon(Optimizer):
    """Filters turn by orthogonalised momentum; all other weights follow Nesterov's (Jordan et al. 2024).

    The filters w `[size, size, C, K]` of a convolution are a matrix of K columns to it:

        v = momentum * v + g
        w = sqrt(K) * w / |w| - lr * orthogonalised(g + momentum * v)

    A filter's length stays near 1, and `lr` says by how much of it the filter turns: for filters that batch
    normalisation follows, to which their scale does not matter. For all other weights, with their own rate
    r = `others` * lr, and for biases (and beta) `biases` times that:

        g = g + weight_decay * (lr / r) * w
        v = others_momentum * v - r * g
        w = w + others_momentum * v - r * g

    So `weight_decay` takes the same fraction of all weights but the filters, whatever their rate. The defaults are
    those of the reference for CIFAR-10 (airbench94), which writes them for a loss summed over 2,000 images and logits
    that are a 256th of the head's, here for a mean loss and an eighth.
    """

    slot_names = ("v",)

    def __init__(
        self,
        trained: Trained | None = None,
        learning_rate: float | Schedule = 0.24,
        momentum: float = 0.6,
        *,
        others: float = 5.5,
        others_momentum: float = 0.85,
        biases: float = 64.0,
        weight_decay: float = 0.0,
        rate_factors: Factors | None = None,
    ):
        super().__init__(trained, learning_rate, rate_factors=rate_factors)  # its `weight_decay` is another one: 0
        self.momentum, self.others, self.others_momentum = momentum, others, others_momentum
        self.biases, self.decay = biases, weight_decay

    def _update(
        self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, updates: tf.Tensor, *slots: tf.Variable
    ) -> None:
        v = slots[0]
        if weight.shape.rank == 4:
            v.assign(self.momentum * v + g)
            direction = orthogonalised(tf.reshape(g + self.momentum * v, (-1, weight.shape[-1])))
            of_length_1 = weight * (weight.shape[-1] ** 0.5 / tf.norm(weight))
            weight.assign(of_length_1 - rate * tf.reshape(direction, weight.shape))
        else:
            times = self.others * (self.biases if weight.shape.rank == 1 else 1.0)
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=weight.handle,
                accum=v.handle,
                lr=times * rate,
                grad=g + (self.decay / times) * weight,
                momentum=self.others_momentum,
                use_nesterov=True,
            )


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "muon": Muon,
}
