"""Losses against NumPy, term by term as the papers write them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.nets import NETS
from rawcnn.train import losses
from rawcnn.train.recipes import recipe_of
from rawcnn.train.simple import fit
from tests.numeric import assert_gradients_match


@pytest.fixture
def distances(rng):
    return rng.uniform(0, 8, size=(5, 10))


LABELS = np.array([3, 0, 9, 3, 5], np.int32)


def test_softmax_cross_entropy(rng):
    logits = rng.normal(size=(5, 10)) * 3
    expected = [-np.log(np.exp(row[label]) / np.exp(row).sum()) for row, label in zip(logits, LABELS, strict=True)]
    np.testing.assert_allclose(losses.softmax_cross_entropy(tf.constant(logits), LABELS), expected, rtol=1e-12)


def test_label_smoothing_equals_keras(rng):
    logits = rng.normal(size=(5, 10)).astype(np.float32)
    ours = losses.softmax_cross_entropy(tf.constant(logits), LABELS, label_smoothing=0.2)
    peer = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2, reduction=None)
    np.testing.assert_allclose(ours, peer(np.eye(10, dtype=np.float32)[LABELS], logits), rtol=1e-5)


def test_rbf_mse_is_the_distance_of_the_right_class(distances):
    """LeCun et al. 1998, eq. 8."""
    expected = distances[np.arange(5), LABELS]
    np.testing.assert_allclose(losses.rbf_mse(tf.constant(-distances), LABELS), expected)


@pytest.mark.parametrize("j", [0.1, 5.0])
def test_rbf_map_is_equation_9(distances, j):
    """LeCun et al. 1998, eq. 9: `y_D + log(e^-j + sum_i e^-y_i)`."""
    expected = distances[np.arange(5), LABELS] + np.log(np.exp(-j) + np.exp(-distances).sum(axis=1))
    np.testing.assert_allclose(losses.rbf_map(tf.constant(-distances), LABELS, j), expected, rtol=1e-12)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_gradients(name, distances):
    assert_gradients_match(lambda logits: losses.LOSSES[name](logits, tf.constant(LABELS)), -distances)


def test_rbf_map_pushes_near_wrong_classes_away_and_leaves_far_ones(distances):
    near, far = np.array([[0.0, 1.0]]), np.array([[0.0, 30.0]])
    gradients = []
    for y in (near, far):
        logits = tf.constant(-y)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.rbf_map(logits, tf.constant([0]))
        gradients.append(float(tape.gradient(loss, logits)[0, 1]))
    assert gradients[0] > 0.1 and abs(gradients[1]) < 1e-9


def test_lenets_recipe_with_equation_8_learns():
    """On 300 digits that rawcnn draws itself, half a minute of it: most of them are known."""
    images, labels = drawn_digits(300)
    source, net = Source(images, labels), NETS["lenet5"](seed=1)
    *_, last = fit(net, source, epochs=12, batch_size=20, recipe=recipe_of("lenet5", "mse"))
    assert last.accuracy > 0.8
