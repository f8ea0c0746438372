"""Images of a batch mixed in pairs, and their labels with them: stateless, a pure function of (batch, seed)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from rawcnn.data.augment import covered, key


class Mixed(NamedTuple):
    """Labels of mixed images: each is `lam` of class `a` and 1 - `lam` of class `b`.

    `a` and `b` are int32 `[N]`, `lam` is float32 `[N]` in 0 ... 1. The loss is `lam * loss(a) + (1 - lam) * loss(b)`.
    """

    a: tf.Tensor
    b: tf.Tensor
    lam: tf.Tensor


Labels: TypeAlias = tf.Tensor | Mixed
"""Labels of a batch: int32 `[N]`, or those of mixed images."""
Mix = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, Mixed]]
"""`(images [N, H, W, C], labels int32 [N], seed [2] int64) -> (images [N, H, W, C], Mixed)`; stateless."""


def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float = 0.2) -> tuple[tf.Tensor, Mixed]:
    """Blend each image with the next of its batch: `[N, H, W, C] -> (float32 [N, H, W, C], Mixed)`.

    Zhang et al. 2018, section 2: x = lam x_i + (1 - lam) x_j and y likewise, with lam ~ Beta(`alpha`, `alpha`). Each
    pair has a lam of its own, as in the paper's text; its program draws one for the whole batch. The last image is
    blended with the first. A batch is in random order, so the next image is a random one.

    >>> images, labels = mixup(tf.zeros((2, 8, 8, 3)), tf.constant([0, 1]), tf.constant([1, 2]))
    >>> labels.a.numpy(), labels.b.numpy()
    (array([0, 1], dtype=int32), array([1, 0], dtype=int32))
    """
    lam = beta((tf.shape(images)[0],), key(seed, "mixup"), alpha)
    images, part = tf.cast(images, tf.float32), lam[:, None, None, None]
    return part * images + (1.0 - part) * _next(images), Mixed(labels, _next(labels), lam)


def cutmix(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float = 1.0) -> tuple[tf.Tensor, Mixed]:
    """Paste a box of the next image of the batch into each image: `[N, H, W, C] -> (the same, Mixed)`, any dtype.

    Yun et al. 2019, section 3.1: lam ~ Beta(`alpha`, `alpha`); the box has sqrt(1 - lam) of the height and the width,
    in whole pixels, and its centre is any pixel. What lies outside the image is cut off, and the `lam` of the labels is
    the fraction of the pixels that stay, as in the paper's program.

    >>> images, labels = cutmix(tf.zeros((2, 8, 8, 3), tf.uint8), tf.constant([0, 1]), tf.constant([1, 2]))
    >>> images.dtype, labels.lam.shape
    (tf.uint8, TensorShape([2]))
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    lam_seed, place_seed = tf.unstack(tf.random.experimental.stateless_split(key(seed, "cutmix"), 2))
    side = tf.sqrt(1.0 - beta((count, 1), lam_seed, alpha))
    down, right = tf.unstack(tf.random.stateless_uniform((2, count, 1), place_seed))
    rows, columns = (
        covered(draw, length, tf.cast(side * tf.cast(length, tf.float32), tf.int32))
        for draw, length in ((down, height), (right, width))
    )
    pasted = rows[:, :, None, None] & columns[:, None, :, None]
    lam = 1.0 - tf.reduce_mean(tf.cast(pasted, tf.float32), axis=(1, 2, 3))
    return tf.where(pasted, _next(images), images), Mixed(labels, _next(labels), lam)


def mixing(mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0) -> Mix | None:
    """What mixes batches: `mixup`, `cutmix`, or for each image one of the two by a toss. 0 stands for none.

    >>> mixing() is None
    True
    """
    if mixup_alpha and cutmix_alpha:
        return partial(_either, mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)
    if mixup_alpha:
        return partial(mixup, alpha=mixup_alpha)
    return partial(cutmix, alpha=cutmix_alpha) if cutmix_alpha else None


def _either(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, mixup_alpha: float, cutmix_alpha: float
) -> tuple[tf.Tensor, Mixed]:
    blended, of_mixup = mixup(images, labels, seed, mixup_alpha)
    pasted, of_cutmix = cutmix(images, labels, seed, cutmix_alpha)
    blend = tf.random.stateless_uniform((tf.shape(images)[0],), key(seed, "mixup or cutmix")) < 0.5
    lam = tf.where(blend, of_mixup.lam, of_cutmix.lam)
    images = tf.where(blend[:, None, None, None], blended, tf.cast(pasted, tf.float32))
    return images, Mixed(labels, of_mixup.b, lam)


def larger(labels: Labels) -> tf.Tensor:
    """The class of the larger part of each mixed image; other labels as they are. int32 `[N]`."""
    return tf.where(labels.lam >= 0.5, labels.a, labels.b) if isinstance(labels, Mixed) else labels


def beta(shape: tuple[int | tf.Tensor, ...], seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws from Beta(`alpha`, `alpha`): float32 of that shape, in 0 ... 1.

    It is X / (X + Y) for X and Y from Gamma(alpha), computed from logarithms, since X and Y themselves may underflow:
    X = G U^(1 / alpha) with G from Gamma(alpha + 1) and U uniform (Marsaglia & Tsang 2000, section 6).
    """
    gamma_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    log_g = tf.math.log(tf.random.stateless_gamma((2, *shape), gamma_seed, alpha + 1.0))
    log_u = tf.math.log(1.0 - tf.random.stateless_uniform((2, *shape), uniform_seed))
    log_x, log_y = tf.unstack(log_g + log_u / alpha)
    return tf.sigmoid(log_x - log_y)


def _next(values: tf.Tensor) -> tf.Tensor:
    """Of each image (or label) the next in the batch."""
    return tf.roll(values, shift=-1, axis=0)
