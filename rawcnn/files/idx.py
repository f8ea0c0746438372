"""Reading IDX files, the format of MNIST and of the data sets made to replace it (Fashion-MNIST, KMNIST).

An IDX file is a header and then the values, all big-endian (LeCun's MNIST page describes it):

    0x00 0x00         always
    0x08              the type of the values: unsigned byte, the only one read here
    d                 the number of dimensions
    d x uint32        the size of each dimension, the number of items first
    the values        row-major, nothing after them

The header comes from a file that may be damaged or hostile, so it is trusted only as far as the file's size allows.
"""

import gzip
import io
import math
import os
import pathlib
import struct
import zlib

import numpy as np

from rawcnn.errors import DataError
from rawcnn.files.limits import MAX_DIMS, most_unpacked, read_bytes

MAX_BYTES = 2**31  # MNIST's largest file holds 47 MB; a header that asks for more than 2 GiB is damaged
OTHER_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
GET_AGAIN = "Get the file again from its source."


def read_idx(path: str | os.PathLike[str], *, ndim: int | None = None) -> np.ndarray:
    """Read one IDX file of unsigned bytes into a uint8 array of the shape that its header declares.

    The file may be plain or gzipped, whatever its name: its first bytes decide. No more is ever read than the header
    declares and one byte, so a small file cannot fill the memory. `ndim`, if given, is the number of
    dimensions that the file must have: 3 for images `[N, H, W]`, 1 for labels `[N]`.

    Raises `DataError`, which names the file, if it is missing, truncated, too long, damaged, or not such an IDX file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path, ndim=1)
    array([5, 0, 4], dtype=uint8)
    """
    path = pathlib.Path(path)
    try:
        _check_is_file(path)
        with open(path, "rb") as file:
            gzipped = file.peek(2)[:2] == b"\x1f\x8b"
            stream = gzip.GzipFile(fileobj=file, mode="rb") if gzipped else file
            shape = _read_shape(stream, path, ndim)
            size = os.fstat(file.fileno()).st_size
            most = most_unpacked(size) if gzipped else size
            return _read_values(stream, path, shape, most)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends too early. {GET_AGAIN}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). {GET_AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_idx_pair(
    images_path: str | os.PathLike[str], labels_path: str | os.PathLike[str], *, num_classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of grey images and the file of their labels.

    Returns the images, uint8 `[N, H, W, 1]` in 0..255, and the labels, int32 `[N]` in 0..num_classes - 1.
    Raises `DataError` if either file is unfit (see `read_idx`), if they hold no image, if the counts differ, or if a
    label is out of range.
    """
    images = read_idx(images_path, ndim=3)
    labels = read_idx(labels_path, ndim=1)
    if images.size == 0:
        shape = "x".join(map(str, images.shape))
        raise DataError(f"{images_path} holds no image: its header declares {shape} values. {GET_AGAIN}")
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels: every image needs "
            "one label. Take both files from the same data set and the same half of it (training or test)."
        )
    wrong = np.flatnonzero(labels >= num_classes)
    if wrong.size:
        raise DataError(
            f"{labels_path}: label {wrong[0]} (counted from 0) is {labels[wrong[0]]}, but {num_classes} classes allow "
            f"0 to {num_classes - 1}. Take a data set of {num_classes} classes, or give its own number of classes."
        )
    return images[..., np.newaxis], labels.astype(np.int32)


def _check_is_file(path: pathlib.Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a directory: give the path of an IDX file in it.")
    if not path.exists():
        raise DataError(f"{path} does not exist: give the path of an IDX file.")
    if not path.is_file():  # opening a named pipe would wait for ever
        raise DataError(f"{path} is not a regular file: copy its content to one first.")


def _read_shape(stream: io.BufferedIOBase, path: pathlib.Path, ndim: int | None) -> tuple[int, ...]:
    magic = stream.read(4)
    if not magic:
        raise DataError(f"{path} is empty. {GET_AGAIN}")
    if magic.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise DataError(f"{path} is a web page, not an IDX file: its server sent an error or log-in page. {GET_AGAIN}")
    if not b"\0\0".startswith(magic[:2]):
        raise DataError(f"{path} is not an IDX file: it starts with {magic.hex(' ')}, not 00 00 08. {GET_AGAIN}")
    if len(magic) < 4:
        raise DataError(f"{path} is truncated: it ends within its header. {GET_AGAIN}")
    if magic[2] != 0x08:
        kind = OTHER_TYPES.get(magic[2], "unknown")
        raise DataError(f"{path} holds values of type 0x{magic[2]:02x} ({kind}); rawcnn reads unsigned bytes, 0x08.")
    dims = magic[3]
    if ndim is not None and dims != ndim:
        raise DataError(
            f"{path} has {dims} dimensions where {ndim} are needed: files of images have 3, files of labels 1. "
            "Check that images and labels are not swapped."
        )
    if not 1 <= dims <= MAX_DIMS:
        raise DataError(f"{path} declares {dims} dimensions; an IDX file has 1 to {MAX_DIMS}. {GET_AGAIN}")
    header = stream.read(4 * dims)
    if len(header) < 4 * dims:
        raise DataError(f"{path} is truncated: it ends within its header. {GET_AGAIN}")
    return struct.unpack(f">{dims}I", header)


def _read_values(stream: io.BufferedIOBase, path: pathlib.Path, shape: tuple[int, ...], most: int) -> np.ndarray:
    """Read exactly the declared values; `most` is the most that a file of this size can hold."""
    size = math.prod(shape)
    declared = f"its header declares {'x'.join(map(str, shape))} = {size} bytes of values"
    if size > MAX_BYTES:
        raise DataError(f"{path} is damaged or too large: {declared}, and the limit is {MAX_BYTES}. {GET_AGAIN}")
    if size > most:  # known before any memory is taken
        raise DataError(f"{path} is truncated: {declared}, more than the file can hold. {GET_AGAIN}")
    values = read_bytes(stream, size)
    if values.size < size:
        raise DataError(f"{path} is truncated: {declared}, but only {values.size} are there. {GET_AGAIN}")
    if stream.read(1):  # at the end of a gzip stream this is also what checks its CRC
        raise DataError(f"{path} is too long: {declared}, but more follow. {GET_AGAIN}")
    return values.reshape(shape)
