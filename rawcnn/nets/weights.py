"""Weights by name, and files of them: `.npz`, `.safetensors` or Keras's `.h5`, never pickled, loaded strictly."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import DataError, RunError, UsageError
from rawcnn.files.h5 import read_h5, write_keras
from rawcnn.files.kinds import HDF5, NPZ, SAFETENSORS, UNKNOWN, kind_of, what_is
from rawcnn.files.npz import read_npz, write_npz
from rawcnn.files.safetensors import read_safetensors, write_safetensors
from rawcnn.files.whole import whole_file
from rawcnn.layers.normalisation import ENOUGH
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain
from rawcnn.nets.foreign import Foreign, from_keras, from_torch, is_keras, is_torch
from rawcnn.nets.interchange import to_keras, to_torch

READERS = {NPZ: read_npz, SAFETENSORS: read_safetensors, HDF5: read_h5}
SUFFIXES = (".npz", ".safetensors")
ENDINGS = {"rawcnn": SUFFIXES, "torch": (".safetensors",), "keras": (".h5",)}
NAMED = 20  # of what does not fit; the rest is counted


@dataclass(frozen=True)
class Loaded:
    """What `load_weights` took from a file, and what it left.

    `rows` have the file's weights now; `kept` have those that they had; `left_out` says of each array or variable that
    did not fit why. `preprocess` is what the weights expect of the pixels, where the file's origin tells; `note` says
    what was done to the weights for that. `str(loaded)` is all of it in a line or two.
    """

    rows: tuple[str, ...]
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    note: str = ""

    def __str__(self) -> str:
        told = [f"loaded {in_words(self.rows)}"]
        told += [f"kept {in_words(self.kept)} as before ({some(self.left_out)})"] if self.left_out else []
        return "; ".join([*told, self.note] if self.note else told)


def assign(variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray], where: str) -> None:
    """Give every variable its value; nothing is assigned unless all names and shapes match. Floats may differ in width.

    Raises `RunError` that lists what is missing, unexpected or of another shape or kind in `where`.
    """
    if wrong := _misfits(variables, values):
        raise RunError(f"{where} does not fit this net: {some(list(wrong.values()))}. Build the net it was saved from.")
    _set(variables, values)


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` as `.npz` so that `path` is, even after a crash, the old file or the new one, never a part.

    Raises `UsageError` if `path` does not end in .npz, `OSError` as writing does.
    """
    _check_ending(Path(path), SUFFIXES[:1])
    with whole_file(path) as file:
        write_npz(file, arrays)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a file that `save_arrays` wrote. Raises `RunError` when it is missing, damaged or holds pickled objects."""
    try:
        return read_npz(path)
    except DataError as error:
        raise _unreadable(path, error) from error


def save_weights(net: tf.Module, path: str | os.PathLike[str], *, names: str = "rawcnn") -> None:
    """Save all variables of `net` by path, as `.npz` or `.safetensors`, whichever `path` ends in.

    `np.load(path)["c1/w"]` reads one back anywhere. With `names="torch"` a `.safetensors` file is written whose names
    and axes are PyTorch's, for `module.load_state_dict(safetensors.torch.load_file(path))`; with `names="keras"` an
    `.h5` file for `model.load_weights(path)`; see `rawcnn.nets.interchange`.

    Raises `UsageError` for another ending, a folder that does not exist or a row that the others do not have, before
    anything is written, and `OSError` as writing does; `path` is then as it was.
    """
    _check_first(net, "save_weights")
    if names not in ENDINGS:
        raise UsageError(f"names={names!r} is unknown: choose one of {', '.join(ENDINGS)}.")
    path = os.path.expanduser(path)
    _check_target(Path(path), ENDINGS[names])
    if names != "rawcnn" and not isinstance(net, Chain):
        raise UsageError(f"Only nets that are a Chain are written with names={names!r}.")
    if isinstance(net, Chain) and names == "keras":
        write_keras(path, to_keras(net))
        return
    if isinstance(net, Chain) and names == "torch":
        write_safetensors(path, to_torch(net))
        return
    values = {name: v.numpy() for name, v in named_variables(net).items()}
    if Path(path).suffix.lower() == ".safetensors":
        write_safetensors(path, values)
    else:
        save_arrays(path, values)


def _check_first(net: object, function: str) -> None:
    if not isinstance(net, tf.Module):
        raise UsageError(f"The net comes first: write {function}(net, path).")


def _check_ending(path: Path, suffixes: Sequence[str]) -> None:
    """Raise `UsageError` unless `path` ends as files of one of these formats do."""
    if path.suffix.lower() not in suffixes:
        name = path.with_suffix(suffixes[0]).name if path.name else f"weights{suffixes[0]}"
        ending = repr(path.suffix) if path.suffix else "no ending"
        other = next((other for other, endings in ENDINGS.items() if path.suffix.lower() in endings), "")
        more = f" For {other.capitalize()}, say names={other!r}." if other not in ("", "rawcnn") else ""
        raise UsageError(f"{path}: weights are written as {' or '.join(suffixes)}, not {ending}. Call it {name}.{more}")
    if path.name.lower().endswith(".weights.h5"):
        raise UsageError(f"{path}: Keras takes .weights.h5 for another format. Call it {path.name[:-11]}.h5.")


def _check_target(path: Path, suffixes: Sequence[str]) -> None:
    """As `_check_ending`, and unless there can be a file of that name."""
    _check_ending(path, suffixes)
    if path.is_dir():
        raise UsageError(f"{path} is a directory. Give the name of a file, such as {path / ('weights' + suffixes[0])}.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the directory {path.parent} does not exist. Make it first, or choose another.")


def load_weights(
    net: tf.Module, path: str | os.PathLike[str], *, partial: bool = False, bgr: bool | None = None
) -> Loaded:
    """Load what `save_weights` saved, or weights of Keras (`.h5`) or PyTorch (`.safetensors`); say what was loaded.

    Of other libraries, files of `keras.applications` VGG, of torchvision's AlexNet and VGG and of timm's VGG are known,
    and nets with the same layers in the same order. Their weights need pixels of a certain scale: `Loaded.preprocess`,
    which the net notes as `net.expects`, and `fit`, `evaluate`, `predict` and `Run` then show it such pixels.
    `bgr` is for Keras alone, see `from_keras`. Which format a file has, its first bytes tell.

    All names and shapes must match. With `partial`, rows that fit are loaded and the others stay as they are: a file of
    1000 classes fits a net of 10, or one without its top. Raises `RunError` that says what to do when the file cannot
    be read or does not fit, or if no row fits; nothing is loaded then. Raises `UsageError` for an `.h5` file without
    h5py.
    """
    _check_first(net, "load_weights")
    path = os.path.expanduser(path)
    try:
        arrays = _read(path)
    except DataError as error:
        raise _unreadable(path, error) from error
    return take_arrays(net, arrays, os.fspath(path), partial=partial, bgr=bgr)


def take_arrays(
    net: tf.Module, arrays: Mapping[str, np.ndarray], path: str, *, partial: bool = False, bgr: bool | None = None
) -> Loaded:
    """`load_weights` from the arrays of a file that is read already; `path` is what errors call it."""
    variables = named_variables(net)
    foreign = Foreign(dict(arrays), None, "", "")
    try:
        if is_keras(arrays):
            foreign = from_keras(arrays, net, bgr=bgr)
        elif is_torch(arrays):
            foreign = from_torch(arrays, net)
    except DataError as error:
        raise _unreadable(path, error) from error
    if others := is_keras(arrays) or is_torch(arrays):
        variables = {name: v for name, v in variables.items() if v.dtype.is_floating}  # others do not count dropout
    wrong = _misfits(variables, foreign.arrays)
    rows = list(dict.fromkeys(map(_row_of, variables)))
    misfit = {_row_of(name) for name in wrong}
    fitting = [row for row in rows if row not in misfit]
    if wrong and not (partial and fitting):
        differ = list(wrong.values())[: 4 if foreign.hint else None]
        raise RunError(f"{path} does not fit this net: {some(differ)}. {_remedy(foreign, fitting)}")
    _set({name: v for name, v in variables.items() if _row_of(name) in fitting}, foreign.arrays)
    if others:
        for name, counter in named_variables(net).items():
            if name.endswith("/updates") and _row_of(name) in fitting:
                counter.assign(ENOUGH)  # or the first batch of further training would replace the averages of the file
    kept = tuple(row for row in rows if row in misfit)
    if isinstance(net, Chain) and (foreign.preprocess or not kept):
        net.expects = foreign.preprocess
    return Loaded(tuple(fitting), kept, tuple(wrong.values()), foreign.preprocess, foreign.note)


def _remedy(foreign: Foreign, fitting: Sequence[str]) -> str:
    if not fitting:
        return foreign.hint or "No row fits: build the net it was saved from."
    return f"{foreign.hint or 'Build the net it was saved from.'} partial=True loads what fits: {in_words(fitting)}."


def _misfits(variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What is wrong, in words, by the name of the variable or array; sorted."""
    wrong = {name: f"{name} is missing" for name in variables.keys() - values.keys()}
    wrong |= {name: f"{name} is unexpected" for name in values.keys() - variables.keys()}
    for name in variables.keys() & values.keys():
        variable, value = variables[name], values[name]
        if value.shape != tuple(variable.shape):
            wrong[name] = f"{name} is {value.shape}, not {tuple(variable.shape)}"
        elif not np.can_cast(value.dtype, variable.dtype.as_numpy_dtype, "same_kind"):
            wrong[name] = f"{name} is {value.dtype}, not {variable.dtype.name}"
    return dict(sorted(wrong.items()))


def _set(variables: Mapping[str, tf.Variable], values: Mapping[str, np.ndarray]) -> None:
    for name, variable in variables.items():
        variable.assign(values[name].astype(variable.dtype.as_numpy_dtype, copy=False))


def _row_of(name: str) -> str:
    return name.rpartition("/")[0] or name


def in_words(rows: Sequence[str]) -> str:
    """Names of rows, the first and the last where there are many.

    >>> in_words(["a", "b", "c", "d"]), in_words(["a", "b"]), in_words([])
    ('4 rows, a ... d', 'a, b', 'nothing')
    """
    return ", ".join(rows) or "nothing" if len(rows) < 4 else f"{len(rows)} rows, {rows[0]} ... {rows[-1]}"


def some(told: Sequence[str]) -> str:
    """The first `NAMED` of some remarks, and how many more there are."""
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file of any known format; `DataError` says what else it is."""
    kind = _kind(Path(path))
    if kind == UNKNOWN and Path(path).suffix.lower() == ".safetensors":  # whose reader says what is wrong with it
        kind = SAFETENSORS
    if kind not in READERS:
        raise DataError(f"{os.fspath(path)}: {what_is(path, kind)}")
    return READERS[kind](path)


def _kind(path: Path) -> str:
    """As `kind_of`, also for what TensorFlow and people give as a name: a prefix, a directory."""
    if not path.exists() and Path(f"{path}.index").is_file():
        return "checkpoint"
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved model"
        if found := sorted(file.name for file in path.iterdir() if file.suffix.lower() in (*SUFFIXES, ".h5")):
            raise DataError(f"{path}: it is a directory. Give a file in it: {some(found)}.")
    return kind_of(path)


def _unreadable(path: str | os.PathLike[str], error: DataError) -> RunError:
    return RunError(f"{path} cannot be read as weights: {str(error).removeprefix(f'{path}: ')}")
