"""Initial values: their distributions, and that they are functions of (seed, path) alone."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from rawcnn.layers.variables import (
    bias_variable,
    constant,
    gaussian,
    he_normal,
    identity,
    lecun_normal,
    lecun_uniform,
    truncated_normal,
    weight_variable,
)
from rawcnn.seeds import fold

SHAPE, FAN_IN = (50, 20, 100), 1000


@pytest.mark.parametrize(
    ("init", "std", "largest"),
    [
        (gaussian(0.01), 0.01, math.inf),
        (truncated_normal(0.1), 0.1 * 0.87962566, 0.2),  # the variance that is left within two standard deviations
        (he_normal, math.sqrt(2 / FAN_IN), math.inf),
        (lecun_normal, math.sqrt(1 / FAN_IN), math.inf),
        (None, math.sqrt(1 / FAN_IN), math.inf),  # the default
        (lecun_uniform(), 2.4 / FAN_IN / math.sqrt(3), 2.4 / FAN_IN),
    ],
    ids=["gaussian", "truncated_normal", "he_normal", "lecun_normal", "default", "lecun_uniform"],
)
def test_distributions(init, std, largest):
    w = weight_variable(SHAPE, init, seed=1).numpy()
    assert w.shape == SHAPE and w.dtype == np.float32
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.02)
    assert np.abs(w).max() <= largest


def test_biases_and_constants_are_filled():
    np.testing.assert_array_equal(bias_variable((3,), 0.1), np.full(3, 0.1, np.float32))
    np.testing.assert_array_equal(weight_variable((2, 2), constant(3.0)), np.full((2, 2), 3, np.float32))


@pytest.mark.parametrize(("size", "filters"), [(1, 2), (3, 5), (2, 3), (4, 7)])
def test_identity_filters_pass_their_channel_on(rng, size, filters):
    """What SciPy's padding and correlation make of an image is the image itself, in as many maps as there are."""
    x = rng.normal(size=(6, 5, 3)).astype(np.float32)
    w = weight_variable((size, size, 3, filters), identity(constant(0.25))).numpy()
    for i in range(filters):
        before = (size - 1) // 2
        padded = np.pad(x, ((before, size // 2), (before, size // 2), (0, 0)))
        seen = correlate(padded, w[..., i], "valid")[..., 0]
        other = correlate(padded, np.full_like(w[..., i], 0.25), "valid")[..., 0]
        np.testing.assert_allclose(seen, x[..., i] if i < 3 else other, atol=1e-5)


def test_the_seed_decides():
    one, same, other = (weight_variable((4, 4), gaussian(1.0), seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_variables_are_trainable_and_made_without_the_global_seed():
    tf.random.set_seed(1)
    one = weight_variable((3,), gaussian(1.0))
    tf.random.set_seed(2)
    np.testing.assert_array_equal(one, weight_variable((3,), gaussian(1.0)))
    assert one.trainable and one.name.startswith("w")


def test_folding_is_by_path():
    assert fold(fold(3, "inception_3a"), "w") == fold(3, "inception_3a/w")
    seeds = {fold(seed, f"{row}/{v}") for seed in range(5) for row in ("c1", "c2", "f6") for v in "wb"}
    assert len(seeds) == 30 and all(0 <= seed < 2**32 for seed in seeds)
