"""Colour changes against NumPy's covariance and Pillow's `ImageEnhance`, and their statistics against closed forms."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance
from scipy.stats import chisquare, kstest

from rawcnn.data.augment import IMAGENET_RGB, PrincipalComponents, cutout, enhance, pca_lighting, photometric
from rawcnn.errors import UsageError

SEED = tf.constant([3, 4], tf.int64)
ALL = {"pca_lighting": pca_lighting, "cutout": partial(cutout, size=8), "photometric": photometric}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_seed_decides_and_every_image_is_its_own(rng, name, dtype):
    images = tf.constant(np.tile(rng.integers(0, 256, size=(1, 32, 24, 3)).astype(dtype), (6, 1, 1, 1)))
    change = tf.function(ALL[name])
    one, again, other = (change(images, tf.constant(seed, tf.int64)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len({image.tobytes() for image in one}) == 6
    assert one.shape == images.shape and one.dtype == np.float32 and one.min() >= 0 and one.max() <= 255


def test_imagenets_directions_are_orthonormal():
    np.testing.assert_allclose(IMAGENET_RGB.eigenvectors.T @ IMAGENET_RGB.eigenvectors, np.eye(3), atol=2e-4)


def test_lighting_adds_one_colour_with_the_papers_covariance():
    images = tf.fill((20_000, 2, 1, 3), 128.0)
    added = pca_lighting(images, SEED, std=0.2).numpy() - 128
    np.testing.assert_array_equal(added[:, 0], added[:, 1])
    values, vectors = IMAGENET_RGB
    expected = vectors @ np.diag((0.2 * values * 255) ** 2) @ vectors.T
    got = added[:, 0, 0].T @ added[:, 0, 0] / len(added)
    np.testing.assert_allclose(got, expected, atol=0.05 * expected.max())
    alpha = added[:, 0, 0] @ vectors / (0.2 * values * 255)
    np.testing.assert_allclose(np.cov(alpha.T), np.eye(3), atol=0.05)
    assert all(kstest(a, "norm").pvalue > 0.001 for a in alpha.T)


def test_lighting_of_grey_images_and_of_wrong_components(rng):
    grey = rng.integers(100, 150, size=(8, 4, 4, 1), dtype=np.uint8)
    own = PrincipalComponents(np.array([0.02]), np.array([[1.0]]))
    added = pca_lighting(tf.constant(grey), SEED, components=own).numpy() - grey
    np.testing.assert_allclose(added - added[:, :1, :1], 0, atol=1e-4)
    assert len(np.unique(added[:, 0, 0, 0])) == 8
    with pytest.raises(UsageError, match=r"of 3 channels, but the images have 1\. Give the PrincipalComponents"):
        pca_lighting(tf.constant(grey), SEED)


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_covers_a_square_around_any_pixel(rng, size):
    images = rng.integers(0, 256, size=(20_000, 6, 8, 3), dtype=np.uint8)
    out = cutout(tf.constant(images), SEED, size, fill=(-1.0, -2.0, -3.0)).numpy()
    covered = out[..., 0] < 0
    np.testing.assert_array_equal(out, np.where(covered[..., None], np.float32([-1, -2, -3]), images))
    expected = {}
    for y, x in np.ndindex(6, 8):
        mask = np.zeros((6, 8), bool)
        first_y, first_x = y - size // 2, x - size // 2
        mask[max(first_y, 0) : first_y + size, max(first_x, 0) : first_x + size] = True
        expected[mask.tobytes()] = 0
    assert len(expected) == 48
    for mask in covered:
        expected[mask.tobytes()] += 1  # a KeyError is a mask that is no such square
    assert chisquare(list(expected.values())).pvalue > 0.001


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_enhance_equals_pillow(rng, which, channels):
    smooth = np.linspace(20, 200, 12 * 10 * channels).reshape(12, 10, channels)
    image = (smooth + rng.uniform(-20, 50, size=smooth.shape)).astype(np.uint8)
    enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[which]
    factors = [0.5, 0.9, 1.0, 1.5]
    got = enhance(tf.constant(np.stack([image] * 4)), tf.fill([4], which), tf.constant(factors)).numpy()
    for one, factor in zip(got, factors, strict=True):
        expected = np.asarray(enhancer(Image.fromarray(image.squeeze())).enhance(factor)).reshape(image.shape)
        np.testing.assert_allclose(one, expected, atol=1.6)  # Pillow rounds the origin, then the result


def test_photometric_factors_are_uniform_and_0_changes_nothing(rng):
    plain = tf.fill((5000, 1, 1, 3), 100.0)  # contrast and colour do not change a plain grey image
    assert kstest(photometric(plain, SEED, 0.4).numpy()[:, 0, 0, 0], "uniform", args=(60, 80)).pvalue > 0.001
    images = tf.constant(rng.integers(0, 256, size=(4, 6, 5, 3), dtype=np.uint8))
    np.testing.assert_allclose(photometric(images, SEED, 0.0), images, atol=1e-3)


def test_photometric_draws_an_order_for_each_image():
    images = tf.tile(tf.reshape(tf.constant([0.0, 200.0]), (1, 1, 2, 1)), (20_000, 1, 1, 1))
    low, high = photometric(images, SEED).numpy()[:, 0, :, 0].T
    # Brightness b > 1.275 makes 255 of 200. Contrast below 1 keeps the sum of the two pixels: then they sum to 255. If
    # contrast comes first they sum to 200 b instead, or, where that makes 255 of the bright one, to more than 255.
    less_contrast = low > 0.1
    brightness_first = (less_contrast & (abs(low + high - 255) < 1e-2)).sum()
    contrast_first = (less_contrast & (low + high > 255.01)).sum()
    assert brightness_first + contrast_first == pytest.approx(20_000 * 0.5 * 0.225, rel=0.1)
    assert brightness_first == pytest.approx(contrast_first, rel=0.15)


def test_enhance_wants_rgb_or_grey():
    with pytest.raises(UsageError, match="not 2"):
        enhance(tf.zeros((1, 2, 2, 2)), tf.constant([0]), tf.constant([1.0]))
