"""CIFAR-100 (Krizhevsky 2009) in its binary version: records of a coarse label, a fine one, and 32x32 RGB by planes."""

import os
from pathlib import Path

import numpy as np

from rawcnn.data.sets.cifar import SIDE
from rawcnn.errors import DataError
from rawcnn.files.limits import read_bytes, regular_file

FOLDER = "cifar-100-binary"
FILES = ("train.bin", "test.bin")
NAMES_FILE = "fine_label_names.txt"
ARCHIVE = "cifar-100-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CLASSES = 100
RECORD = 2 + 3 * SIDE * SIDE
MAX_RECORDS = 500_000  # ten times the training images


def find_cifar100(directory: str | os.PathLike[str]) -> Path | None:
    """The folder that has CIFAR-100's files or one of them: `directory` or `cifar-100-binary/` in it; else None."""
    folders = (Path(directory), Path(directory, FOLDER))
    return next((folder for folder in folders if any((folder / name).is_file() for name in FILES)), None)


def load_cifar100(directory: str | os.PathLike[str]) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Read CIFAR-100 with its 100 fine labels: (images uint8 `[N, 32, 32, 3]`, labels int32 `[N]`) for training and for
    test, and the class names.

    Raises `DataError` if files are missing or unfit.
    """
    folder = find_cifar100(directory)
    if folder is None:
        raise DataError(f"{directory} does not have {' and '.join(FILES)}. Get {URL}, unpack it and name its folder.")
    splits = [_read(folder / name) for name in FILES]
    return splits, _names(folder / NAMES_FILE)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with regular_file(path) as (file, size):
        count, rest = divmod(size, RECORD)
        if rest or not 0 < count <= MAX_RECORDS:
            raise DataError(
                f"{path} has {size:,} bytes, but a file of CIFAR-100 is up to {MAX_RECORDS:,} records of {RECORD:,} "
                f"bytes. Get it again from {URL}"
            )
        records = read_bytes(file, size).reshape(count, RECORD)
    wrong = np.flatnonzero(records[:, 1] >= CLASSES)
    if wrong.size:
        raise DataError(
            f"{path}: record {wrong[0]} (counted from 0) has the fine label {records[wrong[0], 1]}, but CIFAR-100 has "
            f"labels 0 to {CLASSES - 1}. Get it again from {URL}"
        )
    images = records[:, 2:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 1].astype(np.int32)


def _names(path: Path) -> tuple[str, ...]:
    """The names in `path` if it holds one for each class, else numbers."""
    text = path.read_text(encoding="utf-8", errors="replace")[: 2**14] if path.is_file() else ""
    names = tuple(name for line in text.splitlines() if (name := line.strip()))
    return names if len(set(names)) == len(names) == CLASSES else tuple(map(str, range(CLASSES)))
