"""Lookahead: weights that explore, and slow weights that follow them and take them back."""

from collections.abc import Mapping

import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.train.optimizers import Gradients, Optimizer
from rawcnn.train.schedules import Schedule, constant


class Lookahead(Optimizer):
    """`inner` makes the updates; after each `every` of them (Zhang et al. 2019, algorithm 1), for all its weights w,

        slow = slow + share * (w - slow)
        w = slow

    where `slow` begins as w. `share`, in 0 ... 1, is their alpha: a number or a function of the step. The slow weights
    are slots of this optimizer, so a checkpoint keeps them. Raises `UsageError` unless `every` is 1 or more.

    >>> from rawcnn.train.optimizers import SGD
    >>> w = tf.Variable([1.0])
    >>> optimizer = Lookahead(SGD({"w": w}, 0.1), every=2)
    >>> for step in range(2):
    ...     optimizer.apply([tf.constant([1.0])], step)
    >>> w.numpy()  # 1.0, 0.9, 0.8, and half of the way back
    array([0.9], dtype=float32)
    """

    slot_names = ("slow",)

    def __init__(self, inner: Optimizer, every: int = 5, share: float | Schedule = 0.5):
        if every < 1:
            raise UsageError(f"Lookahead looks back after every 1 or more updates, not after {every}.")
        super().__init__(inner.weights, inner.learning_rate)
        self.inner, self.every, self.factor = inner, every, inner.factor
        self.share = share if callable(share) else constant(share)
        for name, slow in self.slots["slow"].items():
            slow.assign(inner.weights[name])

    def apply(self, gradients: Gradients, step: tf.Tensor | int, updates: tf.Tensor | int | None = None) -> None:
        """One update of `inner`, and if it is the last of `every` a step of the slow weights."""
        self.inner.apply(gradients, step, updates)
        step = tf.convert_to_tensor(step)
        due = (step + 1) % self.every == 0
        share = tf.where(due, self.share(step), 0.0)
        for name in gradients if isinstance(gradients, Mapping) else self._weights:
            weight, slow = self._weights[name], self.slots["slow"][name]
            slow.assign_add(share * (weight - slow))
            weight.assign(tf.where(due, slow, weight))
