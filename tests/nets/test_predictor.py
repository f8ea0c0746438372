"""What a predictor answers: what the net answers, as it is now, traced once."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.layers import BatchNorm, Conv2D, Dense, Flatten
from rawcnn.machine import AVX2
from rawcnn.nets import NETS
from rawcnn.nets import predictor as predictor_module
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.nets.predictor import MANY, TINY, Predictor
from rawcnn.ops.fast.forms import chosen_for, for_xla, plain, recorded
from rawcnn.train.optimizers import Adam

relu = row(Conv2D, activation=tf.nn.relu)


def large(policy=FLOAT32):
    """Just above what is tiny, with batch normalisation to fold."""
    table = (
        ("conv1", row(Conv2D)(16, 3)), ("bn1", row(BatchNorm)(activation=tf.nn.relu)), ("conv2", relu(24, 3)),
        ("flat", row(Flatten)()), ("logits", row(Dense)(5)),
    )  # fmt: skip
    net = Chain(table, input_shape=(28, 28, 3), policy=policy)
    assert sum(layer.multiply_adds() for _, layer in net.rows) > TINY
    net.bn1.moving_mean.assign(tf.linspace(-0.3, 0.4, 16))
    net.bn1.moving_variance.assign(tf.linspace(0.5, 1.5, 16))
    return net


def tiny(policy=FLOAT32):
    return NETS["lenet5"](policy=policy)


def scaled(images):
    return tf.cast(images, tf.float32) / 255 - 0.5


def of_net(net, images):
    return tf.nn.softmax(net(scaled(images))).numpy()


@pytest.fixture
def images(rng):
    return lambda net, count: rng.integers(0, 256, (count, *net.input_shape), np.uint8)


@pytest.mark.parametrize("make", [tiny, large])
@pytest.mark.parametrize(("policy", "error"), [(FLOAT32, 1e-5), (MIXED_BFLOAT16, 0.03)])
def test_it_answers_as_the_net_does(make, policy, error, images):
    net = make(policy)
    predictor = Predictor(net, scaled)
    for count in (1, 3, 9, MANY, MANY + 7):
        some = images(net, count)
        found = predictor(some)
        assert found.dtype == np.float32 and found.shape == (count, net.out_shape[0])
        np.testing.assert_allclose(found, of_net(net, some), atol=error)
    some = some[:2].astype(np.float32) + 0.25  # pixels that are no whole numbers
    np.testing.assert_allclose(predictor(some), of_net(net, some), atol=error)


def assign(net):
    net.logits.b.assign(net.logits.b + tf.range(5, dtype=tf.float32))


def assign_a_slice(net):
    net.logits.b[2].assign(net.logits.b[2] + 3.0)


def scatter(net):
    net.logits.b.scatter_nd_add([[1]], [2.0])


def statistics(net):
    net.bn1.moving_mean.assign_sub(tf.ones(16))


def xla(net):
    tf.function(lambda: net.logits.b.assign_add(tf.range(5, dtype=tf.float32)), jit_compile=True, autograph=False)()


def train(net):
    optimizer, x = Adam(net, 0.1), tf.ones((2, 28, 28, 3))

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(x, training=True)[:, 0])
        optimizer.apply(tape.gradient(loss, list(optimizer.weights.values())), tf.constant(0, tf.int64))

    tf.function(step, autograph=False)()


def to_bfloat16(net):
    net.policy = MIXED_BFLOAT16


@pytest.mark.parametrize("change", [assign, assign_a_slice, scatter, statistics, xla, train, to_bfloat16])
def test_a_change_of_the_weights_is_seen(change, images):
    net = large()
    predictor, some = Predictor(net, scaled), images(net, 6)
    for _ in range(2):  # in place, where nothing is held of the old
        before = predictor(some)
        change(net)
        after = predictor(some)
        assert (before != after).any() or change is to_bfloat16
        np.testing.assert_allclose(after, of_net(net, some), atol=0.03 if change is to_bfloat16 else 1e-5)


@pytest.mark.parametrize(("make", "views"), [(tiny, [1, None, None, None]), (large, [1, None])])
def test_it_traces_once_for_one_image_and_once_for_more(make, views, images):
    """A tiny net once more for many: two halves, in one function."""
    net, traced = make(), []

    def shown(images):
        traced.append(images.shape)
        return scaled(images)

    predictor = Predictor(net, shown)
    for count in (1, 1, 7, 30, 40, 1, 7, 9, 50):
        predictor(images(net, count))
    assert [shape[0] for shape in traced] == views


def test_what_is_compiled_for_one_image_is_by_blocks(images):
    """And a net that is traced afterwards is not."""
    net = tiny()
    some = images(net, 1)
    others = {"average_pool", "add_bias", "conv2d_strips"}
    with chosen_for(AVX2), recorded() as used:
        Predictor(net, scaled)(some)
    assert used == {"conv2d_blocks", *others} and not for_xla()
    with chosen_for(AVX2), recorded() as used:
        Predictor(net, scaled)(images(net, 2))
    assert used == others
    with chosen_for(AVX2), plain("conv2d_blocks"):
        np.testing.assert_allclose(Predictor(net, scaled)(some), of_net(net, some), atol=1e-6)


def test_a_tape_that_watches_the_net_does_not_hinder_it(images):
    net = tiny()
    some = images(net, 1)
    with tf.GradientTape() as tape:
        tape.watch(net.trainable_variables)
        answer = Predictor(net, scaled)(some)
    np.testing.assert_allclose(answer, of_net(net, some), atol=1e-6)


def test_a_large_nets_weights_are_no_part_of_the_graph(images, monkeypatch):
    """TensorFlow copies a graph many times while it is traced: VGG16's first answer took 9 GB."""
    net, functions = large(), []
    monkeypatch.setattr(predictor_module, "_direct", lambda function: functions.append(function) or function)
    Predictor(net, scaled)._trace(images(net, 2), one=False, many=False)
    size = functions[0].graph.as_graph_def().ByteSize()
    assert size < net.num_params()  # of 4 bytes each


def test_more_images_than_one_call_takes_are_answered_piece_by_piece(images, monkeypatch):
    net = large()
    monkeypatch.setattr(predictor_module, "AT_ONCE", 3 * 28 * 28)
    predictor, many = Predictor(net, scaled), images(net, 7)
    asked, answer = [], predictor._answer
    monkeypatch.setattr(predictor, "_answer", lambda some: asked.append(len(some)) or answer(some))
    np.testing.assert_allclose(predictor(many), of_net(net, many), atol=1e-5)
    assert asked == [3, 3, 1]
