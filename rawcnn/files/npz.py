"""`.npz` files, the archives of `.npy` members that `np.savez` writes: written fast, and checked before it is trusted.

`numpy.load` takes the memory that a member's header declares before it checks that the member has so many bytes, and
unpacks whatever a ZIP entry announces. Here the directory of the archive is checked first, then each header is compared
with its member's size, and only then is memory taken. Only headers as NumPy itself writes them are read, by a regular
expression: literals are never evaluated, and objects are never unpickled.

`np.savez` copies every array in pieces. Here the arrays' own memory is written, and the disk starts on each piece while
the next one is summed. Members are stored, not compressed. Dates are left out, so equal arrays make equal files.

Sources: NumPy's `numpy.lib.format`; PKWARE's APPNOTE 6.3.9, sections 4.3 and 4.5.3; Fifield, "A better zip bomb"
(2019), whose entries overlap.
"""

import os
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, BinaryIO

import numpy as np

from rawcnn.errors import DataError
from rawcnn.files.limits import MAX_ARRAYS, Unfit, count_of, fits_name, most_unpacked, read_values, regular_file
from rawcnn.files.whole import begin_sync

# Reading --------------------------------------------------------------------------------------------------------------

TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
MAX_HEADER = 4096
MAX_EXTRA = 32  # bytes of 64-bit sizes; longer fields could hide the directory's next member
MAGIC = b"\x93NUMPY"
HEADER = re.compile(
    rb"\{'descr': '[<>|=]?(?P<type>[a-z]\d)', 'fortran_order': (?P<order>False|True), "
    rb"'shape': \((?P<shape>(\d{1,19}, ?)*\d{0,19})\),? ?\} *\n"
)
REMEDY = "Get another copy of the file."


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file by name, in the file's order.

    Stored and deflated members are read, of bools, integers and floats. Raises `DataError`, which names the file, if it
    is missing, damaged or truncated, if a member has another form, name or type, declares another size than it has or
    appears twice, or if the members would unpack to more than `most_unpacked` allows or overlap.
    """
    with regular_file(path) as (file, size):
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check_directory(members, size)
                return {member.filename.removesuffix(".npy"): _read(archive, member) for member in members}
        except Unfit as error:
            raise DataError(f"{os.fspath(path)}: {error} {REMEDY}") from error
        except (OSError, MemoryError):
            raise
        except Exception as error:  # which one zipfile and zlib raise depends on the byte that is wrong
            raise DataError(f"{os.fspath(path)}: it is damaged or not an .npz file ({error}). {REMEDY}") from error


def _check_directory(members: list[zipfile.ZipInfo], size: int) -> None:
    """Check the archive's own list of members, before any of them is opened."""
    if len(members) > MAX_ARRAYS:
        raise Unfit(f"it has {len(members):,} members; at most {MAX_ARRAYS:,} are read.")
    names: set[str] = set()
    for member in members:
        name = member.filename
        if not name.endswith(".npy") or not fits_name(name):
            raise Unfit(f"its member {name[:80]!r} is not named as an array is.")
        if name in names:
            raise Unfit(f"its member {name!r} appears twice.")
        names.add(name)
        if member.comment or len(member.extra) > MAX_EXTRA:
            raise Unfit(f"its member {name!r} has more about it than its sizes.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise Unfit(f"its member {name!r} is encrypted or packed in another way than NumPy's.")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise Unfit(f"its member {name!r} is stored as it is, but with two sizes.")
    if sum(member.compress_size for member in members) > size:
        raise Unfit("its members overlap: together they are larger than the file.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > most_unpacked(size):
        raise Unfit(f"it would unpack from {size:,} to {unpacked:,} bytes; at most {most_unpacked(size):,} are read.")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array, of the shape that its header declares, after comparing that with the member's size."""
    with archive.open(member, mode="r") as stream:
        dtype, order, shape, start = _read_header(stream, member.filename)
        count = count_of(shape)
        declared = f"its member {member.filename!r} declares {'x'.join(map(str, shape)) or 'one'} of {dtype}"
        if count is None or start + count * dtype.itemsize != member.file_size:
            raise Unfit(f"{declared}, but has {member.file_size - start:,} bytes of values.")
        values = read_values(stream, dtype, count)
        if values is None:
            raise Unfit(f"{declared}, but ends before them.")
    native = values.astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape[::-1]).T if order else native.reshape(shape)


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """(dtype, whether the first axis runs fastest, shape, bytes of the header)."""
    start = stream.read(8)
    version = start[6:]
    if start[:6] != MAGIC or version not in (b"\1\0", b"\2\0"):
        raise Unfit(f"its member {name!r} is not a .npy file of version 1 or 2.")
    form = "<H" if version == b"\1\0" else "<I"
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    header = stream.read(length) if length <= MAX_HEADER else b""
    match = HEADER.fullmatch(header)
    if match is None or match["type"].decode() not in TYPES:
        raise Unfit(f"its member {name!r} does not have a header as NumPy writes it for numbers: {header[:80]!r}.")
    text = header.decode("latin1")
    mark = text[text.index("'descr': '") + 10]
    dtype = np.dtype((mark if mark in "<>" else "") + match["type"].decode())
    shape = tuple(int(side) for side in match["shape"].replace(b" ", b"").split(b",") if side)
    return dtype, match["order"] == b"True", shape, 8 + struct.calcsize(form) + length


# Writing --------------------------------------------------------------------------------------------------------------

PIECE = 2**24  # bytes: the disk takes one while the next is summed


def write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `file`, which is empty, so that `np.load(..., allow_pickle=False)` reads them by name.

    Raises `TypeError` for arrays of objects, and `OSError` as `file.write` does.
    """
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise TypeError(f"{objects[0]} holds Python objects, and a file of arrays does not.")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            array = np.asarray(array, order="C")
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
                data = array.reshape(-1).view(np.uint8).data
                for start in range(0, len(data), PIECE):
                    member.write(data[start : start + PIECE])
                    if start:
                        begin_sync(file)
