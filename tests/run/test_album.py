"""Which images the pictures of a run show."""

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import batch_indices
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.nets import NETS
from rawcnn.run import album
from rawcnn.train.inputs import Inputs
from rawcnn.train.recipes import recipe_of

DIGITS = tuple("0123456789")


def source():
    images, labels = drawn_digits(60)
    return Source(images, labels, DIGITS)


def test_samples_are_what_training_begins_with():
    digits = source()
    inputs = Inputs.of(recipe_of("lenet5", None), digits, 32)
    images, labels = album.training_views(digits, inputs, seed=3)
    order = batch_indices(digits, 25, seed=3, number=0)
    np.testing.assert_array_equal(images, np.pad(digits.images[order], ((0, 0), (2, 2), (2, 2), (0, 0))))
    np.testing.assert_array_equal(labels, digits.labels[order])
    assert len(set(np.diff(labels))) > 2  # mixed, not sorted


def test_samples_are_changed_as_in_training():
    digits = source()
    inputs = Inputs.of(recipe_of("lenet5", None), digits, 32)
    inverted, _ = album.training_views(digits, inputs, seed=3, augment=lambda x, seed: 255 - x, count=4)
    plain, _ = album.training_views(digits, inputs, seed=3, count=4)
    assert inverted.shape == (4, 32, 32, 1)
    np.testing.assert_array_equal(inverted[:, 2:-2, 2:-2], 255 - plain[:, 2:-2, 2:-2])


def test_test_views_are_the_input_of_the_net():
    digits = source()
    inputs = Inputs.of(recipe_of("lenet5", None), digits, 32)
    views = album.test_views(digits, np.array([5, 1]), inputs)
    np.testing.assert_allclose(views, inputs.preprocess(tf.constant(digits.images[[5, 1]])))


def test_a_run_of_lenet5_leaves_its_pictures(tmp_path):
    digits, net = source(), NETS["lenet5"]()
    inputs = Inputs.of(recipe_of("lenet5", None), digits, 32)
    probabilities = np.eye(10)[digits.labels]
    made = [draw().name for draw in album.of_net(tmp_path, net, inputs, digits, probabilities, title="t")]
    assert made == ["net.png", "filters.png", "maps.png", "connections.png", "bitmaps.png"]
    assert sorted(made) == sorted(path.name for path in tmp_path.iterdir())
    probabilities = np.roll(probabilities, 1, axis=1)  # all wrong
    assert len(album.of_net(tmp_path, net, inputs, digits, probabilities, title="t")) == 5


def test_photos_have_grad_cam_of_right_answers_and_of_mistakes(tmp_path):
    images, labels = drawn_digits(40)
    digits = Source(np.repeat(images, 3, axis=3), labels, DIGITS)
    net = NETS["alexnet_dogs_small"](num_classes=10)
    inputs = Inputs.of(recipe_of("alexnet_dogs_small", None), digits, net.input_shape[0])
    probabilities = np.full((40, 10), 0.01)
    said = np.where(np.arange(40) < 20, labels, (labels + 1) % 10)
    probabilities[np.arange(40), said] = np.linspace(0.5, 0.9, 40)
    drawings = album.of_net(tmp_path, net, inputs, digits, probabilities, title="t")
    (cam,) = [draw for draw in drawings if str(draw.args[4:5]).find("grad_cam.png") >= 0]
    _, views, classes, names, _ = cam.args
    assert views.shape == (6, *net.input_shape) and names == DIGITS
    true = cam.keywords["true"]
    assert list(classes[:3] == true[:3]) == [True] * 3 and len(set(true[:3])) == 3
    np.testing.assert_array_equal(true[3:], labels[[39, 38, 37]])  # the surest are the last
