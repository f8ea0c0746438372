"""Every net, and the layers that PyTorch names or counts otherwise, against PyTorch with the same weights.

Gradients of whole nets are compared in float64: see the note of `benchmarks/fidelity.py`.
"""

import functools
import gc

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.layers import LRN, BatchNorm, Conv2D
from rawcnn.layers.inception import Inception
from rawcnn.layers.normalisation import ENOUGH
from rawcnn.nets import NETS

torch = pytest.importorskip("torch")
from benchmarks import fidelity  # noqa: E402
from tests.oracles import nets_torch  # noqa: E402

TOLERANCE = 1e-4

# net -> the side of its images here; what is not here has its own size.
SIDES = {
    "alexnet": 99,
    "alexnet_bn": 99,
    "alexnet_one_tower": 95,
    "alexnet_valid": 208,
    "alexnet_dogs_small": 54,
    "vgg11": 32,
    "vgg16c": 32,
    "vgg11_bn": 32,
}
# lenet5's layers are in no peer; alexnet_dogs has the rows of its small variant. The VGG nets differ in depth only.
LEFT_OUT = {"lenet5", "alexnet_dogs", "vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"}


SLOW = {
    "alexnet_valid",
    "alexnet_bn",
    "googlenet",
    "googlenet_dogs",
    "vgg11",
    "vgg16c",
    "vgg11_bn",
    "cifar_wide",
}  # their layers are in others too
FAST = set(nets_torch.NETS) - LEFT_OUT - SLOW


def small(name, **options):
    """A net with few classes on small images."""
    channels, height, _ = nets_torch.NETS[name][1]
    side = SIDES.get(name, height)
    return NETS[name]((side, side, channels), num_classes=7, **options)


def to_torch(images):
    """NHWC -> NCHW."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def test_every_net_has_an_oracle():
    assert set(NETS) - LEFT_OUT == set(nets_torch.NETS) - LEFT_OUT


@pytest.mark.parametrize(
    "name", [*sorted(FAST), *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(SLOW))]
)
def test_logits_and_input_gradient_are_those_of_pytorch(name):
    net = small(name)
    weights, images = fidelity.draw_weights(net), fidelity.draw_batch(net, 1)
    assert fidelity.against_torch(name, weights, images, fidelity.ask_rawcnn(net, images)).forward <= TOLERANCE
    del net
    images = images.astype(np.float64)
    ours = fidelity.ask_rawcnn(fidelity.wide(functools.partial(small, name), weights), images)
    errors = fidelity.against_torch(name, weights, images, ours)
    assert errors.forward <= 1e-9 and errors.gradient <= 1e-9
    gc.collect()


def test_pytorchs_alpha_of_lrn_is_n_times_the_papers(rng):
    x = rng.normal(size=(2, 4, 3, 9)).astype(np.float32) * 60
    ours = LRN(k=2.0, n=5, alpha=1e-4, beta=0.75, input_shape=(4, 3, 9))(x).numpy()
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(to_torch(x)).numpy()
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), theirs, rtol=1e-5)
    naive = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)(to_torch(x)).numpy()
    assert fidelity.relative_error(np.moveaxis(ours, -1, 1), naive) > 0.1


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_convolution_is_that_of_pytorch(rng, groups):
    x = rng.normal(size=(2, 7, 7, 8)).astype(np.float32)
    ours = Conv2D(12, 3, groups=groups, input_shape=(7, 7, 8))
    ours.b.assign(rng.normal(size=12))
    theirs = torch.nn.functional.conv2d(
        to_torch(x),
        torch.from_numpy(ours.w.numpy().transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(ours.b.numpy()),
        padding=1,
        groups=groups,
    )
    np.testing.assert_allclose(np.moveaxis(ours(x).numpy(), -1, 1), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_inception_is_the_modules_of_pytorch(rng):
    """Values and input gradient of one module, its branches in the paper's order."""
    sizes = (5, 3, 7, 2, 4, 6)
    ours, theirs = Inception(*sizes, input_shape=(8, 8, 10)), nets_torch.Inception(10, *sizes)
    nets_torch.assign(theirs, fidelity.draw_weights(ours))
    x = tf.constant(rng.normal(size=(2, 8, 8, 10)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ours(x)
    peer = to_torch(x.numpy()).requires_grad_()
    expected = theirs(peer)
    expected.sum().backward()
    np.testing.assert_allclose(np.moveaxis(y.numpy(), -1, 1), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    gradient = np.moveaxis(tape.gradient(y, x).numpy(), -1, 1)
    np.testing.assert_allclose(gradient, peer.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_batch_norm_in_training_is_that_of_pytorch(rng):
    """PyTorch's momentum is the share of the new value."""
    x = rng.normal(2.0, 3.0, (4, 6, 5, 3)).astype(np.float32)
    ours, theirs = BatchNorm(input_shape=(6, 5, 3)), torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.01)
    ours.updates.assign(ENOUGH)
    y, expected = ours(x, training=True).numpy(), theirs(to_torch(x)).detach().numpy()
    np.testing.assert_allclose(np.moveaxis(y, -1, 1), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, theirs.running_var.numpy(), rtol=1e-5)
