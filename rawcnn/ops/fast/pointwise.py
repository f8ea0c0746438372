"""Pooling, biases, activations and LRN in forms that take less time; see `rawcnn.ops.fast`.

Functions marked `jit_compile` are chains of element-wise operations, which XLA runs in one pass through memory instead
of one for each operation.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Gradient = Callable[[tf.Tensor], tf.Tensor]
TwoGradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

FEW = 32  # channels: up to so many, TensorFlow's loops over single pixels cost more than those over rows of them
FEW_BIASES = 16  # the same of biases: with 32, two threads were 23 % slower on AVX2


def average_pool(x: tf.Tensor, size: int) -> tf.Tensor:
    """Average pooling of windows that tile the image, whose gradient copies each number over its window.

    The copies along a row are made by a product: so few channels are joined pixel by pixel in twice the time.
    """
    height, width, channels = x.shape[1:]
    copies = np.tile(np.eye(channels), size) / size**2

    @tf.custom_gradient
    def pool(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        def spread(dy: tf.Tensor) -> tf.Tensor:
            wide = tf.matmul(tf.reshape(dy, (-1, channels)), tf.constant(copies, dy.dtype))
            rows = tf.reshape(wide, (-1, height // size, 1, width * channels))
            return tf.reshape(tf.concat([rows] * size, axis=2), (-1, height, width, channels))

        return tf.nn.avg_pool2d(x, size, size, "VALID"), spread

    return pool(x)


def add_bias(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`tf.nn.bias_add` for few channels: the gradient of `b` first sums whole rows of pixels."""
    _, _, width, channels = x.shape

    def over_pixels(dy: tf.Tensor) -> tf.Tensor:
        row = tf.reduce_sum(tf.reshape(dy, (-1, width * channels)), axis=0)
        return tf.reduce_sum(tf.reshape(row, (width, channels)), axis=0)

    return _add_bias(x, b, over_pixels)


def add_bias_products(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`tf.nn.bias_add`, whose gradient of `b` is a product with ones.

    TensorFlow's convolution sums the bias' gradient along with its filter's; where the filter's is not its own, the sum
    on its own would cost three times this product.
    """

    def over_pixels(dy: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(dy, (-1, dy.shape[-1]))
        return tf.matmul(tf.ones((1, tf.shape(pixels)[0]), dy.dtype), pixels)[0]

    return _add_bias(x, b, over_pixels)


def _add_bias(x: tf.Tensor, b: tf.Tensor, over_pixels: Gradient) -> tf.Tensor:
    """`tf.nn.bias_add`, the gradient of `b` being the sum `over_pixels` of that of the result."""

    @tf.custom_gradient
    def add(x: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        return tf.nn.bias_add(x, b), lambda dy: (dy, over_pixels(dy))

    return add(x, b)


@tf.custom_gradient
def relu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`tf.nn.relu`."""
    y = tf.nn.relu(x)
    return y, lambda dy: _relu_gradient(y, dy)


@tf.function(autograph=False, jit_compile=True)
def _relu_gradient(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return tf.where(y > 0, dy, tf.zeros_like(dy))


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`tf.nn.gelu`, exact (not by tanh), in one pass each way; its gradient is Phi(x) + x phi(x)."""
    return _gelu(x), lambda dy: _gelu_gradient(x, dy)


def _normal_distribution(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1.0 + tf.math.erf(x * 0.5**0.5))


@tf.function(autograph=False, jit_compile=True)
def _gelu(x: tf.Tensor) -> tf.Tensor:
    (wide,) = _wide(x)
    return tf.cast(wide * _normal_distribution(wide), x.dtype)


@tf.function(autograph=False, jit_compile=True)
def _gelu_gradient(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    wide, dy = _wide(x, dy)
    density = tf.exp(-0.5 * wide * wide) * (2.0 * math.pi) ** -0.5
    return tf.cast(dy * (_normal_distribution(wide) + wide * density), x.dtype)


@tf.custom_gradient
def tanh(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """`tf.tanh`."""
    y = tf.tanh(x)
    return y, lambda dy: _tanh_gradient(y, dy)


@tf.function(autograph=False, jit_compile=True)
def _tanh_gradient(y: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    y, wide = tf.cast(y, tf.float32), tf.cast(dy, tf.float32)
    return tf.cast(wide * (1.0 - y * y), dy.dtype)


def lrn(x: tf.Tensor, band: np.ndarray, k: float, alpha: float, beta: float) -> tf.Tensor:
    """Local response normalisation; `band` `[C, C]` says which channels are neighbours. See `rawcnn.ops.lrn`.

    With s = k + alpha * (x * x) @ band, the value is x * s^-beta and the gradient
    dy * s^-beta - 2 alpha beta x * ((dy * x * s^(-beta - 1)) @ band): a pass through memory before each product and one
    after it. What is kept for the gradient is x and the sums, not the powers.
    """
    matrix = tf.constant(band, x.dtype)

    def neighbours(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.matmul(tf.reshape(x, (-1, len(band))), matrix), tf.shape(x))

    @tf.custom_gradient
    def normalise(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        energy = neighbours(_square(x))

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            pulled = neighbours(_lrn_pull(x, energy, dy, k, alpha, beta))
            return _lrn_gradient(x, energy, dy, pulled, k, alpha, beta)

        return _lrn_value(x, energy, k, alpha, beta), gradient

    return normalise(x)


def _wide(*tensors: tf.Tensor) -> list[tf.Tensor]:
    """At least float32."""
    return [t if t.dtype == tf.float64 else tf.cast(t, tf.float32) for t in tensors]


def _power(s: tf.Tensor, beta: float) -> tf.Tensor:
    """`s ** -beta`, by square roots for the paper's 0.75."""
    if beta != 0.75:
        return tf.pow(s, -beta)
    root = tf.math.rsqrt(s)
    return root * tf.sqrt(root)


@tf.function(autograph=False, jit_compile=True)
def _square(x: tf.Tensor) -> tf.Tensor:
    return x * x


@tf.function(autograph=False, jit_compile=True)
def _lrn_value(x: tf.Tensor, energy: tf.Tensor, k: float, alpha: float, beta: float) -> tf.Tensor:
    wide, energy = _wide(x, energy)
    return tf.cast(wide * _power(k + alpha * energy, beta), x.dtype)


@tf.function(autograph=False, jit_compile=True)
def _lrn_pull(x: tf.Tensor, energy: tf.Tensor, dy: tf.Tensor, k: float, alpha: float, beta: float) -> tf.Tensor:
    wide, energy, dy = _wide(x, energy, dy)
    s = k + alpha * energy
    return tf.cast(dy * wide * _power(s, beta) / s, x.dtype)


@tf.function(autograph=False, jit_compile=True)
def _lrn_gradient(
    x: tf.Tensor, energy: tf.Tensor, dy: tf.Tensor, pulled: tf.Tensor, k: float, alpha: float, beta: float
) -> tf.Tensor:
    wide, energy, dy, pulled = _wide(x, energy, dy, pulled)
    return tf.cast(dy * _power(k + alpha * energy, beta) - (2.0 * alpha * beta) * wide * pulled, x.dtype)
