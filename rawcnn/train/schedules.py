"""Learning rates as pure functions of the step, so that a resumed run cannot use another one.

A schedule is `schedule(step) -> learning rate`, with `step` an integer tensor that counts the updates already made.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

Schedule = Callable[[tf.Tensor], tf.Tensor]


def constant(learning_rate: float) -> Schedule:
    """The same learning rate throughout."""
    return lambda step: tf.constant(learning_rate, tf.float32)


def linear(learning_rate: float, total_steps: int) -> Schedule:
    """From `learning_rate` in a straight line to 0 at `total_steps`.

    >>> schedule = linear(0.1, total_steps=100)
    >>> [round(float(schedule(tf.constant(step))), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """
    return lambda step: learning_rate * tf.maximum(1.0 - tf.cast(step, tf.float32) / total_steps, 0.0)


def cosine(learning_rate: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Linear warm-up to `learning_rate`, then half a cosine down to 0 at `total_steps` (Loshchilov & Hutter 2017).

    >>> schedule = cosine(0.1, total_steps=100)
    >>> [round(float(schedule(tf.constant(step))), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """

    def schedule(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(warmup_steps, 1)
        fraction = tf.clip_by_value((step - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        decay = 0.5 * (1.0 + tf.cos(math.pi * fraction))
        return learning_rate * tf.where(step < warmup_steps, warmup, decay)

    return schedule


def staircase(learning_rate: float, factor: float, every_steps: int) -> Schedule:
    """`learning_rate * factor ** (step // every_steps)`: GoogLeNet's fall by 4 % every 8 epochs (section 6).

    >>> round(float(staircase(1.0, 0.5, every_steps=10)(tf.constant(25))), 3)
    0.25
    """
    return lambda step: learning_rate * tf.pow(factor, tf.cast(step // every_steps, tf.float32))


def exponential(first: float, last: float, total_steps: int) -> Schedule:
    """From `first` at step 0 to `last` at the last of `total_steps`, by the same factor at each step.

    >>> schedule = exponential(0.001, 0.1, total_steps=3)
    >>> [round(float(schedule(tf.constant(step))), 4) for step in (0, 1, 2)]
    [0.001, 0.01, 0.1]
    """
    return lambda step: first * tf.pow(last / first, tf.cast(step, tf.float32) / max(total_steps - 1, 1))


def plateau_factor(accuracies: Sequence[float], patience: int = 3, factor: float = 0.1, most: int = 3) -> float:
    """What multiplies the learning rate after epochs with these validation accuracies.

    Each time the best has not been beaten for `patience` epochs the rate is multiplied by `factor`, `most` times at
    most (Krizhevsky et al. 2012, section 5: divided by 10 when the validation error stopped improving, three times). A
    function of the history alone, so that a resumed run falls in the same epochs.

    >>> plateau_factor([0.5, 0.6, 0.6, 0.6, 0.6])
    0.1
    """
    best, waited, falls = -math.inf, 0, 0
    for accuracy in accuracies:
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if waited == patience:
            falls, waited = falls + 1, 0
    return float(factor ** min(falls, most))


def stops_early(epochs: int, best_epoch: int, patience: int) -> bool:
    """Whether a run of so many epochs ends, as none of the last `patience` (0: any number) was better than the best.

    >>> stops_early(5, best_epoch=2, patience=3), stops_early(5, best_epoch=2, patience=0)
    (True, False)
    """
    return 0 < patience <= epochs - best_epoch
