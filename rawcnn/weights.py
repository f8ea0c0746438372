"""Weights by name, and files of them: `.npz`, `.safetensors` or Keras's `.h5`, never pickled, loaded strictly."""

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.chain import Chain
from rawcnn.errors import DataError, RunError
from rawcnn.files import whole_file
from rawcnn.foreign import from_keras, from_torch, is_keras, is_torch
from rawcnn.h5 import SIGNATURE, read_h5
from rawcnn.limits import regular_file
from rawcnn.npz import read_npz, write_npz
from rawcnn.safetensors import read_safetensors, write_safetensors

SAFETENSORS = ".safetensors"
NAMED = 20  # of what does not fit; the rest is counted


def named_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Every variable below `module` by its path, such as `c1/w`, in the order in which they were made."""
    return dict(_walk(module, ""))


def named_weights(module: tf.Module) -> dict[str, tf.Variable]:
    """The trainable variables below `module` by path.

    >>> from rawcnn.nets import NETS
    >>> list(named_weights(NETS["lenet5"]()))[:4]
    ['c1/w', 'c1/b', 's2/w', 's2/b']
    """
    return {name: v for name, v in _walk(module, "") if v.trainable}


def _walk(node: Any, path: str) -> Iterator[tuple[str, tf.Variable]]:
    if isinstance(node, tf.Variable):
        yield path, node
    elif isinstance(node, tf.Module | Mapping):
        children = node.items() if isinstance(node, Mapping) else vars(node).items()
        for name, child in children:
            if not name.startswith("_"):
                yield from _walk(child, f"{path}/{name}" if path else name)


def frozen(net: Chain) -> Chain:
    """A twin of `net` to ask, not to train: its weights are constants, in the dtype that the net computes in.

    A net casts its float32 weights whenever it is called; for a few images that takes longer than the images do.
    Later changes of `net` do not reach the twin. Batch normalisation's numbers stay float32.

    >>> from rawcnn.nets import NETS
    >>> from rawcnn.precision import MIXED_BFLOAT16
    >>> net = frozen(NETS["lenet5_relu"](policy=MIXED_BFLOAT16))
    >>> net.c1.w.dtype, net(tf.zeros((1, 32, 32, 1))).shape
    (tf.bfloat16, TensorShape([1, 10]))
    """
    return _frozen(net, net.policy.compute)


def _frozen(module: Any, dtype: tf.DType) -> Any:
    twin = copy.copy(module)
    for name, child in vars(module).items():
        if isinstance(child, tf.Variable):
            narrow = child.dtype.is_floating and name in ("w", "b")
            child = tf.cast(child.read_value(), dtype) if narrow else child.read_value()
        elif isinstance(child, tf.Module):
            child = _frozen(child, dtype)
        object.__setattr__(twin, name, child)  # tf.Module's own would tell the original, whose books the twin shares
    return twin


def assign(variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray], where: str) -> None:
    """Give every variable its value; nothing is assigned unless all names and shapes match. Floats may differ in width.

    Raises `RunError` that lists what is missing, unexpected or of another shape or kind in `where`.
    """
    wrong = [f"{name} is missing" for name in variables.keys() - values.keys()]
    wrong += [f"{name} is unexpected" for name in values.keys() - variables.keys()]
    wrong += [
        f"{name} is {values[name].shape}, not {tuple(v.shape)}"
        for name, v in variables.items()
        if name in values and values[name].shape != tuple(v.shape)
    ]
    wrong += [
        f"{name} is {values[name].dtype}, not {v.dtype.name}"
        for name, v in variables.items()
        if name in values and not np.can_cast(values[name].dtype, v.dtype.as_numpy_dtype, "same_kind")
    ]
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        named = "; ".join(sorted(wrong)[:NAMED])
        raise RunError(f"{where} does not fit this net: {named}{more}. Build the net it was saved from.")
    for name, variable in variables.items():
        variable.assign(values[name].astype(variable.dtype.as_numpy_dtype, copy=False))


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as `.npz` so that `path` is, even after a crash, the old file or the new one, never a part."""
    with whole_file(path) as file:
        write_npz(file, arrays)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a file that `save_arrays` wrote. Raises `RunError` when it is missing, damaged or holds pickled objects."""
    try:
        return read_npz(path)
    except DataError as error:
        raise _unreadable(path, error) from error


def save_weights(net: tf.Module, path: str | os.PathLike[str]) -> None:
    """Save all variables of `net` by path, as `.npz`, or as `.safetensors` if `path` ends so.

    `np.load(path)["c1/w"]` reads one back anywhere. Raises `OSError` as writing does; `path` is then as it was.
    """
    values = {name: v.numpy() for name, v in named_variables(net).items()}
    if Path(path).suffix == SAFETENSORS:
        write_safetensors(path, values)
    else:
        save_arrays(path, values)


def load_weights(net: tf.Module, path: str | os.PathLike[str]) -> None:
    """Load what `save_weights` saved, or a VGG of `keras.applications` (`.h5`) or torchvision (`.safetensors`).

    Strict, see `assign`; of other libraries' files it is the trainable variables that must match, for theirs do not
    count dropout's calls. Which format a file has, its first bytes tell. Raises `RunError` when it cannot be read or
    does not fit, and `UsageError` for an `.h5` file without h5py.
    """
    try:
        arrays = _read(path)
        if is_keras(arrays):
            variables = named_weights(net)
            arrays = from_keras(arrays, list(variables))
        elif is_torch(arrays):
            variables = named_weights(net)
            arrays = from_torch(arrays, list(variables))
        else:
            variables = named_variables(net)
    except DataError as error:
        raise _unreadable(path, error) from error
    assign(variables, arrays, str(path))


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    with regular_file(path) as (file, _):
        start = file.read(len(SIGNATURE))
    if start.startswith(b"PK"):
        return read_npz(path)
    if start == SIGNATURE:
        return read_h5(path)
    return read_safetensors(path)


def _unreadable(path: str | os.PathLike[str], error: DataError) -> RunError:
    return RunError(f"{path} cannot be read as weights: {str(error).removeprefix(f'{path}: ')}")
