"""Folders of image files: which layout they have, and which files belong to which class."""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rawcnn.data.images.decode import undecodable
from rawcnn.data.images.headers import MAX_PIXELS, ImageInfo, examine, quiet_pillow
from rawcnn.data.images.stream import LEAVE_OUT, FileSource, _bad_files
from rawcnn.data.log import Log
from rawcnn.errors import DataError, UsageError

SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".heic", ".jxl")
)
"""A file is taken for an image by its name, lower case or upper; what it holds is then told by its first bytes."""


IMAGENETTE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip
"""WordNet's numbers, which Imagenette uses as the names of its class folders."""


THREADS = 4  # for reading headers: more of them only wait for Python's lock


def open_folder(
    directory: str | os.PathLike[str],
    *,
    bad_images: str = "error",
    max_pixels: int = MAX_PIXELS,
    log: Log = print,
) -> tuple[dict[str, FileSource], dict[str, str]]:
    """Open a folder of images in one of the layouts above.

    Args:
      directory: the folder. Hidden files and those whose name is no image's are passed over.
      bad_images: "error" refuses the folder if a file's header shows that it is bad; "skip" decodes every file once
        and leaves out the bad ones, the same ones each time, so that a run can be resumed exactly.
      max_pixels: of an image, by its header.
      log: is told what happens.

    Returns:
      ("train" and, where there are such folders, "validation" and "test", each a `FileSource`; all have the same class
      names), and what is wrong with each file that was left out, by its name.

    Raises:
      DataError: no images, one class only, a class without images, layouts mixed, unreadable folders, bad files.
      UsageError: an unknown `bad_images`.
    """
    if bad_images not in ("error", "skip"):
        raise UsageError(f"bad_images is 'error' or 'skip', not {bad_images!r}.")
    found = {split: labelled_files(folder) for split, folder in _splits(Path(directory), log).items()}
    names = list(found["train"])
    if len(names) == 1:
        raise DataError(
            f"{directory} has one class only ({names[0]!r}): there is nothing to tell apart. Expected are folders "
            "named after classes, or files like cat.0.jpg and dog.0.jpg; if the data lie one folder deeper, name that."
        )
    for split, classes in found.items():
        if surplus := sorted(set(classes) - set(names)):
            raise DataError(f"The {split} images in {directory} have a class {surplus[0]!r} that is not in train.")
    if bad_images == "skip":
        log(f"decoding every image in {directory} once to find bad ones")
    sources: dict[str, FileSource] = {}
    bad: dict[str, str] = {}
    for split, classes in found.items():
        sources[split] = _examined(classes, names, max_pixels, bad_images == "skip", bad)
    if bad and bad_images == "error":
        count = len(bad) + sum(map(len, sources.values()))
        raise DataError(_bad_files(list(bad.items()), count) + LEAVE_OUT)
    if bad:
        log(f"{len(bad):,} bad image files are left out")
    for split, source in sources.items():
        counts = np.bincount(source.labels, minlength=len(names))
        if (split == "train" and not counts.all()) or not len(source):
            raise DataError(f"All {split} images of {names[counts.argmin()]!r} in {directory} are bad. Replace them.")
    return sources, bad


def labelled_files(directory: Path) -> dict[str, list[str]]:
    """The image files of each class, sorted, from class folders or from a flat folder; raises `DataError`."""
    folders, files = _entries(directory)
    if folders and files:
        raise DataError(
            f"{directory} mixes layouts: it has folders ({folders[0].name}, ...) and images ({files[0].name}, ...). "
            "Put all images into folders named after their classes, or all folders elsewhere."
        )
    if folders:
        return class_folders(folders)
    if files:
        return flat_folder(files)
    raise DataError(f"{directory} holds no images. Expected are folders named after classes, or files like cat.0.jpg.")


def class_folders(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Each folder's images, at any depth, by its name; Imagenette's numbers become words."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        name = IMAGENETTE.get(folder.name, folder.name)
        if name in found:
            raise DataError(f"{folder} would be a second class called {name!r}. Rename it or the other one.")
        found[name] = _files_below(folder)
        if not found[name]:
            raise DataError(f"The class folder {folder} holds no images. Fill it, or take it away.")
    return found


def flat_folder(files: Sequence[Path]) -> dict[str, list[str]]:
    """Files by class, which is the name without the number at its end: `cat.0.jpg`, `american_bulldog_12.jpg`."""
    found: dict[str, list[str]] = {}
    for file in files:
        match = re.fullmatch(r"(.*?\D)??[ ._(-]*\d+\)?", file.stem)
        if match is None or not match[1]:
            raise DataError(
                f"{file} does not tell its class: files in one folder are named as cat.0.jpg, a class and a number. "
                "Rename it, or put the images into folders named after their classes."
            )
        found.setdefault(match[1], []).append(str(file))
    return dict(sorted(found.items()))


def _splits(directory: Path, log: Log) -> dict[str, Path]:
    """The folders of the training images and, where there are such, of the validation and the test images."""
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder. Check the spelling.")
    folders, files = _entries(directory)
    splits: dict[str, Path] = {}
    for folder in folders:
        split = SPLITS.get(folder.name.lower())
        if split in splits:
            raise DataError(f"{directory} has both {splits[split].name} and {folder.name}: take one away.")
        if split:
            splits[split] = folder
    if not splits:
        return {"train": directory}
    others = [entry.name for entry in folders + files if entry not in splits.values()]
    unknown = [name for name in others if not re.match("train|val|test", name.lower())]
    if unknown:
        raise DataError(
            f"{directory} mixes layouts: {unknown[0]} lies beside {next(iter(splits.values())).name}. "
            "Keep only train, validation and test there, or only folders named after classes."
        )
    if others:
        log(f"{', '.join(others)} in {directory} is not used")
    if "train" not in splits:
        raise DataError(f"{directory} has {next(iter(splits.values())).name}, but no train. Add the training images.")
    return splits


def _entries(directory: Path) -> tuple[list[Path], list[Path]]:
    """(folders, image files) in `directory`, each sorted by name."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"The folder {directory} cannot be read: {error.strerror}. Change its permissions.") from None
    entries = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    files = [Path(entry.path) for entry in entries if not entry.is_dir()]
    return folders, [file for file in files if file.suffix.lower() in EXTENSIONS]


def _files_below(directory: Path) -> list[str]:
    folders, files = _entries(directory)
    inner = [folder for folder in folders if not folder.is_symlink()]  # a link could lead round in a circle
    return [str(file) for file in files] + [file for folder in inner for file in _files_below(folder)]


def _examined(
    classes: Mapping[str, Sequence[str]], names: Sequence[str], max_pixels: int, decode: bool, bad: dict[str, str]
) -> FileSource:
    """The good files as a source; adds the others to `bad`."""
    labelled = [(path, names.index(name)) for name, paths in classes.items() for path in paths]

    def look(files: Sequence[tuple[str, int]]) -> list[ImageInfo | str]:
        infos = [examine(path, max_pixels) for path, _ in files]
        if not decode:
            return infos
        return [
            info if isinstance(info, str) else undecodable(path, info) or info
            for (path, _), info in zip(files, infos, strict=True)
        ]

    shares = [labelled[start : start + 100] for start in range(0, len(labelled), 100)]
    with quiet_pillow(), ThreadPoolExecutor(THREADS) as pool:
        infos = [info for share in pool.map(look, shares) for info in share]
    good = []
    for (path, label), info in zip(labelled, infos, strict=True):
        if isinstance(info, str):
            bad[path] = info
        else:
            good.append((path, label, info))
    paths, labels, kept = zip(*good, strict=True) if good else ((), (), ())
    return FileSource(paths, np.array(labels, np.int32), names, kept)
