"""Every op against NumPy loops, SciPy or TensorFlow's own kernel, and its gradient against central differences."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.nets.lenet import C3_TABLE, bitmaps
from tests.numeric import assert_gradients_match


def test_scaled_tanh_is_the_papers_function(rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_allclose(ops.scaled_tanh(tf.constant(x)), 1.7159 * np.tanh(2 / 3 * x), rtol=1e-14)
    assert float(ops.scaled_tanh(tf.constant(1.0))) == pytest.approx(1.0, abs=1e-4)
    assert_gradients_match(ops.scaled_tanh, x)


def lrn_loop(x, k, n, alpha, beta):
    """The formula of Krizhevsky et al. 2012, section 3.3, one channel after the other."""
    y = np.empty_like(x)
    channels = x.shape[-1]
    for i in range(channels):
        near = x[..., max(0, i - n // 2) : min(channels - 1, i + n // 2) + 1]
        y[..., i] = x[..., i] / (k + alpha * (near**2).sum(axis=-1)) ** beta
    return y


@pytest.mark.parametrize(("k", "n", "alpha", "beta"), [(2.0, 5, 1e-4, 0.75), (1.0, 3, 0.5, 0.6), (1.5, 1, 0.1, 1.0)])
def test_lrn(rng, k, n, alpha, beta):
    x = rng.normal(size=(2, 3, 2, 7)) * 3
    expected = lrn_loop(x, k, n, alpha, beta)
    np.testing.assert_allclose(ops.lrn(tf.constant(x), k=k, n=n, alpha=alpha, beta=beta), expected, rtol=1e-12)
    kernel = tf.nn.lrn(tf.constant(x, tf.float32), n // 2, k, alpha, beta)
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)
    assert_gradients_match(lambda x: ops.lrn(x, k=k, n=n, alpha=alpha, beta=beta), x)


def test_lrn_refuses_an_even_window():
    with pytest.raises(UsageError, match="odd window"):
        ops.lrn(tf.zeros((1, 1, 1, 4)), n=4)


def test_subsample_sums_scales_and_shifts(rng):
    x, w, b = rng.normal(size=(2, 4, 6, 3)), rng.normal(size=3), rng.normal(size=3)
    expected = np.empty((2, 2, 3, 3))
    for n, i, j, c in np.ndindex(expected.shape):
        expected[n, i, j, c] = w[c] * x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].sum() + b[c]
    np.testing.assert_allclose(ops.subsample(tf.constant(x), tf.constant(w), tf.constant(b)), expected, rtol=1e-12)
    assert_gradients_match(ops.subsample, x, w, b)


def test_c3_table_is_the_papers(rng):
    """Table I in words: 3, 4 or all 6 input maps each, 60 of 96 pairs (`systems` lists them map by map)."""
    seen = [
        {0, 1, 2}, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}, {0, 4, 5}, {0, 1, 5}, {0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5},
        {0, 3, 4, 5}, {0, 1, 4, 5}, {0, 1, 2, 5}, {0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}, {0, 1, 2, 3, 4, 5},
    ]  # fmt: skip
    table = ops.connections(C3_TABLE)
    assert table.shape == (6, 16) and table.sum() == 60
    assert [set(np.flatnonzero(column)) for column in table.T] == seen


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_partial_conv2d_is_a_sum_of_correlations(rng, padding):
    table = ops.connections("X . X\nX X .\n. X X")
    x, w = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(3, 3, 6))
    pairs = list(zip(*np.nonzero(table), strict=True))
    y = ops.partial_conv2d(tf.constant(x), tf.constant(w), table, padding)
    expected = np.zeros(y.shape)
    for n in range(len(x)):
        for k, (i, j) in enumerate(pairs):
            expected[n, :, :, j] += correlate(x[n, :, :, i], w[:, :, k], mode=padding.lower())
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
    assert_gradients_match(lambda x, w: ops.partial_conv2d(x, w, table, padding), x, w)


def test_connections_refuses_a_ragged_table():
    with pytest.raises(UsageError, match="same length"):
        ops.connections("X .\nX")


def test_rbf_distance(rng):
    x, centres = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    expected = [[sum((a - c) ** 2 for a, c in zip(row, centre, strict=True)) for centre in centres] for row in x]
    np.testing.assert_allclose(ops.rbf_distance(tf.constant(x), tf.constant(centres)), expected, rtol=1e-12)
    assert_gradients_match(ops.rbf_distance, x, centres)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_window_shape_is_what_tensorflow_does(padding):
    for length in range(5, 14):
        for size in range(1, 6):
            for stride in range(1, 4):
                run = tf.nn.max_pool2d(tf.zeros((1, length, 9, 1)), size, stride, padding).shape[1]
                assert ops.window_shape(length, size, stride, padding) == run


def test_window_shape_names_what_does_not_fit():
    with pytest.raises(UsageError, match="5x5 window does not fit into 4 pixels"):
        ops.window_shape(4, 5, 1, "VALID")
    with pytest.raises(UsageError, match="'SAME' or 'VALID'"):
        ops.window_shape(4, 5, 1, "FULL")


def test_bitmaps_reads_glyphs_side_by_side():
    glyphs = bitmaps("#. ##\n.# #.", width=2)
    np.testing.assert_array_equal(glyphs, [[1, -1, -1, 1], [1, 1, 1, -1]])
    with pytest.raises(UsageError, match="3 characters wide"):
        bitmaps("#. ##\n.# #.", width=3)
