"""Weights of other libraries under rawcnn's names and in its order of axes.

Keras keeps a layer's arrays as rawcnn does (`[height, width, in, out]`, `[in, out]`), so only names differ. PyTorch
keeps `[out, in, height, width]` and `[out, in]`, and flattens channels before rows. Nothing is guessed: what a table
does not know keeps its name, and strict loading then reports it (see `rawcnn.weights.assign`).
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from rawcnn.errors import DataError

Arrays = Mapping[str, np.ndarray]
Place = tuple[bool, int]
"""Whether a layer is dense, and its number among its kind."""

KERAS = {f"block{block}_conv{i}": f"conv{block}_{i}" for block in range(1, 6) for i in range(1, 5)} | {
    "fc1": "fc6", "fc2": "fc7", "predictions": "logits",
}  # fmt: skip
"""Layers of `keras.applications` VGG16 and VGG19 in its own files, and the rows of `vgg16` and `vgg19`."""

KERAS3 = re.compile(r"(conv2d|dense)(?:_(\d{1,3}))?/vars/([01])")
"""What Keras 3 writes into a `.weights.h5`: classes and numbers for names, and 0 for a kernel, 1 for a bias."""

TORCH = re.compile(r"(features|classifier)\.(\d{1,3})\.(weight|bias)")
"""torchvision's AlexNet and VGG: layers are numbered within two sequences, pools and ReLUs counted too."""


def is_keras(arrays: Arrays) -> bool:
    """Whether the names are those of a Keras VGG's file, `block1_conv1/...`, or of Keras 3, `conv2d/vars/0`."""
    return any(name.startswith("block1_conv1/") for name in arrays) or "conv2d/vars/0" in arrays


def is_torch(arrays: Arrays) -> bool:
    """Whether the names are those of a torchvision AlexNet or VGG: `features.0.weight`, ..."""
    return "features.0.weight" in arrays


def from_keras(arrays: Arrays, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a Keras VGG by rawcnn's names; `names` are the net's, `conv1_1/w`, ..., in order.

    Of the two arrays of a named layer the bias is the one with one axis, for their own names changed over the years. In
    a file of Keras 3, layer k is row k. The weights of `keras.applications` are those of a net that is shown blue,
    green, red less the means 103.939, 116.779, 123.68.

    Raises `DataError` if a layer has two arrays of one kind, or a file of Keras 3 has another number of layers.

    >>> sorted(from_keras({"fc1/fc1_W_1:0": np.ones((2, 3)), "fc1/fc1_b_1:0": np.ones(3), "a/0": np.ones(1)}, []))
    ['a/0', 'fc6/b', 'fc6/w']
    """
    matches = {name: match for name in arrays if (match := KERAS3.fullmatch(name))}
    places = {name: (match[1] == "dense", int(match[2] or 0)) for name, match in matches.items()}
    row_of = _rows(places.values(), names) if matches else {}
    renamed: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        layer, _, rest = name.partition("/")
        new = name
        if name in matches:
            new = f"{row_of[places[name]]}/{'wb'[int(matches[name][3])]}"
        elif rest and layer in KERAS:
            new = f"{KERAS[layer]}/{'b' if values.ndim == 1 else 'w'}"
        if new in renamed:
            raise DataError(f"{name!r} is a second array for {new}: a layer of VGG has one kernel and one bias.")
        renamed[new] = values
    return renamed


def from_torch(arrays: Arrays, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a torchvision AlexNet or VGG by rawcnn's names; `names` are the net's, `conv1_1/w`, ..., in order.

    Layer k of the file is row k of the net. The first dense layer's inputs, `[channels, height, width]` there, are put
    into the order `[height, width, channels]`. torchvision's AlexNet has other sizes than Krizhevsky's ("One weird
    trick", 2014), so it fits no net here, and strict loading says so.

    Raises `DataError` if the file has more or fewer layers than the net has rows with weights.
    """
    matches = {name: match for name in arrays if (match := TORCH.fullmatch(name))}
    places = {name: (match[1] == "classifier", int(match[2])) for name, match in matches.items()}
    row_of = _rows(places.values(), names)
    renamed = {name: values for name, values in arrays.items() if name not in matches}
    channels = 0
    for name in sorted(matches, key=lambda name: places[name]):
        values = arrays[name]
        if values.ndim == 2:
            values, channels = _dense(values, channels, name), 0
        elif values.ndim == 4:
            channels, values = len(values), values.transpose(2, 3, 1, 0)
        renamed[f"{row_of[places[name]]}/{'b' if matches[name][3] == 'bias' else 'w'}"] = values
    return renamed


def _rows(places: Collection[Place], names: Sequence[str]) -> dict[Place, str]:
    """The net's row for each layer of the file: both in order, convolutions before dense layers."""
    layers, rows = sorted(set(places)), list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    if len(layers) != len(rows):
        raise DataError(f"The file has {len(layers)} layers with weights, the net {len(rows)}: they are not one net.")
    return dict(zip(layers, rows, strict=True))


def _dense(values: np.ndarray, channels: int, name: str) -> np.ndarray:
    """`[out, in]` to `[in, out]`; after a convolution of so many `channels` also from channels first to last."""
    out, size = values.shape
    if not channels:
        return values.T
    side = math.isqrt(size // channels)
    if channels * side * side != size:
        raise DataError(f"{name!r} has {size} inputs, which are no square maps of {channels} channels.")
    return values.reshape(out, channels, side, side).transpose(2, 3, 1, 0).reshape(size, out)
