"""Folders of image files as sources: files are found (`layout`), their headers read, and bad ones named or left out."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rawcnn.data.images.decode import undecodable
from rawcnn.data.images.headers import MAX_PIXELS, ImageInfo, examine, quiet_pillow
from rawcnn.data.images.layout import Layout
from rawcnn.data.images.stream import LEAVE_OUT, FileSource, bad_files
from rawcnn.data.log import Log
from rawcnn.errors import DataError, UsageError, did_you_mean

THREADS = 4  # for reading headers: more of them only wait for Python's lock
MAX_KEPT = 2**31
"""Bytes of all files that must be kept in memory as PNG, since TensorFlow cannot decode them."""


def open_folder(
    directory: str | os.PathLike[str],
    *,
    bad_images: str = "error",
    max_pixels: int = MAX_PIXELS,
    channels: int = 3,
    log: Log = print,
) -> tuple[dict[str, FileSource], dict[str, str]]:
    """Open a folder of images in one of the layouts of `rawcnn.data.images.layout`.

    Args:
      directory: the folder. Hidden files and those whose name is not an image's are passed over, and counted.
      bad_images: "error" refuses the folder if a file's header shows that it is bad; "skip" decodes every file once
        and leaves out the bad ones, the same ones each time, so that a run can be resumed exactly.
      max_pixels: of an image, by its header.
      channels: 3 for RGB, 1 for grey.
      log: is told what happens.

    Returns:
      ("train" and, where there are such folders, "validation" and "test", each a `FileSource`; all have the same class
      names), and what is wrong with each file that was left out, by its name.

    Raises:
      DataError: no images, one class only, a class without images, layouts mixed, unreadable folders, bad files.
      UsageError: an unknown `bad_images`.
    """
    directory, names, found = files_by_split(directory, bad_images, log)
    if bad_images == "skip":
        log(f"decoding every image in {directory} once to find bad ones")
    sources: dict[str, FileSource] = {}
    bad: dict[str, str] = {}
    for split, files in found.items():
        sources[split] = _examined(files, names, max_pixels, channels, bad_images == "skip", bad)
    if bad and bad_images == "error":
        count = len(bad) + sum(map(len, sources.values()))
        raise DataError(bad_files(list(bad.items()), count) + LEAVE_OUT)
    if bad:
        log(f"{len(bad):,} bad image files are left out")
    for split, source in sources.items():
        check_classes_left(directory, split, source.labels, names)
    return sources, bad


def files_by_split(
    directory: str | os.PathLike[str], bad_images: str, log: Log
) -> tuple[Path, tuple[str, ...], dict[str, list[tuple[str, int]]]]:
    """(the folder, the names of the classes, (path, label) of each image file of each split, in the layout's order).

    Looks at the names of folders and files alone. Raises as `open_folder`.
    """
    if bad_images not in ("error", "skip"):
        raise UsageError(f"bad_images is 'error' or 'skip', not {bad_images!r}.")
    directory = Path(os.path.expanduser(directory))
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder. Check the spelling.")
    found = Layout(directory, log).files()
    names = list(found["train"])
    if len(names) == 1:
        raise DataError(
            f"{directory} has one class only ({names[0]!r}): there is nothing to tell apart. Expected are folders "
            "named after classes, or files like cat.0.jpg and dog.0.jpg; if images are one folder deeper, name that."
        )
    for split, classes in found.items():
        if surplus := sorted(set(classes) - set(names)):
            raise DataError(
                f"The {split} images in {directory} have a class {surplus[0]!r} that is not in train."
                f"{did_you_mean(surplus[0], names)}"
            )
    numbers = {name: number for number, name in enumerate(names)}
    return directory, tuple(names), {
        split: [(path, numbers[name]) for name, paths in classes.items() for path in paths]
        for split, classes in found.items()
    }  # fmt: skip


def check_classes_left(directory: Path, split: str, labels: np.ndarray, names: Sequence[str]) -> None:
    """Raise `DataError` if no good image is left of a class in train, or of a whole other split."""
    counts = np.bincount(labels, minlength=len(names))
    if (split == "train" and not counts.all()) or not len(labels):
        raise DataError(f"All {split} images of {names[int(counts.argmin())]!r} in {directory} are bad. Replace them.")


def _examined(
    labelled: Sequence[tuple[str, int]],
    names: Sequence[str],
    max_pixels: int,
    channels: int,
    decode: bool,
    bad: dict[str, str],
) -> FileSource:
    """The good files as a source; adds the others to `bad`."""
    kept_bytes = 0

    def look(files: Sequence[tuple[str, int]]) -> list[ImageInfo | str]:
        nonlocal kept_bytes
        infos = [examine(path, max_pixels) for path, _ in files]
        kept_bytes += sum(len(info.png) for info in infos if not isinstance(info, str))
        if kept_bytes > MAX_KEPT:
            raise DataError(
                f"Images that TensorFlow cannot decode (GIF, TIFF, PPM, ...), such as {files[0][0]}, would take more "
                f"than {MAX_KEPT:,} bytes of memory. Convert them to PNG or JPEG."
            )
        if not decode:
            return infos
        return [
            info if isinstance(info, str) else undecodable(path, info) or info
            for (path, _), info in zip(files, infos, strict=True)
        ]

    chunks = [labelled[start : start + 100] for start in range(0, len(labelled), 100)]
    with quiet_pillow(), ThreadPoolExecutor(THREADS) as pool:
        infos = [info for chunk in pool.map(look, chunks) for info in chunk]
    good = []
    for (path, label), info in zip(labelled, infos, strict=True):
        if isinstance(info, str):
            bad[path] = info
        else:
            good.append((path, label, info))
    paths, labels, kept = zip(*good, strict=True) if good else ((), (), ())
    return FileSource(paths, np.array(labels, np.int32), names, kept, channels)
