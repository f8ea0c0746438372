"""The summary's numbers against TensorFlow's profiler, and its receptive fields against the support of gradients."""

import html.parser
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from rawcnn.layers import AveragePool, BatchNorm, Conv2D, Dense, Flatten, MaxPool
from rawcnn.layers.variables import constant
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.summary import summary, summary_rows
from rawcnn.ops.fast.forms import plain


def profiled_multiply_adds(layer):
    """Half the floating point operations that TensorFlow's profiler counts in the convolutions and matrix products."""
    with plain("all"):  # faster forms may multiply more
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, *layer.input_shape)))
    frozen = convert_variables_to_constants_v2(graph)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options.update(output="none", account_type_regexes=["Conv2D", "MatMul"])
    return tf.compat.v1.profiler.profile(frozen.graph, cmd="scope", options=options).total_float_ops // 2


@pytest.mark.parametrize("name", ["lenet5_tanh", "lenet5_relu"])
def test_multiply_adds_are_the_profilers(name):
    net = NETS[name]()
    for row_name, layer in net.rows:
        if layer.num_params():
            assert layer.multiply_adds() == profiled_multiply_adds(layer), row_name
    assert sum(r.multiply_adds for r in summary_rows(net)) == profiled_multiply_adds(net) == 416_520


def test_multiply_adds_of_lenet5():
    """C3 computes with a dense kernel: the profiler's count times the share of pairs connected is the layer's."""
    net = NETS["lenet5"]()
    for layer in (net.c1, net.c5, net.f6):
        assert layer.multiply_adds() == profiled_multiply_adds(layer)
    kernel = 2 * math.prod(net.c3.w.shape[:2]) * 60 * 96 // 2  # the product that places the weights in the dense kernel
    assert net.c3.multiply_adds() == (profiled_multiply_adds(net.c3) - kernel) * 60 / 96 == 150_000
    assert net.s2.multiply_adds() == 14 * 14 * 6 and net.logits.multiply_adds() == 84 * 10


def seen_pixels(net, name):
    """The side of the input area from which a unit in the middle of row `name` has a gradient."""
    x = tf.ones((1, *net.input_shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        end, _ = net.endpoints(x, until=name)
        unit = end[(0, *(d // 2 for d in end.shape[1:]))]
    rows = np.flatnonzero(np.abs(tape.gradient(unit, x).numpy()).sum(axis=(0, 2, 3)))
    return rows.max() - rows.min() + 1


def test_receptive_fields_are_where_gradients_come_from():
    conv = row(Conv2D, w_init=constant(1.0), padding="VALID")
    table = (
        ("conv1", conv(2, 7, stride=2)),
        ("pool1", row(AveragePool)(3, 2)),
        ("conv2", conv(2, 3)),
        ("conv3", conv(2, 1)),
        ("pool2", row(AveragePool)(2)),
        ("flat", row(Flatten)()),
        ("logits", row(Dense, w_init=constant(1.0))(3)),
    )
    net = Chain(table, input_shape=(61, 61, 1))
    for r in summary_rows(net):
        if r.name != "flat":  # one flattened unit sees what it did before
            assert r.receptive_field == seen_pixels(net, r.name), r.name
    assert summary_rows(net)[-1].receptive_field <= 61


def test_lenet5_units_of_c5_see_the_whole_image():
    fields = {r.name: r.receptive_field for r in summary_rows(NETS["lenet5"]())}
    assert fields == {"c1": 5, "s2": 6, "c3": 14, "s4": 16, "c5": 32, "flat": 32, "f6": 32, "logits": 32}


class Cells(html.parser.HTMLParser):
    """The text of every cell, row by row, as a browser would show it."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_printing_a_net_shows_the_summary_and_a_notebook_its_table():
    net = NETS["cifar_fast"]()
    assert str(net) == repr(net) == summary(net)
    assert repr(net.conv1) == "<Whitening: (32, 32, 3) -> (31, 31, 24), 0 parameters>"
    reader = Cells()
    reader.feed(net._repr_html_())
    lines = [re.split(r"  +", line) for line in summary(net).splitlines()[:-1]]
    assert [[cell for cell in row if cell] for row in reader.rows] == lines
    assert summary(net).splitlines()[-1] in net._repr_html_()


def test_names_are_escaped_in_notebooks():
    layer = type("Sharp", (Flatten,), {})
    net = Chain((("flat", row(layer)()),), input_shape=(2, 2, 1))
    layer.__name__ = "Sharp<b>"
    table = net._repr_html_()
    assert "Sharp&lt;b&gt;" in table and "<b>" not in table


def test_moving_averages_of_heads_are_counted():
    head = (("bn", row(BatchNorm)()), ("flat", row(Flatten)()))
    net = Chain((("a", row(MaxPool)(2)),), input_shape=(4, 4, 3), heads={"aux": ("a", head)})
    assert net.num_params() == 6 and net.num_statistics() == 6
    assert summary(net).endswith("with numbers that are not trained: 12")


def test_the_table_is_aligned_and_adds_up():
    lines = summary(Chain((("pool", row(MaxPool)(2)),), input_shape=(4, 4, 3))).splitlines()
    assert lines[0].split() == ["row", "layer", "output", "parameters", "multiply-adds", "receptive", "field"]
    assert lines[1].split() == ["pool", "MaxPool", "2x2x3", "0", "0", "2"]
    assert lines[-1].split() == ["total", "0", "0"]
