"""Folders of image files as sources: files are read, decoded and cut in parallel, and only their names stay in memory.

Layouts that `open_folder` knows:

* class folders: `train/cat/1.jpg`, `train/dog/2.jpg`, `val/cat/3.jpg`, ... (Imagenette), or without `train` and `val`;
* a flat folder: `cat.0.jpg`, `dog.0.jpg`, ... (Kaggle's Dogs vs. Cats): the class is the file's name without the
  number at its end (`american_bulldog_12.jpg` is an american_bulldog); here too with `train` and `val` above, or not.

Nothing is ever written, renamed or deleted there.
"""

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.data.image_files import cut, decode_part, scale, turn, turns, undecodable
from rawcnn.data.image_headers import JPEG, MAX_PIXELS, ImageInfo, examine
from rawcnn.data.source import Labelled, check_labels
from rawcnn.data.views import Crop
from rawcnn.errors import DataError, UsageError
from rawcnn.machine import cores

Log = Callable[[str], None]

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
LEAVE_OUT = " Or leave bad files out: --bad_images=skip."
NAMED = 5  # bad files that an error names; the others it counts


class FileSource(Labelled):
    """Image files of any size, read as they are needed: `paths`, `labels` int32 `[N]` and `class_names`.

    `infos` is what `rawcnn.data.image_headers.inspect` says of each. In memory: the names, 20 bytes a file, and the few
    images and batches that are just being made.
    """

    shape = (None, None, 3)

    def __init__(
        self, paths: Sequence[str], labels: np.ndarray, class_names: Sequence[str], infos: Iterable[ImageInfo]
    ):
        # Names are kept as bytes, for they need not be text in any encoding.
        self._names = np.array([os.fsencode(path) for path in paths], object)
        self.labels, self.class_names = np.asarray(labels, np.int32), tuple(class_names)
        check_labels(self.labels, len(self._names), self.class_names)
        self._infos = np.array([info[:4] for info in infos], np.int32).reshape(-1, 4)
        self.threads = cores()

    @property
    def paths(self) -> list[str]:
        """The files' names."""
        return [os.fsdecode(name) for name in self._names]

    def take(self, indices: np.ndarray) -> "FileSource":
        """The files at `indices`, in that order."""
        part = copy.copy(self)
        part._names, part.labels, part._infos = self._names[indices], self.labels[indices], self._infos[indices]
        return part

    def check(self) -> None:
        """Decode every file. Raises `DataError` naming those that cannot be, for TensorFlow's own error names none."""
        bad = find_undecodable(self)
        if bad:
            raise DataError(_bad_files(bad, len(self)) + LEAVE_OUT)

    def stream(self, order: tf.data.Dataset, crop: Crop | None = None, size: int | None = None) -> tf.data.Dataset:
        """Read, decode and cut as many files at once as there are cores; see `Labelled.stream`.

        Images are uint8 `[B, K, size, size, 3]`; each file is decoded once for its K boxes, and of a JPEG only the part
        that the boxes cover. Boxes are rounded to whole pixels and scaled by linear interpolation; those much larger
        than `size` are averaged instead (a JPEG's by 2, 4 or 8 while it is decoded). All elements of `order` must have
        the same B, but the last may have fewer. Raises `UsageError` without `crop` and `size`; the iterator raises a
        `tf.errors.OpError` for a file that cannot be decoded: `check` then tells which.
        """
        if crop is None or size is None:
            raise UsageError("Image files differ in size: give a crop (see rawcnn.data.views) and a size.")
        batch_size, exact = _batch_size(order)
        options = tf.data.Options()
        options.autotune.enabled = False  # as in `batches`
        options.threading.private_threadpool_size = self.threads
        options.threading.max_intra_op_parallelism = 1
        files = order.map(self._plan(crop, size)).unbatch()
        # Twice as many as cores: a large image at the head of the queue does not stop the others.
        images = files.map(partial(_read, size), num_parallel_calls=2 * self.threads, deterministic=True)
        return images.batch(batch_size, drop_remainder=exact).with_options(options)

    def _plan(self, crop: Crop, size: int) -> Callable[..., tuple[tf.Tensor, ...]]:
        """A function of (seed, indices `[B]`) that tells, for a batch at once, what `_read` must know of each file."""
        names, labels, infos = tf.constant(self._names), tf.constant(self.labels), tf.constant(self._infos)

        def plan(seed: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, ...]:
            width, height, orientation, kind = tf.unstack(tf.gather(infos, chosen), axis=1)
            boxes, mirrored = crop(height, width, seed)
            swapped, upside_down, flipped = turns(orientation)
            extent, boxes = _as_stored(tf.stack([height, width], 1), boxes, swapped, upside_down, flipped)
            ratio, window, boxes = _windows(extent, boxes, kind, size)
            mirrored = tf.not_equal(flipped[:, None], mirrored)
            file = (tf.gather(names, chosen), tf.gather(labels, chosen), kind)
            return *file, ratio, window, boxes, swapped, upside_down, mirrored

        return plan


def find_undecodable(source: FileSource) -> list[tuple[str, str]]:
    """(path, what is wrong) of every file of `source` that cannot be decoded."""
    infos = [ImageInfo(w, h, orientation, kind) for w, h, orientation, kind in source._infos.tolist()]
    with ThreadPoolExecutor(source.threads) as pool:
        found = list(pool.map(undecodable, source.paths, infos))
    return [(path, problem) for path, problem in zip(source.paths, found, strict=True) if problem]


# Cutting ------------------------------------------------------------------------------------------------------------


def _batch_size(order: tf.data.Dataset) -> tuple[int, bool]:
    """B, and whether every element of `order` is known to have it."""
    known = order.element_spec[1].shape[0]
    if known is not None:
        return known, True
    for _, first in order.take(1):
        return len(first), False
    return 1, False


def _as_stored(
    size: tf.Tensor, boxes: tf.Tensor, swapped: tf.Tensor, upside_down: tf.Tensor, flipped: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """From upright images to stored ones: (height, width) int32 `[B, 2]` and boxes `[B, K, 4]`."""
    height, width = (tf.cast(side, tf.float32)[:, None] for side in tf.unstack(size, axis=1))
    top, left, bottom, right = tf.unstack(boxes, axis=2)
    upside_down, flipped = upside_down[:, None], flipped[:, None]
    top, bottom = tf.where(upside_down, height - bottom, top), tf.where(upside_down, height - top, bottom)
    left, right = tf.where(flipped, width - right, left), tf.where(flipped, width - left, right)
    straight, turned = tf.stack([top, left, bottom, right], 2), tf.stack([left, top, right, bottom], 2)
    return (
        tf.where(swapped[:, None], tf.reverse(size, [1]), size),
        tf.where(swapped[:, None, None], turned, straight),
    )


def _windows(extent: tf.Tensor, boxes: tf.Tensor, kind: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(ratio `[B]`, window `[B, 4]`, boxes `[B, K, 4]` within it), all int32.

    By `ratio` a JPEG is shrunk while it is decoded, so that its smallest box keeps `size` pixels; the `window` (top,
    left, height, width) is what all boxes of the image need of it.
    """
    shrink = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=[1, 2]) / size
    steps = tf.reduce_sum(tf.cast(shrink[:, None] >= [2.0, 4.0, 8.0], tf.int32), axis=1)
    ratio = tf.where(kind == JPEG, tf.bitwise.left_shift(1, steps), 1)
    extent = (extent + ratio[:, None] - 1) // ratio[:, None]
    boxes = tf.cast(tf.round(boxes / tf.cast(ratio, tf.float32)[:, None, None]), tf.int32)
    low = boxes[..., :2]
    high = tf.maximum(boxes[..., 2:], low + 1)
    first = tf.clip_by_value(tf.reduce_min(low, axis=1), 0, extent - 1)
    last = tf.clip_by_value(tf.reduce_max(high, axis=1), first + 1, extent)
    window = tf.concat([first, last - first], axis=1)
    return ratio, window, tf.concat([low - first[:, None], high - first[:, None]], axis=2)


def _read(
    size: int,
    name: tf.Tensor,
    label: tf.Tensor,
    kind: tf.Tensor,
    ratio: tf.Tensor,
    window: tf.Tensor,
    boxes: tf.Tensor,
    swapped: tf.Tensor,
    upside_down: tf.Tensor,
    mirrored: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One file's views, uint8 `[K, size, size, 3]`, and its label."""
    image = decode_part(tf.io.read_file(name), kind, ratio, window)

    def view(of: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        box, mirrored = of
        scaled = scale(cut(image, box), size)
        # The small result is turned upright, not the large image: the box was turned the other way round.
        return tf.cast(turn(scaled, swapped, upside_down, mirrored) + 0.5, tf.uint8)

    if boxes.shape[0] == 1:
        views = view((boxes[0], mirrored[0]))[None]
    else:
        views = tf.map_fn(view, (boxes, mirrored), fn_output_signature=tf.uint8)
    return tf.ensure_shape(views, (boxes.shape[0], size, size, 3)), label


# Layouts ------------------------------------------------------------------------------------------------------------


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
    found = {part: labelled_files(folder) for part, folder in _parts(Path(directory), log).items()}
    names = list(found["train"])
    if len(names) == 1:
        raise DataError(
            f"{directory} has one class only ({names[0]!r}): there is nothing to tell apart. Expected are folders "
            "named after classes, or files like cat.0.jpg and dog.0.jpg; if the data lie one folder deeper, name that."
        )
    for part, classes in found.items():
        if surplus := sorted(set(classes) - set(names)):
            raise DataError(f"The {part} images in {directory} have a class {surplus[0]!r} that is not in train.")
    if bad_images == "skip":
        log(f"decoding every image in {directory} once to find bad ones")
    sources: dict[str, FileSource] = {}
    bad: dict[str, str] = {}
    for part, classes in found.items():
        sources[part] = _examined(classes, names, max_pixels, bad_images == "skip", bad)
    if bad and bad_images == "error":
        count = len(bad) + sum(map(len, sources.values()))
        raise DataError(_bad_files(list(bad.items()), count) + LEAVE_OUT)
    if bad:
        log(f"{len(bad):,} bad image files are left out")
    for part, source in sources.items():
        counts = np.bincount(source.labels, minlength=len(names))
        if (part == "train" and not counts.all()) or not len(source):
            raise DataError(f"All {part} images of {names[counts.argmin()]!r} in {directory} are bad. Replace them.")
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


def _parts(directory: Path, log: Log) -> dict[str, Path]:
    """The folders of the training images and, where there are such, of the validation and the test images."""
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder. Check the spelling.")
    folders, files = _entries(directory)
    parts: dict[str, Path] = {}
    for folder in folders:
        part = SPLITS.get(folder.name.lower())
        if part in parts:
            raise DataError(f"{directory} has both {parts[part].name} and {folder.name}: take one away.")
        if part:
            parts[part] = folder
    if not parts:
        return {"train": directory}
    others = [entry.name for entry in folders + files if entry not in parts.values()]
    unknown = [name for name in others if not re.match("train|val|test", name.lower())]
    if unknown:
        raise DataError(
            f"{directory} mixes layouts: {unknown[0]} lies beside {next(iter(parts.values())).name}. "
            "Keep only train, validation and test there, or only folders named after classes."
        )
    if others:
        log(f"{', '.join(others)} in {directory} is not used")
    if "train" not in parts:
        raise DataError(f"{directory} has {next(iter(parts.values())).name}, but no train. Add the training images.")
    return parts


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


# Bad files ----------------------------------------------------------------------------------------------------------


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
    with ThreadPoolExecutor(THREADS) as pool:
        infos = [info for share in pool.map(look, shares) for info in share]
    good = []
    for (path, label), info in zip(labelled, infos, strict=True):
        if isinstance(info, str):
            bad[path] = info
        else:
            good.append((path, label, info))
    paths, labels, kept = zip(*good, strict=True) if good else ((), (), ())
    return FileSource(paths, np.array(labels, np.int32), names, kept)


def _bad_files(bad: Sequence[tuple[str, str]], count: int) -> str:
    first = " ".join(f"{path} {problem}" for path, problem in bad[:NAMED])
    more = f" And {len(bad) - NAMED:,} more." if len(bad) > NAMED else ""
    return f"{len(bad):,} of {count:,} image files cannot be used: {first}{more}"
