"""All nets by name."""

from collections.abc import Callable

from rawcnn.chain import Chain
from rawcnn.nets.lenet import lenet5, lenet5_relu, lenet5_tanh

NETS: dict[str, Callable[..., Chain]] = {
    "lenet5": lenet5,
    "lenet5_tanh": lenet5_tanh,
    "lenet5_relu": lenet5_relu,
}
