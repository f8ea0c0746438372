"""Activations: ReLU, GELU, tanh and LeCun's scaled tanh."""

import tensorflow as tf

from rawcnn.ops.fast import pointwise as faster
from rawcnn.ops.fast.forms import fast


def relu(x: tf.Tensor) -> tf.Tensor:
    """`max(x, 0)`, as `tf.nn.relu`. Any shape (Nair & Hinton 2010)."""
    return faster.relu(x) if fast("relu", x.dtype == tf.bfloat16) else tf.nn.relu(x)


def gelu(x: tf.Tensor) -> tf.Tensor:
    """`x Phi(x)`, where Phi is the cumulative normal distribution. Any shape (Hendrycks & Gimpel 2016, section 2).

    >>> gelu(tf.constant([-1.0, 0.0, 1.0])).numpy().round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    if fast("gelu", x.dtype != tf.float64):
        return faster.gelu(x)
    return 0.5 * x * (1.0 + tf.math.erf(x * 0.5**0.5))  # `tf.nn.gelu` rounds the root to float32 in float64 too


def tanh(x: tf.Tensor) -> tf.Tensor:
    """The hyperbolic tangent, as `tf.tanh`: from -1 to 1. Any shape."""
    return faster.tanh(x) if fast("tanh", x.dtype == tf.bfloat16) else tf.tanh(x)


def scaled_tanh(x: tf.Tensor) -> tf.Tensor:
    """`1.7159 tanh(2x/3)`, so that f(1) = 1 and f(-1) = -1. Any shape (LeCun et al. 1998, eq. 6 and appendix A).

    >>> scaled_tanh(tf.constant([-1.0, 0.0, 1.0])).numpy().round(4)
    array([-1.,  0.,  1.], dtype=float32)
    """
    return 1.7159 * tanh(x * (2.0 / 3.0))
