"""Distortions against SciPy's interpolation, and their statistics against closed forms."""

import math

import numpy as np
import tensorflow as tf
from scipy.ndimage import map_coordinates
from scipy.stats import chisquare, kstest, uniform

from rawcnn.data.augment import (
    alternating_flip,
    bilinear,
    distort,
    distortion,
    in_turn,
    random_erasing,
    reflected_shift,
)


def test_bilinear_equals_scipy(rng):
    images = rng.uniform(0, 255, size=(3, 9, 7, 2)).astype(np.float32)
    y, x = rng.uniform(-2, 10, size=(3, 5, 6)).astype(np.float32), rng.uniform(-2, 8, size=(3, 5, 6)).astype(np.float32)
    got = bilinear(tf.constant(images), tf.constant(y), tf.constant(x)).numpy()
    for n, c in np.ndindex(3, 2):
        padded = np.pad(images[n, :, :, c], 1)  # SciPy's mode="constant" does not interpolate towards the outside
        expected = map_coordinates(padded, [y[n] + 1, x[n] + 1], order=1)
        np.testing.assert_allclose(got[n, :, :, c], expected, atol=1e-3)


def test_no_distortion_is_the_identity(rng):
    images = tf.constant(rng.integers(0, 256, size=(2, 12, 10, 3), dtype=np.uint8))
    same = distort(images, tf.constant([0, 1]), alpha=0.0, degrees=0.0, scale=0.0, shear=0.0, shift=0.0)
    np.testing.assert_allclose(same, images, atol=1e-3)


def test_the_seed_decides_and_every_image_is_its_own():
    images = tf.constant(np.tile(np.eye(28, dtype=np.uint8)[None, :, :, None] * 255, (4, 1, 1, 1)))
    one, again, other = (distort(images, tf.constant(seed)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len({image.tobytes() for image in one}) == 4
    assert one.shape == images.shape and one.min() >= 0 and one.max() <= 255


def test_the_elastic_field_is_simards():
    """Uniform noise in +-alpha under a Gaussian has std alpha / sqrt(3) / (2 sigma sqrt(pi)), and is smooth."""
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 64, 1))
    images = tf.constant(np.stack([ramp] * 64))
    moved = distort(images, tf.constant([5, 6]), alpha=34.0, degrees=0.0, scale=0.0, shear=0.0, shift=0.0).numpy()
    field = (moved - images.numpy())[:, 20:44, 20:44, 0]  # a ramp of slope 1 shows the vertical displacement
    assert abs(field.mean()) < 0.1
    np.testing.assert_allclose(field.std(), 34 / math.sqrt(3) / (2 * 4 * math.sqrt(math.pi)), rtol=0.1)
    assert np.abs(np.diff(field, axis=2)).mean() < 0.25 * np.abs(field).mean() * math.sqrt(2)


def test_turns_scales_and_shifts_stay_in_their_bounds():
    dot = np.zeros((200, 41, 41, 1), np.uint8)
    dot[:, 20, 35] = 255  # 15 pixels to the right of the centre
    moved = distort(
        tf.constant(dot), tf.constant([0, 9]), alpha=0.0, degrees=10.0, shear=0.0, shift=0.0, scale=0.0
    ).numpy()
    mass = moved.sum(axis=(1, 2, 3))
    y, x = ((moved[..., 0] * axis).sum(axis=(1, 2)) / mass - 20 for axis in np.mgrid[:41, :41])
    angles = np.degrees(np.arctan2(y, x))
    assert 8 < np.abs(angles).max() < 11.5 and abs(angles.mean()) < 1.5
    np.testing.assert_allclose(np.hypot(x, y), 15, atol=0.5)


def test_twice_as_strong_is_twice_as_far(rng):
    images, seed = tf.constant(rng.integers(0, 256, (3, 28, 28, 1), np.uint8)), tf.constant([1, 2])
    expected = distort(images, seed, alpha=12.0, sigma=4.0, degrees=12.0, scale=0.12, shear=0.12, shift=2.0)
    np.testing.assert_array_equal(distortion(2.0)(images, seed), expected)
    np.testing.assert_array_equal(distortion(1.0)(images, seed), distort(images, seed))


def test_a_reflected_shift_is_a_crop_of_the_reflected_image(rng):
    """Every result is one of NumPy's 25 crops, all of them about equally often, and never anything else."""
    image = rng.integers(0, 256, size=(7, 6, 3), dtype=np.uint8)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = [padded[i : i + 7, j : j + 6].tobytes() for i in range(5) for j in range(5)]
    shifted = reflected_shift(tf.constant(np.stack([image] * 5000)), tf.constant([1, 2])).numpy()
    assert shifted.dtype == np.uint8 and len(set(crops)) == 25
    counts = np.bincount([crops.index(one.tobytes()) for one in shifted], minlength=25)
    assert chisquare(counts).pvalue > 1e-3
    again, other = (reflected_shift(tf.constant(np.stack([image] * 50)), tf.constant([1, seed])) for seed in (2, 3))
    assert not np.array_equal(again, other)


def test_alternating_flips(rng):
    images = tf.constant(rng.integers(0, 256, size=(4, 3, 5, 2), dtype=np.uint8))
    coins, mirrored = tf.constant([0, 1, 1, 0]), images[:, :, ::-1]
    for epoch in range(4):
        got = alternating_flip(images, coins, tf.constant(epoch, tf.int64))
        for i, coin in enumerate((0, 1, 1, 0)):
            np.testing.assert_array_equal(got[i], (mirrored if (coin + epoch) % 2 else images)[i])


def test_random_erasing_covers_rectangles_as_the_paper_draws_them():
    """How many, their place, area and shape, and the noise in them."""
    count, height, width = 3000, 40, 60
    images = np.full((count, height, width, 3), -1.0, np.float32)  # no noise looks like that
    got = random_erasing(tf.constant(images), tf.constant([2, 9], tf.int64), probability=0.25).numpy()
    erased = (got != -1).all(axis=-1)
    np.testing.assert_array_equal(erased, (got != -1).any(axis=-1))
    chosen = np.flatnonzero(erased.any(axis=(1, 2)))
    assert abs(len(chosen) / count - 0.25) < 0.03
    tall, wide = erased.any(axis=2)[chosen].sum(axis=1), erased.any(axis=1)[chosen].sum(axis=1)
    np.testing.assert_array_equal(erased[chosen].sum(axis=(1, 2)), tall * wide)  # each is one rectangle
    area = tall * wide / (height * width)
    assert kstest(area, uniform(0.02, 0.38).cdf).pvalue > 1e-3
    small = area < 0.1  # of which every shape fits, but for rounding
    assert kstest(tall[small] / wide[small], uniform(0.3, 1 / 0.3 - 0.3).cdf).statistic < 0.1
    top = (erased.any(axis=2)[chosen].argmax(axis=1) + 0.5) / (height - tall + 1)  # of which each is equally likely
    assert kstest(top[tall < 30], uniform(0, 1).cdf).statistic < 0.1
    noise = got[chosen][erased[chosen]]
    assert noise.min() >= 0 and noise.max() <= 255 and kstest(noise[:9000, 1], uniform(0, 255).cdf).pvalue > 1e-3


def test_changes_in_turn_are_one_after_the_other(rng):
    images, seed = tf.constant(rng.integers(0, 256, size=(6, 9, 9, 1), dtype=np.uint8)), tf.constant([1, 2], tf.int64)
    both = in_turn(reflected_shift, random_erasing)(images, seed)
    np.testing.assert_array_equal(both, random_erasing(reflected_shift(images, seed), seed))
