"""TrivialAugment: each op against Pillow, and the draws against the uniform distribution."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import chi2_contingency, chisquare

from rawcnn.data.trivial import OPS, apply_ops, draw_ops, trivial_augment
from rawcnn.errors import UsageError

AFFINE = Image.Transform.AFFINE


def by_pillow(name, image, strength):
    """What the paper's program does, in calls of Pillow."""
    m = abs(strength)
    factor = 1 + 0.99 * strength
    return {
        "identity": lambda: image,
        "shear_x": lambda: image.transform(image.size, AFFINE, (1, 0.99 * strength, 0, 0, 1, 0)),
        "shear_y": lambda: image.transform(image.size, AFFINE, (1, 0, 0, 0.99 * strength, 1, 0)),
        "translate_x": lambda: image.transform(image.size, AFFINE, (1, 0, int(32 * strength), 0, 1, 0)),
        "translate_y": lambda: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, int(32 * strength))),
        "rotate": lambda: image.rotate(135 * strength),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "colour": lambda: ImageEnhance.Color(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(6 * m)),
        "solarize": lambda: ImageOps.solarize(image, 256 * (1 - m)),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def image(request):
    """Smooth colours that fill a part of the range, unevenly, with some noise. Not square."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:30, :37]
    waves = [90 + 60 * np.sin(y / (4 + c) + c) * np.cos(x / (6 - c)) + 30 * (x > 20) for c in range(request.param)]
    return (np.stack(waves, axis=-1) + rng.normal(0, 4, (30, 37, 1))).clip(20, 230).astype(np.uint8)


STRENGTHS = (0.0, 1 / 30, 10 / 30, 17 / 30, 1.0)


@pytest.mark.parametrize("name", OPS)
def test_each_op_is_pillows(name, image):
    strengths = [sign * s for s in STRENGTHS for sign in (1, -1)]
    which = tf.fill((len(strengths),), OPS.index(name))
    got = apply_ops(tf.constant(np.stack([image] * len(strengths))), which, tf.constant(strengths)).numpy()
    assert got.dtype == np.float32 and got.shape[1:] == image.shape
    pillow = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    for one, strength in zip(got, strengths, strict=True):
        expected = np.asarray(by_pillow(name, pillow, strength), np.float64).reshape(image.shape)
        difference = np.abs(one - expected)
        if name in ("shear_x", "shear_y", "rotate"):  # the nearest of two pixels that are equally near
            assert (difference.max(axis=-1) > 0).mean() < 0.02, (strength, (difference > 0).mean())
        else:
            # Pillow rounds a mean grey, greys and smooth pixels to whole numbers, and cuts decimals off.
            most = {"contrast": 2.0, "colour": 2.0, "sharpness": 2.0, "brightness": 1.0, "autocontrast": 1.0}
            assert difference.max() <= most.get(name, 0.0), (strength, difference.max())
    if name not in ("identity", "posterize") and not (name == "colour" and image.shape[2] == 1):
        assert np.abs(got[-2] - image).mean() > 1  # it does something


def test_equalize_and_autocontrast_leave_a_plain_image_alone():
    plain = tf.fill((2, 8, 8, 3), tf.constant(70, tf.uint8))
    which = tf.constant([OPS.index("equalize"), OPS.index("autocontrast")])
    np.testing.assert_array_equal(apply_ops(plain, which, tf.ones(2)), plain)


def test_ops_and_strengths_are_uniform():
    which, strength = (x.numpy() for x in draw_ops(20_000, tf.constant([1, 5], tf.int64)))
    assert chisquare(np.bincount(which, minlength=len(OPS))).pvalue > 1e-3
    levels = np.rint(30 * strength).astype(int)
    np.testing.assert_allclose(strength, levels / 30, atol=1e-6)
    wanted = np.where(np.arange(-30, 31) == 0, 2, 1) * 20_000 / 62  # 0 has both signs
    assert chisquare(np.bincount(levels + 30, minlength=61), wanted).pvalue > 1e-3
    pairs = np.histogram2d(which, levels, bins=(14, 3))[0]
    assert chi2_contingency(pairs).pvalue > 1e-3  # they have nothing to do with each other


def test_the_seed_decides_and_each_image_has_its_own_change(image):
    images = tf.constant(np.stack([image] * 30))
    one, again, other = (trivial_augment(images, tf.constant([1, s])).numpy() for s in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and len({x.tobytes() for x in one}) > 15
    assert one.min() >= 0 and one.max() <= 255


def test_floats_are_taken_and_two_channels_refused(rng):
    images = rng.integers(0, 256, size=(20, 8, 8, 3)).astype(np.float32)
    seed = tf.constant([1, 2], tf.int64)
    np.testing.assert_array_equal(trivial_augment(images, seed), trivial_augment(images.astype(np.uint8), seed))
    with pytest.raises(UsageError, match="3 channels or 1, not 2"):
        trivial_augment(tf.zeros((2, 8, 8, 2)), seed)
