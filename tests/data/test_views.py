"""Boxes against loops, Pillow and `tf.image.resize`; where crops lie, against the papers' words."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.stats import chisquare, kstest

from rawcnn.data import views
from rawcnn.data.views import take_boxes
from rawcnn.errors import UsageError

SEED = tf.constant([3, 4], tf.int64)
RANDOM = {
    "random_crop": views.random_crop,
    "scale_jitter": views.scale_jitter,
    "area_crop": views.area_crop,
    "padded_crop": views.padded_crop,
}


def cut(images, boxes, size, mirrored=False):
    """Boxes [N, K, 4] of images, as NumPy."""
    boxes = np.asarray(boxes, np.float32)
    return take_boxes(tf.constant(images), tf.constant(boxes), tf.fill(boxes.shape[:2], mirrored), size).numpy()


def chosen(crop, height, width, count=20_000, seed=SEED):
    """The boxes [N, K, 4], in float64, and mirrored [N, K] of `count` images of height x width."""
    boxes, mirrored = crop(tf.fill([count], height), tf.fill([count], width), seed)
    assert boxes.dtype == tf.float32 and mirrored.dtype == tf.bool and mirrored.shape == boxes.shape[:2]
    return boxes.numpy().astype(np.float64), mirrored.numpy()


def assert_uniform(values, low, high):
    assert kstest(values, "uniform", args=(low, high - low)).pvalue > 0.001


# take_boxes


def in_loops(image, box, size):
    """One view [size, size, C] by the definition, a pixel at a time."""

    def weights(low, high, i, length):
        step = (high - low) / size
        at = low + (i + 0.5) * step
        if not 0 <= at <= length:
            return np.zeros(length)
        w = np.array([max(0.0, 1 - abs(at - (j + 0.5)) / max(step, 1)) for j in range(length)])
        return w / w.sum()

    out = np.zeros((size, size, image.shape[2]))
    for y, x in np.ndindex(size, size):
        down, right = weights(box[0], box[2], y, image.shape[0]), weights(box[1], box[3], x, image.shape[1])
        out[y, x] = np.einsum("h,w,hwc->c", down, right, image)
    return out


@pytest.mark.parametrize("size", [4, 9])
def test_any_box_equals_the_definition(rng, size):
    images = rng.integers(0, 256, size=(2, 7, 10, 3), dtype=np.uint8)
    corner, extent = rng.uniform(-3, 6, size=(2, 5, 2)), rng.uniform(1, 12, size=(2, 5, 2))
    boxes = np.concatenate([corner, corner + extent], axis=-1).astype(np.float32)
    straight, mirrored = cut(images, boxes, size), cut(images, boxes, size, mirrored=True)
    assert straight.shape == (2, 5, size, size, 3) and straight.dtype == np.float32
    for n, k in np.ndindex(2, 5):
        expected = in_loops(images[n].astype(np.float64), boxes[n, k].astype(np.float64), size)
        np.testing.assert_allclose(straight[n, k], expected, atol=2e-3)
        np.testing.assert_allclose(mirrored[n, k], expected[:, ::-1], atol=2e-3)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 77), (50, 37, 24), (20, 45, 30), (9, 9, 9)])
def test_the_whole_image_equals_tf_image_resize(rng, height, width, size):
    images = rng.integers(0, 256, size=(3, height, width, 3), dtype=np.uint8)
    boxes, mirrored = chosen(views.whole(), height, width, 3)
    assert not mirrored.any()
    expected = tf.image.resize(images, (size, size), antialias=True)
    np.testing.assert_allclose(cut(images, boxes, size)[:, 0], expected, atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 30, 41), (3.5, 2.25, 21.5, 40.0), (12.5, 9.75, 16.0, 15.5), (29, 40, 30, 41)])
def test_a_box_equals_pillow(rng, box):
    image = rng.uniform(0, 255, size=(30, 41)).astype(np.float32)
    top, left, bottom, right = box
    expected = Image.fromarray(image).resize((12, 12), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    np.testing.assert_allclose(cut(image[None, :, :, None], [[box]], 12)[0, 0, :, :, 0], expected, atol=1e-2)


def test_whole_pixels_come_out_as_they_are_and_0_outside(rng):
    images = rng.integers(0, 256, size=(1, 12, 15, 3), dtype=np.uint8)
    padded = np.pad(images[0], [(8, 8), (8, 8), (0, 0)])
    for top, left in [(0, 0), (2, 5), (4, 7), (-3, 0), (-8, -8), (10, 12), (5, -2)]:
        expected = padded[8 + top : 16 + top, 8 + left : 16 + left]
        box = [[(top, left, top + 8, left + 8)]]
        np.testing.assert_array_equal(cut(images, box, 8)[0, 0], expected)
        np.testing.assert_array_equal(cut(images, box, 8, mirrored=True)[0, 0], expected[:, ::-1])


@pytest.mark.parametrize("size", [3, 8, 50])
def test_nothing_darkens_at_the_edge(size):
    white = np.full((1, 8, 8, 1), 255, np.uint8)
    np.testing.assert_allclose(cut(white, [[(0, 0, 8, 8), (0.3, 0.1, 7.9, 7)]], size), 255, rtol=1e-6)
    outside = cut(white, [[(-2.9, -1.2, 5, 9)]], size)
    np.testing.assert_allclose(outside[(outside != 0) & (abs(outside - 255) > 1e-3)], [])
    assert (outside == 0).any() and (outside != 0).any()


@pytest.mark.parametrize(("share", "scaled", "size"), [(0.8, 20, 16), (0.5, 60, 30)])
def test_a_share_equals_scaling_the_shorter_side_and_cropping(rng, share, scaled, size):
    image = rng.integers(0, 256, size=(1, 40, 60, 3), dtype=np.uint8)
    resized = tf.image.resize(image, (scaled, scaled * 3 // 2), antialias=True)
    top, left = (resized.shape[1] - size) // 2, (resized.shape[2] - size) // 2
    boxes, _ = chosen(views.centre(share), 40, 60, 1)
    expected = resized[:, top : top + size, left : left + size]
    np.testing.assert_allclose(cut(image, boxes, size)[:, 0], expected, atol=1e-3)


def test_files_of_any_size_in_a_graph_that_knows_none():
    sizes = tf.data.Dataset.from_tensor_slices([(30, 20), (7, 50), (64, 64)])

    def view(pair):
        image = tf.cast(tf.fill([1, pair[0], pair[1], 3], 200), tf.uint8)
        boxes, mirrored = views.ten_crop()(pair[:1], pair[1:], SEED)
        assert image.shape[1:] == (None, None, 3) and boxes.shape[1] == mirrored.shape[1] == 10
        out = take_boxes(image, boxes, mirrored, 16)
        assert out.shape[1:] == (10, 16, 16, 3)
        return out

    for out in sizes.map(view):
        np.testing.assert_allclose(out, 200.0, rtol=1e-5)


# Where random crops lie


@pytest.mark.parametrize("name", RANDOM)
def test_the_seed_decides_each_image_is_its_own_and_half_are_mirrored(name):
    crop = RANDOM[name]()
    one, again, other = (chosen(crop, 32, 48, 2000, tf.constant(seed, tf.int64)) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert (one[0] != other[0]).any(axis=(1, 2)).mean() > 0.9
    assert len({box.tobytes() for box in one[0]}) == (81 if name == "padded_crop" else 2000)
    assert abs(one[1].mean() - 0.5) < 4 * 0.5 / 2000**0.5
    assert (one[1] != other[1]).mean() > 0.4
    unmirrored = chosen(RANDOM[name](mirror=False), 32, 48, 2000, tf.constant([1, 2], tf.int64))
    np.testing.assert_array_equal(unmirrored[0], one[0])
    assert not unmirrored[1].any()


@pytest.mark.parametrize("name", RANDOM)
def test_images_of_one_batch_may_differ_in_size(name):
    heights, widths = np.array([30, 200, 64]), np.array([90, 50, 64])
    boxes, _ = RANDOM[name]()(tf.constant(heights), tf.constant(widths), SEED)
    top, left, bottom, right = boxes.numpy()[:, 0].T
    room = 4 if name == "padded_crop" else 1e-3
    assert (top > -room - 1e-3).all() and (left > -room - 1e-3).all()
    assert (bottom < heights + room + 1e-3).all() and (right < widths + room + 1e-3).all()
    assert (bottom - top >= 0.25 * np.minimum(heights, widths)).all()


def test_random_crop_is_uniform_in_the_central_square():
    boxes, _ = chosen(views.random_crop(0.75), 64, 100)
    top, left, bottom, right = boxes[:, 0].T
    np.testing.assert_allclose(bottom - top, 48, atol=1e-4)
    np.testing.assert_allclose(right - left, 48, atol=1e-4)
    assert_uniform(top, 0, 16)
    assert_uniform(left, 18, 34)
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.03


def test_scale_jitter_is_uniform_in_scale_and_anywhere_in_the_image():
    boxes, _ = chosen(views.scale_jitter(), 100, 300)
    top, left, bottom, right = boxes[:, 0].T
    side = bottom - top
    np.testing.assert_allclose(right - left, side, atol=1e-3)
    assert_uniform(224 / (side / 100), 256, 512)
    assert_uniform(top / (100 - side), 0, 1)
    assert_uniform(left / (300 - side), 0, 1)
    one_scale, _ = chosen(views.scale_jitter(low=256, high=256), 256, 256, 10)
    np.testing.assert_allclose(one_scale[..., 2] - one_scale[..., 0], 224, atol=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "low", "most"),
    [(300, 400, 0.08, 1), (400, 300, 0.08, 1), (256, 256, 0.3, 1), (100, 200, 0.08, 2 / 3), (10, 400, 0.08, 1 / 30)],
)
def test_area_crop_is_uniform_in_area_up_to_the_largest_box_that_fits(height, width, low, most):
    boxes, _ = chosen(views.area_crop(low), height, width)
    top, left, bottom, right = boxes[:, 0].T
    assert top.min() > -1e-3 and left.min() > -1e-3 and bottom.max() < height + 1e-3 and right.max() < width + 1e-3
    share, aspect = (bottom - top) * (right - left) / (height * width), (right - left) / (bottom - top)
    assert aspect.min() > 3 / 4 - 1e-4 and aspect.max() < 4 / 3 + 1e-4
    if low < most:  # else the image is too narrow for any box as large as `low`
        assert_uniform(share, low, most)
    else:
        np.testing.assert_allclose(share, most, rtol=1e-4)


def test_area_crop_of_small_areas_is_log_uniform_in_aspect_and_anywhere():
    boxes, _ = chosen(views.area_crop(0.08, 0.5), 200, 200)
    top, left, bottom, right = boxes[:, 0].T
    assert_uniform(np.log((right - left) / (bottom - top)), -np.log(4 / 3), np.log(4 / 3))
    assert_uniform(top / (200 - (bottom - top)), 0, 1)
    assert_uniform(left / (200 - (right - left)), 0, 1)


def test_padded_crop_moves_by_every_whole_pixel_equally_often():
    boxes, _ = chosen(views.padded_crop(2), 32, 40)
    np.testing.assert_array_equal(boxes[:, 0, 2:] - boxes[:, 0, :2], np.broadcast_to([32, 40], (20_000, 2)))
    moves, counts = np.unique(boxes[:, 0, :2], axis=0, return_counts=True)
    np.testing.assert_array_equal(moves, [(y, x) for y in range(-2, 3) for x in range(-2, 3)])
    assert chisquare(counts).pvalue > 0.001


# Test protocols


def test_ten_crop_by_hand():
    boxes, mirrored = chosen(views.ten_crop(0.5), 8, 12, 2)
    five = [(0, 2, 4, 6), (0, 6, 4, 10), (4, 2, 8, 6), (4, 6, 8, 10), (2, 4, 6, 8)]
    np.testing.assert_array_equal(boxes, [five + five] * 2)
    np.testing.assert_array_equal(mirrored, [[False] * 5 + [True] * 5] * 2)


def test_144_crops_by_hand():
    (boxes,), (mirrored,) = chosen(views.crops_144(), 704, 352, 1)
    assert boxes.shape == (144, 4)
    np.testing.assert_array_equal(mirrored, [False] * 72 + [True] * 72)
    np.testing.assert_array_equal(boxes[:72], boxes[72:])
    # Scaled so that 352 becomes 256, 224 pixels are 308 of the original; the top square.
    first = [(0, 0, 308, 308), (0, 44, 308, 352), (44, 0, 352, 308), (44, 44, 352, 352), (22, 22, 330, 330)]
    np.testing.assert_allclose(boxes[:6], first + [(0, 0, 352, 352)], atol=1e-3)
    # Not scaled; the bottom square.
    last = [(352, 0, 576, 224), (352, 128, 576, 352), (480, 0, 704, 224), (480, 128, 704, 352), (416, 64, 640, 288)]
    np.testing.assert_allclose(boxes[66:72], last + [(352, 0, 704, 352)], atol=1e-3)
    assert len(np.unique(boxes.round(2), axis=0)) == 4 * 3 * 5 + 3
    (landscape,), _ = chosen(views.crops_144(), 352, 704, 1)
    np.testing.assert_array_equal(np.unique(landscape[5:72:6], axis=0), [(0, x, 352, x + 352) for x in (0, 176, 352)])


def test_six_views_by_numpys_padding(rng):
    images = rng.integers(0, 256, size=(3, 5, 6, 2), dtype=np.uint8)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    got = views.six_views(tf.constant(images)).numpy()
    for i, at in enumerate((1, 0, 2)):  # the centre; then what was one pixel further up and left comes in, or down
        wanted = padded[:, at : at + 5, at : at + 6]
        np.testing.assert_array_equal(got[:, 2 * i], wanted)
        np.testing.assert_array_equal(got[:, 2 * i + 1], wanted[:, :, ::-1])
    assert sum(views.SIX_WEIGHTS) == 1 and got.shape[1] == len(views.SIX_WEIGHTS)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_reflected_indices_are_numpys(length):
    beyond = length - 1
    wanted = np.pad(np.arange(length), beyond, mode="reflect")
    np.testing.assert_array_equal(views.reflected(tf.range(-beyond, length + beyond), length), wanted)


def test_protocols_by_name():
    for crops, expected in [("1", views.centre(0.5)), ("10", views.ten_crop(0.5)), ("144", views.crops_144())]:
        got, named = chosen(expected, 40, 30, 1), chosen(views.protocol(crops, 0.5), 40, 30, 1)
        assert len(got[0][0]) == int(crops)
        np.testing.assert_array_equal(got[0], named[0])
        np.testing.assert_array_equal(got[1], named[1])
    with pytest.raises(UsageError, match="no boxes for crops='12': the protocols of boxes are 1, 10 and 144"):
        views.protocol("12")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(views.centre, 224), "not 224: for 224 of 256"),
        (partial(views.random_crop, 0.0), "central_fraction"),
        (partial(views.ten_crop, float("nan")), "central_fraction"),
        (partial(views.scale_jitter, 224, 200), "224, 200"),
        (partial(views.area_crop, 0.5, 0.2), "0.5, 0.2"),
        (partial(views.padded_crop, -1), "-1"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(UsageError, match=message):
        make()
