"""Training as a film: of each epoch the first filters and the confusion, in small files that the report shows.

Nothing here decides what a run computes: a frame that cannot be written or read is left out, and that is said.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.errors import DataError
from rawcnn.files.npz import read_npz, write_npz
from rawcnn.files.whole import whole_file
from rawcnn.nets.chain import Chain
from rawcnn.run import inside
from rawcnn.run.directory import FILM, RESUMED
from rawcnn.run.output import tell

MOST_FRAMES = 60
MOST_WEIGHTS, MOST_CLASSES = 2**18, 200
"""Larger filters, and confusions of more classes, are not kept: so a film has at most 40 MB, and most have 100 KB."""
LARGEST = float(np.finfo(np.float16).max)
_NAME = re.compile(r"epoch-(\d{4,9})\.npz")


@dataclass(frozen=True)
class Frame:
    """What is kept of one epoch: `filters` `[size, size, in, out]` and `confusion` int `[K, K]`, where there are any.

    Epoch 0 is the net before training. The confusion is that of the validation images, rows true, columns predicted.
    """

    epoch: int
    filters: NDArray[np.float32] | None
    confusion: NDArray[np.integer] | None


def frame_of(epoch: int, net: Chain, confusion: NDArray[np.integer] | None = None) -> Frame:
    """The frame of a net as it is now."""
    filters = inside.first_filters(net) if inside.convolves(net) else None
    if filters is not None and filters.size > MOST_WEIGHTS:
        filters = None
    return Frame(epoch, filters, confusion if confusion is not None and len(confusion) <= MOST_CLASSES else None)


def write_frame(directory: Path, frame: Frame) -> None:
    """Keep a frame in the run in `directory`, whole or not at all, and delete those that a long film leaves out.

    Up to epoch 60 every epoch stays, up to 120 every second one, up to 240 every fourth, and always the newest.
    """
    arrays: dict[str, NDArray[Any]] = {}
    if frame.filters is not None:
        arrays["filters"] = np.clip(frame.filters, -LARGEST, LARGEST).astype(np.float16)
    if frame.confusion is not None:
        arrays["confusion"] = frame.confusion.astype(np.int32)
    if not arrays:
        return
    try:
        Path(directory, FILM).mkdir(exist_ok=True)
        with whole_file(_path(directory, frame.epoch)) as file:
            write_npz(file, arrays)
        for epoch in _epochs(directory):
            if epoch < frame.epoch and not _stays(epoch, frame.epoch):
                _path(directory, epoch).unlink(missing_ok=True)
    except OSError as error:
        tell(f"the film of this run lacks epoch {frame.epoch} ({error.strerror}); the training continues", sys.stderr)


def read_frames(directory: Path, last: int, log: Callable[[str], None] = lambda line: None) -> list[Frame]:
    """The frames up to epoch `last`, in order. Later ones were made by a part of the run that is going to be repeated.

    Damaged files are left out, and `log` is told.
    """
    frames = []
    for epoch in _epochs(directory):
        if epoch > last:
            continue
        try:
            arrays = read_npz(_path(directory, epoch))
            filters, confusion = arrays.get("filters"), arrays.get("confusion")
            _check(filters, confusion, _path(directory, epoch))
            frames.append(Frame(epoch, None if filters is None else filters.astype(np.float32), confusion))
        except (OSError, DataError) as error:
            log(f"the film lacks epoch {epoch}: {error}")
    return frames


def mark_resumed(directory: Path, epoch: int, step: int) -> None:
    """Note that the run was resumed after `step`, in `epoch`. Marks after that step belong to a part that is repeated.

    The marks are not in the history: that of a resumed run is the same as that of a run that was never stopped.
    """
    marks = [mark for mark in _marks(directory) if mark["step"] < step] + [{"epoch": epoch, "step": step}]
    try:
        Path(directory, FILM).mkdir(exist_ok=True)
        with whole_file(Path(directory, FILM, RESUMED)) as file:
            file.write("".join(json.dumps(mark) + "\n" for mark in marks).encode())
    except OSError as error:
        tell(f"it is not noted that the run was resumed ({error.strerror}); the training continues", sys.stderr)


def resumed_epochs(directory: Path) -> list[int]:
    """The epochs in which the run was resumed, in order, each once."""
    return sorted({mark["epoch"] for mark in _marks(directory)})


def _marks(directory: Path) -> list[dict[str, int]]:
    try:
        lines = Path(directory, FILM, RESUMED).read_text(encoding="utf-8").splitlines()
        marks = [json.loads(line) for line in lines]
        return [{"epoch": int(mark["epoch"]), "step": int(mark["step"])} for mark in marks]
    except (OSError, ValueError, TypeError, KeyError):  # missing or damaged: a mark is only a remark
        return []


def _path(directory: Path, epoch: int) -> Path:
    return Path(directory, FILM, f"epoch-{epoch:04d}.npz")


def _epochs(directory: Path) -> list[int]:
    folder = Path(directory, FILM)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def _stays(epoch: int, newest: int) -> bool:
    """Whether the frame of an earlier epoch stays when that of `newest` is written.

    >>> [epoch for epoch in range(10) if _stays(epoch, 121)]
    [0, 4, 8]
    """
    step = 1
    while newest > MOST_FRAMES * step:
        step *= 2
    return epoch % step == 0


def _check(filters: NDArray[Any] | None, confusion: NDArray[Any] | None, path: Path) -> None:
    if filters is not None and (filters.ndim != 4 or not np.isfinite(filters).all()):
        raise DataError(f"{path} holds filters that make no sense.")
    if confusion is not None and (confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]):
        raise DataError(f"{path} holds a confusion matrix that is not square.")
