"""What stands in a directory of packed images: shards, and an index that says where in them each image is.

A shard, `train-00000.tfrecord`, is a TFRecord file of `tf.train.Example`s (TensorFlow's guide "TFRecord and
tf.train.Example"), one an image. Each has the file's own bytes and what ImageNet's TFRecords have too:

    image/encoded                            the bytes of the file, unchanged
    image/filename                           its path in the folder, with / between folders
    image/class/label, image/class/text      its class: a number from 0 on, and its name
    image/format, image/width, image/height  "JPEG", ..., and the size in pixels as seen (upright)
    image/png                                the pixels as PNG, only where TensorFlow cannot decode the file itself

The index, `index.jsonl`, is text, a JSON object a line: a head with the classes, then for each shard its name, its
size, its CRC-32 and a list for each of `COLUMNS`, and last the CRC-32 of all lines above. It is written after all
shards, so a directory that has one is whole.
"""

import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.data.images.headers import ALPHA
from rawcnn.errors import DataError
from rawcnn.files.limits import Unfit

INDEX = "index.jsonl"
UNFINISHED = "unfinished.json"
"""Says what is being packed, until the index does."""
SHARD = re.compile(r"(train|validation|test)-\d{5,9}\.tfrecord")
FORMAT, VERSION = "rawcnn packed images", 1
COLUMNS = ("offset", "label", "width", "height", "orientation", "kind")
"""Of each image of a shard: the byte at which its record begins, its class, and what its header says (`ImageInfo`)."""
FRAME = 16  # bytes of a record besides its data: length, and the checksums of length and data
STATS = 16  # files that are asked for their size at once: an object store takes a while for each
MAX_INDEX = 2**31  # ImageNet's index has about 40 MB
PACK_AGAIN = "Copy it again, or pack the folder again."


@dataclass(frozen=True)
class Shard:
    """One shard: its file, size in bytes, CRC-32, and the columns of its images."""

    file: str
    bytes: int
    crc32: int
    columns: Mapping[str, np.ndarray]

    @property
    def split(self) -> str:
        """The split that its images belong to."""
        return self.file.split("-", 1)[0]

    def line(self) -> dict[str, Any]:
        """What the index says of it."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        return {"file": self.file, "bytes": self.bytes, "crc32": self.crc32, **columns}

    @classmethod
    def of(cls, line: Mapping[str, Any], classes: int) -> "Shard":
        """From what an index says; raises `Unfit` for anything that no shard can be."""
        file, size = line.get("file"), line.get("bytes")
        if not isinstance(file, str) or not SHARD.fullmatch(file):
            raise Unfit(f"names a shard {file!r}")
        (size,), (crc32,) = (numbers([line.get(name)], f"{name} of {file}", 0, 2**62) for name in ("bytes", "crc32"))
        bounds = {"offset": size - FRAME, "label": classes - 1, "orientation": 8, "kind": ALPHA}
        low = {"width": 1, "height": 1, "orientation": 1}
        columns = {
            name: numbers(line.get(name), f"{name} in {file}", low.get(name, 0), bounds.get(name, 2**31 - 1))
            for name in COLUMNS
        }
        if len({len(column) for column in columns.values()}) > 1 or (np.diff(columns["offset"]) < FRAME).any():
            raise Unfit(f"has columns of {file} that do not fit each other")
        return cls(file, int(size), int(crc32), columns)


@dataclass(frozen=True)
class Head:
    """The first line of an index: the classes, why files were left out, and what the shards were packed from.

    `fingerprint` is a checksum of the folder's names, labels and sizes, and of the settings that decide the shards.
    """

    class_names: tuple[str, ...]
    fingerprint: int
    bad: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Head":
        """From what an index says; raises `Unfit` for another format or version."""
        if line.get("format") != FORMAT or line.get("version") != VERSION:
            raise Unfit(f"is not an index of version {VERSION}, which is the one that this rawcnn reads")
        names, bad, fingerprint = line.get("class_names"), line.get("bad"), line.get("fingerprint")
        texts = [*names, *bad, *bad.values()] if isinstance(names, list) and isinstance(bad, dict) else [None]
        if not all(isinstance(text, str) for text in texts) or len(set(names or ())) != len(names or ()):
            raise Unfit("has no list of different class names, or no table of bad files")
        return cls(tuple(names or ()), int(numbers([fingerprint], "fingerprint", 0, 2**32)[0]), bad or {})


def index_lines(head: Head, shards: Iterable[Shard]) -> bytes:
    """The whole index as bytes: a function of its arguments alone."""
    lines = [{"format": FORMAT, "version": VERSION, **asdict(head)}, *(shard.line() for shard in shards)]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return text + json.dumps({"crc32": zlib.crc32(text)}).encode() + b"\n"


def read_index(directory: str | os.PathLike[str]) -> tuple[Head, list[Shard]]:
    """The index of packed images. Raises `DataError` if it is missing, damaged, or of another version."""
    path = join(directory, INDEX)
    contents = _contents(path)
    try:
        end = contents.rstrip(b"\n").rfind(b"\n") + 1
        if _parsed(contents[end:]).get("crc32") != zlib.crc32(contents[:end]):
            raise Unfit("is damaged or truncated: its checksum does not fit")
        lines = io.BytesIO(contents[:end])
        head = Head.of(_parsed(lines.readline()))
        shards = [Shard.of(_parsed(line), len(head.class_names)) for line in lines]
        names = [shard.file for shard in shards]
        if len(set(names)) != len(names) or not any(name.startswith("train") for name in names):
            raise Unfit("names a shard twice, or none of training images")
        return head, shards
    except Unfit as error:
        raise DataError(f"{path} {error}. {PACK_AGAIN}") from None


def check_sizes(directory: str | os.PathLike[str], shards: Sequence[Shard]) -> None:
    """Raise `DataError` naming the first shard that is missing or has another size than the index says."""
    paths = [join(directory, shard.file) for shard in shards]
    with ThreadPoolExecutor(STATS) as pool:
        sizes = list(pool.map(size_of, paths))
    for shard, path, size in zip(shards, paths, sizes, strict=True):
        if size != shard.bytes:
            what = "is missing" if size is None else f"has {size:,} bytes instead of {shard.bytes:,}: it is cut off"
            raise DataError(f"{path} {what}, or it belongs to other packed images. {PACK_AGAIN}")


def numbers(values: object, what: str, low: int, high: int) -> np.ndarray:
    """Whole numbers in low ... high as int64 `[n]`; raises `Unfit`. From JSON, so they may be anything."""
    if not isinstance(values, list) or not values or not all(type(value) is int for value in values):
        raise Unfit(f"has no whole numbers as {what}")
    if min(values) < low or max(values) > high:
        raise Unfit(f"has a number outside {low} ... {high} as {what}")
    return np.array(values, np.int64)


# Paths, also on object stores -----------------------------------------------------------------------------------------


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether `path` names a file system of TensorFlow's, as in gs://bucket/shards."""
    return "://" in os.fspath(path)


def join(directory: str | os.PathLike[str], name: str) -> str:
    """The path of a file in `directory`, which may be a URL."""
    return f"{os.fspath(directory).rstrip('/')}/{name}" if is_url(directory) else os.path.join(directory, name)


def is_packed(directory: str | os.PathLike[str]) -> bool:
    """Whether `directory` holds packed images, finished or not."""
    return any(size_of(join(directory, name)) is not None for name in (INDEX, UNFINISHED))


def size_of(path: str) -> int | None:
    """The size of a file in bytes, or None where there is none."""
    try:
        return int(tf.io.gfile.stat(path).length) if is_url(path) else os.stat(path).st_size
    except FileNotFoundError:
        return None
    except tf.errors.NotFoundError:
        return None
    except (OSError, tf.errors.OpError) as error:
        raise DataError(f"{path} cannot be read: {_why(error)}.") from None


def _contents(path: str) -> bytes:
    size = size_of(path)
    if size is None:
        raise DataError(f"{path} does not exist: there are no packed images, or `rawcnn pack` has not finished.")
    if size > MAX_INDEX:
        raise DataError(f"{path} has {size:,} bytes; at most {MAX_INDEX:,} are read.")
    try:
        with tf.io.gfile.GFile(path, "rb") if is_url(path) else open(path, "rb") as file:
            return bytes(file.read(size))
    except (OSError, tf.errors.OpError) as error:
        raise DataError(f"{path} cannot be read: {_why(error)}.") from None


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "message", None) or error).split("\n")[0]


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unfit("is damaged or truncated: a line of it is not a JSON object")
    return found
