"""What leaves Python: pickled and copied nets, SavedModels, and graphs that converters read."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.inference import dense_logits, frozen
from rawcnn.nets.precision import MIXED_BFLOAT16

SMALL = {"alexnet": 99, "alexnet_bn": 99, "alexnet_valid": 227, "alexnet_one_tower": 227,
         "alexnet_dogs": 67, "alexnet_dogs_small": 67,
         "googlenet": 224, "googlenet_dogs": 214, "lenet5_tanh": 28}  # fmt: skip
REFUSED = ("Call", "Identity", "Xla", "Custom")
"""In the type of an op: what a function, `tf.custom_gradient` or `jit_compile` leaves in a graph."""


def small(name, **more):
    side, channels = SMALL.get(name, 32), 1 if name.startswith("lenet") else 3
    return NETS[name]((side, side, channels), 10, seed=1, **more)


def images(net, rng):
    return tf.constant(rng.normal(size=(2, *net.input_shape)), tf.float32)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg11", "googlenet", "cifar_fast", "cifar_wide"])
def test_pickled_and_copied_nets_are_equal(name, rng):
    net = small(name)
    x = images(net, rng)
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin(x), net(x))
        assert {v.ref() for v in twin.variables}.isdisjoint({v.ref() for v in net.variables})


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "cifar_fast"])
def test_a_saved_model_can_be_called(name, rng, tmp_path):
    net = small(name)
    x = images(net, rng)
    tf.saved_model.save(net, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    np.testing.assert_allclose(loaded(x), net(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x), net(x))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("policy", [{}, {"policy": MIXED_BFLOAT16}], ids=["float32", "bfloat16"])
def test_graphs_for_export_are_made_of_plain_ops(name, policy):
    net = small(name, **policy)
    twins = (net, frozen(net)) if net.num_params() < 5_000_000 else (net,)
    for twin in twins:
        graph = twin.as_function().get_concrete_function().graph
        types = {op.type for op in graph.get_operations()} - {"Identity"}  # of the result
        assert not [kind for kind in types if any(part in kind for part in REFUSED)]
        assert not graph.as_graph_def().library.function


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "cifar_fast"])
def test_plain_ops_give_the_nets_numbers(name, rng):
    net = small(name)
    x = images(net, rng)
    np.testing.assert_allclose(net.as_function()(x), net(x), rtol=1e-4, atol=1e-5)


def test_pixels_are_padded_as_floats():
    preprocess = tf.function(Preprocess(pad=2), autograph=False)
    graph = preprocess.get_concrete_function(tf.TensorSpec((None, 28, 28, 1), tf.uint8)).graph
    (pad,) = (op for op in graph.get_operations() if op.type == "Pad")
    assert pad.inputs[0].dtype == tf.float32


@pytest.mark.parametrize("name", ["lenet5", "cifar_fast", "googlenet"])
def test_training_as_a_tensor_is_refused(name):
    net = small(name)
    step = tf.function(lambda x, training: net(x, training=training), autograph=False)
    with pytest.raises(UsageError, match="training is a Python bool"):
        step(tf.zeros((1, *net.input_shape)), tf.constant(True))
    assert step(tf.zeros((1, *net.input_shape)), False).shape == (1, 10)


def test_a_graph_for_any_number_of_images_refuses_none():
    for name, run in (("lenet5_relu", lambda net, x: net(x)), ("vgg11", dense_logits)):
        net = small(name)
        shape = tf.TensorSpec((None, *net.input_shape), tf.float32)
        logits = tf.function(partial(run, net), input_signature=[shape], autograph=False)
        assert logits(tf.zeros((2, *net.input_shape))).shape == (2, 10)
        with pytest.raises(tf.errors.InvalidArgumentError, match="needs at least one: pass over empty batches"):
            logits(tf.zeros((0, *net.input_shape)))


def test_dense_logits_of_no_images():
    assert dense_logits(small("vgg11"), tf.zeros((0, 40, 32, 3))).shape == (0, 10)


@pytest.mark.parametrize("name", ["lenet5", "cifar_wide", "googlenet"])
def test_no_images_give_no_logits(name):
    net = small(name)
    for training in (False, True):
        logits, ends = net.endpoints(tf.zeros((0, *net.input_shape)), training=training)
        assert logits.shape == (0, 10) and {end.shape[0] for end in ends.values()} == {0}
