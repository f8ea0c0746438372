"""MNIST (LeCun, Bottou, Bengio and Haffner 1998, section III.A), and every data set in files of the same names."""

import os
import pathlib
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


class MnistArrays(NamedTuple):
    """Training and test set: images uint8 `[N, H, W, 1]` in 0..255, labels int32 `[N]` in 0..9, and their directory."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    where: str


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = True, log: Callable[[str], None] = print
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
        files = _complete(pathlib.Path(data_dir).expanduser())
    else:
        try:
            files = _complete(cache_dir())
        except DataError:
            if not download:
                raise
            files = _download_all(cache_dir() / "mnist", log)
    train_images, train_labels = read_idx_pair(files["train_images"], files["train_labels"])
    test_images, test_labels = read_idx_pair(files["test_images"], files["test_labels"])
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
    for subfolder in ("", "mnist", "MNIST/raw", "raw"):
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
