"""What a user names as data: a directory or a URL, and a file of class names; with the remedy for anything else."""

import os
from collections.abc import Sequence
from pathlib import Path

from rawcnn.data.packed.index import is_url
from rawcnn.data.sets.cifar import REMOTE as CIFAR10_ARCHIVE
from rawcnn.errors import DataError, similar_path

# suffixes -> what such a file is, and what to do
NOT_DATA = {
    (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"): "an archive. Unpack it, and name the folder",
    (".csv", ".tsv", ".parquet", ".xlsx", ".json"): (
        "a table. Make arrays of it, and train in Python with rawcnn.Source(images, labels)"
    ),
    (".npz", ".npy", ".mat"): "arrays. Load them, and train in Python with rawcnn.Source(images, labels)",
    (".pth", ".pt", ".keras", ".h5", ".hdf5", ".safetensors", ".ckpt", ".onnx", ".tflite"): (
        "weights or a model, not images. Give it to load_weights, and name a data set here"
    ),
    (".pkl", ".pickle"): "a pickle, which can run any code and is never loaded. Save its arrays with numpy.savez",
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"): "one image. Name the folder of all images",
}


def directory_of(given: str | os.PathLike[str]) -> Path | str:
    """`given` as a directory, or a URL as it is; raises `DataError` with the remedy if it is neither."""
    text = os.fspath(given)
    if is_url(text):
        return text
    if not text.strip():
        raise DataError("The name of the data directory is empty. Name one, as in --data_dir=photos, or leave it out.")
    path = Path(os.path.expanduser(text))
    if path.name == CIFAR10_ARCHIVE.name and path.is_file():
        return path.parent
    if not path.exists():
        raise DataError(f"{path} does not exist.{similar_path(path) or ' Check the spelling.'}")
    if not path.is_dir():
        suffix = path.suffix.lower()
        what = next((what for suffixes, what in NOT_DATA.items() if suffix in suffixes), "a file. Name its folder")
        raise DataError(f"{path} is {what}.")
    return path


def class_names_of(given: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names as they are given, or from a text file with one a line."""
    if not isinstance(given, (str, os.PathLike)):
        return tuple(given)
    path = Path(os.path.expanduser(given))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The class names in {path} cannot be read: {error}. Give a text file, one name a line."
        ) from None
    return tuple(name for line in lines if (name := line.strip()))
