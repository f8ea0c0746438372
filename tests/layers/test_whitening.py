"""The whitening convolution: what its filters make of the patches they were computed from, by NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.layers import Whitening
from rawcnn.layers.variables import named_variables, named_weights


def patches_of(x, size):
    """All windows `[count, size * size * C]` of images, in the filters' order of numbers."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.moveaxis(windows, 3, -1).reshape(-1, size * size * x.shape[-1]).astype(np.float64)


def images(rng, channels=3):
    """Neighbouring pixels and channels that are alike, as in photographs."""
    x = rng.normal(size=(20, 9, 8, channels))
    return (x + np.roll(x, 1, axis=1) + 0.5 * x.mean(axis=3, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("size", "channels"), [(2, 3), (3, 1)])
def test_filters_whiten(rng, size, channels):
    """Responses to the patches have covariance l / (l + epsilon) on the diagonal, and 0 everywhere else."""
    x = images(rng, channels)
    layer = Whitening(size, input_shape=x.shape[1:], epsilon=0.01)
    layer.look_at(tf.constant(x))
    count = size * size * channels
    half = layer(tf.constant(x)).numpy().reshape(-1, 2 * count)[:, :count]
    patches = patches_of(x, size)
    eigenvalues = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    np.testing.assert_allclose(half.T @ half / len(half), np.diag(eigenvalues / (eigenvalues + 0.01)), atol=2e-4)


def test_every_filter_has_its_negative_and_the_length_that_the_equation_says(rng):
    x = images(rng)
    layer = Whitening(2, input_shape=x.shape[1:])
    layer.look_at(tf.constant(x))
    w = layer.w.numpy().reshape(12, 24)
    np.testing.assert_array_equal(w[:, 12:], -w[:, :12])
    eigenvalues = np.linalg.eigvalsh(patches_of(x, 2).T @ patches_of(x, 2) / len(patches_of(x, 2)))
    np.testing.assert_allclose((w[:, :12] ** 2).sum(axis=0), 1 / (eigenvalues + 5e-4), rtol=1e-3)


def test_filters_are_saved_but_not_trained():
    layer = Whitening(2, input_shape=(4, 4, 3), w_init=None)
    assert list(named_weights(layer)) == ["b"] and set(named_variables(layer)) == {"w", "b"}
    assert layer.num_params() == 24 and layer.num_statistics() == 2 * 2 * 3 * 24
