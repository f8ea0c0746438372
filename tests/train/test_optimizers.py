"""Update rules against Keras's optimizers over several steps, and schedules against closed forms and Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from rawcnn.train import schedules
from rawcnn.train.optimizers import OPTIMIZERS, SGD, Adam, Momentum, Muon, Nesterov

SHAPES = {"w": (3, 4), "b": (4,)}


@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda w, lr: SGD(w, lr), lambda lr: keras.optimizers.SGD(lr)),
        (lambda w, lr: Momentum(w, lr, momentum=0.8), lambda lr: keras.optimizers.SGD(lr, momentum=0.8)),
        (
            lambda w, lr: Nesterov(w, lr),
            lambda lr: keras.optimizers.SGD(lr, momentum=0.9, nesterov=True),
        ),
        (lambda w, lr: Adam(w, lr, beta1=0.8, epsilon=1e-5), lambda lr: keras.optimizers.Adam(lr, 0.8, epsilon=1e-5)),
    ],
    ids=["sgd", "momentum", "nesterov", "adam"],
)
@pytest.mark.parametrize("falling", [False, True])
def test_updates_equal_keras(make, theirs, falling, rng):
    start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    ours = {name: tf.Variable(value) for name, value in start.items()}
    peers = [keras.Variable(value) for value in start.values()]
    rate = schedules.cosine(0.05, 20) if falling else 0.05
    optimizer = make(ours, rate)
    peer = theirs(keras.optimizers.schedules.CosineDecay(0.05, 20) if falling else 0.05)
    for step in range(12):
        gradients = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()]
        optimizer.apply([tf.constant(g) for g in gradients], tf.constant(step, tf.int64))
        peer.apply([tf.constant(g) for g in gradients], peers)
        for variable, other in zip(ours.values(), peers, strict=True):
            np.testing.assert_allclose(variable, other.numpy(), rtol=2e-5, atol=2e-6)


def test_adams_first_step_is_the_learning_rate_whatever_the_gradient():
    """Kingma & Ba 2015, section 2.1: the step is bounded by, and at first equal to, alpha."""
    w = {"w": tf.Variable([1.0, 1.0])}
    Adam(w, 0.01).apply([tf.constant([0.1, -50.0])], tf.constant(0))
    np.testing.assert_allclose(w["w"], [0.99, 1.01], atol=1e-5)


@pytest.mark.parametrize("kind", [SGD, Momentum, Nesterov, Adam])
def test_weight_decay_is_l2_on_weights_alone(kind):
    """Decaying equals adding `weight_decay * w` to the gradient of `w`, by hand, and leaves all else as it is."""
    names = ("c1/w", "c1/b", "bn/gamma", "logits/w")
    ones = [tf.constant([2.0, -1.0])] * 4
    decayed = {name: tf.Variable([4.0, 8.0]) for name in names}
    plain = {name: tf.Variable([4.0, 8.0]) for name in names}
    kind(decayed, 0.1, weight_decay=0.5).apply(ones, tf.constant(0))
    by_hand = [g + 0.5 * plain[name] if name.endswith("/w") else g for name, g in zip(names, ones, strict=True)]
    kind(plain, 0.1).apply(by_hand, tf.constant(0))
    for name in names:
        np.testing.assert_array_equal(decayed[name], plain[name])


def test_alexnets_update_rule():
    """Krizhevsky et al. 2012, section 5: v = 0.9 v - 0.0005 e w - e g; w += v."""
    w, v, rate = np.array([1.0, -2.0]), np.zeros(2), 0.01
    ours = {"w": tf.Variable(w, dtype=tf.float32)}
    optimizer = Momentum(ours, rate, weight_decay=0.0005)
    for step, g in enumerate(np.array([[0.3, 0.1], [-0.2, 0.4], [0.1, 0.0]])):
        optimizer.apply([tf.constant(g, tf.float32)], tf.constant(step))
        v = 0.9 * v - 0.0005 * rate * w - rate * g
        w = w + v
    np.testing.assert_allclose(ours["w"], w, rtol=1e-6)


def test_the_factor_scales_the_learning_rate():
    w = {"w": tf.Variable([1.0])}
    optimizer = SGD(w, 0.1)
    optimizer.factor.assign(0.1)
    optimizer.apply([tf.constant([1.0])], tf.constant(0))
    np.testing.assert_allclose(w["w"], [0.99])


@pytest.mark.parametrize(
    ("accuracies", "factor"),
    [
        ([], 1.0),
        ([0.1, 0.2, 0.3, 0.3, 0.3], 1.0),
        ([0.1, 0.2, 0.3, 0.3, 0.3, 0.3], 0.1),
        ([0.3, 0.1, 0.1, 0.1, 0.4, 0.2, 0.2], 0.1),
        ([0.3] + [0.1] * 30, 0.001),
        ([0.3, 0.3, 0.3, 0.31, 0.3, 0.3], 1.0),
    ],
)
def test_plateau(accuracies, factor):
    assert schedules.plateau_factor(accuracies) == pytest.approx(factor)


def test_staircase_equals_keras():
    schedule = schedules.staircase(0.01, 0.96, every_steps=8)
    peer = keras.optimizers.schedules.ExponentialDecay(0.01, 8, 0.96, staircase=True)
    for step in range(0, 50, 3):
        assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(float(peer(step)), rel=1e-5)


def test_all_are_listed():
    assert set(OPTIMIZERS.values()) == {SGD, Momentum, Nesterov, Adam, Muon}


def test_linear_equals_keras():
    peer = keras.optimizers.schedules.PolynomialDecay(0.3, 25, 0.0)
    for step in range(30):
        assert float(schedules.linear(0.3, 25)(tf.constant(step))) == pytest.approx(float(peer(step)), abs=1e-7)


@pytest.mark.parametrize("warmup", [0, 5])
def test_cosine(warmup):
    schedule = schedules.cosine(0.3, total_steps=25, warmup_steps=warmup)
    for step in range(30):
        share = min(max(step - warmup, 0) / (25 - warmup), 1)
        expected = 0.3 * (step + 1) / warmup if step < warmup else 0.15 * (1 + np.cos(np.pi * share))
        assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(expected, abs=1e-7)
