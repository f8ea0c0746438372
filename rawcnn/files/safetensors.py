"""Reading and writing `.safetensors` files: a header of JSON, then the bytes of every array, and nothing that can run.

    8 bytes                   the length of the header, little-endian
    the header                {"c1/w": {"dtype": "F32", "shape": [5, 5, 1, 6], "data_offsets": [0, 600]}, ...}
    the values                row-major, little-endian, without gaps

The whole header is checked before memory is taken for any value: known types, shapes that agree with their bytes, no
gaps, no overlap, nothing after the end. Source: the format's description at github.com/huggingface/safetensors.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rawcnn.errors import DataError, UsageError
from rawcnn.files.limits import MAX_ARRAYS, Unfit, count_of, fits_name, read_values, regular_file
from rawcnn.files.whole import whole_file

MAX_HEADER = 2**23  # 10,000 arrays of long names take 3 MB
TYPES = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
BFLOAT16 = "BF16"  # NumPy has no such type: read as float32, which holds every one of its values
ALIGNMENT = 8
REMEDY = "Get another copy of the file."


class _Entry(NamedTuple):
    """One line of the header."""

    name: str
    type: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of a `.safetensors` file by name, in the order of their bytes; BF16 becomes float32.

    Raises `DataError`, which names the file, if it is missing, truncated or too long, or if its header is too long or
    not such JSON, names an array twice or oddly, or has an unknown type, or sizes that do not agree with each other and
    with the file.
    """
    with regular_file(path) as (file, size):
        try:
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or not 2 <= length <= min(MAX_HEADER, size - 8):
                raise Unfit(
                    f"it is truncated or not a .safetensors file: it has {size:,} bytes and its header would have "
                    f"{length:,}; at most {MAX_HEADER:,} are read."
                )
            entries = _entries(file.read(length))
            _check_layout(entries, size - 8 - length)
            return {entry.name: _values(file, entry) for entry in entries}
        except Unfit as error:
            raise DataError(f"{os.fspath(path)}: {error} {REMEDY}") from error


def write_safetensors(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` so that `path` is, even after a crash, the old file or the new one, never a part.

    Raises `UsageError` for a type or name that the format or its reader does not have, `OSError` as writing does.
    """
    codes = {np.dtype(dtype): code for code, dtype in TYPES.items()}
    header: dict[str, Any] = {}
    at = 0
    # The largest type first, so that every array begins at a multiple of its own size.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, array in ordered:
        little = array.dtype.newbyteorder("<")
        if little not in codes or not fits_name(name):
            raise UsageError(f"{name!r} of {array.dtype} cannot be kept as .safetensors: use .npz, or another name.")
        header[name] = {"dtype": codes[little], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            little = array.dtype.newbyteorder("<")
            file.write(np.asarray(array, little, order="C").reshape(-1).view(np.uint8).data)


def _entries(text: bytes) -> list[_Entry]:
    """The header's arrays by their place, without `__metadata__`, which is not needed."""
    if text[:1] != b"{":
        raise Unfit("its header does not begin with '{'.")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"its header is not JSON of arrays ({error}).") from error
    header.pop("__metadata__", None)
    if len(header) > MAX_ARRAYS:
        raise Unfit(f"it has {len(header):,} arrays; at most {MAX_ARRAYS:,} are read.")
    return sorted((_entry(name, fields) for name, fields in header.items()), key=lambda entry: (entry.begin, entry.end))


def _entry(name: str, fields: Any) -> _Entry:
    if not fits_name(name):
        raise Unfit(f"{name[:80]!r} is not the name of an array.")
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise Unfit(f"its header does not say dtype, shape and data_offsets of {name!r}, or says more.")
    kind, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(kind, str) or (kind not in TYPES and kind != BFLOAT16):
        raise Unfit(f"{name!r} has the type {str(kind)[:20]!r}; known are {', '.join(TYPES)} and {BFLOAT16}.")
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise Unfit(f"the shape or the offsets of {name!r} are not lists of whole numbers.")
    return _Entry(name, kind, tuple(shape), *offsets)


def _check_layout(entries: list[_Entry], size: int) -> None:
    """Every array has the bytes of its shape, begins where the one before it ends, and the last one ends the file."""
    at = 0
    for entry in entries:
        count, width = count_of(entry.shape), 2 if entry.type == BFLOAT16 else np.dtype(TYPES[entry.type]).itemsize
        if count is None or entry.begin + count * width != entry.end:
            raise Unfit(
                f"{entry.name!r} declares the shape {list(entry.shape)[:8]} of {entry.type}, but has the bytes "
                f"{entry.begin} to {entry.end}."
            )
        if entry.begin != at:
            raise Unfit(f"{entry.name!r} begins at byte {entry.begin}, but the array before it ends at {at}.")
        at = entry.end
    if at != size:
        raise Unfit(f"its header declares {at:,} bytes of values, but {size:,} follow.")


def _values(file: Any, entry: _Entry) -> np.ndarray:
    dtype = np.dtype("<u2" if entry.type == BFLOAT16 else TYPES[entry.type])
    values = read_values(file, dtype, count_of(entry.shape) or 0)
    if values is None:
        raise Unfit(f"it became shorter while {entry.name!r} was read.")
    if entry.type == BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(entry.shape)


def _whole_numbers(value: Any) -> bool:
    # By type, because True is an int in Python.
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
