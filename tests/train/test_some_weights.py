"""An optimizer of some weights: the others stay as they are and cost no gradient; what cannot be trained is refused."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import UsageError
from rawcnn.layers import Conv2D, Dense, Flatten
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.optimizers import OPTIMIZERS, SGD, Adam
from rawcnn.train.step import TrainState, make_train_step

TABLE = (
    ("conv1", row(Conv2D, activation=tf.nn.relu)(3, 3)),
    ("conv2", row(Conv2D, activation=tf.nn.relu)(4, 3)),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(4)),
)


def net_of(seed=0):
    return Chain(TABLE, input_shape=(8, 8, 1), seed=seed)


def batch(rng):
    images = rng.integers(0, 255, size=(6, 8, 8, 1), dtype=np.uint8)
    return tf.data.Dataset.from_tensors((images, tf.constant([0, 1, 2, 3, 0, 1]))).repeat()


CHOICES = {
    "a net": lambda net: net,
    "its weights": named_weights,
    "its last row": lambda net: net.logits,
    "two rows": lambda net: {"conv2": net.conv2, "logits": net.logits},
    "one weight": lambda net: {"bias": net.conv1.b},
}
TRAINED = {
    "a net": ["conv1/w", "conv1/b", "conv2/w", "conv2/b", "logits/w", "logits/b"],
    "its weights": ["conv1/w", "conv1/b", "conv2/w", "conv2/b", "logits/w", "logits/b"],
    "its last row": ["logits/w", "logits/b"],
    "two rows": ["conv2/w", "conv2/b", "logits/w", "logits/b"],
    "one weight": ["conv1/b"],
}


@pytest.mark.parametrize(
    ("choice", "kind"), [*((choice, SGD) for choice in CHOICES), *(("two rows", kind) for kind in OPTIMIZERS.values())]
)
def test_only_what_the_optimizer_was_given_is_trained(choice, kind, rng):
    """Each trained weight moves exactly as it does where all are trained; no other moves."""
    data, all_of_it, some = batch(rng), net_of(), net_of()
    before = {name: v.numpy() for name, v in named_weights(some).items()}
    for net, trained in ((all_of_it, all_of_it), (some, CHOICES[choice](some))):
        step = make_train_step(TrainState(net, kind(trained)), softmax_cross_entropy, Preprocess())
        step(iter(data), tf.constant(1))
    for name, weight in named_weights(some).items():
        expected = named_weights(all_of_it)[name] if name in TRAINED[choice] else before[name]
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-7, err_msg=name)
        assert np.array_equal(weight, before[name]) == (name not in TRAINED[choice])


def ops_of(function, *args):
    """The types of all ops in the function that TensorFlow traces, and in the functions that it calls."""
    definition = function.get_concrete_function(*args).graph.as_graph_def(add_shapes=False)
    return [node.op for f in definition.library.function for node in f.node_def]


def test_frozen_rows_cost_no_gradient(rng):
    counts = []
    for frozen in (False, True):
        net = net_of()
        state = TrainState(net, SGD(net.logits if frozen else net))
        step = make_train_step(state, softmax_cross_entropy, Preprocess())
        counts.append(sum("Backprop" in op for op in ops_of(step, iter(batch(rng)), tf.constant(1))))
    assert counts[0] > 0 and counts[1] == 0


def test_a_slot_for_each_trained_weight_and_no_other():
    net = net_of()
    state = TrainState(net, Adam({"conv2": net.conv2}))
    slots = [name for name in named_variables(state) if name.startswith("optimizer/slots")]
    assert slots == [f"optimizer/slots/{slot}/conv2/{name}" for slot in "mv" for name in "wb"]


def test_slots_and_averages_carry_their_path_as_name():
    net = net_of()
    state = TrainState(net, Adam({"conv2": net.conv2}), decay=0.9)
    own = {v.name for v in state.optimizer.variables if v.name.startswith("adam/")}
    assert own == {"adam/factor:0", *(f"adam/{slot}/conv2/{name}:0" for slot in "mv" for name in "wb")}
    assert {v.name for v in state.averages.values()} == {f"average/{name}:0" for name in named_variables(net)}


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (0.001, r"first argument is what it trains, not a float: give the net, as in Adam\(net, learning_rate=0.001\)"),
        (net_of().trainable_variables, r"not a tuple: .* weights by name, as in Adam\(named_weights\(net\)\)"),
        (net_of().flat, r"no weights that can be trained"),
        ({}, r"no weights that can be trained"),
    ],
)
def test_what_is_not_weights_is_refused(trained, message):
    with pytest.raises(UsageError, match=message):
        Adam(trained)


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf"), True])
def test_learning_rates_are_above_zero(rate):
    with pytest.raises(UsageError, match="A learning rate is a number above 0"):
        SGD(net_of(), rate)


def test_weights_of_another_net_are_refused():
    with pytest.raises(UsageError, match=r"The optimizer trains conv1/w, .* which the net does not have"):
        TrainState(net_of(), Adam(net_of()))


def test_gradients_that_are_missing_are_named():
    net = net_of()
    with pytest.raises(UsageError, match="does not depend on b, so"):
        Adam(net.conv1).apply([tf.zeros_like(net.conv1.w), None], 0)
    with pytest.raises(UsageError, match=r"1 gradients for 2 weights"):
        Adam({"conv1/w": net.conv1.w, "conv1/b": net.conv1.b}).apply([tf.zeros_like(net.conv1.w)], 0)


def test_a_weight_the_loss_does_not_depend_on_is_named_when_the_step_is_traced(rng):
    net = net_of()
    step = make_train_step(TrainState(net, SGD(net)), lambda logits, labels: tf.zeros(6), Preprocess())
    with pytest.raises(UsageError, match="does not depend on conv1/w, conv1/b"):
        step(iter(batch(rng)), tf.constant(1))
