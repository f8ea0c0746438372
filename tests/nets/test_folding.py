"""Batch normalisation folded into convolutions: the folded net's logits are those of the net."""

import numpy as np
import pytest
import tensorflow as tf

import rawcnn as rc
from rawcnn.data.datasets import DataSet
from rawcnn.layers import AveragePool, BatchNorm, Conv2D, Dense, Flatten, MaxPool
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.folding import fold_batch_norm, for_inference
from rawcnn.nets.precision import MIXED_BFLOAT16
from rawcnn.run.classify import Classifier
from rawcnn.run.plan import plan
from rawcnn.run.settings import Settings
from rawcnn.train.losses import softmax_cross_entropy


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


WITH_BATCH_NORM = {"alexnet_bn": 67, "cifar_wide": 32, "cifar_fast": 32} | {f"vgg{n}_bn": 32 for n in (11, 13, 16, 19)}


DEEP = [
    pytest.param(name, marks=pytest.mark.slow if name in ("vgg16_bn", "vgg19_bn") else ()) for name in WITH_BATCH_NORM
]


@pytest.mark.parametrize("name", DEEP)
def test_probabilities_of_each_net_with_batch_norm_stay_within_1e_5(name, rng):
    side = WITH_BATCH_NORM[name]
    net = as_trained(NETS[name]((side, side, 3), 10, seed=1), rng)
    folded = for_inference(net)
    x = tf.constant(rng.normal(size=(4, side, side, 3)), tf.float32)
    wanted = tf.nn.softmax(net(x)).numpy()
    assert folded is not net and wanted.max(axis=1).min() < 0.999  # else nothing is compared
    np.testing.assert_allclose(tf.nn.softmax(folded(x)), wanted, rtol=0, atol=1e-5)


def test_in_bfloat16_and_without_batch_norm_the_net_itself_is_used():
    for net in (NETS["cifar_wide"](policy=MIXED_BFLOAT16), NETS["lenet5_relu"]()):
        assert for_inference(net) is net


def test_a_run_is_tested_without_batch_norm_and_its_training_is_validated_with_it(rng, monkeypatch):
    """`rawcnn evaluate` and the test at a run's end fold; the dense view and the validation during training do not."""
    source = rc.Source(rng.integers(0, 256, (120, 8, 8, 3)), np.arange(120) % 3)
    table = (("conv", row(Conv2D)(4, 3, **relu)), ("norm", row(BatchNorm)()), ("flat", row(Flatten)()),
             ("out", row(Dense)(3)))  # fmt: skip
    net = as_trained(Chain(table, input_shape=(8, 8, 3), seed=1), rng)
    ready = plan(Settings("own", batch_size=20), DataSet("own", source, source, source), net=net)
    classifier = Classifier(net, ready.inputs, source.class_names)
    validated, few = ready.validate(source), classifier.probabilities(source.images[:40])
    dense = ready.inputs.tester(net, softmax_cross_entropy, "dense")(source).accuracy
    folded = rc.fold_batch_norm(net)
    assert 0 <= dense <= 1
    monkeypatch.setattr(BatchNorm, "__call__", None)
    tested, many = ready.test(source), classifier.probabilities(source.images)
    for got, wanted in (
        (tested.probabilities, validated.probabilities),
        (many, validated.probabilities),
        (many[:40], few),
    ):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
    assert abs(tested.loss - validated.loss) < 1e-5
    np.testing.assert_allclose(rc.predict(folded, source.images), many, rtol=0, atol=1e-5)


def test_the_twin_is_shown_images_as_fit_showed_them(rng):
    source = rc.Source(rng.integers(0, 256, (60, 8, 8, 3)), np.arange(60) % 3)
    table = (("conv", row(Conv2D)(4, 3)), ("norm", row(BatchNorm)(activation=tf.nn.relu)), ("flat", row(Flatten)()),
             ("out", row(Dense)(3)))  # fmt: skip
    net = Chain(table, input_shape=(8, 8, 3), seed=1)
    list(rc.fit(net, source, epochs=2, batch_size=20, preprocess=rc.Preprocess(low=-1.0, high=1.0)))
    wanted = rc.predict(net, source.images)
    folded = rc.fold_batch_norm(net)
    np.testing.assert_allclose(rc.predict(folded, source.images), wanted, rtol=0, atol=1e-5)
    assert [name for name, _ in folded.rows] == ["conv", "flat", "out"]
    net.expects = rc.Preprocess(low=-3.0, high=2.0)  # as if weights with pixels of their own had been loaded
    wanted = rc.predict(net, source.images)
    np.testing.assert_allclose(rc.predict(rc.fold_batch_norm(net), source.images), wanted, rtol=0, atol=1e-5)
