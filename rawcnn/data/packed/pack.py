"""From a folder of image files to packed images: `pack`, which a kill at any time costs one shard's work at most."""

import json
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.data.images.decode import decode
from rawcnn.data.images.folder import THREADS, check_classes_left, files_by_split
from rawcnn.data.images.headers import (
    MAX_PIXELS,
    UNDECODABLE,
    ImageInfo,
    contents_of,
    examine,
    examine_bytes,
    quiet_pillow,
)  # fmt: skip
from rawcnn.data.images.stream import LEAVE_OUT, bad_files
from rawcnn.data.log import Log
from rawcnn.data.packed.index import (
    COLUMNS,
    FRAME,
    INDEX,
    VERSION,
    Head,
    Shard,
    index_lines,
    is_url,
)
from rawcnn.data.packed.place import MEGABYTE, alone, check_room, claim, reported, sweep
from rawcnn.errors import DataError, UsageError
from rawcnn.files.limits import Unfit
from rawcnn.files.whole import whole_file

SHARD_MEGABYTES = 256
PIECE = 4  # images that a thread looks at before it hands them over; up to 2 * THREADS + 1 pieces are in memory

Labelled = Sequence[tuple[str, int]]  # (path, label) of each file


def pack(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    shard_megabytes: float = SHARD_MEGABYTES,
    bad_images: str = "error",
    max_pixels: int = MAX_PIXELS,
    log: Log = print,
) -> Path:
    """Write the images of `folder` into shards in the directory `out`, which `load_dataset` then reads like the folder.

    Splits, classes and order are those of `rawcnn.data.images.folder.open_folder`; the files' bytes stay as they are,
    and each image is decoded once as a check. The same folder gives the same bytes. If it is stopped or killed, the
    same call goes on after the last shard that is finished, and ends with the same bytes.

    Args:
      folder: class folders, or files like cat.0.jpg, with or without train, val and test above them.
      out: an empty or new directory, or one in which the same call was stopped.
      shard_megabytes: the most that a shard has, in millions of bytes; an image that is larger gets its own.
      bad_images: "error" stops at bad files, "skip" leaves them out and lists them in the index.
      max_pixels: of an image, by its header.
      log: is told of each finished shard.

    Returns:
      `out`.

    Raises:
      DataError: the folder cannot be used (as for `open_folder`), `out` holds something else, or cannot be written.
      UsageError: `shard_megabytes` of 0 or less, an unknown `bad_images`, `out` inside the folder, or a URL.
    """
    if not shard_megabytes > 0:
        raise UsageError(f"shard_megabytes must be above 0, not {shard_megabytes}.")
    if is_url(folder) or is_url(out):
        raise UsageError("pack reads and writes local directories. Copy the finished one to where it is wanted.")
    folder, names, files = files_by_split(folder, bad_images, log)
    out = Path(out).expanduser()
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out} is inside {folder}, where it would count as images. Name a directory elsewhere.")
    if bad_images == "error":
        _check_headers([one for part in files.values() for one in part], max_pixels)
    bound = int(shard_megabytes * MEGABYTE)
    sizes = {path: os.stat(path).st_size for part in files.values() for path, _ in part if os.path.isfile(path)}
    fingerprint = _fingerprint(folder, files, sizes, f"{VERSION} {bound} {max_pixels}")
    work = _Packing(folder, out, names, bound, bad_images, max_pixels, fingerprint, log)
    work.total = sum(map(len, files.values()))
    with reported(out):
        out.mkdir(parents=True, exist_ok=True)
        with alone(out) as work.check_same:
            if claim(out, work.fingerprint, log):
                check_room(out, sum(sizes.values()))
                _write(work, files)
    return out


@dataclass
class _Packing:
    """What is packed and how, and what was found so far."""

    folder: Path
    out: Path
    names: tuple[str, ...]
    bound: int
    bad_images: str
    max_pixels: int
    fingerprint: int
    log: Log
    bad: dict[str, str] = field(default_factory=dict)
    total: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    before: int = 0  # images that an earlier call had packed
    check_same: Callable[[], None] = lambda: None  # whether `out` is still the directory that was claimed

    def relative(self, path: str) -> str:
        """The name of a file in the folder, with / between folders."""
        return os.path.relpath(path, self.folder).replace(os.sep, "/")

    def tell(self, shard: Shard) -> None:
        """One line of progress."""
        rate = (self.done - self.before) / max(time.monotonic() - self.began, 1e-9)
        self.log(
            f"{shard.file}: {shard.bytes / MEGABYTE:,.1f} MB; {self.done:,} of {self.total:,} images "
            f"({self.done / self.total:.0%}), {rate:,.0f} images/s, "
            f"{(self.total - self.done) / max(rate, 1e-9) / 60:,.1f} min left"
        )


class _Good(NamedTuple):
    """An image that may be packed; `at` is its place among the files of its split."""

    at: int
    label: int
    info: ImageInfo
    record: bytes


def _write(work: _Packing, files: Mapping[str, Labelled]) -> None:
    """All shards that are not there yet, then the index, after which nothing but these two is left."""
    shards: list[Shard] = []
    try:
        for split, labelled in files.items():
            mine = list(_shards(work, split, labelled))
            labels = np.concatenate([shard.columns["label"] for shard in mine] or [np.zeros(0, np.int64)])
            check_classes_left(work.folder, split, labels, work.names)
            shards += mine
    except KeyboardInterrupt:
        finished = len(list(work.out.glob("*-*.json")))
        work.log(f"stopped; the same command goes on after {finished} finished shards")
        raise
    bad = dict(sorted(work.bad.items()))
    work.check_same()
    with whole_file(work.out / INDEX) as file:
        file.write(index_lines(Head(work.names, work.fingerprint, bad), shards))
    sweep(work.out)
    images = sum(len(shard.columns["label"]) for shard in shards)
    left_out = f", {len(bad):,} bad files left out" if bad else ""
    size = sum(shard.bytes for shard in shards) / MEGABYTE
    work.log(f"{work.out}: {images:,} images in {len(shards):,} shards, {size:,.1f} MB{left_out}")


def _shards(work: _Packing, split: str, files: Labelled) -> Iterator[Shard]:
    """Every shard of a split: those that are finished, then new ones."""
    at, before = 0, work.done
    for number in count():
        path = work.out / f"{split}-{number:05}.tfrecord"
        finished = _finished(path, work)
        if finished is None:
            break
        shard, at = finished
        work.done = work.before = before + at
        yield shard
    good = _good_images(work, files, at)
    first = next(good, None)
    while first is not None:
        work.check_same()
        shard, after = _write_shard(work, path, first, good)
        end = len(files) if after is None else after.at
        with whole_file(path.with_suffix(".json")) as file:
            file.write(json.dumps({"shard": shard.line(), "next": end, "bad": work.bad}).encode())
        work.done = before + end
        work.tell(shard)
        yield shard
        first, number = after, number + 1
        path = work.out / f"{split}-{number:05}.tfrecord"
    work.done = before + len(files)


def _finished(path: Path, work: _Packing) -> tuple[Shard, int] | None:
    """A shard that an earlier call finished, and the place of the next file; None if it has still to be written."""
    try:
        note = json.loads(path.with_suffix(".json").read_bytes())
        shard = Shard.of(note["shard"], len(work.names))
        if path.stat().st_size != shard.bytes or _crc32(path) != shard.crc32:
            return None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, Unfit):
        return None
    work.bad |= note["bad"]
    return shard, note["next"]


def _write_shard(work: _Packing, path: Path, first: _Good, good: Iterator[_Good]) -> tuple[Shard, _Good | None]:
    """Write one shard, and return it with the image that begins the next one."""
    columns: dict[str, list[int]] = {name: [] for name in COLUMNS}
    size, one = 0, first
    with whole_file(path) as file, tf.io.TFRecordWriter(os.fspath(file.name)) as writer:
        while one is not None and (not size or size + len(one.record) + FRAME <= work.bound):
            writer.write(one.record)
            for name, value in zip(COLUMNS, (size, one.label, *one.info[:4]), strict=True):
                columns[name].append(value)
            size += len(one.record) + FRAME
            one = next(good, None)  # type: ignore[assignment]
        writer.close()
        written, crc32 = os.stat(file.name).st_size, _crc32(file.name)
        if written != size:
            raise DataError(f"{path} has {written:,} bytes after {size:,} were written. Check the disk.")
        work.check_same()
    return Shard(path.name, size, crc32, {name: np.array(column) for name, column in columns.items()}), one


def _good_images(work: _Packing, files: Labelled, start: int) -> Iterator[_Good]:
    """The good images from file `start` on, in order; the others are named in an error, or kept in `work.bad`."""

    def look(at: int) -> _Good | str:
        path, label = files[at]
        contents = contents_of(path)
        info = contents if isinstance(contents, str) else examine_bytes(contents, work.max_pixels)
        if isinstance(info, str) or isinstance(contents, str):
            return str(info)
        try:
            decode(info.png or contents, info.kind, info.orientation)
        except tf.errors.ResourceExhaustedError:  # the machine's fault, not the image's
            raise
        except tf.errors.OpError:
            return UNDECODABLE.format(info.format)
        return _Good(at, label, info, _record(work.relative(path), label, work.names[label], info, contents))

    def sort_out(piece: range, found: Iterable[_Good | str]) -> Iterator[_Good]:
        for at, one in zip(piece, found, strict=True):
            if isinstance(one, _Good):
                yield one
            elif work.bad_images == "error":
                raise DataError(bad_files([(files[at][0], one)], work.total) + LEAVE_OUT)
            else:
                work.bad[work.relative(files[at][0])] = one

    pieces = (range(first, min(first + PIECE, len(files))) for first in range(start, len(files), PIECE))
    ahead: deque[tuple[range, Future[list[_Good | str]]]] = deque()
    with quiet_pillow(), ThreadPoolExecutor(THREADS) as pool:
        for piece in pieces:
            ahead.append((piece, pool.submit(lambda piece: [look(at) for at in piece], piece)))
            if len(ahead) > 2 * THREADS:
                piece, future = ahead.popleft()
                yield from sort_out(piece, future.result())
        for piece, future in ahead:
            yield from sort_out(piece, future.result())


def _record(name: str, label: int, class_name: str, info: ImageInfo, contents: bytes) -> bytes:
    """One image as a serialised `tf.train.Example`; always the same bytes."""
    values: dict[str, bytes | int] = {
        "image/encoded": contents,
        "image/filename": os.fsencode(name),
        "image/class/label": label,
        "image/class/text": class_name.encode("utf-8", "surrogateescape"),
        "image/format": info.format.encode(),
        "image/width": info.width,
        "image/height": info.height,
    }
    if info.png:
        values["image/png"] = info.png
    example = tf.train.Example()
    for key, value in values.items():
        if isinstance(value, bytes):
            example.features.feature[key].bytes_list.value.append(value)
        else:
            example.features.feature[key].int64_list.value.append(value)
    return bytes(example.SerializeToString(deterministic=True))


# Before the work ----------------------------------------------------------------------------------------------------


def _check_headers(files: Labelled, max_pixels: int) -> None:
    """Raise `DataError` naming the files whose headers show that they are bad."""

    def look(some: Labelled) -> list[tuple[str, str]]:
        found = ((path, examine(path, max_pixels)) for path, _ in some)
        return [(path, problem) for path, problem in found if isinstance(problem, str)]

    with quiet_pillow(), ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(look, (files[start : start + 100] for start in range(0, len(files), 100)))
        bad = [one for some in found for one in some]
    if bad:
        raise DataError(bad_files(bad, len(files)) + LEAVE_OUT)


def _fingerprint(folder: Path, files: Mapping[str, Labelled], sizes: Mapping[str, int], settings: str) -> int:
    """A checksum of all that decides the shards' bytes, but for the pixels."""
    checksum = zlib.crc32(settings.encode())
    for split, labelled in files.items():
        for path, label in labelled:
            line = f"{split}\0{label}\0{os.path.relpath(path, folder)}\0{sizes.get(path)}\n"
            checksum = zlib.crc32(os.fsencode(line), checksum)
    return checksum


def _crc32(path: str | os.PathLike[str]) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            checksum = zlib.crc32(piece, checksum)
    return checksum
