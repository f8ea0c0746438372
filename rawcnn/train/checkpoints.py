"""Checkpoints: one `.npz` file a checkpoint, complete or absent, and the newest one that is sound.

A file holds every variable of the training state by name, and `meta`, a JSON document. It is written beside its
place, synced, and renamed there, so a process killed at any moment leaves the older files as they were. Which one is
newest is decided by the step in the name and by reading it (every array has a checksum in the archive), not by a
pointer that could be wrong.
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rawcnn.errors import RunError
from rawcnn.train.loop import TrainState
from rawcnn.weights import assign, load_arrays, named_variables, save_arrays

NAME = re.compile(r"ckpt-(\d{9})\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """A sound checkpoint as read from `path`."""

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def restore(self, state: TrainState) -> None:
        """Give every variable of `state` its saved value; raises `RunError` unless all names and shapes agree."""
        assign(named_variables(state), self.arrays, str(self.path))


def path_of(directory: Path, step: int) -> Path:
    """Where the checkpoint of `step` is kept."""
    return directory / f"ckpt-{step:09d}.npz"


def save(
    directory: Path, state: TrainState, meta: dict[str, Any], *, keep: int = 2, also_keep: Collection[int] = ()
) -> Path:
    """Write a checkpoint of `state` and `meta`, then delete all but the newest `keep` and the steps in `also_keep`.

    Raises `RunError` if the file cannot be written; all older checkpoints are then still there.
    """
    path = path_of(directory, int(state.step))
    arrays = {name: variable.numpy() for name, variable in named_variables(state).items()}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    try:
        save_arrays(path, arrays)
    except OSError as error:
        size = sum(a.nbytes for a in arrays.values()) / 1e6
        raise RunError(
            f"{path} ({size:.1f} MB) cannot be written ({error.strerror}): what was saved before is still there. "
            "Make room or access, and go on with --resume."
        ) from error
    for step in sorted(steps(directory))[:-keep]:
        if step not in also_keep:
            path_of(directory, step).unlink()
    return path


def steps(directory: Path) -> list[int]:
    """The steps of all checkpoint files in `directory`, sound or not."""
    return [int(match[1]) for path in directory.iterdir() if (match := NAME.fullmatch(path.name))]


def read(path: Path) -> Checkpoint:
    """Read one checkpoint; raises `RunError` if it is damaged."""
    arrays = load_arrays(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        return Checkpoint(path, int(arrays["step"]), arrays, meta)
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is no checkpoint of rawcnn ({error}).") from error


def newest(directory: Path, log: Callable[[str], None] = print) -> Checkpoint | None:
    """The newest sound checkpoint in `directory`, or None where there is no checkpoint at all.

    A damaged one is reported through `log` and the one before it taken. Raises `RunError` if all are damaged: a run
    must not silently begin again.
    """
    found = sorted(steps(directory), reverse=True)
    for step in found:
        try:
            return read(path_of(directory, step))
        except RunError as error:
            log(f"{error} Trying the checkpoint before it.")
    if found:
        raise RunError(f"No checkpoint in {directory} is sound. Begin again with --overwrite, or in another directory.")
    return None
