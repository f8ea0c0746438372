"""MNIST (LeCun, Bottou, Bengio and Haffner 1998, section III.A), and every data set in files of the same form.

Fashion-MNIST (Xiao, Rasul and Vollgraf 2017) and KMNIST (Clanuwat et al. 2018) have files of the same names, and are
told by the checksum of their training labels or by the name of their folder. EMNIST (Cohen et al. 2017) has its
own file names; its images are stored with rows and columns exchanged, and its letters are labelled from 1.
"""

import hashlib
import os
import pathlib
import re
import string
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rawcnn.data.sets.download import Remote, cache_dir
from rawcnn.data.sets.download import download as download_file
from rawcnn.errors import DataError, DownloadError
from rawcnn.files.idx import read_idx_pair

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def _remote(name: str, size: int, sha256: str) -> Remote:
    return Remote(name, tuple(mirror + name for mirror in MIRRORS), size, sha256)


REMOTES = {
    "train_images": _remote(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train_labels": _remote(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test_images": _remote(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test_labels": _remote(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
NAMES = ", ".join(remote.name for remote in REMOTES.values())


DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# name -> (MD5 of the gzipped training labels, as the makers publish it; what a folder's name then says; class names)
SAME_FILES = {
    "fashion-mnist": ("25c81989df183df01b3e8a0aad5dffbe", re.compile("fashion", re.IGNORECASE), FASHION),
    "kmnist": ("e144d726b3acfaa3e44228e80efcd344", re.compile("kmnist|kuzushiji", re.IGNORECASE), KUZUSHIJI),
}
UPPER = tuple(string.ascii_uppercase)
EMNIST = {
    "letters": UPPER,
    "digits": DIGITS,
    "mnist": DIGITS,
    "balanced": (*DIGITS, *UPPER, *"abdefghnqrt"),
    "bymerge": (*DIGITS, *UPPER, *"abdefghnqrt"),
    "byclass": (*DIGITS, *UPPER, *string.ascii_lowercase),
}
"""The sets of EMNIST and their classes (Cohen et al. 2017, table II; lower case that looks like upper is merged)."""


class MnistArrays(NamedTuple):
    """Training and test set: images uint8 `[N, H, W, 1]` in 0..255, labels int32 `[N]` in 0..K-1, and the directory."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    where: str


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    num_classes: int = 10,
    log: Callable[[str], None] = print,
) -> MnistArrays:
    """Read MNIST, or a data set in the same four files such as Fashion-MNIST or KMNIST, into memory.

    With `data_dir` the files must be there (see `find_idx_files`) and nothing is ever downloaded. Without it they come
    from `cache_dir()`, and what is missing there is downloaded first, unless `download` is False. MNIST itself has
    60,000 training and 10,000 test images of 28x28; other numbers and sizes are taken as they are, but training and
    test images must be of one size.

    Raises `DataError` if files are missing or unfit, and `DownloadError` (at the first file, so that being offline
    shows at once) if no mirror gives them. Both say how to get the files.
    """
    if data_dir is not None:
        files = _complete(pathlib.Path(os.path.expanduser(data_dir)))
    else:
        try:
            files = _complete(cache_dir())
        except DataError:
            if not download:
                raise
            files = _download_all(cache_dir() / "mnist", log)
    return _read(files, num_classes)


def load_emnist(directory: str | os.PathLike[str]) -> tuple[MnistArrays, tuple[str, ...]]:
    """Read the one set of EMNIST that is in `directory` (or in `gzip/` in it), upright, and the names of its classes.

    Raises `DataError` if files are missing or unfit, or if there are several sets.
    """
    found = find_emnist(directory)
    whole = [name for name, files in found.items() if len(files) == len(REMOTES)]
    if len(whole) != 1:
        sets = f"{' and '.join(found)} ({'several' if whole else 'none of them complete'})" if found else "no set"
        raise DataError(
            f"{directory} has {sets} of EMNIST: put the four files of one set, such as emnist-letters-train-images-"
            "idx3-ubyte.gz, into a folder without other sets."
        )
    names = EMNIST[whole[0]]
    first = 1 if whole[0] == "letters" else 0
    arrays = _read(found[whole[0]], len(names) + first)
    if first and 0 in (arrays.train_labels.min(), arrays.test_labels.min()):
        raise DataError(f"{directory}: EMNIST's letters are labelled from 1, but there is a 0. Get the files again.")
    upright = arrays._replace(
        train_images=np.ascontiguousarray(arrays.train_images.transpose(0, 2, 1, 3)),
        test_images=np.ascontiguousarray(arrays.test_images.transpose(0, 2, 1, 3)),
        train_labels=arrays.train_labels - first,
        test_labels=arrays.test_labels - first,
    )
    return upright, names


def find_emnist(directory: str | os.PathLike[str]) -> dict[str, dict[str, pathlib.Path]]:
    """The files of each set of EMNIST, by the same keys as `find_idx_files`, as far as they are there."""
    found: dict[str, dict[str, pathlib.Path]] = {}
    for name in EMNIST:
        for key in REMOTES:
            split, kind = key.split("_")
            plain = f"emnist-{name}-{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
            paths = [pathlib.Path(directory, folder, plain + end) for folder in ("", "gzip") for end in (".gz", "")]
            if path := next((path for path in paths if path.is_file()), None):
                found.setdefault(name, {})[key] = path
    return found


def told(arrays: MnistArrays) -> tuple[str, tuple[str, ...]]:
    """Which data set the files of MNIST's names in `arrays.where` are, and the names of its ten classes.

    "mnist" with digits, unless checksum or folder say that it is another.
    """
    where = pathlib.Path(arrays.where)
    labels = where / REMOTES["train_labels"].name
    md5 = hashlib.md5(labels.read_bytes(), usedforsecurity=False).hexdigest() if labels.is_file() else None
    folders = "/".join(where.absolute().parts[-3:])
    by_checksum = next(((name, known[2]) for name, known in SAME_FILES.items() if known[0] == md5), None)
    by_folder = next(((name, known[2]) for name, known in SAME_FILES.items() if known[1].search(folders)), None)
    return by_checksum or by_folder or ("mnist", DIGITS)


def _read(files: dict[str, pathlib.Path], num_classes: int) -> MnistArrays:
    train_images, train_labels = read_idx_pair(files["train_images"], files["train_labels"], num_classes=num_classes)
    test_images, test_labels = read_idx_pair(files["test_images"], files["test_labels"], num_classes=num_classes)
    where = files["train_images"].parent
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{where}: the training images are {train_images.shape[1]}x{train_images.shape[2]} pixels and the test "
            f"images {test_images.shape[1]}x{test_images.shape[2]}, but a net takes one size. Take all four files from "
            "one data set."
        )
    return MnistArrays(train_images, train_labels, test_images, test_labels, str(where))


def find_idx_files(directory: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """Find the files of `directory` that have MNIST's names: those of train_images, train_labels, test_images and
    test_labels that are there.

    A name may end in .gz or not, and be `train-images.idx3-ubyte` as well. The directory itself is looked at first,
    then `mnist/`, `MNIST/raw/` and `raw/` in it (where torchvision puts them). All files come from one folder, the one
    that has most of them, since files of two data sets do not fit each other.
    """
    best: dict[str, pathlib.Path] = {}
    for subfolder in ("", "mnist", "MNIST/raw", "raw", "FashionMNIST/raw", "KMNIST/raw"):
        folder = pathlib.Path(directory, subfolder)
        found = {}
        for key, remote in REMOTES.items():
            plain = remote.name.removesuffix(".gz")
            dotted = plain.replace("-idx", ".idx")
            # The gzipped one first: it has a checksum.
            paths = [folder / name for name in (remote.name, plain, dotted + ".gz", dotted)]
            if path := next((path for path in paths if path.is_file()), None):
                found[key] = path
        if len(found) > len(best):
            best = found
    return best


def _complete(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    files = find_idx_files(directory)
    missing = [remote.name for key, remote in REMOTES.items() if key not in files]
    if missing:
        state = "does not have" if directory.is_dir() else "is not a directory, so it does not have"
        raise DataError(
            f"{directory} {state} {', '.join(missing)}. The data set is four files ({NAMES}, or the same unzipped): "
            f"put them there, from {MIRRORS[0]} or {MIRRORS[1]}"
        )
    return files


def _download_all(directory: pathlib.Path, log: Callable[[str], None]) -> dict[str, pathlib.Path]:
    try:
        return {key: download_file(remote, directory, log=log) for key, remote in REMOTES.items()}
    except DownloadError as error:
        raise DownloadError(f"{error} The data set is four files: {NAMES}.") from error
