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


def cosine(learning_rate: float, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Linear warm-up to `learning_rate`, then half a cosine down to 0 at `total_steps` (Loshchilov & Hutter 2017).

    >>> schedule = cosine(0.1, total_steps=100)
    >>> [round(float(schedule(tf.constant(step))), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """

    def schedule(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(warmup_steps, 1)
        share = tf.clip_by_value((step - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        decay = 0.5 * (1.0 + tf.cos(math.pi * share))
        return learning_rate * tf.where(step < warmup_steps, warmup, decay)

    return schedule


def steps(learning_rates: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """`learning_rates[i]` until step `boundaries[i]` (the last one for ever): hand-made schedules.

    >>> schedule = steps([0.01, 0.001], boundaries=[1000])
    >>> [round(float(schedule(tf.constant(step))), 3) for step in (999, 1000)]
    [0.01, 0.001]
    """
    return lambda step: tf.gather(
        tf.constant(learning_rates, tf.float32),
        tf.reduce_sum(tf.cast(tf.cast(step, tf.int64) >= tf.constant(boundaries, tf.int64), tf.int32)),
    )
