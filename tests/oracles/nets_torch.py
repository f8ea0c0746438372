"""Every net as a PyTorch user would write it, built from the papers and not from rawcnn's tables: oracle and contender.

A module is named as rawcnn names its row (`inception_3a.conv5x5`), so that `assign` copies weights by name. Outputs are
logits; `googlenet` gives a dict of three, by name. Where TensorFlow's SAME padding is not symmetric, a row of its own
pads. lenet5 of 1998 has layers that PyTorch lacks and is not here.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Shape = tuple[int, int, int]
relu = functools.partial(nn.ReLU, inplace=True)


def _same(side: int, size: int, stride: int) -> tuple[int, int]:
    """The padding (before, after) with which only the stride shrinks `side`; an odd pixel goes to the end."""
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    return total // 2, total - total // 2


class Table:
    """Collects named modules and keeps the shape (channels, side) that the next one follows. Images are square."""

    def __init__(self, channels: int, side: int):
        self.channels, self.side = channels, side
        self.rows: OrderedDict[str, nn.Module] = OrderedDict()

    def conv(
        self,
        name: str,
        filters: int,
        size: int,
        stride: int = 1,
        padding: str | int = "same",
        groups: int = 1,
        activation: Callable[[], nn.Module] = relu,
        bias: bool = True,
    ) -> Table:
        margin = padding if isinstance(padding, int) else 0
        before, after = _same(self.side, size, stride) if padding == "same" else (margin, margin)
        if before != after:
            self.rows[f"{name}_pad"] = nn.ZeroPad2d((before, after, before, after))
        inside = before if before == after else 0
        self.rows[name] = nn.Conv2d(self.channels, filters, size, stride, inside, groups=groups, bias=bias)
        self.rows[f"{name}_activation"] = activation()
        self.channels, self.side = filters, (self.side + before + after - size) // stride + 1
        return self

    def max_pool(self, name: str, size: int, stride: int | None = None, padding: str = "valid") -> Table:
        stride = stride or size
        before, after = _same(self.side, size, stride) if padding == "same" else (0, 0)
        assert after == before or (before, after) == (0, 1), "ceil_mode adds to the end only"
        self.rows[name] = nn.MaxPool2d(size, stride, before, ceil_mode=before != after)
        self.side = (self.side + before + after - size) // stride + 1
        return self

    def average_pool(self, name: str, size: int, stride: int) -> Table:
        self.rows[name] = nn.AvgPool2d(size, stride)
        self.side = (self.side - size) // stride + 1
        return self

    def lrn(self, name: str, k: float = 2.0, alpha: float = 1e-4) -> Table:
        """PyTorch divides alpha by the number of channels in the window; the paper does not."""
        self.rows[name] = nn.LocalResponseNorm(5, alpha=5 * alpha, beta=0.75, k=k)
        return self

    def batch_norm(self, name: str, eps: float = 1e-3, momentum: float = 0.01) -> Table:
        """Keras's momentum 0.99 and epsilon; PyTorch's momentum is the share of the new value."""
        self.rows[name] = nn.BatchNorm2d(self.channels, eps=eps, momentum=momentum)
        return self

    def unscaled_norm(self, name: str) -> Table:
        """Without gamma, and with a GELU."""
        norm = nn.BatchNorm2d(self.channels, eps=1e-3, momentum=0.4)
        norm.weight = None
        self.rows[name], self.rows[f"{name}_activation"] = norm, nn.GELU()
        return self

    def inception(self, which: str) -> Table:
        module = Inception(self.channels, *INCEPTIONS[which])
        self.rows[f"inception_{which}"] = module
        self.channels = module.channels
        return self

    def head(self, name: str, classes: int) -> Table:
        """A branch, which does not change what the next row follows."""
        branch = Table(self.channels, self.side).average_pool("pool", 5, 3).conv("conv", 128, 1).flat()
        branch.dense("fc", 1024).dropout("drop", 0.7).dense("logits", classes, None)
        self.rows[name] = branch.net()
        return self

    def flat(self) -> Table:
        self.rows["flat"] = nn.Flatten()
        return self

    def dense(
        self, name: str, units: int, activation: Callable[[], nn.Module] | None = relu, bias: bool = True
    ) -> Table:
        linear: Any = nn.Linear(self.channels * self.side**2, units, bias=bias)
        linear.follows = (self.channels, self.side, self.side)  # for `assign`
        self.rows[name] = linear
        if activation:
            self.rows[f"{name}_activation"] = activation()
        self.channels, self.side = units, 1
        return self

    def dropout(self, name: str, rate: float) -> Table:
        self.rows[name] = nn.Dropout(rate)
        return self

    def net(self) -> nn.Module:
        return nn.Sequential(self.rows)


def table(shape: Shape) -> Table:
    """An empty table for images `[C, H, W]`."""
    channels, height, width = shape
    assert height == width, "these builds take square images"
    return Table(channels, height)


# LeNet-5 of the courses -----------------------------------------------------------------------------------------------


def _lenet5(shape: Shape, classes: int, activation: type[nn.Module], padding: str) -> nn.Module:
    rows = table(shape).conv("c1", 6, 5, padding=padding, activation=activation).average_pool("s2", 2, 2)
    rows.conv("c3", 16, 5, padding="valid", activation=activation).average_pool("s4", 2, 2).flat()
    rows.dense("c5", 120, activation).dense("f6", 84, activation).dense("logits", classes, None)
    return rows.net()


def lenet5_tanh(shape: Shape, classes: int) -> nn.Module:
    """The lab's initial weights: truncated normal 0.1, biases 0.1."""
    net = _lenet5(shape, classes, nn.Tanh, "same")
    for name, value in net.named_parameters():
        if name.endswith("weight"):
            nn.init.trunc_normal_(value, std=0.1, a=-0.2, b=0.2)
        else:
            nn.init.constant_(value, 0.1)
    return net


def lenet5_relu(shape: Shape, classes: int) -> nn.Module:
    """Digits are padded to 32 x 32 before they reach the net."""
    return _lenet5(shape, classes, nn.ReLU, "valid")


# AlexNet --------------------------------------------------------------------------------------------------------------


def _classifier(rows: Table, classes: int, hidden: tuple[int, int] = (4096, 4096)) -> nn.Module:
    rows.flat().dense("fc6", hidden[0]).dropout("drop6", 0.5).dense("fc7", hidden[1]).dropout("drop7", 0.5)
    return rows.dense("logits", classes, None).net()


def alexnet(shape: Shape, classes: int) -> nn.Module:
    """Krizhevsky et al. 2012: two towers as groups; conv3 sees both."""
    rows = table(shape).conv("conv1", 96, 11, 4, "valid").lrn("norm1").max_pool("pool1", 3, 2)
    rows.conv("conv2", 256, 5, groups=2).lrn("norm2").max_pool("pool2", 3, 2)
    rows.conv("conv3", 384, 3).conv("conv4", 384, 3, groups=2).conv("conv5", 256, 3, groups=2)
    return _classifier(rows.max_pool("pool5", 3, 2), classes)


def alexnet_one_tower(shape: Shape, classes: int) -> nn.Module:
    """Krizhevsky 2014 as torchvision has it: dropout before each dense layer."""
    rows = (
        table(shape).conv("conv1", 64, 11, 4, 2).max_pool("pool1", 3, 2).conv("conv2", 192, 5).max_pool("pool2", 3, 2)
    )
    rows.conv("conv3", 384, 3).conv("conv4", 256, 3).conv("conv5", 256, 3).max_pool("pool5", 3, 2).flat()
    rows.dropout("drop6", 0.5).dense("fc6", 4096).dropout("drop7", 0.5).dense("fc7", 4096)
    return rows.dense("logits", classes, None).net()


def alexnet_bn(shape: Shape, classes: int) -> nn.Module:
    """One tower; batch normalisation after the ReLU of conv1, conv2 and conv5."""
    rows = table(shape).conv("conv1", 96, 11, 4, "valid").batch_norm("bn1").max_pool("pool1", 3, 2)
    rows.conv("conv2", 256, 5).batch_norm("bn2").max_pool("pool2", 3, 2)
    rows.conv("conv3", 384, 3).conv("conv4", 384, 3).conv("conv5", 256, 3)
    return _classifier(rows.batch_norm("bn5").max_pool("pool5", 3, 2), classes)


def alexnet_valid(shape: Shape, classes: int) -> nn.Module:
    """No padding anywhere, no normalisation, pools after conv2, conv3 and conv5."""
    rows = table(shape).conv("conv1", 96, 11, 4, "valid").conv("conv2", 256, 5, padding="valid").max_pool("pool2", 3, 2)
    rows.conv("conv3", 384, 3, padding="valid").max_pool("pool3", 3, 2)
    rows.conv("conv4", 384, 3, padding="valid").conv("conv5", 256, 3, padding="valid").max_pool("pool5", 3, 2)
    return _classifier(rows, classes)


def alexnet_dogs(shape: Shape, classes: int, hidden: tuple[int, int] = (4096, 4096)) -> nn.Module:
    """One tower, SAME convolutions, a weaker LRN, no pool after conv5."""
    rows = table(shape).conv("conv1", 96, 11, 4).lrn("norm1", k=1.0, alpha=2e-5).max_pool("pool1", 3, 2)
    rows.conv("conv2", 256, 5).lrn("norm2", k=1.0, alpha=2e-5).max_pool("pool2", 3, 2)
    return _classifier(rows.conv("conv3", 384, 3).conv("conv4", 384, 3).conv("conv5", 256, 3), classes, hidden)


# VGG ------------------------------------------------------------------------------------------------------------------

# Configurations A to E, as the sizes of each block's convolutions.
VGG = {
    "vgg11": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "vgg13": ((3, 3),) * 5,
    "vgg16c": ((3, 3), (3, 3), *((3, 3, 1),) * 3),
    "vgg16": ((3, 3), (3, 3), *((3, 3, 3),) * 3),
    "vgg19": ((3, 3), (3, 3), *((3, 3, 3, 3),) * 3),
}
BATCH_NORM = ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")


def vgg(name: str, shape: Shape, classes: int) -> nn.Module:
    """Simonyan and Zisserman 2014, table 1; with `_bn` and torchvision's batch normalisation before each ReLU."""
    rows, plain = table(shape), name.removesuffix("_bn")
    for block, (sizes, filters) in enumerate(zip(VGG[plain], (64, 128, 256, 512, 512), strict=True), 1):
        for k, size in enumerate(sizes, 1):
            rows.conv(f"conv{block}_{k}", filters, size, activation=relu if name == plain else nn.Identity)
            if name != plain:
                rows.batch_norm(f"bn{block}_{k}", 1e-5, 0.1)
                rows.rows[f"bn{block}_{k}_activation"] = relu()
        rows.max_pool(f"pool{block}", 2)
    return _classifier(rows, classes)


# GoogLeNet ------------------------------------------------------------------------------------------------------------

# Szegedy et al. 2014, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
HEADS = ("aux1", "aux2")


class Inception(nn.Module):
    """Four branches side by side; figure 2b of the paper."""

    def __init__(self, channels: int, n1x1: int, n3x3_reduce: int, n3x3: int, n5x5_reduce: int, n5x5: int, pool: int):
        super().__init__()
        self.channels = n1x1 + n3x3 + n5x5 + pool
        self.conv1x1 = nn.Conv2d(channels, n1x1, 1)
        self.conv3x3_reduce = nn.Conv2d(channels, n3x3_reduce, 1)
        self.conv3x3 = nn.Conv2d(n3x3_reduce, n3x3, 3, padding=1)
        self.conv5x5_reduce = nn.Conv2d(channels, n5x5_reduce, 1)
        self.conv5x5 = nn.Conv2d(n5x5_reduce, n5x5, 5, padding=2)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.pool_proj = nn.Conv2d(channels, pool, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        of3x3 = self.conv3x3(torch.relu_(self.conv3x3_reduce(x)))
        of5x5 = self.conv5x5(torch.relu_(self.conv5x5_reduce(x)))
        return torch.relu_(torch.cat([self.conv1x1(x), of3x3, of5x5, self.pool_proj(self.pool(x))], 1))


class WithHeads(nn.Sequential):
    """A chain from which the rows named in `HEADS` branch off; gives the output of each head and of the end by name."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = {}
        for name, row in self.named_children():
            if name in HEADS:
                outputs[name] = row(x)
            else:
                x = row(x)
        return {"logits": x, **outputs}


def _googlenet(shape: Shape, classes: int, heads: bool) -> Table:
    rows = table(shape).conv("conv1", 64, 7, 2).max_pool("pool1", 3, 2, "same").lrn("norm1")
    rows.conv("conv2_reduce", 64, 1).conv("conv2", 192, 3).lrn("norm2").max_pool("pool2", 3, 2, "same")
    rows.inception("3a").inception("3b").max_pool("pool3", 3, 2, "same").inception("4a")
    if heads:
        rows.head("aux1", classes)
    rows.inception("4b").inception("4c").inception("4d")
    if heads:
        rows.head("aux2", classes)
    rows.inception("4e").max_pool("pool4", 3, 2, "same").inception("5a").inception("5b")
    return rows.average_pool("pool5", 7, 1).dropout("drop", 0.4).flat()


def googlenet(shape: Shape, classes: int) -> nn.Module:
    """With both auxiliary heads: aux1 sees inception_4a, aux2 sees inception_4d."""
    return WithHeads(_googlenet(shape, classes, heads=True).dense("logits", classes, None).rows)


def googlenet_dogs(shape: Shape, classes: int) -> nn.Module:
    """No heads; a hidden layer of 1000 before the logits."""
    return _googlenet(shape, classes, heads=False).dense("fc", 1000).dense("logits", classes, None).net()


# CIFAR-10 -------------------------------------------------------------------------------------------------------------


def cifar_basic(shape: Shape, classes: int) -> nn.Module:
    rows = table(shape).conv("conv1", 32, 3).conv("conv2", 32, 3).max_pool("pool2", 2)
    rows.conv("conv3", 64, 3).conv("conv4", 64, 3).max_pool("pool4", 2)
    return rows.conv("conv5", 128, 3).flat().dense("fc6", 128).dense("logits", classes, None).net()


class Eighth(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0.125


def cifar_fast(shape: Shape, classes: int) -> nn.Module:
    """Filters that are not trained; then convolution, pool, normalisation, GELU; logits are an eighth."""
    rows = table(shape).conv("conv1", 24, 2, padding="valid", activation=nn.GELU, bias=False)
    rows.rows["conv1"].requires_grad_(False)
    for number, filters, pooled in ((2, 64, True), (3, 64, False), (4, 256, True), (5, 256, False), (6, 256, True)):
        rows.conv(f"conv{number}", filters, 3, activation=nn.Identity, bias=False)
        if pooled:
            rows.max_pool(f"pool{number}", 2)
        rows.unscaled_norm(f"bn{number}")
    rows.conv("conv7", 256, 3, activation=nn.Identity, bias=False).unscaled_norm("bn7").max_pool("pool7", 3)
    return rows.flat().dense("logits", classes, Eighth, bias=False).net()


def cifar_wide(shape: Shape, classes: int) -> nn.Module:
    """Few layers of many filters; batch normalisation before and after each pool."""
    rows = table(shape).conv("conv1", 128, 3).batch_norm("bn1").conv("conv2", 256, 3).batch_norm("bn2")
    rows.max_pool("pool2", 3, 3, "same").batch_norm("bn2b").conv("conv3", 512, 4).batch_norm("bn3")
    rows.conv("conv4", 1024, 5, padding="valid").batch_norm("bn4").max_pool("pool4", 5).batch_norm("bn4b")
    rows.flat().dense("fc5", 60, nn.Sigmoid).dropout("drop", 0.001)
    return rows.dense("logits", classes, None).net()


# name -> (builder, input shape [C, H, W], classes)
NETS: dict[str, tuple[Callable[[Shape, int], nn.Module], Shape, int]] = {
    "lenet5_tanh": (lenet5_tanh, (1, 28, 28), 10),
    "lenet5_relu": (lenet5_relu, (1, 32, 32), 10),
    "alexnet": (alexnet, (3, 227, 227), 1000),
    "alexnet_one_tower": (alexnet_one_tower, (3, 224, 224), 1000),
    "alexnet_bn": (alexnet_bn, (3, 227, 227), 10),
    "alexnet_valid": (alexnet_valid, (3, 224, 224), 10),
    "alexnet_dogs": (alexnet_dogs, (3, 214, 214), 2),
    "alexnet_dogs_small": (functools.partial(alexnet_dogs, hidden=(300, 200)), (3, 214, 214), 2),
    **{name: (functools.partial(vgg, name), (3, 224, 224), 1000) for name in (*VGG, *BATCH_NORM)},
    "googlenet": (googlenet, (3, 224, 224), 1000),
    "googlenet_dogs": (googlenet_dogs, (3, 214, 214), 2),
    "cifar_basic": (cifar_basic, (3, 32, 32), 10),
    "cifar_wide": (cifar_wide, (3, 32, 32), 10),
    "cifar_fast": (cifar_fast, (3, 32, 32), 10),
}


# Weights --------------------------------------------------------------------------------------------------------------

PARTS = {"weight": "w", "bias": "b"}
BATCH_NORM_PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _in_torch_order(value: np.ndarray, module: nn.Module) -> np.ndarray:
    """Kernels HWIO -> OIHW; dense [in, out] -> [out, in], where `in` comes from images HWC -> CHW."""
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if isinstance(module, nn.Linear) and value.ndim == 2:
        channels, height, width = module.follows
        return value.reshape(height, width, channels, -1).transpose(3, 2, 0, 1).reshape(value.shape[::-1])
    return value


def assign(net: nn.Module, values: Mapping[str, np.ndarray]) -> None:
    """Give every parameter and running statistic the value that rawcnn's `named_variables` has for it, path by path.

    Raises `ValueError` naming the paths that only one side has, or the one whose shape differs.
    """
    own = {}
    for name, module in net.named_modules():
        parts = BATCH_NORM_PARTS if isinstance(module, nn.BatchNorm2d) else PARTS
        for part, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if part in parts:
                own[f"{name}.{parts[part]}".replace(".", "/")] = module, tensor
    if own.keys() != values.keys():
        raise ValueError(f"only in one of the two nets: {sorted(own.keys() ^ values.keys())}")
    with torch.no_grad():
        for path, (module, tensor) in own.items():
            value = np.ascontiguousarray(_in_torch_order(values[path], module))
            if value.shape != tuple(tensor.shape):
                raise ValueError(f"{path} is {tuple(tensor.shape)} in PyTorch, {value.shape} in rawcnn")
            tensor.copy_(torch.from_numpy(value))
