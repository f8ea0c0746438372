"""Numeric gradients: the slope of a function by central differences in float64, to hold automatic ones against."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def assert_gradients_match(
    f: Callable[..., tf.Tensor], *args: np.ndarray, h: float = 1e-5, rtol: float = 1e-6, atol: float = 1e-7
) -> None:
    """Check d(sum of f(*args) * fixed weights)/d(every element of every arg). `f` takes and gives float64 tensors."""
    tensors = [tf.constant(a, tf.float64) for a in args]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        out = f(*tensors)
        weights = np.cos(np.arange(np.prod(out.shape), dtype=np.float64)).reshape(out.shape)
        total = tf.reduce_sum(out * weights)
    gradients = tape.gradient(total, tensors)

    @tf.function(autograph=False)
    def value(*values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(f(*values) * weights)

    for which, (arg, gradient) in enumerate(zip(args, gradients, strict=True)):
        numeric = np.empty(arg.shape)
        for i in np.ndindex(arg.shape):
            up, down = arg.astype(np.float64), arg.astype(np.float64)
            up[i] += h
            down[i] -= h
            ends = [value(*tensors[:which], tf.constant(end), *tensors[which + 1 :]) for end in (up, down)]
            numeric[i] = (float(ends[0]) - float(ends[1])) / (2 * h)
        np.testing.assert_allclose(gradient.numpy(), numeric, rtol=rtol, atol=atol)
