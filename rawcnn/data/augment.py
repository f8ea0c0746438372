"""Distortions of training images: stateless, batched, in the graph, a pure function of (images, seed)."""

import math

import numpy as np
import tensorflow as tf


def distort(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    alpha: float = 6.0,
    sigma: float = 4.0,
    degrees: float = 6.0,
    scale: float = 0.06,
    shear: float = 0.06,
    shift: float = 1.0,
) -> tf.Tensor:
    """Distort each image of a batch its own way. uint8 `[N, H, W, C] -> float32 [N, H, W, C]` in 0 ... 255.

    A random planar transform (turned by up to `degrees`, each axis scaled by up to `scale`, sheared by up to `shear`,
    moved by up to `shift` pixels: the kinds of LeCun et al. 1998, section III.B) and an elastic field (uniform noise,
    smoothed by a Gaussian of `sigma` pixels and multiplied by `alpha`: Simard, Steinkraus & Platt 2003, section 2, who
    take 34 for far larger nets). Pixels from outside an image are 0. `seed` is int `[2]`.

    >>> distort(tf.zeros((2, 28, 28, 1), tf.uint8), tf.constant([1, 2])).shape
    TensorShape([2, 28, 28, 1])
    """
    count, height, width, _ = images.shape
    field_seed, affine_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    field = tf.random.stateless_uniform((2, count, height, width), field_seed, -alpha, alpha)
    field = tf.matmul(tf.matmul(_gaussian_blur(height, sigma), field), _gaussian_blur(width, sigma), transpose_b=True)
    matrix, move = _planar(count, affine_seed, math.radians(degrees), scale, shear, shift)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    about_centre = tf.constant(np.stack([y - centre_y, x - centre_x]).reshape(2, -1))
    where = (
        tf.reshape(tf.transpose(tf.matmul(matrix, about_centre) + move, (1, 0, 2)), (2, count, height, width)) + field
    )
    return bilinear(images, where[0] + centre_y, where[1] + centre_x)


def bilinear(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """The images' values at positions `(y, x)` `[N, H', W']`, in pixels from the centre of the first one; 0 outside.

    `[N, H, W, C] -> float32 [N, H', W', C]`.
    """
    height, width, channels = images.shape[1:]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    pixels = tf.reshape(tf.cast(padded, tf.float32), (-1, (height + 2) * (width + 2), channels))
    y, x = tf.clip_by_value(y + 1, 0.0, height + 1.0), tf.clip_by_value(x + 1, 0.0, width + 1.0)
    top, left = tf.minimum(tf.floor(y), height), tf.minimum(tf.floor(x), width)
    corner = tf.cast(top, tf.int32) * (width + 2) + tf.cast(left, tf.int32)
    down, right = (y - top)[..., None], (x - left)[..., None]

    def at(offset: int) -> tf.Tensor:
        return tf.gather(pixels, corner + offset, axis=1, batch_dims=1)

    upper = at(0) + (at(1) - at(0)) * right
    lower = at(width + 2) + (at(width + 3) - at(width + 2)) * right
    return upper + (lower - upper) * down


def _gaussian_blur(length: int, sigma: float) -> tf.Tensor:
    """The matrix `[length, length]` that smooths a signal; each row sums to 1 but for what lies outside the image."""
    offsets = np.arange(length)[:, None] - np.arange(length)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return tf.constant(kernel, tf.float32)


def _planar(
    count: int, seed: tf.Tensor, angle: float, scale: float, shear: float, shift: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Random matrices `[N, 2, 2]` and shifts `[N, 2, 1]` that map (y, x) of the result into the image."""
    limits = tf.constant([angle, scale, scale, shear, shift, shift])
    turn, tall, wide, lean, down, right = tf.unstack(
        tf.random.stateless_uniform((count, 6), seed, -1.0, 1.0) * limits, axis=1
    )
    cos, sin, tall, wide = tf.cos(turn), tf.sin(turn), tf.exp(tall), tf.exp(wide)
    rows = [tf.stack([cos * tall, sin * wide], 1), tf.stack([(lean - sin) * tall, cos * wide], 1)]
    return tf.stack(rows, axis=1), tf.stack([down, right], axis=1)[..., None]
