"""From a source to a net: sizes, views and test protocols; dense evaluation against crops taken one by one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rawcnn.data.batches import in_order
from rawcnn.data.images.headers import inspect
from rawcnn.data.images.stream import FileSource
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.data.views import padded_crop, random_crop
from rawcnn.errors import DataError, UsageError
from rawcnn.layers import AveragePool, Conv2D, Dense, Flatten, MaxPool, Whitening
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.cifar import cifar_basic, cifar_fast
from rawcnn.nets.inference import dense_logits
from rawcnn.nets.vgg import vgg
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.recipes import RECIPES, Recipe, recipe_of

LAB = Recipe(Preprocess(), "adam", 0.001, 8)
CROPPED = Recipe(Preprocess(), "adam", 0.001, 8, crop=random_crop(0.75), central_fraction=0.75)


@pytest.fixture
def source(rng):
    images = rng.integers(0, 256, size=(12, 40, 40, 3), dtype=np.uint8)
    return Source(images, np.arange(12, dtype=np.int32) % 10, tuple("abcdefghij"))


def test_every_net_has_recipes_that_exist():
    assert set(RECIPES) == set(NETS) and all(
        set(recipes) <= {"paper", "course", "ours", "mse"} for recipes in RECIPES.values()
    )
    assert recipe_of("alexnet", "paper").weight_decay == 5e-4
    with pytest.raises(UsageError, match="alexnet_bn has no recipe 'paper': choose course"):
        recipe_of("alexnet_bn", "paper")


def test_images_in_memory_are_scaled_by_the_preprocessing(source):
    inputs = Inputs.of(LAB, source, 32)
    assert inputs.crop is None and inputs.preprocess.resize == 32
    expected = tf.image.resize(source.images, (32, 32)) / 255.0
    np.testing.assert_allclose(inputs.preprocess(source.images), expected, rtol=1e-5)
    assert Inputs.of(LAB, source, 40).preprocess.resize == 0


@pytest.mark.slow
def test_evaluators_average_the_views_of_their_protocol(source):
    net, inputs = cifar_basic(seed=1), Inputs.of(CROPPED, source, 32)
    got = inputs.evaluator(net, softmax_cross_entropy, "10")(source).probabilities
    edges = [(0, 0), (0, 10), (10, 0), (10, 10), (5, 5)]  # 30 of 40 pixels
    wanted = np.zeros((12, 10))
    for top, left in edges:
        view = tf.image.resize(source.images[:, top : top + 30, left : left + 30], (32, 32)) / 255.0
        wanted += (tf.nn.softmax(net(view)).numpy() + tf.nn.softmax(net(view[:, :, ::-1])).numpy()) / 10
    np.testing.assert_allclose(got, wanted, atol=2e-3)  # at its border a box sees the pixels beside it
    one = inputs.evaluator(net, softmax_cross_entropy, "1")(source).probabilities
    view = tf.image.resize(source.images[:, 5:35, 5:35], (32, 32)) / 255.0
    np.testing.assert_allclose(one, tf.nn.softmax(net(view)), atol=2e-3)


def test_six_views_by_hand(source):
    """NumPy's reflected padding, cut and mirrored; logits weigh 1/4, 1/4, and an eighth each."""
    net, inputs = cifar_basic((40, 40, 3), seed=1), Inputs.of(LAB, source, 40)
    got = inputs.evaluator(net, softmax_cross_entropy, "6")(source).probabilities
    padded = np.pad(source.images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect") / np.float32(255)
    logits = 0
    for at, weight in ((1, 1 / 4), (0, 1 / 8), (2, 1 / 8)):
        view = padded[:, at : at + 40, at : at + 40]
        logits += weight * (net(view) + net(view[:, :, ::-1]))
    np.testing.assert_allclose(got, tf.nn.softmax(logits), rtol=1e-4, atol=1e-6)


def test_a_first_row_that_whitens_sees_the_first_images_once(source):
    net, inputs = cifar_fast((40, 40, 3)), Inputs.of(recipe_of("cifar_fast"), source, 40)
    assert net.conv1.fresh
    inputs.prepare(net, source)
    twin = Whitening(2, input_shape=(40, 40, 3))
    twin.look_at(inputs.preprocess(source.images))
    np.testing.assert_array_equal(net.conv1.w, twin.w)
    inputs.prepare(net, source.take(np.arange(6)))
    np.testing.assert_array_equal(net.conv1.w, twin.w)
    inputs.prepare(cifar_basic((40, 40, 3)), source)  # which has no such row


def test_padded_crops_are_for_training_alone(source):
    recipe = Recipe(Preprocess(), "adam", 0.001, 8, crop=padded_crop(4))
    net, inputs = cifar_basic((40, 40, 3), seed=1), Inputs.of(recipe, source, 40)
    assert inputs.crop is recipe.crop and inputs.test_crop is None
    got = inputs.evaluator(net, softmax_cross_entropy)(source).probabilities
    np.testing.assert_allclose(got, tf.nn.softmax(net(source.images / np.float32(255))), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_all_protocols_run_where_no_crops_are_trained_on(source):
    net, inputs = cifar_basic(seed=1), Inputs.of(LAB, source, 32)
    for crops in ("1", "6", "10", "144", "dense"):
        result = inputs.evaluator(net, softmax_cross_entropy, crops)(source)
        assert result.probabilities.shape == (12, 10) and np.allclose(result.probabilities.sum(axis=1), 1, atol=1e-5)


def test_dense_is_the_mean_of_the_net_over_all_crops(rng):
    """Without padding every position of the dense net is the net on a crop; crops lie one total stride apart."""
    table = (
        ("conv", row(Conv2D, activation=tf.nn.relu)(3, 3, padding="VALID")),
        ("pool", row(MaxPool)(2)),
        ("flat", row(Flatten)()),
        ("fc", row(Dense, activation=tf.nn.relu)(7)),
        ("logits", row(Dense)(4)),
    )
    net, x = Chain(table, input_shape=(8, 8, 2)), tf.constant(rng.normal(size=(3, 12, 10, 2)), tf.float32)
    crops = [net(x[:, top : top + 8, left : left + 8]) for top in (0, 2, 4) for left in (0, 2)]
    np.testing.assert_allclose(dense_logits(net, x), np.mean(crops, axis=0), rtol=1e-4, atol=1e-5)


def test_dense_moves_a_global_average_pool_pixel_by_pixel(rng):
    table = (("pool", row(AveragePool)(4)), ("flat", row(Flatten)()), ("logits", row(Dense)(3)))
    net, x = Chain(table, input_shape=(4, 4, 2)), tf.constant(rng.normal(size=(2, 5, 4, 2)), tf.float32)
    np.testing.assert_allclose(dense_logits(net, x), (net(x[:, :4]) + net(x[:, 1:])) / 2, rtol=1e-5, atol=1e-6)


def test_dense_on_the_nets_own_size_is_the_net(rng):
    net, x = vgg("A", (32, 32, 3), 5, seed=2), tf.constant(rng.uniform(size=(2, 32, 32, 3)), tf.float32)
    np.testing.assert_allclose(dense_logits(net, x), net(x), rtol=1e-4, atol=1e-4)


def test_dense_names_the_row_that_has_no_dense_form():
    with pytest.raises(UsageError, match=r"Row 'logits' \(RBF\) cannot be applied densely"):
        dense_logits(NETS["lenet5"](), tf.zeros((1, 36, 36, 1)))


def test_dense_refuses_small_images():
    with pytest.raises(UsageError, match="at least as large"):
        dense_logits(cifar_basic(), tf.zeros((1, 16, 32, 3)))


def test_padding_needs_room():
    with pytest.raises(UsageError, match="no room"):
        Inputs.of(recipe_of("lenet5"), Source(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int32), ("a",)), 4)


GREY = Inputs(28, Preprocess(), 1.0, (28, 28, 1), light_on_dark=True)
RGB = Inputs(32, Preprocess(), 1.0, (32, 32, 3))


@pytest.mark.parametrize(
    ("inputs", "images", "message"),
    [
        (RGB, np.zeros((2, 3, 32, 32), np.uint8), r"not \[2, 3, 32, 32\]. Give images.transpose\(0, 2, 3, 1\)."),
        (RGB, np.zeros((2, 32, 32, 4), np.uint8), r"Give images\[..., :3\]"),
        (RGB, np.zeros((32, 32, 3), np.uint8), r"Give one image as images\[np.newaxis\]"),
        (RGB, np.full((1, 32, 32, 3), 0.5), "these are in 0 ... 1: multiply them by 255"),
        (RGB, np.full((1, 32, 32, 3), -1), "these are in -1 ... -1"),
        (RGB, np.full((1, 32, 32, 3), np.nan), "these are in nan ... nan"),
        (RGB, np.full((1, 32, 32, 3), 256), "these are in 256 ... 256"),
        (RGB, np.full((1, 32, 32, 3), "a"), "not <U1"),
        (RGB, [np.zeros((32, 32, 3)), np.zeros((32, 31, 3))], "differ in shape"),
        (GREY, np.zeros((1, 784), np.uint8), r"not \[1, 784\]"),
    ],
)
def test_images_that_cannot_be_meant_are_one_sentence(inputs, images, message):
    with pytest.raises(DataError, match=message):
        inputs.checked(images)


def test_images_that_can_be_meant_are_taken(rng):
    grey = rng.integers(0, 256, size=(3, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(GREY.checked(list(grey)), grey[..., np.newaxis])
    assert GREY.checked(grey.astype(np.int64)).dtype == np.uint8
    assert GREY.checked([]).shape == (0, 28, 28, 1) and RGB.checked(np.zeros((0, 32, 32, 3))).shape == (0, 32, 32, 3)


def test_a_grey_picture_is_scaled_and_inverted_only_where_the_data_say_so(tmp_path):
    """A dark square on white paper, enlarged tenfold: the net learnt from light things on dark ground."""
    small = np.full((28, 28), 255, np.uint8)
    small[8:20, 10:18] = 30
    Image.fromarray(small.repeat(10, axis=0).repeat(10, axis=1)).save(tmp_path / "dark.png")
    Image.fromarray(255 - small).save(tmp_path / "light.png")
    dark, light = GREY.read(tmp_path / "dark.png"), GREY.read(tmp_path / "light.png")
    assert dark.remark.startswith("inverted") and light.remark == "" and dark.original.shape == (280, 280)
    with Image.open(tmp_path / "dark.png") as picture:  # Pillow's filter is the same triangle
        wanted = 255 - np.asarray(picture.resize((28, 28), Image.Resampling.BILINEAR)).astype(int)
    np.testing.assert_allclose(dark.image.astype(int), wanted, atol=2)
    np.testing.assert_array_equal(light.image, 255 - small)
    kept = replace(GREY, light_on_dark=False).read(tmp_path / "dark.png")
    assert kept.remark == "" and kept.image[0, 0] == 255
    with pytest.raises(DataError, match="at most 100"):
        replace(GREY, max_pixels=100).read(tmp_path / "dark.png")
    with pytest.raises(DataError, match="at most 100"):
        replace(GREY, max_pixels=100, digits=True).read(tmp_path / "dark.png")


def test_a_file_is_shown_as_the_test_view_shows_it(tmp_path, rng):
    """Pixel by pixel what `FileSource` streams, for a crop and for whole images."""
    pixels = rng.integers(0, 256, size=(50, 70, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    source = FileSource([str(path)], np.zeros(1, np.int32), ("x",), [inspect(path)])
    for fraction in (1.0, 0.75):
        inputs = Inputs(32, Preprocess(), fraction, (None, None, 3))
        ((views, _),) = in_order(source, 1, inputs.test_crop, 32)
        np.testing.assert_array_equal(inputs.read(path).image, np.rint(views[0, 0].numpy()))
        np.testing.assert_array_equal(inputs.test_images(source)[0], np.rint(views[0, 0].numpy()))


def test_inputs_are_what_json_gives_back():
    inputs = Inputs(227, Preprocess.standardised((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), 0.875, (None, None, 3))
    assert Inputs.from_dict(json.loads(json.dumps(inputs.as_dict()))) == inputs
