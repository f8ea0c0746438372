"""Euclidean radial basis functions, the output units of LeNet-5."""

import tensorflow as tf


def rbf_distance(x: tf.Tensor, centres: tf.Tensor) -> tf.Tensor:
    """Squared Euclidean distance to every centre: `y_i = sum_j (x_j - w_ij)^2`, at least 0.

    `x` is `[N, D]`, `centres` `[K, D]`, the result `[N, K]` (LeCun et al. 1998, eq. 7).

    >>> rbf_distance(tf.constant([[1.0, 1.0]]), tf.constant([[1.0, -1.0], [1.0, 1.0]])).numpy()
    array([[4., 0.]], dtype=float32)
    """
    return tf.reduce_sum(tf.math.squared_difference(x[:, None, :], centres[None]), axis=-1)
