"""Distortions of training images: stateless, batched, in the graph, a pure function of (images, seed)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.data.source import Augment
from rawcnn.data.views import reflected
from rawcnn.errors import UsageError
from rawcnn.seeds import fold


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


def distortion(strength: float = 1.0) -> Augment:
    """`distort` with `strength` (above 0) times its angles, scales, shears and shifts, and elastic fields.

    >>> distortion(2.0)(tf.zeros((2, 28, 28, 1), tf.uint8), tf.constant([1, 2])).shape
    TensorShape([2, 28, 28, 1])
    """
    if strength == 1:
        return distort
    usual = {name: value for name, value in (distort.__kwdefaults__ or {}).items() if name != "sigma"}
    return partial(distort, **{name: strength * value for name, value in usual.items()})


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
    """The matrix `[length, length]` that smooths a signal; each row sums to 1, except for what is outside the image."""
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


class PrincipalComponents(NamedTuple):
    """Those of a data set's colours, pixels in 0 ... 1: variances `[C]`, largest first, and directions `[C, C]`.

    `eigenvectors[:, i]` has length 1 and belongs to `eigenvalues[i]`.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


IMAGENET_RGB = PrincipalComponents(
    np.array([0.2175, 0.0188, 0.0045]),
    np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]),
)
"""The constants that most code uses for ImageNet; they spread from `datasets/imagenet.lua` of facebook/fb.resnet.torch,
which says that it took a random subset of the training images. The eigenvalues are more than variances can be, given
the standard deviations in the same file (0.229, 0.224, 0.225): they sum to 0.241, the variances to 0.153."""


def pca_lighting(
    images: tf.Tensor, seed: tf.Tensor, std: float = 0.1, components: PrincipalComponents = IMAGENET_RGB
) -> tf.Tensor:
    """Change the light of each image: add one colour to all its pixels, `[N, H, W, C] -> float32 [N, H, W, C]`.

    Krizhevsky et al. 2012, section 4.1: add `[p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T`, p and l being the eigenvectors and
    eigenvalues of the colours' covariance, a normal with standard deviation `std`. Eigenvalues scale as the square of
    the pixels and the paper gives no unit: here, as in common use, pixels are in 0 ... 1 (in 0 ... 255 the added colour
    would be 255 times as large). Unlike in the paper, what leaves 0 ... 255 is clipped. Raises `UsageError` if
    `components` are not those of as many channels.

    >>> pca_lighting(tf.fill((2, 8, 8, 3), 128), tf.constant([1, 2])).shape
    TensorShape([2, 8, 8, 3])
    """
    channels, of = images.shape[-1], components.eigenvalues.shape[0]
    if of != channels:
        raise UsageError(
            f"The components are those of {of} channels, but the images have {channels}. Give the PrincipalComponents "
            "of the training set's own colours."
        )
    values, vectors = (tf.cast(x, tf.float32) for x in components)
    alpha = tf.random.stateless_normal((tf.shape(images)[0], channels), key(seed, "pca_lighting"), stddev=std)
    colour = 255.0 * tf.linalg.matvec(vectors, alpha * values)
    return tf.clip_by_value(tf.cast(images, tf.float32) + colour[:, None, None], 0.0, 255.0)


def cutout(images: tf.Tensor, seed: tf.Tensor, size: int, fill: float | Sequence[float] = 127.5) -> tf.Tensor:
    """Cover a square of `size` pixels of each image with `fill`: `[N, H, W, C] -> float32 [N, H, W, C]`.

    DeVries & Taylor 2017, section 3.2: the square's centre is any pixel, so a part of it may lie outside the image. The
    paper covers with the data set's mean (0 after its normalisation); `fill` is one number, or one a channel.

    >>> cutout(tf.zeros((2, 32, 32, 3)), tf.constant([1, 2]), size=8).shape
    TensorShape([2, 32, 32, 3])
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    down, right = tf.unstack(tf.random.stateless_uniform((2, count, 1), key(seed, "cutout")))
    square = covered(down, height, size)[:, :, None, None] & covered(right, width, size)[:, None, :, None]
    return tf.where(square, tf.constant(fill, tf.float32), tf.cast(images, tf.float32))


def covered(draw: tf.Tensor, length: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Which of `length` pixels lie within `size` pixels around a random one: bool `[N, length]`.

    `draw` `[N, 1]` is uniform in 0 ... 1; `size` is one number, or int32 `[N, 1]`.
    """
    return _span(tf.cast(tf.floor(draw * tf.cast(length, tf.float32)), tf.int32) - size // 2, length, size)


def _span(first: tf.Tensor, length: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Which of `length` pixels are among the `size` from number `first` on: bool `[N, length]`."""
    pixels = tf.range(length)
    return (pixels >= first) & (pixels < first + size)


def random_erasing(
    images: tf.Tensor,
    seed: tf.Tensor,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: float = 0.3,
) -> tf.Tensor:
    """Cover a rectangle of some of the images with noise: `[N, H, W, C] -> float32 [N, H, W, C]`.

    Zhong et al. 2020, section 3.2 and algorithm 1: an image is chosen with `probability` (0 ... 1). The rectangle has a
    fraction of the image's area that is uniform in `area`, and a height / width that is uniform in `aspect` ...
    1 / `aspect`; it lies in the image, and each of its pixels and channels is uniform in 0 ... 255. The paper draws
    again until a rectangle fits. Here the area is drawn first, then the height / width among those that fit.

    >>> random_erasing(tf.zeros((2, 32, 32, 3), tf.uint8), tf.constant([1, 2])).shape
    TensorShape([2, 32, 32, 3])
    """
    count, height, width = tf.unstack(tf.shape(images)[:3])
    draw_seed, noise_seed = tf.unstack(tf.random.experimental.stateless_split(key(seed, "random_erasing"), 2))
    toss, size, shape, down, right = tf.unstack(tf.random.stateless_uniform((5, count, 1), draw_seed))
    tall, wide = _rectangle(size, shape, tf.cast(height, tf.float32), tf.cast(width, tf.float32), area, aspect)
    rows, columns = (
        _span(tf.cast(draw * tf.cast(length - side + 1, tf.float32), tf.int32), length, side)
        for draw, length, side in ((down, height, tall), (right, width, wide))
    )
    erased = rows[:, :, None, None] & columns[:, None, :, None] & (toss < probability)[:, :, None, None]
    noise = tf.random.stateless_uniform(tf.shape(images), noise_seed, 0.0, 255.0)
    return tf.where(erased, noise, tf.cast(images, tf.float32))


def _rectangle(
    size: tf.Tensor, shape: tf.Tensor, height: tf.Tensor, width: tf.Tensor, area: tuple[float, float], aspect: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width in whole pixels, int32 `[N, 1]`, of rectangles that fit, from two draws in 0 ... 1."""
    fraction = area[0] + (area[1] - area[0]) * size
    # A fraction s with height / width r is sqrt(s H W r) high and sqrt(s H W / r) wide: at most H and W.
    low, high = tf.maximum(aspect, fraction * height / width), tf.minimum(1 / aspect, height / (width * fraction))
    ratio = low + (high - low) * shape
    tall, wide = tf.sqrt(fraction * height * width * ratio), tf.sqrt(fraction * height * width / ratio)
    tall, wide = tf.clip_by_value(tf.round(tall), 1.0, height), tf.clip_by_value(tf.round(wide), 1.0, width)
    return tf.cast(tall, tf.int32), tf.cast(wide, tf.int32)


def in_turn(*augments: Augment) -> Augment:
    """Several changes, one after the other. Each is given the same seed, and draws from it under its own name."""

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for one in augments:
            images = one(images, seed)
        return images

    return augment


def first_batches(augment: Augment, count: int) -> Augment:
    """`augment` for the first `count` batches of a training; the images of all later ones stay as they are.

    So a net sees at last what it will be tested on (Ge et al. 2021, "YOLOX", section 2.1, ends strong augmentation 15
    epochs before the training). The seed that `rawcnn.data.batches` gives is (a constant, the number of the batch).

    >>> half = first_batches(lambda images, seed: images / 2, count=100)
    >>> [half(tf.constant([8.0]), tf.constant([7, number], tf.int64)).numpy().item() for number in (99, 100)]
    [4.0, 8.0]
    """

    def until_then(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        def changed() -> tf.Tensor:
            return tf.cast(augment(images, seed), tf.float32)

        return tf.cond(seed[1] < count, changed, lambda: tf.cast(images, tf.float32))

    return until_then


def reflected_shift(images: tf.Tensor, seed: tf.Tensor, most: int = 2) -> tf.Tensor:
    """Move each image by up to `most` whole pixels each way; what moves in is reflected. `[N, H, W, C]`, any dtype.

    The same as padding by reflection and cropping (Jordan 2024, section 3.1: 2 pixels for CIFAR-10).

    >>> reflected_shift(tf.zeros((2, 32, 32, 3), tf.uint8), tf.constant([1, 2])).shape
    TensorShape([2, 32, 32, 3])
    """
    height, width = images.shape[1:3]
    moves = tf.random.stateless_uniform((2, tf.shape(images)[0], 1), key(seed, "shift"), -most, most + 1, tf.int32)
    rows, columns = reflected(tf.range(height) - moves[0], height), reflected(tf.range(width) - moves[1], width)
    return tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def alternating_flip(images: tf.Tensor, coins: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
    """Mirror the images with coin + epoch odd: each one in every other epoch. `[N, H, W, C]`, any dtype.

    `coins` `[N]`, 0 or 1, must be the same for an image in all epochs. Two epochs in a row show both sides of every
    image, where a toss in each epoch shows half of them the same side twice (Jordan 2024, section 3.6).
    """
    mirrored = (coins + tf.cast(epoch, coins.dtype)) % 2 == 1
    return tf.where(mirrored[:, None, None, None], tf.reverse(images, axis=[2]), images)


def photometric(images: tf.Tensor, seed: tf.Tensor, amount: float = 0.5) -> tf.Tensor:
    """Change brightness, contrast and colour, for each image in its own order: `-> float32 [N, H, W, C]`.

    Howard 2013, section 2, which GoogLeNet follows (Szegedy et al. 2014, section 6): factors uniform in 1 +- `amount`.
    Howard then adds `pca_lighting`. Images must be RGB or grey (`enhance`).

    >>> photometric(tf.fill((2, 8, 8, 3), 128), tf.constant([1, 2])).shape
    TensorShape([2, 8, 8, 3])
    """
    draws = tf.random.stateless_uniform((2, tf.shape(images)[0], 3), key(seed, "photometric"))
    order, factors = tf.argsort(draws[0]), 1.0 + amount * (2.0 * draws[1] - 1.0)
    for turn in range(3):
        images = enhance(images, order[:, turn], factors[:, turn])
    return images


def enhance(images: tf.Tensor, which: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Pillow's `ImageEnhance`, batched: `which` int `[N]` is 0 brightness, 1 contrast, 2 colour; `factor` `[N]`.

    Moves pixels away from black, from the image's mean grey, or from their own grey, by `factor` (1 = no change).
    Raises `UsageError` unless images have 3 channels (RGB) or 1 (grey, which has no colour to change).
    """
    images = tf.cast(images, tf.float32)
    if images.shape[-1] not in (1, 3):
        raise UsageError(f"Brightness, contrast and colour need images with 3 channels or 1, not {images.shape[-1]}.")
    luma = tf.constant([0.299, 0.587, 0.114] if images.shape[-1] == 3 else [1.0])
    grey = tf.tensordot(images, luma, 1)[..., None]
    _, contrast, colour = tf.unstack(tf.one_hot(which, 3)[:, :, None, None, None], axis=1)
    origin = contrast * tf.reduce_mean(grey, axis=(1, 2), keepdims=True) + colour * grey
    return tf.clip_by_value(origin + factor[:, None, None, None] * (images - origin), 0.0, 255.0)


def key(seed: tf.Tensor, name: str) -> tf.Tensor:
    """A seed for each name, so that changes which are given the same seed draw independently."""
    return tf.random.experimental.stateless_fold_in(seed, fold(0, name))
