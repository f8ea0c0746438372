"""A net's weights under the names of Keras or PyTorch and in their order of axes: the reverse of `rawcnn.nets.foreign`.

VGG and `alexnet_one_tower` get torchvision's names, `vgg16` and `vgg19` those of `keras.applications`; every other net
keeps the names of its rows, for a module or model whose layers are named so.
"""

from collections.abc import Mapping

import numpy as np

from rawcnn.errors import UsageError
from rawcnn.layers import Flatten
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain
from rawcnn.nets.foreign import KERAS, NORM_PARTS, TORCH_COUNTER, TORCH_NORM_PARTS, maps_before

Parts = dict[str, np.ndarray]
APPLICATIONS = (13, 16)  # convolutions of VGG16 and VGG19, the ones that `keras.applications` has


def to_keras(net: Chain) -> dict[str, Parts]:
    """The arrays of each layer by Keras's names, in the order of Keras: `{"c1": {"kernel": w, "bias": b}, ...}`.

    `vgg16` and `vgg19` are named as in `keras.applications`, and the filters of their first convolution are turned to
    BGR, as those take it. Rows within rows are joined by `_`: `inception_3a_conv1x1`. Raises `UsageError` for a row
    that Keras has no layer for.
    """
    rows = _rows(net)
    theirs = {row: layer for layer, row in KERAS.items()}
    applications = rows.keys() <= theirs.keys() and sum(row.startswith("conv") for row in rows) in APPLICATIONS
    layers: dict[str, Parts] = {}
    for row, parts in rows.items():
        name = theirs[row] if applications else row.replace("/", "_")
        layers[name] = {{"w": "kernel", "b": "bias"}.get(part, part): values for part, values in parts.items()}
    if applications:
        first = layers["block1_conv1"]
        first["kernel"] = first["kernel"][:, :, ::-1]
    return layers


def to_torch(net: Chain) -> dict[str, np.ndarray]:
    """The arrays by PyTorch's names, for `load_state_dict`: `{"features.0.weight": ..., "features.0.bias": ...}`.

    Kernels are `[out, in, height, width]`, dense weights `[out, in]`, whose inputs are channels first where the row
    sees maps. Raises `UsageError` for a row that PyTorch has no module for.
    """
    maps, modules = maps_before(net), _modules(net)
    arrays: dict[str, np.ndarray] = {}
    for row, parts in _rows(net).items():
        module = modules.get(row, row.replace("/", "."))
        if "moving_mean" in parts:
            parts = {"gamma": np.ones_like(parts["beta"])} | parts  # PyTorch's has a gamma always
            arrays |= {f"{module}.{theirs}": parts[part] for theirs, part in TORCH_NORM_PARTS.items()}
            arrays[f"{module}.{TORCH_COUNTER}"] = np.array(0, np.int64)
        else:
            arrays[f"{module}.weight"] = _in_torch_order(parts["w"], maps.get(row))
            if "b" in parts:
                arrays[f"{module}.bias"] = parts["b"]
    return arrays


def _rows(net: Chain) -> dict[str, Parts]:
    """The arrays of each row with weights, gamma first as in Keras."""
    rows: dict[str, Parts] = {}
    for name, variable in named_variables(net).items():
        if variable.dtype.is_floating:
            row, _, part = name.rpartition("/")
            rows.setdefault(row, {})[part] = variable.numpy()
    for row, parts in rows.items():
        known = parts["w"].ndim in (2, 4) if "w" in parts else parts.keys() <= set(NORM_PARTS)
        if not known:
            raise UsageError(f"Row {row!r} cannot be written: neither Keras nor PyTorch has a layer like it.")
    return rows


def _modules(net: Chain) -> Mapping[str, str]:
    """torchvision's name of each row: places in its two sequences, where ReLU, pooling and dropout count too."""
    names = [name for name, _ in net.rows]
    one_tower = "drop6" in names and names.index("drop6") < names.index("fc6")
    if "conv1_1" not in names and not one_tower:
        return {}
    modules, section, place = {}, "features", 0
    for name, layer in net.rows:
        if isinstance(layer, Flatten):
            section, place = "classifier", 0
            continue
        modules[name] = f"{section}.{place}"
        place += 2 if getattr(layer, "activation", None) else 1
    return modules


def _in_torch_order(values: np.ndarray, maps: tuple[int, ...] | None) -> np.ndarray:
    if values.ndim == 4:
        return values.transpose(3, 2, 0, 1)
    if values.ndim == 2 and maps:
        return values.reshape(*maps, values.shape[1]).transpose(3, 2, 0, 1).reshape(values.shape[::-1])
    return values.T
