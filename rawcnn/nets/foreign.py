"""Weights of other libraries under rawcnn's names and in its order of axes.

Keras keeps a layer's arrays as rawcnn does (`[height, width, in, out]`, `[in, out]`), so only names differ. PyTorch
keeps `[out, in, height, width]` and `[out, in]`, and flattens channels before rows.

A layer of the file belongs to the row of its name, where the file has such names. Else layers are counted: the k-th
convolution of the file is the k-th of the net, and so are dense layers and batch normalisations. Where the two have
different numbers of them, only the first ones with equal shapes belong together. Nothing else is guessed: what belongs
to no row keeps its name, and loading reports it.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from string import digits
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import DataError
from rawcnn.layers import Dense, Flatten
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain

Arrays = Mapping[str, np.ndarray]
CONVOLUTION, DENSE, NORM = KINDS = ("convolution", "dense layer", "batch normalisation")
NORM_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")

KERAS = {f"block{block}_conv{i}": f"conv{block}_{i}" for block in range(1, 6) for i in range(1, 5)} | {
    "fc1": "fc6", "fc2": "fc7", "predictions": "logits",
}  # fmt: skip
"""Layers of `keras.applications` VGG16 and VGG19, and the rows of `vgg16` and `vgg19`."""

NUMBERED = re.compile(r"(conv2d|dense|batch_normalization)(?:_(\d{1,6}))?$")
"""What Keras calls a layer whose name nobody gave: it counts each class."""

TORCH_SECTIONS = ("features", "classifier", "pre_logits", "head")
"""torchvision's AlexNet and VGG number layers within two sequences; timm's VGG has the last two for the classifier."""
TORCH_PARTS = {"weight": "w", "bias": "b"}
TORCH_NORM_PARTS = dict(zip(("weight", "bias", "running_mean", "running_var"), NORM_PARTS, strict=True))
TORCH_COUNTER = "num_batches_tracked"
WRAPPERS = ("module.", "model.", "net.", "network.", "backbone.", "_orig_mod.", "state_dict.")
"""What is put before all names by those who wrap a net: DataParallel, Lightning, torch.compile."""

KERAS_PIXELS = Preprocess.standardised((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
TORCH_PIXELS = Preprocess.standardised((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""What the ImageNet weights of `keras.applications` VGG, and those of torchvision and timm, were trained on: RGB."""

CONVOLUTIONS = {5: "alexnet_one_tower", 8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}
"""The net that a file of torchvision, timm or `keras.applications` with so many convolutions is for."""


class Layer(NamedTuple):
    """A layer of the file: its values by rawcnn's names and in rawcnn's order of axes, and their names in the file."""

    name: str
    kind: str
    values: dict[str, np.ndarray]
    called: dict[str, str]


class Row(NamedTuple):
    """A row of the net: the shapes of its variables."""

    name: str
    kind: str
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Foreign:
    """A file's arrays under the names of the net's variables, and what is known of them.

    `preprocess` is what the weights expect of the pixels; `note` says what was done to them; `hint`, for a file that
    does not fit, which net it looks like.
    """

    arrays: dict[str, np.ndarray]
    preprocess: Preprocess | None
    note: str
    hint: str


def is_keras(arrays: Arrays) -> bool:
    """Whether the names are paths below layers, as Keras writes them: `conv2d/vars/0`, `fc1/fc1/kernel:0`."""
    return any(re.search(r"/vars/\d+$|/kernel(:0)?$|_W_1(:0)?$", name) for name in arrays)


def is_torch(arrays: Arrays) -> bool:
    """Whether the names are those of a PyTorch module: `features.0.weight`, `c1.weight`, ..."""
    return any(name.endswith(".weight") and "/" not in name for name in arrays)


def from_keras(arrays: Arrays, net: tf.Module, *, bgr: bool | None = None) -> Foreign:
    """The arrays of a Keras file by the names of `net`'s variables.

    `bgr` says whether the first convolution expects blue, green, red, as the ImageNet weights of `keras.applications`
    do: its filters are then turned around, so that the net takes RGB. By default it does if layers have the names of
    `keras.applications` VGG.

    Raises `DataError` if a layer has two arrays of one kind, the order of the layers cannot be told, or only one of
    file and net has batch normalisation.
    """
    arrays = {name: values for name, values in arrays.items() if "/seed_generator/" not in name}  # dropout's
    layers, rows = _keras_layers(arrays), _rows(net)
    of_applications = any(layer.name in KERAS for layer in layers)
    pairs = list(_pairs(layers, rows, KERAS))
    _check_order(pairs)
    hint = _hint(layers, rows, of_applications)
    renamed, note = _renamed(arrays, pairs), ""
    if of_applications if bgr is None else bgr:
        first = next((f"{row.name}/w" for row in rows if row.kind == CONVOLUTION), "")
        if first in renamed and renamed[first].shape[2:3] == (3,):
            renamed[first] = renamed[first][:, :, ::-1]
            note = f"{first} is turned from BGR to RGB"
    return Foreign(renamed, KERAS_PIXELS if of_applications or bgr else None, note, hint)


def from_torch(arrays: Arrays, net: tf.Module) -> Foreign:
    """The arrays of a PyTorch file by the names of `net`'s variables.

    Known are torchvision's AlexNet and VGG, timm's VGG, and modules that are named as the net's rows. A dense layer's
    inputs, where they are maps `[channels, height, width]`, are put into the order `[height, width, channels]`.

    Raises `DataError` if only one of file and net has batch normalisation, and for torchvision's GoogLeNet.
    """
    names = [name for name in arrays if not name.endswith(TORCH_COUNTER)]
    arrays = {_unwrapped(name): arrays[name] for name in names}
    if len(arrays) < len(names):
        raise DataError("it has two nets with the same names of layers. Save them apart.")
    if "inception3a.branch1.conv.weight" in arrays:
        raise DataError(
            "it is torchvision's GoogLeNet, which has batch normalisation, and 3x3 convolutions in place of the "
            "paper's 5x5. No net here has these."
        )
    layers, rows, maps = _torch_layers(arrays), _rows(net), maps_before(net)
    pairs = list(_pairs(layers, rows, {layer.name: layer.name.replace(".", "/") for layer in layers}))
    for layer, row in pairs:
        if layer.kind == DENSE and row.name in maps and "w" in layer.values:
            layer.values["w"] = _rows_first(layer.values["w"], maps[row.name])
        if layer.kind == NORM and "gamma" not in row.shapes and (np.asarray(layer.values.get("gamma", 0)) == 1).all():
            del layer.values["gamma"]  # PyTorch always has one
    of_torchvision = any(layer.name.split(".")[0] in TORCH_SECTIONS for layer in layers)
    hint = _hint(layers, rows, of_torchvision)
    return Foreign(_renamed(arrays, pairs), TORCH_PIXELS if of_torchvision else None, "", hint)


# The file's layers ----------------------------------------------------------------------------------------------------


def _keras_layers(arrays: Arrays) -> list[Layer]:
    groups: dict[str, list[str]] = {}
    for name in arrays:
        above = re.sub(r"/vars$", "", name.rpartition("/")[0])
        if above:
            groups.setdefault(above, []).append(name)
    layers: dict[str, Layer] = {}
    for path, names in groups.items():
        layer = path.rpartition("/")[2]
        if layer in layers:
            raise DataError(f"the layer {layer!r} appears twice, in two nets of one file. Save them apart.")
        values, called = {}, {}
        norm = len(names) > 2 and all(arrays[name].ndim == 1 for name in names)
        for k, name in enumerate(sorted(names)):
            part = _norm_part(name, k, len(names)) if norm else "b" if arrays[name].ndim == 1 else "w"
            if part in values:
                raise DataError(f"{name!r} is a second {part!r} of {layer}: a layer has one kernel and one bias.")
            values[part], called[part] = arrays[name], name
        layers[layer] = Layer(layer, _kind(_shapes(values)), values, called)
    return sorted(layers.values(), key=_keras_place)


def _norm_part(name: str, number: int, count: int) -> str:
    """By its own name, or by its number in a file of Keras 3; without gamma there are three."""
    last = re.sub(r"(_\d+)?(:0)?$", "", name.rpartition("/")[2])
    return last if last in NORM_PARTS else NORM_PARTS[-count:][number]


def _keras_place(layer: Layer) -> tuple[bool, int, str]:
    """Those that Keras numbered, by number; then the others, of which the last layer is usually one."""
    match = NUMBERED.match(layer.name) or re.search(r"()(\d{1,6})$", layer.name)
    return not NUMBERED.match(layer.name), int(match[2] or 0) if match else 0, layer.name


def _torch_layers(arrays: Arrays) -> list[Layer]:
    """In the order of their numbers, the convolutions' sequence first."""
    groups: dict[str, dict[str, str]] = {}
    for name in arrays:
        module, _, parameter = name.rpartition(".")
        groups.setdefault(module, {})[parameter] = name
    layers = []
    for module, called in groups.items():
        parts = TORCH_NORM_PARTS if "running_mean" in called else TORCH_PARTS
        called = {parts[parameter]: name for parameter, name in called.items() if parameter in parts}
        values = {part: arrays[name] for part, name in called.items()}
        dense = values.get("w", np.zeros(0)).ndim == 2 or module.startswith(TORCH_SECTIONS[1:])
        if "w" in values and values["w"].ndim in (2, 4):
            values["w"] = _dense(values["w"]) if dense else values["w"].transpose(2, 3, 1, 0)
        layers.append(Layer(module, _kind(_shapes(values)), values, called))
    return sorted(layers, key=lambda layer: _torch_place(layer.name))


def _dense(w: np.ndarray) -> np.ndarray:
    """`[out, in]`, or timm's `[out, channels, height, width]`, as `[in, out]`, channels first in both."""
    return w.reshape(len(w), math.prod(w.shape[1:])).T


def _torch_place(module: str) -> tuple[int, list[tuple[int, str]]]:
    section = module.split(".")[0]
    first = TORCH_SECTIONS.index(section) if section in TORCH_SECTIONS else 0
    return first, [(int(number or 0), text) for text, number in re.findall(r"(\D*)(\d*)", module)]


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


# The net's rows -------------------------------------------------------------------------------------------------------


def _rows(net: tf.Module) -> list[Row]:
    """Every row with weights, in the order of the table."""
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, variable in named_variables(net).items():
        if variable.dtype.is_floating:  # no counters
            row, _, part = name.rpartition("/")
            groups.setdefault(row, {})[part] = tuple(variable.shape)
    return [Row(name, _kind(shapes), shapes) for name, shapes in groups.items()]


def _kind(shapes: Mapping[str, Sequence[int]]) -> str:
    """What a layer is, by the shapes of its variables; "" for what other libraries do not have."""
    if "moving_mean" in shapes:
        return NORM
    return {4: CONVOLUTION, 2: DENSE}.get(len(shapes.get("w", ())), "")


def maps_before(net: tf.Module) -> dict[str, tuple[int, ...]]:
    """The shape (height, width, channels) that each dense row sees flattened, where it sees maps."""
    found: dict[str, tuple[int, ...]] = {}
    maps: tuple[int, ...] | None = None
    for name, layer in net.rows if isinstance(net, Chain) else ():
        if isinstance(layer, Flatten):
            maps = layer.input_shape
        elif maps and isinstance(layer, Dense):
            found[name], maps = maps, None
    for name, _, head in net.heads if isinstance(net, Chain) else ():
        found |= {f"{name}/{row}": shape for row, shape in maps_before(head).items()}
    return found


def _rows_first(w: np.ndarray, maps: tuple[int, ...]) -> np.ndarray:
    """`[in, out]`, `in` being (channels, height, width), with `in` as (height, width, channels)."""
    height, width, channels = maps
    if len(w) != height * width * channels:
        return w  # does not fit, and loading says so
    return w.reshape(channels, height, width, w.shape[1]).transpose(1, 2, 0, 3).reshape(w.shape)


# Which belongs to which -----------------------------------------------------------------------------------------------


def _pairs(layers: Sequence[Layer], rows: Sequence[Row], names: Mapping[str, str]) -> Iterator[tuple[Layer, Row]]:
    """(layer of the file, row of the net): by name where the file has names of rows, else counted, kind by kind."""
    for kind in KINDS:
        mine = {row.name: row for row in rows if row.kind == kind}
        theirs = [layer for layer in layers if layer.kind == kind]
        named = [(layer, mine[name]) for layer in theirs if (name := names.get(layer.name, layer.name)) in mine]
        counted = list(zip(theirs, mine.values(), strict=False))
        if named or any(layer.name in KERAS for layer in theirs):
            yield from named
        elif len(theirs) == len(mine):
            yield from counted
        else:
            yield from takewhile(lambda pair: _shapes(pair[0].values) == pair[1].shapes, counted)


def _shapes(values: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {part: array.shape for part, array in values.items()}


def _check_order(pairs: Sequence[tuple[Layer, Row]]) -> None:
    """Raise `DataError` if layers of Keras were counted whose names do not say their order.

    They do if Keras numbered them, or if all of a kind are numbered in one way (`conv1`, `conv2`). One layer with
    another name is taken for the last of its kind, if its shapes are its own.
    """
    for kind in KINDS:
        counted = [layer for layer, row in pairs if layer.kind == kind and KERAS.get(layer.name) != row.name]
        own = [
            layer
            for layer, row in pairs
            if layer in counted and layer.name != row.name and not NUMBERED.match(layer.name)
        ]
        if len(own) == len(counted) and len({layer.name.rstrip(digits) for layer in own}) == 1:
            continue
        twins = sum(_shapes(layer.values) == _shapes(own[0].values) for layer in counted) if own else 0
        if len(own) > 1 or twins > 1:
            raise DataError(
                f"the order of its layers {', '.join(layer.name for layer in own)} cannot be told. Save it where it "
                "was made with model.save_weights('w.weights.h5'), which numbers layers."
            )


def _renamed(arrays: Arrays, pairs: Sequence[tuple[Layer, Row]]) -> dict[str, np.ndarray]:
    """What belongs to a row by the name of its variable; the rest by its name in the file."""
    used = {name for layer, _ in pairs for name in layer.called.values()}
    found = {f"{row.name}/{part}": values for layer, row in pairs for part, values in layer.values.items()}
    return found | {name: values for name, values in arrays.items() if name not in used}


def _hint(layers: Sequence[Layer], rows: Sequence[Row], known: bool) -> str:
    """For a file that does not fit, in a sentence: other numbers of layers, and which net the file is for.

    Raises `DataError` if only one of the two has batch normalisation: convolutions without it would compute nonsense.
    """
    theirs, mine = ([sum(layer.kind == kind for layer in of) for kind in KINDS] for of in (layers, rows))
    likely = CONVOLUTIONS.get(theirs[0], "") if known else ""
    likely = f"It looks like {likely}{'_bn' if theirs[2] else ''}." if likely else ""
    if bool(theirs[2]) != bool(mine[2]):
        has, lacks = ("the file", "the net") if theirs[2] else ("the net", "the file")
        raise DataError(f"{has} has batch normalisation, and {lacks} has none: they are not one net. {likely}".strip())
    if theirs == mine:
        return likely
    told = ", ".join(
        f"{n} {kind}{'s' * (n != 1)} against {own}"
        for n, own, kind in zip(theirs, mine, KINDS, strict=True)
        if n != own
    )
    return f"The file and the net differ in {told}. {likely}".strip()
