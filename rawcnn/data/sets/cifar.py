"""CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"), in its binary version.

Six files hold records of 3,073 bytes: a label, then 1,024 red, 1,024 green and 1,024 blue values, row by row.
The Python version of the same images is a pickle, which can run any code when it is loaded, so it never is.
"""

import gzip
import io
import os
import pathlib
import posixpath
import tarfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rawcnn.data.sets.download import Remote, cache_dir
from rawcnn.data.sets.download import download as download_file
from rawcnn.errors import DataError
from rawcnn.files.limits import CHUNK, most_unpacked, read_bytes

REMOTE = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)
NAMES_FILE = "batches.meta.txt"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
MAX_BATCH = 100_000 * RECORD  # ten times a real batch; a larger file is not CIFAR-10
MAX_NAMES = 4096
MAX_ARCHIVE = 2**31  # bytes unpacked; the real one has 184 million
BLOCK = 512  # of a tar file
TAR_EXTENSIONS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
GET_AGAIN = f"Get it again from {REMOTE.urls[0]}"
PYTHON_FILES = ("data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz")


class Cifar10Arrays(NamedTuple):
    """Training and test set: images uint8 `[N, 32, 32, 3]` (RGB) in 0..255, labels int32 `[N]` in 0..9, the directory
    or archive that they are from, and the names of the 10 classes."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    where: str
    class_names: tuple[str, ...] = CLASS_NAMES


def load_cifar10(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = True, log: Callable[[str], None] = print
) -> Cifar10Arrays:
    """Read CIFAR-10, or a data set in files of the same names and form, into memory.

    With `data_dir` it must be there, as the six .bin files (in it or in `cifar-10-batches-bin/`) or as the archive
    `cifar-10-binary.tar.gz`, and nothing is ever downloaded. Without it `cache_dir()` is looked at in the same way, and
    the archive is downloaded to there first if need be, unless `download` is False. An archive is read as it is;
    nothing is unpacked to the disk. CIFAR-10 itself has 50,000 training and 10,000 test images, 5,000 and 1,000 a
    class; other numbers are taken as they are.

    Raises `DataError`, which names the file and the remedy, if files are missing or unfit, and `DownloadError` if the
    archive cannot be downloaded.
    """
    directory = cache_dir() if data_dir is None else pathlib.Path(os.path.expanduser(data_dir))
    where = _find(directory)
    if where is None and data_dir is None and download:
        where = download_file(REMOTE, directory, log=log)
    if where is None:
        raise DataError(_what_is_missing(directory))
    contents = _read_archive(where) if where.is_file() else _read_folder(where)
    class_names = _class_names(contents.pop(NAMES_FILE, None))
    train = _decode(contents, TRAIN_FILES, where)
    test = _decode(contents, (TEST_FILE,), where)
    return Cifar10Arrays(*train, *test, str(where), class_names)


def has_cifar10(directory: str | os.PathLike[str]) -> bool:
    """Whether `directory` holds CIFAR-10 or something of it, even if `load_cifar10` will have to say what is wrong."""
    directory = pathlib.Path(os.path.expanduser(directory))
    traces = (*FILES, FOLDER, REMOTE.name, *PYTHON_FILES)
    return any((directory / name).exists() for name in traces)


def _find(directory: pathlib.Path) -> pathlib.Path | None:
    """The folder that holds all six files, else the archive, else None."""
    for folder in (directory, directory / FOLDER):
        if not _missing(folder):
            return folder
    archive = directory / REMOTE.name
    return archive if archive.is_file() else None


def _missing(folder: pathlib.Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def _what_is_missing(directory: pathlib.Path) -> str:
    if not directory.is_dir():
        return f"{directory} is not a directory, so CIFAR-10 is not in it. {GET_AGAIN} and put it in a directory."
    folder = min(directory, directory / FOLDER, key=lambda folder: len(_missing(folder)))
    missing = _missing(folder)
    remedy = f"Get {REMOTE.urls[0]} (the binary version) and put it in {directory}, as it is or unpacked."
    python = [directory / name for name in PYTHON_FILES if (directory / name).exists()]
    if python and len(missing) == len(FILES):
        return (
            f"{python[0]} is the Python version of CIFAR-10, a pickle: loading one can run any code, so rawcnn never "
            f"does. {remedy}"
        )
    return f"{folder} does not have {', '.join(missing)}. {remedy}"


def _read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The bytes of each file of the data set, by name."""
    contents = {}
    for name in (*FILES, NAMES_FILE):
        path = folder / name
        if name == NAMES_FILE and not path.is_file():
            continue
        try:
            with open(path, "rb") as file:
                contents[name] = _read(file, os.fstat(file.fileno()).st_size, name, str(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    return contents


def _read_archive(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The bytes of each file of the data set, by name, from a gzipped tar file.

    The archive may be hostile, so it is read header by header, in bounded memory. A member with the name of such a
    file may have at most as many bytes as that file can have; all others are skipped. No path of the archive is used.

    `tarfile` would not do: it reads long names of any size into memory, and treats a damaged header as the end.
    """
    contents: dict[str, np.ndarray] = {}
    try:
        most = min(MAX_ARCHIVE, most_unpacked(path.stat().st_size))
        with gzip.open(path) as stream:
            while member := _next_member(stream, path, most):
                name = posixpath.basename(member.name)
                if name in (*FILES, NAMES_FILE):
                    _check_member(member, name, name in contents, path)
                    contents[name] = _read(stream, member.size, name, f"{path}: {name}")
                    _skip(stream, -member.size % BLOCK, path)
                elif name in PYTHON_FILES and member.isreg():
                    raise DataError(
                        f"{path} holds {name}, the Python version of CIFAR-10, a pickle that is never loaded. "
                        f"Get the binary version, {REMOTE.urls[0]}"
                    )
                else:
                    _skip(stream, member.size + -member.size % BLOCK, path)
            while stream.read(CHUNK):  # to the end, where the checksum is
                _check_unpacked(stream.tell(), path, most)
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends too early. {GET_AGAIN}") from None
    except (gzip.BadGzipFile, zlib.error, tarfile.HeaderError) as error:
        raise DataError(f"{path} is damaged or not a .tar.gz file ({error}). {GET_AGAIN}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if missing := [name for name in FILES if name not in contents]:
        raise DataError(f"{path} does not have {', '.join(missing)} in it. {GET_AGAIN}")
    return contents


def _next_member(stream: io.BufferedIOBase, path: pathlib.Path, most: int) -> tarfile.TarInfo | None:
    """The next header of a tar file; None at its end, which is a block of zeros."""
    while True:
        header = stream.read(BLOCK)
        if len(header) < BLOCK:
            raise DataError(f"{path} is truncated: its tar file ends too early. {GET_AGAIN}")
        if not header.strip(b"\0"):
            return None
        member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
        if member.size < 0:
            raise DataError(f"{path} is damaged: {member.name!r} has {member.size} bytes. {GET_AGAIN}")
        if member.islnk() or member.issym() or member.isdir() or member.isdev():
            member.size = 0  # no bytes follow it, even if the header says so
        _check_unpacked(stream.tell() + member.size, path, most)
        if member.type not in TAR_EXTENSIONS:  # these say more of the next member: long names, fractions of seconds
            return member
        _skip(stream, member.size + -member.size % BLOCK, path)


def _check_member(member: tarfile.TarInfo, name: str, again: bool, path: pathlib.Path) -> None:
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise DataError(f"{path}: {name} is not a regular file but a link or the like. {GET_AGAIN}")
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise DataError(f"{path}: {member.name!r} leads out of the archive. {GET_AGAIN}")
    if again:
        raise DataError(f"{path} holds {name} twice. {GET_AGAIN}")


def _check_unpacked(size: int, path: pathlib.Path, most: int) -> None:
    if size > most:
        raise DataError(f"{path} unpacks to more than {most:,} bytes: it is not CIFAR-10. {GET_AGAIN}")


def _skip(stream: io.BufferedIOBase, count: int, path: pathlib.Path) -> None:
    while count > 0:
        skipped = len(stream.read(min(CHUNK, count)))
        if not skipped:
            raise DataError(f"{path} is truncated: its tar file ends too early. {GET_AGAIN}")
        count -= skipped


def _read(stream: io.BufferedIOBase, size: int, name: str, where: str) -> np.ndarray:
    """Read `size` bytes: uint8 `[size]`. Whether file `name` can have so many is checked before memory is taken."""
    most = MAX_NAMES if name == NAMES_FILE else MAX_BATCH
    if size > most:
        raise DataError(f"{where} has {size:,} bytes, but at most {most:,} are read: it is not CIFAR-10's. {GET_AGAIN}")
    if name != NAMES_FILE and (size == 0 or size % RECORD):
        raise DataError(
            f"{where} has {size:,} bytes, but a batch is one or more records of {RECORD:,} bytes: it is truncated or "
            f"not a batch of CIFAR-10. {GET_AGAIN}"
        )
    values = read_bytes(stream, size)
    if values.size < size:
        raise DataError(f"{where} is truncated: {values.size:,} of {size:,} bytes are there. {GET_AGAIN}")
    return values


def _decode(
    contents: dict[str, np.ndarray], names: tuple[str, ...], where: pathlib.Path
) -> tuple[np.ndarray, np.ndarray]:
    """Take the files `names` out of `contents`: images uint8 `[N, 32, 32, 3]`, labels int32 `[N]`."""
    count = sum(len(contents[name]) for name in names) // RECORD
    images, labels = np.empty((count, SIDE, SIDE, 3), np.uint8), np.empty(count, np.int32)
    start = 0
    for name in names:
        records = contents.pop(name).reshape(-1, RECORD)  # popped, so that the bytes are freed once they are copied
        wrong = np.flatnonzero(records[:, 0] >= len(CLASS_NAMES))
        if wrong.size:
            raise DataError(
                f"{where}: {name}: record {wrong[0]} (counted from 0) has the label {records[wrong[0], 0]}, but "
                f"CIFAR-10 has labels 0 to 9. {GET_AGAIN}"
            )
        end = start + len(records)
        labels[start:end] = records[:, 0]
        images[start:end] = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        start = end
    return images, labels


def _class_names(text: np.ndarray | None) -> tuple[str, ...]:
    """The names in `batches.meta.txt` if it holds one for each class, else those of CIFAR-10."""
    lines = [] if text is None else text.tobytes().decode("utf-8", "replace").split("\n")
    names = tuple(name for line in lines if (name := line.strip()))
    sane = len(set(names)) == len(names) == len(CLASS_NAMES) and all(name.isprintable() for name in names)
    return names if sane else CLASS_NAMES
