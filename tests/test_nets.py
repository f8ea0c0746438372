"""Exact numbers of every net: parameters row by row, endpoint shapes, and what the papers say of them."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.lenet import DIGIT_BITMAPS
from rawcnn.summary import summary, summary_rows

SIZES = {
    "lenet5": {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "flat": 0, "f6": 10164, "logits": 0},
    "lenet5_tanh": {"c1": 156, "s2": 0, "c3": 2416, "s4": 0, "flat": 0, "c5": 48120, "f6": 10164, "logits": 850},
    "lenet5_relu": {"c1": 156, "s2": 0, "c3": 2416, "s4": 0, "flat": 0, "c5": 48120, "f6": 10164, "logits": 850},
}
TOTALS = {"lenet5": 60_000, "lenet5_tanh": 61_706, "lenet5_relu": 61_706}
SHAPES = {
    "lenet5": {
        "c1": (28, 28, 6),
        "s2": (14, 14, 6),
        "c3": (10, 10, 16),
        "s4": (5, 5, 16),
        "c5": (1, 1, 120),
        "flat": (120,),
        "f6": (84,),
        "logits": (10,),
    },
    "lenet5_tanh": {
        "c1": (28, 28, 6),
        "s2": (14, 14, 6),
        "c3": (10, 10, 16),
        "s4": (5, 5, 16),
        "flat": (400,),
        "c5": (120,),
        "f6": (84,),
        "logits": (10,),
    },
}
SHAPES["lenet5_relu"] = SHAPES["lenet5_tanh"]


def test_every_net_has_its_numbers():
    assert set(NETS) == set(SIZES) == set(TOTALS) == set(SHAPES)


@pytest.mark.parametrize("name", NETS)
def test_parameters(name):
    net = NETS[name]()
    assert {row: layer.num_params() for row, layer in net.rows} == SIZES[name]
    assert net.num_params() == TOTALS[name] == sum(int(np.prod(v.shape)) for v in net.trainable_variables)


@pytest.mark.parametrize("name", NETS)
def test_endpoint_shapes(name):
    net = NETS[name]()
    ends = net.endpoints(tf.zeros((3, *net.in_shape)))
    assert {row: tuple(end.shape[1:]) for row, end in ends.items()} == SHAPES[name]
    assert list(ends)[-1] == "logits"


@pytest.mark.parametrize("name", NETS)
def test_the_docstring_is_the_summary(name):
    assert summary(NETS[name]()).split() == NETS[name].__doc__.split("print(summary(" + name + "()))")[1].split()


def test_lenet5_connections_are_the_papers():
    """LeCun et al. 1998, section II.B, counts connections, a bias being one: in S layers 4 inputs and a bias."""
    macs = {r.name: r.multiply_adds for r in summary_rows(NETS["lenet5"]())}
    assert macs["c1"] + 28 * 28 * 6 == 122_304
    assert macs["s2"] * (4 + 1) == 5_880
    assert macs["c3"] + 10 * 10 * 16 == 151_600
    assert macs["s4"] * (4 + 1) == 2_000
    assert macs["c5"] + 120 == 48_120
    assert NETS["lenet5"]().c3.table.sum() == 60


def test_digit_bitmaps_are_distinct_and_7_by_12():
    assert DIGIT_BITMAPS.shape == (10, 84) and set(np.unique(DIGIT_BITMAPS)) == {-1.0, 1.0}
    differing = (DIGIT_BITMAPS[:, None] != DIGIT_BITMAPS).sum(axis=-1)
    assert (differing + 84 * np.eye(10) >= 11).all()


def test_lenet5_is_best_where_f6_draws_the_bitmap():
    logits = NETS["lenet5"]().logits(tf.constant(DIGIT_BITMAPS))
    assert (np.argmax(logits, axis=1) == np.arange(10)).all()
    np.testing.assert_array_equal(np.diag(logits), np.zeros(10))


def test_weights_begin_within_the_papers_bounds():
    net = NETS["lenet5"](seed=3)
    for layer, fan_in in ((net.c1, 25), (net.c5, 400), (net.f6, 120), (net.s2, 4)):
        assert 0 < np.abs(layer.w).max() <= 2.4 / fan_in


def test_a_small_input_names_the_row_that_does_not_fit():
    with pytest.raises(UsageError, match="Row 'c5'"):
        NETS["lenet5"](input_shape=(28, 28, 1))
