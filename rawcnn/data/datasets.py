"""Data sets by name: where they come from, and how they are cut into training, validation and test images."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rawcnn.data.images.folder import open_folder
from rawcnn.data.images.headers import MAX_PIXELS
from rawcnn.data.log import Log
from rawcnn.data.sets.cifar import has_cifar10, load_cifar10
from rawcnn.data.sets.download import cache_dir
from rawcnn.data.sets.drawn import coloured, drawn_digits
from rawcnn.data.sets.mnist import find_idx_files, load_mnist
from rawcnn.data.source import Labelled, Source
from rawcnn.errors import DataError, DownloadError, UsageError

NAMES = ("auto", "mnist", "cifar10", "folder", "drawn")
DIGITS = tuple("0123456789")
DRAWN_TRAIN, DRAWN_TEST = 60_000, 10_000  # as many as MNIST has
DRAWN_COLOUR_SHARE = 6  # a colour net takes so much longer that a sixth of them must do
TEST_SEED = 2**32  # no --seed reaches it: drawn test digits are the same for every run, and no run trains on them


@dataclass(frozen=True)
class DataSet:
    """`train` to learn from, `validation` to watch after each epoch, `test` to be looked at once, at the end.

    `bad` says why each file that was skipped is bad.
    """

    name: str
    train: Labelled
    validation: Labelled
    test: Labelled
    bad: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Sizes, shape and classes in two lines."""
        height, width, channels = self.train.shape
        sizes = f"{len(self.train):,} training, {len(self.validation):,} validation and {len(self.test):,} test images"
        shape = f"of {height}x{width}x{channels}" if height else "in files, each of its own size"
        names = self.train.class_names
        return f"data set {self.name}: {sizes} {shape}\n{len(names)} classes: {' '.join(names)}"


def load(
    name: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    colour: bool = False,
    validation: float = 0.1,
    seed: int = 0,
    sample: float = 1.0,
    limit: int | None = None,
    bad_images: str = "error",
    max_pixels: int = MAX_PIXELS,
    log: Log = print,
) -> DataSet:
    """Load "mnist", "cifar10", a "folder" of image files, or "drawn" digits; "auto" takes what is there.

    That is what `data_dir` holds; without one MNIST, for a `colour` net CIFAR-10, and where that cannot be had drawn
    digits. `validation`, a share below 1 or a count, says how many of the training images, drawn by `seed`, to hold out
    where the data set has no validation images of its own; a folder without test images gives as many of them too.
    `sample` (0 ... 1) keeps that share of the training images of each class; `limit` takes no more than so many images.
    For a `colour` net grey images become colour ones. Raises `DataError` or `DownloadError` if the data cannot be had;
    files in a `data_dir` that is given must be there.
    """
    if name not in NAMES:
        raise UsageError(f"Unknown data set {name!r}: choose one of {', '.join(NAMES)}.")
    if not 0 < sample <= 1:
        raise UsageError(f"The sample is a share above 0 and up to 1, not {sample}.")
    auto = name == "auto"
    if auto:
        name = _recognise(data_dir, colour) if data_dir is not None else "cifar10" if colour else "mnist"
    if name == "folder":
        if data_dir is None:
            raise UsageError("Which folder of images? Name it with --data_dir=DIR.")
        files, bad = open_folder(data_dir, bad_images=bad_images, max_pixels=max_pixels, log=log)
        splits: dict[str, Labelled] = dict(files)
    else:
        name, splits = _in_memory(name, data_dir, auto and data_dir is None, colour, seed, limit, log)
        bad = {}
    if limit:
        splits = {split: source.sample(limit / len(source), seed) if limit < len(source) else source
                 for split, source in splits.items()}  # fmt: skip
    if colour:
        splits = {split: in_colour(source) for split, source in splits.items()}
    held_out = _held_out(splits, validation, seed)
    train = held_out["train"]
    if sample < 1:
        held_out["train"] = train.sample(sample, seed)
    return DataSet(name, **held_out, bad=bad)


def in_colour(source: Labelled) -> Labelled:
    """Grey images as red, green and blue that are equal; other sources as they are."""
    if not isinstance(source, Source) or source.shape[2] == 3:
        return source
    return Source(np.repeat(source.images, 3, axis=3), source.labels, source.class_names)


def _recognise(data_dir: str | os.PathLike[str], colour: bool) -> str:
    if find_idx_files(data_dir):
        return "mnist"
    if has_cifar10(data_dir):
        return "cifar10"
    return "folder" if colour else "mnist"


def _held_out(splits: Mapping[str, Labelled], validation: float, seed: int) -> dict[str, Labelled]:
    """All three splits: those that are missing are cut off the training images."""
    found = dict(splits)
    missing = [split for split in ("test", "validation") if split not in found]
    if not missing:
        return found
    total = len(found["train"])
    count = round(validation * total) if validation < 1 else round(validation)
    if count < 1 or count * len(missing) >= total:
        raise DataError(
            f"{count} of {total:,} images cannot be held out for {' and '.join(missing)}: choose another --validation."
        )
    for i, split in enumerate(missing):
        found["train"], found[split] = found["train"].split(count, seed + i)
    return found


def _in_memory(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    or_drawn: bool,
    colour: bool,
    seed: int,
    limit: int | None,
    log: Log,
) -> tuple[str, dict[str, Labelled]]:
    if name == "drawn":
        return name, _drawn(colour, seed, limit, log)
    try:
        if name == "mnist":
            mnist = load_mnist(data_dir, log=log)
            return name, {
                "train": Source(mnist.train_images, mnist.train_labels, DIGITS),
                "test": Source(mnist.test_images, mnist.test_labels, DIGITS),
            }
        cifar = load_cifar10(data_dir, log=log)
        return name, {
            "train": Source(cifar.train_images, cifar.train_labels, cifar.class_names),
            "test": Source(cifar.test_images, cifar.test_labels, cifar.class_names),
        }
    except DownloadError:
        if not or_drawn:
            raise
    what = {"mnist": "MNIST", "cifar10": "CIFAR-10"}[name]
    log(f"{what} is not in {cache_dir()} and no mirror gave it: going on with digits that rawcnn draws itself.")
    return "drawn", _drawn(colour, seed, limit, log)


def _drawn(colour: bool, seed: int, limit: int | None, log: Log) -> dict[str, Labelled]:
    splits: dict[str, Labelled] = {}
    for split, count, split_seed in (("train", DRAWN_TRAIN, seed), ("test", DRAWN_TEST, TEST_SEED)):
        count = limit or (count // DRAWN_COLOUR_SHARE if colour else count)
        images, labels = drawn_digits(count, seed=split_seed, cache_dir=cache_dir() / "drawn", log=log)
        splits[split] = Source(coloured(images, split_seed) if colour else images, labels, DIGITS)
    return splits
