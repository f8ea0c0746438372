"""All nets by name."""

import inspect
from collections.abc import Callable

import rawcnn.start  # noqa: F401

from rawcnn.nets.alexnet import alexnet, alexnet_bn, alexnet_dogs, alexnet_dogs_small, alexnet_valid
from rawcnn.nets.chain import Chain
from rawcnn.nets.cifar import cifar_basic, cifar_fast, cifar_wide
from rawcnn.nets.googlenet import googlenet, googlenet_dogs
from rawcnn.nets.lenet import lenet5, lenet5_relu, lenet5_tanh
from rawcnn.nets.vgg import vgg11, vgg13, vgg16, vgg16c, vgg19

_ALL: tuple[Callable[..., Chain], ...] = (
    lenet5, lenet5_tanh, lenet5_relu,
    alexnet, alexnet_bn, alexnet_valid, alexnet_dogs, alexnet_dogs_small,
    vgg11, vgg13, vgg16c, vgg16, vgg19,
    googlenet, googlenet_dogs,
    cifar_basic, cifar_wide, cifar_fast,
)  # fmt: skip
NETS: dict[str, Callable[..., Chain]] = {net.__name__: net for net in _ALL}


def input_shape(net: str) -> tuple[int, int, int]:
    """(height, width, channels) that the net of that name takes unless told otherwise.

    >>> input_shape("alexnet")
    (227, 227, 3)
    """
    shape: tuple[int, int, int] = inspect.signature(NETS[net]).parameters["input_shape"].default
    return shape
