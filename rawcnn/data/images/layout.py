"""Which files of a folder belong to which split and class, told from the names of folders and files alone.

Layouts that are known:

* class folders: `train/cat/1.jpg`, `train/dog/2.jpg`, `val/cat/3.jpg`, ... (Imagenette), or without `train` and `val`;
* a flat folder: `cat.0.jpg`, `dog.0.jpg`, ... (Kaggle's Dogs vs. Cats): the class is the file's name without the
  number at its end (`american_bulldog_12.jpg` is an american_bulldog); here too with `train` and `val` above, or not.

Splits may be called `training_set`, `seg_train`, `test_images` and the like, also twice (`test/test/cat/1.jpg`).
What is passed over is counted, and said in one line.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rawcnn.data.log import Log
from rawcnn.errors import DataError

SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
FILLERS = frozenset(("set", "seg", "images", "image", "imgs", "img", "data", "dataset", "split", "files", "pictures"))
"""Words that may stand with a split's: `training_set`, `seg_train`, `TestImages`."""
UNUSED = re.compile("train|val|test|pred|unlabel", re.IGNORECASE)
"""Folders with such names may stand next to splits; they are not used, and a line says so."""

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
    + (".pnm", ".avif", ".heic", ".jxl")
)
"""A file counts as an image by its suffix, in lower or upper case; its first bytes then tell its format."""

IMAGENETTE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip
"""WordNet's numbers, which Imagenette uses as the names of its class folders."""

LEFT_BY_SYSTEMS = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".ipynb_checkpoints", "__pycache__"))
"""Every folder may have these: they are passed over silently."""
LEFT_BY_TOOLS = frozenset(("$RECYCLE.BIN", "#recycle", "#snapshot", "lost+found", "System Volume Information"))
RUN_LOCK, RUNS = "run.lock", "runs"
"""A file that every run directory has, and the folder of such directories: a run's pictures are not data."""


class Layout:
    """Reads folders, and remembers what was passed over in each: `passed[folder]` counts by reason."""

    def __init__(self, directory: Path, log: Log):
        self.directory, self.log = directory, log
        self.passed: dict[Path, Counter[str]] = {}

    def files(self) -> dict[str, dict[str, list[str]]]:
        """The image files of each class of each split, sorted; raises `DataError`."""
        found = {split: self._classes(folder) for split, folder in self._splits(self.directory).items()}
        if counted := self.counted(self.directory):
            self.log(f"passed over in {self.directory}: {counted}")
        return found

    def counted(self, directory: Path) -> str:
        """What was passed over in `directory` and below it."""
        inside = (passed for folder, passed in self.passed.items() if folder.is_relative_to(directory))
        return ", ".join(f"{count:,} {reason}" for reason, count in sorted(sum(inside, Counter()).items()))

    def entries(self, directory: Path) -> tuple[list[Path], list[Path]]:
        """(folders, image files) in `directory`, each sorted by name; others are counted."""
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise DataError(
                f"The folder {directory} cannot be read: {error.strerror}. Change its permissions."
            ) from None
        folders, files = [], []
        passed = self.passed[directory] = Counter()
        for entry in entries:
            path, name = Path(entry.path), entry.name
            if name in LEFT_BY_SYSTEMS or name.startswith("._"):
                continue
            if entry.is_dir():
                if name.startswith((".", "@")) or name in LEFT_BY_TOOLS:
                    passed["hidden folders or folders that a tool left"] += 1
                elif (path / RUN_LOCK).exists() or (name == RUNS and any(path.glob(f"*/{RUN_LOCK}"))):
                    passed["folders of training runs"] += 1
                else:
                    folders.append(path)
            elif name.startswith("."):
                passed["hidden files"] += 1
            elif path.suffix.lower() in EXTENSIONS:
                files.append(path)
            else:
                passed[_not_an_image(path)] += 1
        return folders, files

    def _splits(self, directory: Path) -> dict[str, Path]:
        """The folders of the training images and, where there are such, of the validation and the test images."""
        folders, files = self.entries(directory)
        splits: dict[str, Path] = {}
        for folder in folders:
            split = split_of(folder.name)
            if split in splits:
                raise DataError(f"{directory} has both {splits[split].name} and {folder.name}: take one away.")
            if split:
                splits[split] = folder
        if not splits:
            self._refuse_unnamed_splits(directory, folders)
            return {"train": directory}
        others = [entry.name for entry in folders + files if entry not in splits.values()]
        if unknown := [name for name in others if not UNUSED.search(name)]:
            raise DataError(
                f"{directory} mixes layouts: {unknown[0]} is next to {next(iter(splits.values())).name}. "
                "Keep only train, validation and test there, or only folders named after classes."
            )
        if others:
            self.log(f"{', '.join(others)} in {directory} is not used")
        if "train" not in splits:
            raise DataError(
                f"{directory} has {next(iter(splits.values())).name}, but no train. Add the training images."
            )
        return {split: self._within(split, folder) for split, folder in splits.items()}

    def _within(self, split: str, folder: Path) -> Path:
        """`folder`, or the one in it that repeats its name and is all that it holds, as archives unpack."""
        folders, files = self.entries(folder)
        if len(folders) == 1 and not files and split_of(folders[0].name) == split:
            return self._within(split, folders[0])
        return folder

    def _refuse_unnamed_splits(self, directory: Path, folders: Sequence[Path]) -> None:
        if len(folders) < 2 or not self.entries(folders[0])[0]:
            return
        inner = [self.entries(folder) for folder in folders]
        names = [{class_name(folder) for folder in folders} for folders, _ in inner]
        most = max(names, key=len)  # the classes, of which a small split may lack some
        if all(len(some) > 1 and some <= most for some in names) and not any(files for _, files in inner):
            raise DataError(
                f"Every folder in {directory} has the same folders ({' and '.join(sorted(most)[:2])}, ...): those look "
                f"like the classes, and {folders[0].name} and {folders[1].name} like splits. Rename them to train and "
                "test (or validation), or put each class's images into one folder."
            )

    def _only(self, directory: Path) -> str:
        return f", only {counted}" if (counted := self.counted(directory)) else ""

    def _classes(self, directory: Path) -> dict[str, list[str]]:
        """The image files of each class, sorted, from class folders or from a flat folder."""
        folders, files = self.entries(directory)
        if folders and files:
            raise DataError(
                f"{directory} mixes layouts: it has folders ({folders[0].name}, ...) and images ({files[0].name}, "
                "...). Put all images into folders named after their classes, or all folders elsewhere."
            )
        if folders:
            return self._class_folders(folders)
        if files:
            return flat_folder(files)
        raise DataError(
            f"{directory} holds no images{self._only(directory)}. Expected are folders named after classes, "
            "or files like cat.0.jpg."
        )

    def _class_folders(self, folders: Sequence[Path]) -> dict[str, list[str]]:
        """Each folder's images, at any depth, by its name; Imagenette's numbers become words."""
        found: dict[str, list[str]] = {}
        for folder in folders:
            name = class_name(folder)
            if name in found:
                raise DataError(f"{folder} would be a second class called {name!r}. Rename it or the other one.")
            found[name] = self._files_below(folder, set())
            if not found[name]:
                raise DataError(
                    f"The class folder {folder} holds no images{self._only(folder)}. Fill it, or take it away."
                )
        return found

    def _files_below(self, directory: Path, seen: set[tuple[int, int]]) -> list[str]:
        """All image files below; a folder that links lead to twice is read once, so that circles end."""
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in seen:
            self.passed[directory] = Counter({"links to folders that are read already": 1})
            return []
        seen.add((status.st_dev, status.st_ino))
        folders, files = self.entries(directory)
        return [str(file) for file in files] + [file for folder in folders for file in self._files_below(folder, seen)]


def class_name(folder: Path) -> str:
    """What a class is called whose images are in `folder`: Imagenette's numbers are words, blanks at the ends go.

    Letters with accents, and Korean syllables, become one sign each (Unicode's form NFC): archives made on macOS have
    them in pieces, so that two names which look alike would be two classes.
    """
    return unicodedata.normalize("NFC", IMAGENETTE.get(folder.name, folder.name).strip() or folder.name)


def split_of(name: str) -> str | None:
    """The split that a folder's name tells, if it consists of a split's word and words that mean nothing.

    >>> [split_of(name) for name in ("training_set", "seg_test", "TestImages", "VAL", "test1", "train_station")]
    ['train', 'test', 'test', 'validation', None, None]
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    tokens = [word for word in re.split(r"[\W_]+", words.lower()) if word not in FILLERS]
    return SPLITS.get(tokens[0]) if len(tokens) == 1 else None


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
        found.setdefault(unicodedata.normalize("NFC", match[1]), []).append(str(file))
    return dict(sorted(found.items()))


def _not_an_image(path: Path) -> str:
    kind = f"of type {path.suffix.lower()}" if path.suffix else "without a type in their names"
    return f"files {kind}, which are not read as images"
