"""What a net computes inside, beside closed forms, finite differences, NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from rawcnn.errors import UsageError
from rawcnn.layers import AveragePool, BatchNorm, Conv2D, Dense, Flatten, Inception, MaxPool
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import MIXED_BFLOAT16
from rawcnn.run import inside


def drawn(*shape):
    return np.random.Generator(np.random.Philox(key=5)).normal(size=shape).astype(np.float32)


def pooled_net(height=6, width=6, classes=4):
    """A convolution, the mean of each map, and a linear layer: the nets that CAM was made for."""
    conv = row(Conv2D, activation=tf.nn.relu)
    table = (
        ("conv1", conv(5, 3)),
        ("conv2", conv(7, 3)),
        ("pool", row(AveragePool)(height)),
        ("flat", row(Flatten)()),
        ("logits", row(Dense)(classes)),
    )
    return Chain(table, input_shape=(height, width, 2), seed=3)


def branched_net():
    table = (
        ("conv1", row(Conv2D, activation=tf.nn.relu)(6, 3)),
        ("mixed", row(Inception)(2, 3, 4, 2, 3, 2)),
        ("pool", row(MaxPool)(2)),
        ("flat", row(Flatten)()),
        ("logits", row(Dense)(3)),
    )
    return Chain(table, input_shape=(6, 6, 2), seed=4)


def alpha_by_differences(net, images, classes, at, step=1e-5):
    """Equation 1 without a gradient: how far the logit moves when a whole map is raised, in float64."""
    rows = list(net.rows)
    place = [name for name, _ in rows].index(at) + 1
    maps = tf.constant(images, tf.float64)
    for _, layer in rows[:place]:
        maps = layer(maps)
    maps = maps.numpy()

    def logit(shifted):
        x = tf.constant(shifted)
        for _, layer in rows[place:]:
            x = layer(x)
        return x.numpy()[np.arange(len(classes)), classes]

    alpha = np.empty((len(images), maps.shape[-1]))
    for k in range(maps.shape[-1]):
        shift = np.zeros(maps.shape)
        shift[..., k] = step
        alpha[:, k] = (logit(maps + shift) - logit(maps - shift)) / (2 * step * maps.shape[1] * maps.shape[2])
    return np.maximum(np.einsum("nk,nhwk->nhw", alpha, maps), 0)


def test_filters_of_the_first_convolution():
    net = NETS["lenet5_relu"]()
    np.testing.assert_array_equal(inside.first_filters(net), net.c1.w.numpy())
    assert inside.first_convolution(net) == "c1"
    assert inside.first_filters(NETS["alexnet_bn"]()).shape == (11, 11, 3, 96)


def test_filters_of_a_connection_table_are_zero_where_nothing_is_connected():
    c3 = NETS["lenet5"]().c3
    full = inside.filters(c3)
    assert np.count_nonzero(full.any(axis=(0, 1))) == c3.table.sum() == 60
    assert not full[:, :, ~c3.table].any()
    x = drawn(1, 14, 14, 6)
    by_scipy = sum(correlate(x[0, :, :, i], full[:, :, i, 9], "valid") for i in range(6)) + c3.b.numpy()[9]
    np.testing.assert_allclose(1.7159 * np.tanh(2 / 3 * by_scipy), c3(x)[0, :, :, 9], rtol=1e-4, atol=1e-5)


def test_nets_without_a_convolution_are_named():
    flat = Chain((("flat", row(Flatten)()), ("logits", row(Dense)(2))), input_shape=(4, 4, 1))
    for ask in (inside.first_filters, inside.last_convolution):
        with pytest.raises(UsageError, match=r"no .*convolution"):
            ask(flat)
    with pytest.raises(UsageError, match="Dense has no filters"):
        inside.filters(flat.logits)


def test_feature_maps_are_every_row_in_order():
    net, images = NETS["lenet5_relu"](), drawn(2, 32, 32, 1)
    maps = inside.feature_maps(net, images)
    assert list(maps) == ["c1", "s2", "c3", "s4", "flat", "c5", "f6", "logits"]
    w, b = net.c1.w.numpy(), net.c1.b.numpy()
    by_scipy = np.maximum(correlate(images[1, :, :, 0], w[:, :, 0, 4], "valid") + b[4], 0)
    np.testing.assert_allclose(maps["c1"][1, :, :, 4], by_scipy, rtol=1e-4, atol=1e-5)
    means = maps["c1"].reshape(2, 14, 2, 14, 2, 6).mean(axis=(2, 4))
    np.testing.assert_allclose(maps["s2"], means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps["logits"], net(images), rtol=1e-6)


def test_feature_maps_of_some_rows():
    net, images = NETS["lenet5"](policy=MIXED_BFLOAT16), drawn(1, 32, 32, 1)
    maps = inside.feature_maps(net, images, rows=["c3", "c1"])
    assert list(maps) == ["c1", "c3"] and {m.dtype for m in maps.values()} == {np.dtype("float32")}
    assert inside.feature_maps(net, images, rows=[]) == {}
    with pytest.raises(UsageError, match=r"no row 'conv9'.*c1, s2"):
        inside.feature_maps(net, images, rows=["c1", "conv9"])
    with pytest.raises(UsageError, match=r"takes images \[N, 32, 32, 1\]"):
        inside.feature_maps(net, drawn(1, 28, 28, 1))


def test_the_six_convolutions_of_an_inception_row():
    net, images = branched_net(), drawn(2, 6, 6, 2)
    parts = inside.inception_maps(net, images, "mixed")
    assert {name: m.shape[-1] for name, m in parts.items()} == dict(
        zip(inside.INCEPTION_PARTS, (2, 3, 4, 2, 3, 2), strict=True)
    )
    joined = np.concatenate([parts[name] for name in ("conv1x1", "conv3x3", "conv5x5", "pool_proj")], axis=-1)
    np.testing.assert_allclose(joined, inside.feature_maps(net, images)["mixed"], rtol=1e-5, atol=1e-6)
    first = Chain((("mixed", row(Inception)(1, 1, 1, 1, 1, 1)), ("flat", row(Flatten)())), input_shape=(6, 6, 2))
    assert inside.inception_maps(first, images, "mixed")["conv5x5"].shape == (2, 6, 6, 1)
    with pytest.raises(UsageError, match="not an Inception row"):
        inside.inception_maps(net, images, "conv1")


def test_grad_cam_of_a_net_with_global_pooling_is_cam():
    """Zhou et al. 2016: the last layer's weights of the class, times the maps; Grad-CAM's 1/Z comes from the mean."""
    net, images, classes = pooled_net(), drawn(4, 6, 6, 2), np.array([0, 3, 3, 1])
    maps = inside.feature_maps(net, images, rows=["conv2"])["conv2"]
    cam = np.maximum(np.einsum("nhwk,kn->nhw", maps, net.logits.w.numpy()[:, classes]), 0) / 36
    assert cam.max() > 0
    np.testing.assert_allclose(inside.grad_cam(net, images, classes), cam, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "at"),
    [(NETS["lenet5"], "c3"), (NETS["lenet5"], "s2"), (branched_net, "mixed"), (pooled_net, "conv1")],
    ids=["lenet5, last convolution", "lenet5, pooled maps", "inception", "first convolution"],
)
def test_grad_cam_is_what_differences_say(make, at):
    net = make()
    images, classes = drawn(3, *net.input_shape), np.array([2, 0, 1])
    wanted = alpha_by_differences(net, images, classes, at)
    assert wanted.max() > 0
    np.testing.assert_allclose(inside.grad_cam(net, images, classes, at), wanted, rtol=1e-3, atol=1e-4 * wanted.max())


def test_grad_cam_looks_at_the_last_maps_with_pixels():
    names = {
        "lenet5": "c3",
        "lenet5_tanh": "c3",
        "alexnet_bn": "conv5",
        "googlenet": "inception_5b",
        "vgg11": "conv5_2",
    }
    for name, at in names.items():
        assert inside.last_convolution(NETS[name](num_classes=10)) == at, name
    norm = row(BatchNorm, activation=tf.nn.relu)
    table = (("conv", row(Conv2D)(3, 3)), ("bn", norm()), ("flat", row(Flatten)()), ("logits", row(Dense)(2)))
    assert inside.last_convolution(Chain(table, input_shape=(4, 4, 1))) == "bn"


def test_grad_cam_in_bfloat16_is_computed_in_float32():
    images, classes = drawn(2, 32, 32, 1), [1, 2]
    exact = inside.grad_cam(NETS["lenet5_relu"](), images, classes)
    other = inside.grad_cam(NETS["lenet5_relu"](policy=MIXED_BFLOAT16), images, classes)
    assert exact.dtype == other.dtype == np.float32
    np.testing.assert_array_equal(other, exact)


@pytest.mark.parametrize(
    ("classes", "at", "message"),
    [
        ([0], None, "a class 0 ... 9 for each of 2 images"),
        ([0, 10], None, "a class 0 ... 9"),
        ([0, 1], "f6", "which 'f6' does not have"),
        ([0, 1], "c9", "which 'c9' does not have"),
    ],
)
def test_grad_cam_refuses(classes, at, message):
    with pytest.raises(UsageError, match=message):
        inside.grad_cam(NETS["lenet5"](), drawn(2, 32, 32, 1), classes, at)


def test_activations_of_a_net_with_dead_units():
    net = pooled_net()
    bias = np.array([0.5, -1e6, 0.1, -1e6, -1e6, 0.0, 0.2], np.float32)
    net.conv2.b.assign(bias)
    maps = inside.feature_maps(net, drawn(5, 6, 6, 2))["conv2"]
    found = inside.activations(maps, bins=16)
    counts, edges = np.histogram(maps, bins=16)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(found.edges, edges)
    assert found.dead == pytest.approx(3 / 7) and found.zeros >= 3 / 7
    assert found.zeros == pytest.approx(np.mean(maps == 0))
    assert found.mean == pytest.approx(maps.mean(dtype=np.float64))
    assert found.deviation == pytest.approx(maps.std(dtype=np.float64))


def test_a_unit_that_responds_once_is_not_dead():
    maps = np.zeros((2, 3, 3, 2), np.float32)
    maps[1, 2, 2, 0] = 1
    assert inside.activations(maps).dead == 0.5
    assert inside.activations(np.zeros((1, 4), np.float32)).dead == 1
