"""torchvision's VGG and AlexNet with its names of modules, as its documentation and the papers describe them.

torchvision itself cannot be installed beside every PyTorch. Its adaptive pool changes nothing at 224 pixels; here the
classifier is made for the maps that there are, so that small images serve too.
"""

from collections import OrderedDict
from typing import Any

from torch import nn

DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def vgg(name: str, side: int, classes: int, top: bool = True) -> nn.Module:
    """`name` may end in `_bn`; images are `[N, 3, side, side]`."""
    features: list[nn.Module] = []
    channels = 3
    for depth, filters in zip(DEPTHS[name.removesuffix("_bn")], (64, 128, 256, 512, 512), strict=True):
        for _ in range(depth):
            features.append(nn.Conv2d(channels, filters, 3, padding=1))
            features += [nn.BatchNorm2d(filters)] if name.endswith("_bn") else []
            features.append(nn.ReLU())
            channels = filters
        features.append(nn.MaxPool2d(2, 2))
    classifier = (
        nn.Linear(512 * (side // 32) ** 2, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, classes),
    )  # fmt: skip
    return _net(features, classifier if top else ())


def alexnet(side: int, classes: int) -> nn.Module:
    """Krizhevsky 2014, "One weird trick": one tower."""
    features = (
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    last = {224: 6, 95: 2}[side]
    classifier = (
        nn.Dropout(), nn.Linear(256 * last**2, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, classes),
    )  # fmt: skip
    return _net(features, classifier)


def _net(features: Any, classifier: Any) -> nn.Module:
    rows = OrderedDict(features=nn.Sequential(*features))
    if classifier:
        rows |= {"avgpool": nn.Flatten(), "classifier": nn.Sequential(*classifier)}
    return nn.Sequential(rows)
