"""Data sets by name: how each is recognised in a directory, how it is loaded, and how it is cut into three splits."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rawcnn.data.batches import thumbnails
from rawcnn.data.images.folder import open_folder
from rawcnn.data.images.headers import MAX_PIXELS
from rawcnn.data.log import Log
from rawcnn.data.named import class_names_of, directory_of
from rawcnn.data.packed.index import is_packed
from rawcnn.data.packed.source import open_packed
from rawcnn.data.sets.cifar import has_cifar10, load_cifar10
from rawcnn.data.sets.cifar100 import find_cifar100, load_cifar100
from rawcnn.data.sets.download import cache_dir
from rawcnn.data.sets.drawn import coloured, drawn_digits
from rawcnn.data.sets.mnist import DIGITS, SAME_FILES, find_emnist, find_idx_files, load_emnist, load_mnist, told
from rawcnn.data.source import Labelled, Source, html_table
from rawcnn.data.splits import Splits, cut, in_colour, limited, renamed
from rawcnn.errors import DownloadError, UsageError, did_you_mean

DRAWN_TRAIN, DRAWN_TEST = 60_000, 10_000  # as many as MNIST has
DRAWN_COLOUR_SHARE = 6  # a colour net takes longer, so it gets a sixth of them
TEST_SEED = 2**32  # larger than any --seed: drawn test digits are the same for every run, and no run trains on them
LOOKED_AT = 100  # training images that tell whether a data set is light on dark
DARK = 64  # of 255


@dataclass(frozen=True, repr=False)
class DataSet:
    """`train` to learn from, `validation` to watch after each epoch, `test` to be used only once, at the end.

    `validation` is None if all images are trained on (`validation=0`): then only the test images judge the net.
    `digits`: whether the classes are handwritten digits or letters, so that `classify` may read a photo as one. `bad`
    says why each file that was skipped is bad.
    """

    name: str
    train: Labelled
    validation: Labelled | None
    test: Labelled
    bad: Mapping[str, str] = field(default_factory=dict)
    digits: bool = False

    @cached_property
    def light_on_dark(self) -> bool:
        """Whether the training images are light on dark ground: their border is dark, and their middle lighter.

        Judged by up to 100 of them, spread evenly over all.
        """
        some = np.unique(np.linspace(0, len(self.train) - 1, LOOKED_AT).astype(np.int64))
        images = thumbnails(self.train, some, 32).mean(axis=3)
        edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
        ground = np.median(np.concatenate(edges, axis=1), axis=1)
        return bool(np.mean((ground < DARK) & (images.mean(axis=(1, 2)) > ground)) > 0.9)

    def describe(self) -> str:
        """Sizes, shape and classes in two lines."""
        height, width, channels = self.train.shape
        held_out = "no validation and " if self.validation is None else f"{len(self.validation):,} validation and "
        sizes = f"{len(self.train):,} training, {held_out}{len(self.test):,} test images"
        shape = f"of {height}x{width}x{channels}" if height else "in files, each of its own size"
        names = self.train.class_names
        return f"data set {self.name}: {sizes} {shape}\n{len(names)} classes: {' '.join(names)}"

    def __repr__(self) -> str:
        return f"<DataSet {self.describe().removeprefix('data set ').splitlines()[0]}>"

    def _repr_html_(self) -> str:
        """For notebooks: a row for each split, then what the training images are."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = {
            f"{split} images": "none" if source is None else f"{len(source):,}" for split, source in splits.items()
        }
        facts = {name: fact for name, fact in self.train.facts().items() if name != "images"}
        return html_table({"data set": self.name, **sizes, **facts, "names": ", ".join(self.train.class_names[:20])})


# The data sets -------------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """What a loader is told: see `load`."""

    data_dir: Path | str | None
    """A directory; only packed images may be at a URL, which stays text."""
    colour: bool
    seed: int
    limit: int | None
    bad_images: str
    max_pixels: int
    class_names: tuple[str, ...] | None
    log: Log


class Loaded(NamedTuple):
    """What a loader gives; `name` may be more exact than the one asked for."""

    name: str
    splits: Splits
    digits: bool = False
    bad: Mapping[str, str] = {}


class Known(NamedTuple):
    """A row of the table of data sets."""

    title: str
    found_in: Callable[[Path], object]
    """Whether a directory holds it, or something of it."""
    load: Callable[[Wanted], Loaded]
    downloads: bool = False


def _idx(wanted: Wanted) -> Loaded:
    names = wanted.class_names
    arrays = load_mnist(wanted.data_dir, num_classes=len(names or DIGITS), log=wanted.log)
    name, usual = told(arrays)
    train = Source(arrays.train_images, arrays.train_labels, names or usual)
    test = Source(arrays.test_images, arrays.test_labels, names or usual)
    return Loaded(name, {"train": train, "test": test}, train.class_names == DIGITS)


def _emnist(wanted: Wanted) -> Loaded:
    arrays, names = load_emnist(wanted.data_dir or cache_dir())
    train = Source(arrays.train_images, arrays.train_labels, names)
    return Loaded("emnist", {"train": train, "test": Source(arrays.test_images, arrays.test_labels, names)}, True)


def _cifar10(wanted: Wanted) -> Loaded:
    cifar = load_cifar10(wanted.data_dir, log=wanted.log)
    train = Source(cifar.train_images, cifar.train_labels, cifar.class_names)
    return Loaded("cifar10", {"train": train, "test": Source(cifar.test_images, cifar.test_labels, cifar.class_names)})


def _cifar100(wanted: Wanted) -> Loaded:
    (train, test), names = load_cifar100(wanted.data_dir or cache_dir())
    return Loaded("cifar100", {"train": Source(*train, names), "test": Source(*test, names)})


def _folder(wanted: Wanted) -> Loaded:
    if wanted.data_dir is None:
        raise UsageError("Which folder of images? Name it with --data_dir=DIR.")
    files, bad = open_folder(
        wanted.data_dir,
        bad_images=wanted.bad_images,
        max_pixels=wanted.max_pixels,
        channels=3 if wanted.colour else 1,
        log=wanted.log,
    )
    return Loaded("folder", dict(files), set(files["train"].class_names) <= set(DIGITS), bad)


def _packed(wanted: Wanted) -> Loaded:
    if wanted.data_dir is None:
        raise UsageError("Which packed images? Name their directory with --data_dir=DIR.")
    channels = 3 if wanted.colour else 1
    packed, bad = open_packed(wanted.data_dir, max_pixels=wanted.max_pixels, channels=channels)
    return Loaded("packed", dict(packed), set(packed["train"].class_names) <= set(DIGITS), bad)


def _drawn(wanted: Wanted) -> Loaded:
    splits: Splits = {}
    for split, count, seed in (("train", DRAWN_TRAIN, wanted.seed), ("test", DRAWN_TEST, TEST_SEED)):
        count = wanted.limit or (count // DRAWN_COLOUR_SHARE if wanted.colour else count)
        images, labels = drawn_digits(count, seed=seed, cache_dir=cache_dir() / "drawn", log=wanted.log)
        splits[split] = Source(coloured(images, seed) if wanted.colour else images, labels, DIGITS)
    return Loaded("drawn", splits, True)


def _nowhere(_: Path) -> bool:
    return False


KNOWN = {
    "mnist": Known("MNIST", find_idx_files, _idx, downloads=True),
    **{name: Known(name, _nowhere, _idx) for name in SAME_FILES},  # found as MNIST, whose file names they have
    "emnist": Known("EMNIST", find_emnist, _emnist),
    "cifar10": Known("CIFAR-10", has_cifar10, _cifar10, downloads=True),
    "cifar100": Known("CIFAR-100", find_cifar100, _cifar100),
    "packed": Known("packed images", is_packed, _packed),
    "folder": Known("a folder of images", Path.is_dir, _folder),
    "drawn": Known("drawn digits", _nowhere, _drawn),
}
"""In the order in which a directory is searched for them."""

NAMES = ("auto", *KNOWN)
OF_FILES = ("packed", "folder")  # read in colour or in grey, as is asked for


def load(
    name: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    colour: bool = False,
    validation: float = 0.1,
    seed: int = 0,
    sample: float = 1.0,
    test_sample: float = 1.0,
    limit: int | None = None,
    bad_images: str = "error",
    max_pixels: int = MAX_PIXELS,
    class_names: Sequence[str] | str | os.PathLike[str] | None = None,
    fold: tuple[int, int] | None = None,
    log: Log = print,
) -> DataSet:
    """Load a data set by its name in `KNOWN`, or with "auto" what is there.

    That is what `data_dir` holds; without one MNIST, for a `colour` net CIFAR-10, and digits that rawcnn draws itself
    if they cannot be downloaded. `validation`, a fraction below 1 or a count, says how many of the training images,
    drawn by `seed`, to hold out where the data set has no validation images of its own (0: none, `validation` is then
    None); a folder without test images gives as many of them too. `sample` and `test_sample` (0 ... 1) keep that
    fraction of the training and of the test images of each class; `limit` takes no more than so many images. For a
    `colour` net grey images become colour ones; without it files are read as grey. `class_names`: names, or a text
    file with one a line. `fold`, as in (1, 5): fold 1 of 5 of the training images validates (see `folds`), in the place
    of what `validation` says.

    Raises `DataError` or `DownloadError` if the data are missing or unfit; a `data_dir` that is given must hold them,
    and nothing is downloaded.
    """
    if name not in NAMES:
        raise UsageError(f"There is no data set {name!r}.{did_you_mean(name, NAMES)} Choose one of {', '.join(NAMES)}.")
    for fraction in (sample, test_sample):
        if not 0 < fraction <= 1:
            raise UsageError(f"A sample is a fraction above 0 and up to 1, not {fraction}.")
    directory = None if data_dir is None else directory_of(data_dir)
    auto = name == "auto"
    if auto:
        name = _recognise(directory) if directory is not None else "cifar10" if colour else "mnist"
    names = None if class_names is None else class_names_of(class_names)
    wanted = Wanted(directory, colour, seed, limit, bad_images, max_pixels, names, log)
    try:
        loaded = KNOWN[name].load(wanted)
    except DownloadError:
        if not auto or directory is not None:
            raise
        log(f"{KNOWN[name].title} is not in {cache_dir()} and could not be downloaded: training on digits that rawcnn "
            "draws itself.")  # fmt: skip
        loaded = _drawn(wanted)
    splits = loaded.splits
    if names is not None:
        splits = {split: renamed(source, names) for split, source in splits.items()}
    splits = {split: limited(source, limit, seed) for split, source in splits.items()}
    if colour:
        splits = {split: in_colour(source) for split, source in splits.items()}
    digits = loaded.digits and names is None
    found = cut(splits, validation=validation, seed=seed, sample=sample, test_sample=test_sample, fold=fold)
    return DataSet(loaded.name, *found, bad=loaded.bad, digits=digits)


def load_dataset(
    name_or_path: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None, **options: object
) -> DataSet:
    """Load a data set by name (`"mnist"`, `"cifar10"`, `"drawn"`, ...) or the one in a directory (`"my/photos"`).

    A folder of image files, packed or not, gives RGB, `colour=False` grey. `options` are those of
    `rawcnn.data.datasets.load`: `validation`, `seed`, `sample`, `test_sample`, `limit`, `colour`, `bad_images`,
    `max_pixels`, `class_names`, `log`.

    Raises `DataError` for a directory that holds no data set, `UsageError` for an unknown name.

    >>> load_dataset("drawn", limit=100, log=lambda _: None)
    <DataSet drawn: 90 training, 10 validation and 100 test images of 28x28x1>
    """
    name, takes = os.fspath(name_or_path), inspect.signature(load).parameters
    for option in options.keys() - takes.keys():
        raise UsageError(f"load_dataset has no option {option!r}.{did_you_mean(option, takes)}")
    if name not in NAMES:
        if not Path(os.path.expanduser(name)).exists() and os.sep not in name:
            raise UsageError(
                f"{name!r} is neither a data set nor a directory.{did_you_mean(name, KNOWN)} "
                f"Data sets: {', '.join(KNOWN)}."
            )
        name, data_dir = "auto", name
        if _recognise(directory_of(data_dir)) in OF_FILES:
            options.setdefault("colour", True)
    elif name in OF_FILES:
        options.setdefault("colour", True)
    return load(name, data_dir, **options)  # type: ignore[arg-type]


def _recognise(directory: Path | str) -> str:
    if isinstance(directory, str):
        return "packed"
    return next(name for name, known in KNOWN.items() if known.found_in(directory))
