"""Data sets by name: where they come from, and how they are cut into training, validation and test images."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from rawcnn.data.drawn import drawn_digits
from rawcnn.data.mnist import cache_dir, load_mnist
from rawcnn.data.source import Source
from rawcnn.errors import DownloadError, UsageError

NAMES = ("auto", "mnist", "drawn")
DIGITS = tuple("0123456789")
DRAWN_TRAIN, DRAWN_TEST = 60_000, 10_000  # as many as MNIST has
TEST_SEED = 2**32  # no --seed reaches it: drawn test digits are the same for every run, and no run trains on them

Log = Callable[[str], None]


@dataclass(frozen=True)
class DataSet:
    """`train` to learn from, `validation` to watch after each epoch, `test` to be looked at once, at the end."""

    name: str
    train: Source
    validation: Source
    test: Source

    def describe(self) -> str:
        """Sizes, shape and classes in two lines."""
        height, width, channels = self.train.images.shape[1:]
        sizes = f"{len(self.train):,} training, {len(self.validation):,} validation and {len(self.test):,} test images"
        names = self.train.class_names
        return f"data set {self.name}: {sizes} of {height}x{width}x{channels}\n{len(names)} classes: {' '.join(names)}"


def load(
    name: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    sample: float = 1.0,
    limit: int | None = None,
    log: Log = print,
) -> DataSet:
    """Load "mnist", "drawn" digits, or by "auto" MNIST and, where it cannot be had, drawn digits.

    A tenth (at most 2,000) of the training images, drawn by `seed`, becomes the validation set. `sample` (0 ... 1)
    keeps that share of the training images of each class; `limit` takes no more than so many images. Raises
    `DataError` or `DownloadError` if the data cannot be had; files in a `data_dir` that is given must be there.
    """
    if name not in NAMES:
        raise UsageError(f"Unknown data set {name!r}: choose one of {', '.join(NAMES)}.")
    if not 0 < sample <= 1:
        raise UsageError(f"The sample is a share above 0 and up to 1, not {sample}.")
    name, train, test = _drawn(seed, limit, log) if name == "drawn" else _mnist(name, data_dir, seed, limit, log)
    train, validation = train.split(min(2000, len(train) // 10), seed)
    return DataSet(name, train.sample(sample, seed) if sample < 1 else train, validation, test)


def _mnist(
    name: str, data_dir: str | os.PathLike[str] | None, seed: int, limit: int | None, log: Log
) -> tuple[str, Source, Source]:
    try:
        arrays = load_mnist(data_dir, log=log)
    except DownloadError:
        if name == "mnist":
            raise
        log(f"MNIST is not in {cache_dir()} and no mirror gave it: going on with digits that rawcnn draws itself.")
        return _drawn(seed, limit, log)
    train = Source(arrays.train_images[:limit], arrays.train_labels[:limit], DIGITS)
    return "mnist", train, Source(arrays.test_images[:limit], arrays.test_labels[:limit], DIGITS)


def _drawn(seed: int, limit: int | None, log: Log) -> tuple[str, Source, Source]:
    train = drawn_digits(limit or DRAWN_TRAIN, seed=seed, cache_dir=cache_dir() / "drawn", log=log)
    test = drawn_digits(limit or DRAWN_TEST, seed=TEST_SEED, cache_dir=cache_dir() / "drawn", log=log)
    return "drawn", Source(*train, DIGITS), Source(*test, DIGITS)
