"""Every net and the new layers against Keras, with the same weights: builds that share no line with rawcnn's tables.

Logits and input gradients of whole nets; the sizes of the images are small, yet leave more than one pixel before
`flat` where that is cheap, so that its order matters. `benchmarks/fidelity.py` does the same at the papers' sizes.
"""

import functools
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import fidelity
from rawcnn.layers import BatchNorm, Conv2D, Dropout
from rawcnn.layers.normalisation import ENOUGH
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from tests.oracles import nets_keras

TOLERANCE = 1e-4

# net -> the side of its images here; what is not here has its own size.
SIDES = {
    "alexnet": 99,
    "alexnet_bn": 99,
    "alexnet_one_tower": 95,
    "alexnet_valid": 208,
    "alexnet_dogs_small": 54,
    "vgg11": 32,
    "vgg13": 32,
    "vgg16c": 32,
    "vgg16": 32,
    "vgg19": 32,
    "vgg11_bn": 32,
    "vgg13_bn": 32,
    "vgg16_bn": 32,
    "vgg19_bn": 32,
}
# lenet5's layers are in no peer; alexnet_dogs has the rows of its small variant, with 150 million weights in fc6.
LEFT_OUT = {"lenet5", "alexnet_dogs"}
# Their LRN rounds otherwise than Keras's, which decides some of millions of near ties in ReLUs and max pools, and so
# changes gradients: those are compared in float64. See the note of `benchmarks/fidelity.py`.
MANY_TIES = {"googlenet", "googlenet_dogs"}


SLOW = {
    "googlenet_dogs",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg16c",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
}  # their layers are in others too
FAST = set(nets_keras.NETS) - LEFT_OUT - SLOW


def small(name, **options):
    """A net with few classes on small images."""
    height, _, channels = nets_keras.NETS[name][1]
    side = SIDES.get(name, height)
    return NETS[name]((side, side, channels), num_classes=7, **options)


def test_every_net_has_an_oracle():
    assert set(NETS) - LEFT_OUT == set(nets_keras.NETS) - LEFT_OUT


@pytest.mark.parametrize(
    "name", [*sorted(FAST), *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW))]
)
def test_logits_and_input_gradient_are_those_of_keras(name):
    net = small(name)
    weights, images = fidelity.draw_weights(net), fidelity.draw_batch(net, 2)
    ours = fidelity.ask_rawcnn(net, images)
    assert np.ptp(ours.outputs["logits"]) > 0.01 and ours.gradient.any(axis=(1, 2, 3)).all()
    errors = fidelity.against_keras(name, weights, images, ours)
    assert errors.forward <= TOLERANCE
    if name in MANY_TIES:
        images = images.astype(np.float64)
        ours = fidelity.ask_rawcnn(fidelity.wide(functools.partial(small, name), weights), images)
        errors = fidelity.against_keras(name, weights, images, ours)
    assert errors.gradient <= (1e-9 if name in MANY_TIES else TOLERANCE)
    gc.collect()


# Two traps ------------------------------------------------------------------------------------------------------------


def test_the_5x5_branch_of_inception_is_5x5():
    """With weights of 1, one lit pixel spreads in each branch over the window that its name says."""
    module = NETS["googlenet"](aux_heads=False).inception_3a
    assert module.conv5x5.w.shape == (5, 5, 16, 32) and module.conv3x3.w.shape == (3, 3, 96, 128)
    for path, variable in named_variables(module).items():
        variable.assign(tf.fill(variable.shape, float(path.endswith("w"))))
    pixel = np.zeros((1, 28, 28, 192), np.float32)
    pixel[0, 14, 14] = 1
    out = module(tf.constant(pixel))[0].numpy()
    for channels, side in ((slice(0, 64), 1), (slice(64, 192), 3), (slice(192, 224), 5), (slice(224, 256), 3)):
        lit = np.zeros((28, 28), bool)
        lit[14 - side // 2 : 15 + side // 2, 14 - side // 2 : 15 + side // 2] = True
        assert ((out[..., channels] > 0) == lit[..., None]).all()


def test_each_auxiliary_head_carries_its_own_name():
    """aux1 sees inception_4a and aux2 inception_4d, in the net and in what a training step is given."""
    net = small("googlenet")
    assert [(name, row) for name, row, _ in net.heads] == [("aux1", "inception_4a"), ("aux2", "inception_4d")]
    assert net.aux1.input_shape == (14, 14, 512) and net.aux2.input_shape == (14, 14, 528)
    weights, images = fidelity.draw_weights(net), fidelity.draw_batch(net, 1)
    for layer in (net.drop, net.aux1.drop, net.aux2.drop):
        layer.rate = 0.0
    _, ends = net.endpoints(images, training=True)
    model = nets_keras.googlenet(images.shape[1:], 7)
    nets_keras.assign(model, weights)
    for name, expected in model(images).items():
        assert fidelity.relative_error(ends[name].numpy(), expected.numpy()) <= TOLERANCE


# Layers in training ---------------------------------------------------------------------------------------------------


def values_and_gradients(layer, x, weights, factors):
    """The output of a training call, and the gradients of its sum with `factors` by `x` and by each weight."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        total = tf.reduce_sum(y * factors)
    return [y, *tape.gradient(total, [x, *weights])]


def test_batch_norm_in_training_is_that_of_keras(rng):
    """Outputs, gradients and moving statistics, over three steps; then the output outside training.

    The moving variance follows the unbiased variance of a batch, that of Keras the biased one; and Keras's averages
    count as full from the start.
    """
    ours, theirs = BatchNorm(input_shape=(6, 5, 3)), keras.layers.BatchNormalization()
    ours.updates.assign(ENOUGH)
    theirs.build((None, 6, 5, 3))
    for mine, other in ((ours.gamma, theirs.gamma), (ours.beta, theirs.beta)):
        mine.assign(rng.normal(1.0, 0.5, 3))
        other.assign(mine)
    start, pixels = 1.0, 4 * 6 * 5
    for _ in range(3):
        x = tf.constant(rng.normal(2.0, 3.0, (4, 6, 5, 3)), tf.float32)
        factors = tf.constant(rng.normal(size=x.shape), tf.float32)
        mine = values_and_gradients(ours, x, [ours.gamma, ours.beta], factors)
        other = values_and_gradients(theirs, x, [theirs.gamma.value, theirs.beta.value], factors)
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        start *= 0.99
        np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
        moved = (theirs.moving_variance.numpy() - start) * pixels / (pixels - 1)
        np.testing.assert_allclose(ours.moving_variance, start + moved, rtol=1e-5)
    theirs.moving_variance.assign(ours.moving_variance)
    np.testing.assert_allclose(ours(x), theirs(x, training=False), rtol=1e-4, atol=1e-5)


def test_dropout_keeps_its_share_and_scales_as_keras_does(rng):
    x = tf.constant(rng.uniform(1.0, 2.0, (200, 500)), tf.float32)
    for rate in (0.1, 0.5, 0.7):
        ours, theirs = Dropout(rate, input_shape=(500,)), keras.layers.Dropout(rate, seed=1)
        first, second, other = ours(x, training=True), ours(x, training=True), theirs(x, training=True)
        for y in (first, second, other):
            share = np.count_nonzero(y) / x.shape.num_elements()
            assert abs(share - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / x.shape.num_elements())
            scale = np.asarray(y)[np.asarray(y) != 0] / np.asarray(x)[np.asarray(y) != 0]
            np.testing.assert_allclose(scale, 1 / (1 - rate), rtol=1e-6)
        agree = np.mean((first.numpy() == 0) == (second.numpy() == 0))
        assert abs(agree - (rate**2 + (1 - rate) ** 2)) < 0.01
        np.testing.assert_array_equal(ours(x), x)


@pytest.mark.parametrize(("stride", "padding"), [(1, "SAME"), (2, "SAME"), (2, "VALID")])
def test_grouped_convolution_is_that_of_keras(rng, stride, padding):
    """Values and the gradients of image, kernel and bias."""
    x = tf.constant(rng.normal(size=(2, 9, 8, 6)), tf.float32)
    ours = Conv2D(4, 3, stride, padding, groups=2, input_shape=(9, 8, 6))
    theirs = keras.layers.Conv2D(4, 3, stride, padding.lower(), groups=2)
    theirs.build(x.shape)
    theirs.set_weights([ours.w.numpy(), ours.b.numpy()])
    found = []
    for layer, weights in ((ours, [ours.w, ours.b]), (theirs, [theirs.kernel.value, theirs.bias.value])):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            total = tf.reduce_sum(y**2)
        found.append([y, *tape.gradient(total, [x, *weights])])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)
