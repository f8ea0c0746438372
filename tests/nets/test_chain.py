"""The table and the chain that runs it: names, shapes, seeds, precision and errors."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.layers import Conv2D, Dense, Flatten, MaxPool
from rawcnn.layers.variables import he_normal, named_variables, named_weights
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16, parse

conv = row(Conv2D, activation=tf.nn.relu, w_init=he_normal)
TABLE = (
    ("conv1", conv(4, 3)),
    ("pool1", row(MaxPool)(2)),
    ("conv2", conv(8, 3, padding="VALID")),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(3)),
)


@pytest.fixture
def net():
    return Chain(TABLE, input_shape=(8, 8, 1))


def test_one_name_everywhere(net, rng):
    x = rng.normal(size=(2, 8, 8, 1)).astype(np.float32)
    logits, ends = net.endpoints(x)
    assert list(ends) == ["conv1", "pool1", "conv2", "flat", "logits"] == [name for name, _ in net.rows]
    assert {name: ends[name].shape[1:] for name in ends} == {name: getattr(net, name).out_shape for name in ends}
    assert list(named_weights(net)) == ["conv1/w", "conv1/b", "conv2/w", "conv2/b", "logits/w", "logits/b"]
    np.testing.assert_array_equal(logits, ends["logits"])
    np.testing.assert_array_equal(net(x), logits)


@pytest.mark.parametrize("name", ["lenet5", "cifar_fast", "googlenet"])
def test_variables_are_called_by_their_path(name):
    variables = named_variables(NETS[name]())
    assert {v.name for v in variables.values()} == {f"{path}:0" for path in variables}
    assert len(variables) == len({v.name for v in variables.values()})


def test_endpoints_stop_at_until(net):
    last, ends = net.endpoints(tf.ones((1, 8, 8, 1)), until="conv2")
    assert list(ends) == ["conv1", "pool1", "conv2"]
    np.testing.assert_array_equal(last, ends["conv2"])
    with pytest.raises(UsageError, match="no row 'conv9': choose one of conv1, pool1"):
        net.endpoints(tf.zeros((1, 8, 8, 1)), until="conv9")


def test_two_nets_of_one_table_share_no_variable(net):
    other = Chain(TABLE, input_shape=(8, 8, 1))
    assert not {v.ref() for v in net.variables} & {v.ref() for v in other.variables}


def test_inserting_a_row_changes_no_other_rows_initial_weights(net):
    longer = Chain((TABLE[0], ("extra", conv(4, 3)), *TABLE[1:]), input_shape=(8, 8, 1))
    for name in ("conv1/w", "conv2/w", "logits/w"):
        np.testing.assert_array_equal(named_weights(net)[name], named_weights(longer)[name])
    assert not np.array_equal(net.conv1.w, Chain(TABLE, input_shape=(8, 8, 1), seed=1).conv1.w)


def test_precision_is_the_policys(net, rng):
    x = tf.constant(rng.normal(size=(2, 8, 8, 1)), tf.float32)
    narrow = Chain(TABLE, input_shape=(8, 8, 1), policy=MIXED_BFLOAT16)
    _, ends = narrow.endpoints(x)
    assert ends["conv2"].dtype == tf.bfloat16 and ends["logits"].dtype == tf.float32
    assert all(v.dtype == tf.float32 for v in narrow.variables)
    np.testing.assert_allclose(ends["logits"], net(x), rtol=0.1, atol=0.02)


def test_precision_by_name(monkeypatch):
    assert parse("float32") == FLOAT32 and parse("bfloat16") == MIXED_BFLOAT16
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    if not tf.config.list_physical_devices("GPU"):
        assert parse("auto") == FLOAT32
    with pytest.raises(UsageError, match="'float16': choose one of float32, bfloat16, auto"):
        parse("float16")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            (*TABLE, ("c2", conv(4, 3))),
            r"Row 'c2' cannot follow an output of shape \(3,\): Conv2D needs \(height, width",
        ),
        ((("big", conv(4, 9, padding="VALID")),), "Row 'big' .* 9x9 window does not fit into 8 pixels"),
        ((TABLE[0], TABLE[0]), "Row name 'conv1' is taken"),
        ((("conv 1", conv(4, 3)),), "cannot be an attribute of the net"),
        ((("a", conv(4, kernel_size=3)),), "Row 'a': Conv2D has no argument 'kernel_size'. It is called 'size' here"),
        ((("a", conv(4, 3, strides=2)),), "'strides'. It is called 'stride' here"),
        ((("a", conv(filter=4, size=3)),), "no argument 'filter'. Did you mean 'filters'"),
        ((("a", conv(4, (3, 3))),), r"Row 'a': size is one number for both directions, not \(3, 3\): write size=3"),
        ((("a", conv(4.0, 3)),), "filters is a whole number from 1 on, not 4.0"),
        ((("a", conv(4, -3)),), "size is a whole number from 1 on, not -3"),
        ((("a", conv(4, 3, stride=0)),), "stride is a whole number from 1 on, not 0"),
        ((("a", row(Conv2D, activation="relu")(4, 3)),), "not 'relu': write activation=tf.nn.relu"),
        ((("a", Conv2D),), r"Row 'a' is Conv2D itself.* write row\(Conv2D\)"),
        ((("a", Conv2D(4, 3, input_shape=(8, 8, 1))),), r"Row 'a' is Conv2D itself"),
        ((("a", 5),), "Row 'a' is int itself"),
        ((("a", row(Dense)(4)),), "Row 'a' .* put a Flatten row before it"),
        ((("_conv1", conv(4, 3)),), "begin with a letter"),
        ((("größe", conv(4, 3)),), "letters a to z"),
        ((("class", conv(4, 3)),), "no keyword of Python"),
        (((1, conv(4, 3)),), "Row name 1 cannot be an attribute of the net"),
        ((("a", conv(4, 3))), r"entry 1 is a str. A table of one row needs a comma after it: \(\(name, row\),\)"),
        ([conv(4, 3)], r"A table is pairs of a name and a row, .* but entry 1 is a Row"),
        ((TABLE[0], ("a", conv(4, 3), 5)), "entry 2 is 3 things"),
        ({"a": conv(4, 3)}, "not a dict"),
        (conv(4, 3), "not a Row"),
        ((), "but this one is empty"),
        ((("a", conv),), r"Row 'a' has no arguments yet: call what row\(...\) gave"),
        ((("a", conv()),), "Row 'a': Conv2D lacks filters, size"),
        ((("a", conv(4, 3, input_shape=(8, 8, 1))),), "Row 'a': input_shape is said once for all rows"),
        ((("a", conv(4, 3, seed=1)),), "Row 'a': seed is said once for all rows"),
    ],
)
def test_errors_name_the_row(table, message):
    with pytest.raises(UsageError, match=message):
        Chain(table, input_shape=(8, 8, 1))


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 9, 8, 1), (2, 8, 8, 3)])
def test_a_wrong_input_names_both_shapes(net, shape):
    with pytest.raises(UsageError, match=r"takes images \[N, 8, 8, 1\], not"):
        net(tf.zeros(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chain(TABLE, input_shape=(None, 8, 8, 1)), "leave the batch axis out"),
        (lambda: Chain(TABLE, input_shape=8), "input_shape is that of one image"),
        (lambda: Chain(TABLE, input_shape=(8, 8, 1), policy="bfloat16"), "policy is a Policy, not 'bfloat16'"),
        (lambda: Chain(TABLE, input_shape=(8, 8, 1), heads={"aux": ("conv9", TABLE)}), "hangs on row 'conv9'"),
        (lambda: row("Conv2D"), "row takes a layer's class, not 'Conv2D'"),
    ],
)
def test_errors_of_the_whole_net(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_two_heads_on_one_row_are_refused():
    head = (("flat", row(Flatten)()),)
    with pytest.raises(UsageError, match="'one' and 'two' both hang on row 'a'"):
        Chain((("a", row(Flatten)()),), input_shape=(2, 2, 1), heads={"one": ("a", head), "two": ("a", head)})
