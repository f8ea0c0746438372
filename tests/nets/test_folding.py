"""Batch normalisation folded into convolutions: the folded net's logits are those of the net."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.layers import AveragePool, BatchNorm, Conv2D, Dense, Flatten, MaxPool
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.folding import fold_batch_norm


def as_trained(net, rng, lowest_gamma=0.5):
    """Numbers for batch normalisation that are far from those of a new net."""
    for norm in net.submodules:
        if isinstance(norm, BatchNorm):
            shape = norm.beta.shape
            if norm.gamma is not None:
                norm.gamma.assign(rng.uniform(lowest_gamma, 1.5, shape))
            norm.beta.assign(rng.normal(size=shape))
            norm.moving_mean.assign(rng.normal(size=shape))
            norm.moving_variance.assign(rng.uniform(0.5, 2.0, shape))
    return net


def assert_same(net, rng, count=2):
    folded = fold_batch_norm(net)
    x = tf.constant(rng.normal(size=(count, *net.input_shape)), tf.float32)
    wanted = net(x).numpy()
    np.testing.assert_allclose(folded(x), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    return [name for name, layer in folded.rows if isinstance(layer, BatchNorm)]


@pytest.mark.parametrize(
    ("name", "side"), [("alexnet_bn", 67), ("cifar_wide", 32), ("cifar_fast", 32), ("vgg11_bn", 32), ("lenet5", 32)]
)
def test_folded_nets_have_no_batch_norm_and_the_same_logits(name, side, rng):
    net = as_trained(NETS[name]((side, side, 1 if name == "lenet5" else 3), 10, seed=1), rng)
    before = net(tf.ones((1, *net.input_shape))).numpy()
    assert assert_same(net, rng) == []
    np.testing.assert_array_equal(net(tf.ones((1, *net.input_shape))), before)  # the net itself stays


relu = {"activation": tf.nn.relu}
BETWEEN = {
    "strided": [row(Conv2D)(6, 3, stride=2, **relu)],
    "padded by pixels": [row(Conv2D)(6, 3, padding=2, **relu)],
    "groups without padding": [row(Conv2D)(6, 3, padding="VALID", groups=2)],
    "one pixel": [row(Conv2D)(6, 1, **relu)],
    "average pool": [row(AveragePool)(3, 2, "SAME"), row(Conv2D)(6, 3)],
    "twice": [row(BatchNorm)(), row(Conv2D)(6, 3), row(BatchNorm)(activation=tf.nn.relu)],
    "dense": [],
}


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("first", [None, tf.nn.relu], ids=["linear", "relu"])
def test_whatever_follows(between, first, rng):
    rows = [row(Conv2D)(4, 3, activation=first, bias=first is None), row(BatchNorm)(), *BETWEEN[between],
            row(Flatten)(), row(Dense)(3)]  # fmt: skip
    net = Chain(tuple((f"row{i}", one) for i, one in enumerate(rows)), input_shape=(7, 8, 2), seed=1)
    assert assert_same(as_trained(net, rng, -1.5), rng) == []


def test_a_row_that_cannot_be_folded_stays(rng):
    rows = [row(Conv2D)(4, 3, **relu), row(BatchNorm)(), row(MaxPool)(2), row(Flatten)(), row(Dense)(3)]
    net = Chain(tuple((f"row{i}", one) for i, one in enumerate(rows)), input_shape=(8, 8, 2), seed=1)
    as_trained(net, rng)
    assert assert_same(net, rng) == []
    net.row1.gamma.assign([1.0, -1.0, 0.5, 2.0])  # the largest of a window is then the smallest of the convolution
    assert assert_same(net, rng) == ["row1"]
    rows = [row(BatchNorm)(), row(Conv2D)(6, 3, groups=2, **relu), row(Flatten)(), row(Dense)(3)]
    net = Chain(tuple((f"row{i}", one) for i, one in enumerate(rows)), input_shape=(8, 8, 2), seed=1)
    assert assert_same(as_trained(net, rng), rng) == ["row0"]
