"""Weights in HDF5 as Keras saves them (`.h5`, `.weights.h5`): plain arrays in the file itself, and nothing else.

An HDF5 file can be made to show what is in other files of the machine (links, external storage, virtual datasets), to
declare arrays of any size, and to contain circles. So objects are reached only by the one hard link that each has, a
dataset is asked for its shape only after its storage is known to be in the file, and declared sizes may not exceed the
file's size. Attributes, such as the model's description, which may hold code, are never read.

`h5py` is imported only here, and only when a file is read or written.
Source: the HDF5 File Format Specification, version 3.0.
"""

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rawcnn.errors import DataError, UsageError
from rawcnn.files.limits import MAX_ARRAYS, Unfit, count_of, fits_name, regular_file
from rawcnn.files.whole import whole_file

TYPES = frozenset(np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"))
MAX_DEPTH = 8
SIGNATURE = b"\x89HDF\r\n\x1a\n"
ROOTS = (b"model_weights", b"layers")  # where a whole model, and Keras 3, keep the layers; else they are at the top
REMEDY = "Get another copy of the file, or convert it to .npz or .safetensors where it was made."


def read_h5(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the weights of a Keras file by their paths below the layers, such as `block1_conv1/block1_conv1/kernel:0`.

    Raises `DataError`, which names the file, if it is missing, damaged or not an HDF5 file, or if anything in it is a
    soft or external link, has a second name (a hard link), is stored elsewhere, virtual, compressed or in chunks, is
    not an array of numbers, or is larger than the file can hold; `UsageError` if h5py is not installed.
    """
    h5py = _h5py()
    name = os.fspath(path)
    with regular_file(path) as (stream, size):
        if stream.read(len(SIGNATURE)) != SIGNATURE:
            raise DataError(f"{name}: it is not an HDF5 file. {REMEDY}")
    try:
        with h5py.File(name, "r") as file:
            return _read_all(h5py, file, size)
    except Unfit as error:
        raise DataError(f"{name}: {error} {REMEDY}") from error
    except MemoryError:
        raise
    except Exception as error:  # which one h5py raises depends on the byte that is wrong
        raise DataError(f"{name}: it is damaged or not a file of Keras ({error}). {REMEDY}") from error


def write_keras(path: str | os.PathLike[str], layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write the arrays of each layer, both in Keras's order, as the `.h5` file that `model.load_weights(path)` reads.

    Every Keras from 2 on does, layer by layer, and `by_name=True` goes by the layers' names. `path` is, even after a
    crash, the old file or the new one. Raises `UsageError` if h5py is not installed, `OSError` as writing does.
    """
    h5py = _h5py()
    image = io.BytesIO()  # HDF5 goes back in its file, which may only grow
    with h5py.File(image, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"3.0.0"
        for name, arrays in layers.items():
            group = file.create_group(name)
            paths = [f"{name}/{part}:0" for part in arrays]
            group.attrs["weight_names"] = [path.encode() for path in paths]
            for place, values in zip(paths, arrays.values(), strict=True):
                group[place] = values
    with whole_file(path) as target:
        target.write(image.getbuffer())


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UsageError('.h5 files need h5py: pip install "rawcnn[convert]".') from error
    return h5py


def _read_all(h5py: Any, file: Any, size: int) -> dict[str, np.ndarray]:
    """Check every dataset first, then read them."""
    datasets = dict(_datasets(h5py, _root(h5py, file)))
    total = 0
    for path, dataset in datasets.items():
        total += _check(h5py, dataset, path)
        if total > size:
            raise Unfit(f"its arrays would take {total:,} bytes as far as {path!r}, but the file has {size:,}.")
    return {path: np.asarray(dataset[()], dataset.dtype.newbyteorder("=")) for path, dataset in datasets.items()}


def _root(h5py: Any, file: Any) -> Any:
    """The group that has a group for each layer."""
    names = set(file.id)
    for name in ROOTS:
        if name in names:
            return _child(h5py, file, name.decode(), name.decode())
    return file


def _datasets(h5py: Any, root: Any) -> Iterator[tuple[str, Any]]:
    """(path, dataset) of all below `root`; at most `MAX_ARRAYS` names and `MAX_DEPTH` groups deep."""
    waiting = [("", root, 0)]
    seen = {_address(h5py, root)}
    while waiting:
        above, group, depth = waiting.pop()
        if not isinstance(group, h5py.Group):
            raise Unfit(f"{above!r} is neither a group nor an array.")
        for raw in group.id:
            if len(seen) > MAX_ARRAYS or depth >= MAX_DEPTH:
                raise Unfit(f"it has more than {MAX_ARRAYS:,} names or groups more than {MAX_DEPTH} deep.")
            name = raw.decode("utf-8", "replace")
            path = f"{above}/{name}" if above else name
            if not fits_name(name):
                raise Unfit(f"{path[:200]!r} is not the name of an array.")
            child = _child(h5py, group, name, path)
            if (address := _address(h5py, child)) in seen:
                raise Unfit(f"{path!r} is a second name for something that has one, and such hard links are refused.")
            seen.add(address)
            if isinstance(child, h5py.Dataset):
                yield path, child
            else:
                waiting.append((path, child, depth + 1))


def _address(h5py: Any, thing: Any) -> int:
    """Where an object lies in its file: the same for all its names."""
    return int(h5py.h5o.get_info(thing.id).addr)


def _child(h5py: Any, group: Any, name: str, path: str) -> Any:
    # Asked of the link itself, which opens nothing; a link to another file would be opened by asking for its object.
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise Unfit(f"{path!r} is a link to another place or file, and such links are never followed.")
    return group[name]


def _check(h5py: Any, dataset: Any, path: str) -> int:
    """The bytes of a dataset that is stored plainly within the file."""
    plan = dataset.id.get_create_plist()
    # In this order: asking a virtual dataset for its shape may open the files that it is made of.
    if plan.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
        raise Unfit(f"{path!r} is virtual or in chunks; weights of Keras are stored in one piece.")
    if plan.get_external_count() or plan.get_nfilters():
        raise Unfit(f"{path!r} is stored in another file or compressed; weights of Keras are neither.")
    dtype, shape = dataset.dtype, dataset.shape
    if dtype.newbyteorder("=") not in TYPES or shape is None:
        raise Unfit(f"{path!r} is of {str(dtype)[:40]}, but weights are numbers.")
    count = count_of(shape)
    stored = dataset.id.get_storage_size()
    if count is None or count * dtype.itemsize != stored:
        raise Unfit(f"{path!r} declares {list(shape)} of {dtype}, but {stored:,} bytes are stored.")
    return int(stored)
