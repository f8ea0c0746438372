"""Weights by name, and files of them: plain `.npz`, never pickled, loaded strictly."""

import copy
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.chain import Chain
from rawcnn.errors import RunError
from rawcnn.files import whole_file


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
    """Give every variable its value; nothing is assigned unless names and shapes match exactly.

    Raises `RunError` that lists what is missing, unexpected or of another shape in `where`.
    """
    wrong = [f"{name} is missing" for name in variables.keys() - values.keys()]
    wrong += [f"{name} is unexpected" for name in values.keys() - variables.keys()]
    wrong += [
        f"{name} is {values[name].shape}, not {tuple(v.shape)}"
        for name, v in variables.items()
        if name in values and values[name].shape != tuple(v.shape)
    ]
    if wrong:
        raise RunError(f"{where} does not fit this net: {'; '.join(sorted(wrong))}. Build the net it was saved from.")
    for name, variable in variables.items():
        variable.assign(values[name])


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as `.npz` so that `path` is, even after a crash, the old file or the new one, never a part."""
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a file that `save_arrays` wrote. Raises `RunError` when it is missing, damaged or holds pickled objects."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # which one depends on the byte that is wrong
        raise RunError(f"{path} cannot be read as weights ({error}): the file is missing or damaged.") from error


def save_weights(net: tf.Module, path: str | os.PathLike[str]) -> None:
    """Save all variables of `net` as `.npz`, by path: `np.load(path)["c1/w"]` reads one back anywhere."""
    save_arrays(path, {name: v.numpy() for name, v in named_variables(net).items()})


def load_weights(net: tf.Module, path: str | os.PathLike[str]) -> None:
    """Load what `save_weights` saved; strict, see `assign`."""
    assign(named_variables(net), load_arrays(path), str(path))
