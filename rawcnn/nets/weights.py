"""Weights by name, and files of them: `.npz`, `.safetensors` or Keras's `.h5`, never pickled, loaded strictly."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.errors import DataError, RunError
from rawcnn.files.h5 import SIGNATURE, read_h5
from rawcnn.files.limits import regular_file
from rawcnn.files.npz import read_npz, write_npz
from rawcnn.files.safetensors import read_safetensors, write_safetensors
from rawcnn.files.whole import whole_file
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.foreign import from_keras, from_torch, is_keras, is_torch

SAFETENSORS = ".safetensors"
NAMED = 20  # of what does not fit; the rest is counted


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
