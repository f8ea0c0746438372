"""Normalisation across neighbouring channels (LRN) and over the batch."""

import numpy as np
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.ops.fast import pointwise as faster
from rawcnn.ops.fast.forms import fast
from rawcnn.ops.replicas import mean_of_replicas, replica


def lrn(x: tf.Tensor, *, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> tf.Tensor:
    """Local response normalisation across `n` neighbouring channels. `[N, H, W, C] -> [N, H, W, C]`.

    `y_i = x_i / (k + alpha * sum_{j = i - n//2 ... i + n//2} x_j^2) ** beta` (Krizhevsky et al. 2012, section 3.3).
    Caffe and PyTorch divide alpha by n: their alpha is `n` times this one. The sum over neighbours is a product with a
    band matrix; powers are taken in float32 when `x` is narrower. Raises `UsageError` for an even `n`.
    """
    check_lrn_window(n)
    channels = np.arange(x.shape[-1])
    band = np.abs(channels[:, None] - channels) <= n // 2
    if fast("lrn"):
        return faster.lrn(x, band, k, alpha, beta)
    wide = x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)
    energy = tf.tensordot(wide * wide, tf.constant(band, wide.dtype), 1)
    return tf.cast(wide * tf.pow(k + alpha * energy, -beta), x.dtype)


def check_lrn_window(n: int) -> None:
    """Raise `UsageError` unless `n` channels can be a window of `lrn`: it is odd, with its channel in the middle."""
    if n < 1 or n % 2 == 0:
        raise UsageError(f"LRN needs an odd window of channels, not n={n}: the paper uses n=5.")


def batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-3
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalise each channel over the batch. `[N, H, W, C] -> [N, H, W, C]`, and the batch's mean and variance `[C]`.

    `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, with the batch's biased variance, which is returned
    unbiased, times m / (m - 1) for m pixels (Ioffe & Szegedy 2015, algorithms 1 and 2). `gamma`, `beta` and the
    statistics are float32 when `x` is narrower.

    >>> y, mean, variance = batch_norm(tf.reshape([1.0, 3.0], (2, 1, 1, 1)), tf.ones(1), tf.zeros(1))
    >>> y.numpy().round(2).ravel(), mean.numpy(), variance.numpy()
    (array([-1.,  1.], dtype=float32), array([2.], dtype=float32), array([2.], dtype=float32))
    """
    if x.dtype == tf.float64:  # the fused kernel has no such form
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
        pixels = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
        return y, mean, variance * pixels / tf.maximum(pixels - 1, 1)
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    return y, mean, variance


def synchronised_batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, near: tf.Tensor, epsilon: float = 1e-3
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`batch_norm` over the batch of which each replica of `tf.distribute` has an equal part; see there.

    `near` `[C]` is the same on all replicas, and the nearer it is to the mean the less is rounded: the variance is
    that of `x - near`, from its mean and mean square, which one all-reduce adds.
    """
    wide = tf.cast(x, gamma.dtype)
    own_mean, own_variance = tf.nn.moments(wide, (0, 1, 2))
    from_near = own_mean - tf.stop_gradient(near)
    mean, square = mean_of_replicas(from_near, own_variance + from_near * from_near)
    variance = tf.nn.relu(square - mean * mean)  # rounding must not leave it below 0
    mean += tf.stop_gradient(near)
    y = tf.nn.batch_normalization(wide, mean, variance, beta, gamma, epsilon)
    pixels = tf.cast(replica()[1] * tf.size(x) // x.shape[-1], gamma.dtype)
    return tf.cast(y, x.dtype), mean, variance * pixels / tf.maximum(pixels - 1, 1)


def normalise(
    x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = 1e-3
) -> tf.Tensor:
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, all `[C]`: `batch_norm` by statistics that are known.

    `[N, H, W, C] -> [N, H, W, C]`; the four are float32 when `x` is narrower.
    """
    if x.dtype == tf.float64:  # the fused kernel has no such form
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
    y, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
    )
    return y
