"""Optimizers: TensorFlow's fused update kernels over slot variables of our own.

`optimizer.apply(gradients, step)` updates the weights it was made for; `step` counts the updates already made, and
decides the learning rate and Adam's bias correction, so an optimizer has no hidden state besides its slots.

>>> w = tf.Variable([1.0])
>>> SGD({"w": w}, learning_rate=0.1).apply([tf.constant([2.0])], step=tf.constant(0))
>>> w.numpy()
array([0.8], dtype=float32)
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from rawcnn.train.schedules import Schedule, constant


class Optimizer(tf.Module):
    """`weights` by name (see `rawcnn.weights.named_weights`); `learning_rate` is a number or a schedule.

    `weight_decay` times the weight is added to the gradient of every weight called `w`, and to nothing else: L2 on
    weights, not on biases nor batch normalisation's gamma and beta (Krizhevsky et al. 2012, section 5). `factor`, a
    variable, multiplies the learning rate; who divides the rate by 10 on a plateau sets it.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self, weights: Mapping[str, tf.Variable], learning_rate: float | Schedule, *, weight_decay: float = 0.0
    ):
        super().__init__(name=type(self).__name__.lower())
        self.learning_rate = learning_rate if callable(learning_rate) else constant(learning_rate)
        self.weight_decay = weight_decay
        self.factor = tf.Variable(1.0, trainable=False, name="factor")
        self._weights = dict(weights)
        self.slots = {
            slot: {name: tf.Variable(tf.zeros_like(w), trainable=False, name=slot) for name, w in weights.items()}
            for slot in self.slot_names
        }

    def apply(self, gradients: Sequence[tf.Tensor], step: tf.Tensor) -> None:
        """One update; `gradients` in the order of the weights."""
        rate = self.learning_rate(step) * self.factor
        for (name, weight), gradient in zip(self._weights.items(), gradients, strict=True):
            if self.weight_decay and name.rpartition("/")[2] == "w":
                gradient += self.weight_decay * weight
            self._update(weight, gradient, rate, step, *(self.slots[slot][name] for slot in self.slot_names))

    def _update(self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, step: tf.Tensor, *slots: tf.Variable) -> None:
        raise TypeError(f"{type(self).__name__} has no update rule.")


class SGD(Optimizer):
    """`w -= lr * g`."""

    def _update(self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, step: tf.Tensor, *slots: tf.Variable) -> None:
        tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=rate, delta=g)


class Momentum(Optimizer):
    """`v = momentum * v - lr * g; w += v` (Krizhevsky et al. 2012, section 5).

    With `nesterov`, `w += momentum * v - lr * g` instead (Sutskever et al. 2013, section 3).
    """

    slot_names = ("v",)

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        learning_rate: float | Schedule,
        momentum: float = 0.9,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(weights, learning_rate, weight_decay=weight_decay)
        self.momentum, self.nesterov = momentum, nesterov

    def _update(self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, step: tf.Tensor, *slots: tf.Variable) -> None:
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight.handle,
            accum=slots[0].handle,
            lr=rate,
            grad=g,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class Nesterov(Momentum):
    """`Momentum` with `nesterov`."""

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        learning_rate: float | Schedule,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
    ):
        super().__init__(weights, learning_rate, momentum, nesterov=True, weight_decay=weight_decay)


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1, in the form of its section 2 (the bias corrections folded into the step size)."""

    slot_names = ("m", "v")

    def __init__(
        self,
        weights: Mapping[str, tf.Variable],
        learning_rate: float | Schedule,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        weight_decay: float = 0.0,
    ):
        super().__init__(weights, learning_rate, weight_decay=weight_decay)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def _update(self, weight: tf.Variable, g: tf.Tensor, rate: tf.Tensor, step: tf.Tensor, *slots: tf.Variable) -> None:
        t = tf.cast(step + 1, tf.float32)
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


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adam": Adam}
