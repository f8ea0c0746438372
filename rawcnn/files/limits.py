"""How far a file that may be damaged or hostile is trusted, before any memory is taken for it."""

import io
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, BinaryIO

import numpy as np

from rawcnn.errors import DataError

FREE = 2**26
RATIO = 100
MAX_ARRAYS = 10_000  # in one file; GoogLeNet's training state has about 500
MAX_DIMS = 32  # NumPy 1's own limit
CHUNK = 2**20
NAME = re.compile(r"[\w.:-]{1,100}(/[\w.:-]{1,100}){0,15}")


class Unfit(Exception):
    """What is wrong with a file. Whoever opened the file catches it and puts the file's name before its words."""


def most_unpacked(packed: int) -> int:
    """The bytes that a compressed file of `packed` bytes may unpack to: 64 MiB, or 100 times its size if that is more.

    Deflate reaches 1,032 times, but images and weights never do, and a 2 MB file must not take 2 GB.

    >>> most_unpacked(200), most_unpacked(2_000_000)
    (67108864, 200000000)
    """
    return max(FREE, RATIO * packed)


def fits_name(name: str) -> bool:
    """Whether an array may have this name: words joined by `/`, none of them `.` or `..`, nothing unprintable.

    >>> [fits_name(name) for name in ("c1/w", "block1_conv1_W_1:0", "../w", "/w", "a b", "")]
    [True, True, False, False, False, False]
    """
    return NAME.fullmatch(name) is not None and not {".", ".."} & set(name.split("/"))


def count_of(shape: Sequence[int]) -> int | None:
    """The number of values in `shape`, or None if it is not a shape: a side that is negative, or too many of them."""
    return None if len(shape) > MAX_DIMS or any(side < 0 for side in shape) else math.prod(shape)


@contextmanager
def regular_file(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file for reading: the stream and its size in bytes.

    Raises `DataError` if there is none, it may not be read, or it is a directory, pipe or device (opening a pipe would
    wait for ever), and for every `OSError` within the block.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{name}: it is a directory. Give the path of a file in it.")
        if not stat.S_ISREG(mode):
            raise DataError(
                f"{name}: it is not a regular file but a pipe or a device. Copy its content to a file first."
            )
        with open(path, "rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name}: it does not exist. Check the spelling and the folder.") from None
    except OSError as error:
        raise DataError(f"{name}: it cannot be read: {error.strerror or error}.") from error


def read_bytes(stream: IO[bytes] | io.BufferedIOBase, size: int) -> np.ndarray:
    """Read `size` bytes, or as many as there are: uint8 `[n]`. The caller has checked that memory may be taken."""
    values = np.empty(size, np.uint8)
    done = 0
    # In pieces, because readinto of a packed stream makes a copy of what it is asked for.
    while done < size and (count := stream.readinto(values.data[done : done + CHUNK])):  # type: ignore[union-attr]
        done += count
    return values[:done]


def read_values(stream: IO[bytes], dtype: np.dtype, count: int) -> np.ndarray | None:
    """Read `count` values: `[count]`, or None if the stream ends before them. The caller has checked the size."""
    values = read_bytes(stream, count * dtype.itemsize)
    return values.view(dtype) if values.size == count * dtype.itemsize else None
