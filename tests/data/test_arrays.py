"""Arrays as people have them: every usual type and shape becomes one and the same source, the rest is refused."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.batches import batches, thumbnails
from rawcnn.data.source import Source
from rawcnn.errors import DataError, UsageError


@pytest.fixture
def pixels(rng):
    pixels = rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    pixels[0, 0, 0] = 0, 1, 255
    return pixels


LABELS = np.array([0, 2, 1, 1, 0, 2])

SAME_IMAGES = {
    "float32 in 0 ... 1": lambda x: (x / 255).astype(np.float32),
    "float64 in 0 ... 1": lambda x: x / 255,
    "floats in 0 ... 255": lambda x: x.astype(np.float32),
    "int64": lambda x: x.astype(np.int64),
    "uint16": lambda x: x.astype(np.uint16),
    "lists": lambda x: x.tolist(),
    "a list of arrays": list,
    "a tensor": tf.constant,
    "big-endian": lambda x: x.astype(">i4"),
}


@pytest.mark.parametrize("name", SAME_IMAGES)
def test_the_same_images_whatever_their_type(name, pixels):
    got = Source(SAME_IMAGES[name](pixels), LABELS).images
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, pixels)


def test_uint8_images_are_not_copied(pixels):
    assert Source(pixels, LABELS).images is pixels


def test_floats_between_whole_numbers_stay_floats(rng):
    values = rng.uniform(size=(6, 5, 4, 3))
    values[0, 0, 0, 0] = 1
    got = Source(values, LABELS)
    assert got.images.dtype == np.float32
    np.testing.assert_allclose(got.images, values * 255, rtol=1e-6)
    np.testing.assert_allclose(Source(values * 255, LABELS).images, values * 255, rtol=1e-6)
    np.testing.assert_array_equal(thumbnails(got, np.array([3])), np.rint(values[[3]] * 255).astype(np.uint8))
    for images, _ in batches(got, 2, seed=0).take(1):
        assert images.dtype == tf.float32 and images.numpy().max() > 1


def test_a_part_of_float_images_is_not_scaled_again():
    """The first image is in 0 ... 1, the others are not."""
    values = np.full((6, 2, 2, 1), 0.5)
    values[1:] = 200.25
    np.testing.assert_array_equal(Source(values, LABELS).take(np.array([0])).images, values[:1])


def test_grey_images_get_their_channel_axis(pixels):
    assert Source(pixels[..., 0], LABELS).shape == (5, 4, 1)
    np.testing.assert_array_equal(Source(pixels[..., 0] > 127, LABELS).images[..., 0], (pixels[..., 0] > 127) * 255)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4", "f2", "f4", "f8"])
def test_the_same_labels_whatever_their_type(dtype, pixels):
    for labels in (LABELS.astype(dtype), LABELS[:, None].astype(dtype), LABELS.astype(dtype).tolist()):
        source = Source(pixels, labels)
        assert source.labels.dtype == np.int32 and source.labels.tolist() == LABELS.tolist()
        assert source.class_names == ("0", "1", "2")


def test_class_names_may_be_a_list(pixels):
    assert Source(pixels, LABELS, ["ant", "bee", "cat"]).class_names == ("ant", "bee", "cat")


REFUSED = {
    "one-hot": (None, np.eye(3)[LABELS], r"one-hot.*labels\.argmax\(axis=1\)"),
    "half a class": (None, LABELS + 0.5, r"Label 0\.5 of image 0 is not a whole number"),
    "NaN": (None, np.where(LABELS == 1, np.nan, LABELS), "Label nan of image 2"),
    "huge": (None, LABELS.astype(np.uint64) + 2**63, "Label 9223372036854775808 of image 0"),
    "ids": (None, LABELS + 7_000_000, "Labels are 0, 1, 2, .* but there is 7000002"),
    "negative": (None, LABELS - 1, "but there is -1"),
    "words": (None, ["cat"] * 6, r"must be numbers.*np\.unique\(labels, return_inverse=True\)"),
    "too few": (None, LABELS[:5], r"6 images but labels of shape \[5\]"),
    "standardised": (lambda x: x / 127.5 - 1, LABELS, r"in -1 \.\.\. 1\. Give the pixels before"),
    "0 ... 65535": (lambda x: x.astype(np.uint16) * 257, LABELS, r"in 0 \.\.\. 6\.55"),
    "NaN pixels": (lambda x: np.where(x == 255, np.nan, x), LABELS, r"in nan \.\.\. nan"),
    "rows of pixels": (lambda x: x.reshape(6, -1), LABELS, r"they are \[6, 60\].*images\.reshape"),
    "channels first": (lambda x: np.zeros((6, 3, 8, 8), np.uint8), LABELS, r"images\.transpose\(0, 2, 3, 1\)"),
    "none": (lambda x: x[:0], LABELS[:0], "at least one"),
    "of two sizes": (lambda x: [x[0], x[1, 1:]], LABELS[:2], "The images differ in shape"),
    "text": (lambda x: x.astype(str), LABELS, "The images must be numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_to_do(name, pixels):
    change, labels, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        Source(pixels if change is None else change(pixels), labels)


def test_labels_that_count_from_1(pixels):
    with pytest.raises(DataError, match="give labels - 1"):
        Source(pixels, LABELS + 1, ("a", "b", "c"))


def test_a_split_by_count_and_by_fraction(rng):
    source = Source(rng.uniform(size=(100, 4, 4)), np.arange(100) % 5)
    train, test = source.split(20, seed=0)
    same = source.split(0.2)
    assert (len(train), len(test)) == (80, 20) and np.bincount(test.labels).tolist() == [4] * 5
    np.testing.assert_array_equal(test.images, same[1].images)
    for count in (0, -1, 100, 1000, float("nan")):
        with pytest.raises(UsageError, match="cannot be split off"):
            source.split(count)


def test_repr_is_short_and_notebooks_get_a_table():
    source = Source(np.zeros((30, 8, 6), np.uint8), np.arange(30), [f"<{i}>" for i in range(30)])
    assert repr(source) == "<Source: 30 images (8x6x1), 30 classes>"
    html = source._repr_html_()
    assert html.startswith("<table>") and "<td>8x6x1</td>" in html and "0: &lt;0&gt;" in html and "10 more" in html
    assert "array" not in html and len(html) < 2000
