"""Muon against NumPy: the polynomial on the singular values of NumPy's own decomposition, and whole updates."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.train import schedules
from rawcnn.train.muon import orthogonalised
from rawcnn.train.optimizers import Muon


def by_svd(g, steps=3):
    """What Newton-Schulz steps compute by products: the polynomial applied to singular values, one by one."""
    u, s, vt = np.linalg.svd(g / np.linalg.norm(g), full_matrices=False)
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vt


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (1, 6), (64, 27)])
@pytest.mark.parametrize("steps", [1, 3, 6])
def test_steps_act_on_the_singular_values_alone(rng, shape, steps):
    g = 100 * rng.normal(size=shape)
    np.testing.assert_allclose(orthogonalised(tf.constant(g), steps), by_svd(g, steps), atol=1e-10)
    in_float32 = orthogonalised(tf.constant(g, tf.float32), steps)
    assert in_float32.dtype == tf.float32
    np.testing.assert_allclose(in_float32, by_svd(g, steps), atol=1e-4)


def test_a_random_matrix_becomes_nearly_orthogonal(rng):
    """Of 64 x 576 normal numbers three steps bring all singular values from 0.08 ... 0.17 near 1."""
    g = rng.normal(size=(64, 576))
    values = np.linalg.svd(orthogonalised(tf.constant(g)).numpy(), compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.3


def test_no_gradient_is_no_direction():
    np.testing.assert_array_equal(orthogonalised(tf.zeros((3, 5))), np.zeros((3, 5)))


def test_updates_by_hand(rng):
    """Five updates of filters, a head, a shift and a bias, written out in NumPy."""
    shapes = {"conv/w": (3, 3, 2, 5), "bn/beta": (5,), "conv/b": (5,), "logits/w": (5, 4)}
    wanted = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    ours = {name: tf.Variable(value, dtype=tf.float32) for name, value in wanted.items()}
    v = {name: np.zeros(shape) for name, shape in shapes.items()}
    optimizer = Muon(
        ours, schedules.linear(0.2, 10), 0.7, others=0.5, others_momentum=0.8, biases=3.0, weight_decay=0.1
    )
    for step in range(5):
        gradients = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients.values()], tf.constant(step, tf.int64))
        rate = 0.2 * (1 - step / 10)
        for name, g in gradients.items():
            w = wanted[name]
            if name == "conv/w":
                v[name] = 0.7 * v[name] + g
                turned = by_svd((g + 0.7 * v[name]).reshape(18, 5)).reshape(w.shape)
                wanted[name] = np.sqrt(5) * w / np.linalg.norm(w) - rate * turned
            else:
                own = rate * 0.5 * (1.0 if name == "logits/w" else 3.0)
                g = g + 0.1 * (rate / own) * w
                v[name] = 0.8 * v[name] - own * g
                wanted[name] = w + 0.8 * v[name] - own * g
        for name, value in wanted.items():
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=5e-5)


def test_weight_decay_leaves_filters_alone_and_takes_the_same_of_all_others():
    names = {"conv/w": (1, 1, 2, 2), "bn/beta": (2,), "logits/w": (2, 3)}
    ours = {name: tf.Variable(tf.ones(shape)) for name, shape in names.items()}
    Muon(ours, 0.1, weight_decay=0.5, others_momentum=0.0).apply([tf.zeros(s) for s in names.values()], 0)
    np.testing.assert_allclose(ours["conv/w"], np.full((1, 1, 2, 2), np.sqrt(2) / 2), rtol=1e-6)
    np.testing.assert_allclose(ours["bn/beta"], np.full(2, 0.95), rtol=1e-6)
    np.testing.assert_allclose(ours["logits/w"], np.full((2, 3), 0.95), rtol=1e-6)
