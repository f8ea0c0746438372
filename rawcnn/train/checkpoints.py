"""Checkpoints: one `.npz` file a checkpoint, complete or absent, and the newest one that is sound.

A file holds every variable of the training state by name, and `meta`, a JSON document. It is written under another
name, synced, and then renamed, so a process that is killed at any moment leaves the older files as they were. The step
in a file's name, and reading it (every array has a checksum in the archive), decide which one is newest: there is no
pointer that could be wrong.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rawcnn.errors import RunError
from rawcnn.layers.variables import named_variables
from rawcnn.machine import cores
from rawcnn.nets.weights import assign, load_arrays, save_arrays
from rawcnn.train.step import TrainState

NAME = re.compile(r"ckpt-(\d{9})\.npz")
KEPT = 2  # so many of the newest checkpoints stay, and the best


class SaveError(RunError):
    """A checkpoint that the disk did not take; those before it are still there."""


@dataclass(frozen=True)
class Checkpoint:
    """A sound checkpoint as read from `path`."""

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def net_arrays(self) -> dict[str, np.ndarray]:
        """The net's variables by name; where the run averages them, the averages: what its tests are of."""
        own, averages = (
            {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}
            for prefix in ("net/", "averages/")
        )
        return own | averages

    def restore(self, state: TrainState) -> None:
        """Give every variable of `state` its saved value; raises `RunError` unless all names and shapes agree."""
        assign(named_variables(state), self.arrays, str(self.path))


def path_of(directory: Path, step: int) -> Path:
    """Where the checkpoint of `step` is kept."""
    return directory / f"ckpt-{step:09d}.npz"


def save(
    directory: Path, state: TrainState, meta: dict[str, Any], *, keep: int = KEPT, also_keep: Collection[int] = ()
) -> Path:
    """Write a checkpoint of `state` and `meta`, then delete all but the newest `keep` and the steps in `also_keep`.

    Raises `RunError` if a number of `state` is not finite, or the file cannot be written; all older checkpoints are
    then still there.
    """
    path = path_of(directory, int(state.step))
    # Views of the variables' memory, not copies: nothing changes them until the file is written.
    arrays = {name: np.asarray(variable.read_value()) for name, variable in named_variables(state).items()}
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        sound = pool.map(_finite, arrays.values())
    if wrong := [name for name, finite in zip(arrays, sound, strict=True) if not finite]:
        raise RunError(
            f"{path} is not written: {', '.join(wrong[:5])} hold numbers that are not finite. What was saved before "
            "is still there. Continue from it with --resume and a learning rate 10 times smaller."
        )
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    try:
        save_arrays(path, arrays)
    except OSError as error:
        if not directory.is_dir():
            gone = f"{path} cannot be written ({error.strerror}): {directory} is gone."
            raise SaveError(f"{gone} Bring it back, and continue with --resume.") from error
        needed, free = sum(array.nbytes for array in arrays.values()), shutil.disk_usage(directory).free
        raise SaveError(
            f"{path} cannot be written ({error.strerror}): it takes {needed:,} bytes, and {free:,} are free. What was "
            "saved before is still there. Make room or give access, and continue with --resume."
        ) from error
    # Later ones are damaged, or this run would have continued from them; they are overwritten when it comes so far.
    for step in sorted(step for step in steps(directory) if step <= int(state.step))[:-keep]:
        if step not in also_keep:
            path_of(directory, step).unlink(missing_ok=True)
    return path


def _finite(array: np.ndarray) -> bool:
    """Whether all numbers are finite: by their sum, and only where that is not finite one by one."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def check_room(directory: Path, state: TrainState) -> None:
    """Raise `RunError` unless the disk has room for all that a run writes: checked before training, not after it.

    That is the newest checkpoints, the best one and the one just being written, less those that are there already.
    """
    one = sum(v.dtype.size * math.prod(v.shape) for v in named_variables(state).values())
    count = max(1, KEPT + 2 - len(steps(directory)))
    free = shutil.disk_usage(directory).free
    if free < count * one:
        raise RunError(
            f"{directory} has {free:,} bytes free, and the run needs {count * one:,} more: {count} checkpoints of "
            f"{one:,}, one of them while it is written. Make room, or choose another --run."
        )


def steps(directory: Path) -> list[int]:
    """The steps of all checkpoint files in `directory`, sound or not."""
    return [int(match[1]) for path in directory.iterdir() if (match := NAME.fullmatch(path.name))]


def read(path: Path) -> Checkpoint:
    """Read one checkpoint; raises `RunError` if it is damaged."""
    arrays = load_arrays(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        if not isinstance(meta, dict):
            raise ValueError("its meta is not a JSON object")
        return Checkpoint(path, int(arrays["step"]), arrays, meta)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is not a checkpoint of rawcnn ({error}).") from error


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
