"""A run's directory: one process at a time, refused when used, and a history that survives a kill."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rawcnn.errors import RunError, similar_path
from rawcnn.files.whole import whole_file
from rawcnn.run.lock import LOCK, Lock, check_not_in_use

HISTORY, FLAGS, WEIGHTS = "history.jsonl", "flags.txt", "weights.npz"
BAD_IMAGES = "bad_images.txt"
PICTURES = ("samples.png", "curves.png", "confusion.png", "mistakes.png", "net.png", "filters.png", "maps.png",
            "grad_cam.png", "connections.png", "bitmaps.png")  # fmt: skip
REPORT = "report.html"  # what `rawcnn report` makes of the run
EVENTS = "tensorboard"  # the folder of TensorBoard's event files
EXPORTS = {"saved_model": "saved_model", "onnx": "model.onnx", "tflite": "model.tflite"}
"""Format -> what an export is called in a run's directory, where no other path is given."""
FILM, RESUMED = "film", "resumed.jsonl"  # the folder of the film, and its file that says where the run was resumed
FOLDERS = (EVENTS, FILM)
_FINAL = (HISTORY, FLAGS, WEIGHTS, BAD_IMAGES, REPORT, *PICTURES, "ckpt-*.npz", f"{FILM}/epoch-*.npz",
          f"{FILM}/{RESUMED}")  # fmt: skip
_OWN = (*_FINAL, *(f"{name}.*.tmp" for name in _FINAL), f"{EVENTS}/events.out.tfevents.*")
_EXPORTED = (EXPORTS["onnx"], EXPORTS["tflite"], f"{EXPORTS['tflite']}.json", *(
    f"{EXPORTS['saved_model']}/{name}" for name in ("*.pb", "variables/variables.*", "assets.extra/metadata.json")
))  # fmt: skip
_FLAG = re.compile(r"--\w+=.*")
_FLAGS_REMEDY = "Write the flags that the run began with into it, one a line."


class RunDir:
    """`path`, made if need be and locked for this process; a context manager.

    `overwrite` deletes what an earlier run wrote, and nothing else. A directory that was made here and is still empty
    at the end is removed. Raises `RunError` if the directory is in use by
    another process, cannot be written, holds a run already (unless `resume` or `overwrite`) or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False, overwrite: bool = False):
        self.path = Path(path)
        self._rows: list[dict[str, Any]] = []
        if resume and not (self.path / FLAGS).is_file() and not any(self.path.glob("ckpt-*.npz")):
            check_not_in_use(self.path)  # a run that still loads its data has no files yet
            raise RunError(
                f"{self.path} holds no run to resume.{similar_path(self.path, folder=True)} Check --run, or leave "
                "--resume out."
            )
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path, "run", "--resume", "choose another --run")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written ({error.strerror}): choose another --run.") from error
        try:
            self._claim(resume, overwrite)
        except RunError:
            self.close()
            raise

    def _claim(self, resume: bool, overwrite: bool) -> None:
        own = [path for pattern in _OWN for path in self.path.glob(pattern)]
        strangers = {path.name for path in self.path.iterdir()} - {path.name for path in own} - {LOCK, *FOLDERS}
        finished = [path for path in own if path.suffix != ".tmp"]  # a part of a file is not a run, and is swept
        if finished and not (resume or overwrite):
            raise RunError(f"{self.path} holds a run already: continue with --resume, or delete it with --overwrite.")
        if strangers and not own:
            raise RunError(f"{self.path} is not empty and holds no run of rawcnn: choose another --run.")
        for path in own:
            if overwrite or path.suffix == ".tmp":
                path.unlink()
        if overwrite and finished:
            self._delete_exports()

    def _delete_exports(self) -> None:
        """Those of the run that is deleted: beside another run they would pass for its own."""
        for pattern in _EXPORTED:
            for path in self.path.glob(pattern):
                if path.is_file():
                    path.unlink()
        for folder in ("variables", "assets", "assets.extra", "."):
            with suppress(OSError):  # not there, or something else lies in it
                (self.path / EXPORTS["saved_model"] / folder).rmdir()

    def check_held(self) -> None:
        """Raise `RunError` if the directory was moved or deleted and another process has begun a run in its place."""
        self._lock.check_held()

    def close(self) -> None:
        """Free the directory for other processes, and remove it if it was made here and nothing was written."""
        with suppress(OSError):
            if self._made and not self._lock.other_holder() and [path.name for path in self.path.iterdir()] == [LOCK]:
                (self.path / LOCK).unlink()
                for path in self._made:
                    path.rmdir()
        self._lock.close()

    def __enter__(self) -> "RunDir":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write_flags(self, flags: Mapping[str, Any]) -> None:
        """Keep the run's flags, as a file that `--flagfile` also takes."""
        lines = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        with whole_file(self.path / FLAGS) as file:
            file.write(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))

    def write_bad_images(self, bad: Mapping[str, str]) -> None:
        """List the images that were skipped, each with what is wrong with it; no file where there are none."""
        if bad:
            with whole_file(self.path / BAD_IMAGES) as file:
                lines = "".join(f"{path}: {reason}\n" for path, reason in bad.items())
                file.write(lines.encode("utf-8", "surrogateescape"))

    def append_history(self, row: Mapping[str, Any]) -> None:
        """Add one line to the history and have it on the disk before returning."""
        self.check_held()
        self._rows.append(dict(row))
        try:
            with open(self.path / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"{self.path / HISTORY} cannot be written ({error.strerror}): continue with --resume."
            ) from error

    def history(self) -> list[dict[str, Any]]:
        """All rows so far. The file is never read back: checkpoints hold the rows too, and so outlive its damage."""
        return list(self._rows)

    def restore_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the history anew with `rows`, those of a checkpoint: a resumed run is going to write what followed."""
        self._rows = [dict(row) for row in rows]
        with whole_file(self.path / HISTORY) as file:
            file.write("".join(json.dumps(row) + "\n" for row in self._rows).encode())


def read_flags(directory: str | os.PathLike[str]) -> dict[str, str]:
    """The flags of the run in `directory` by name; raises `RunError` if there is none, or the file is damaged."""
    path = Path(directory, FLAGS)
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): {directory} holds no run of rawcnn.") from error
    if not lines or not all(_FLAG.fullmatch(line) for line in lines):
        raise RunError(f"{path} is damaged: its lines are not --name=value. {_FLAGS_REMEDY}")
    return dict(line.removeprefix("--").split("=", 1) for line in lines)


def unused_name(net: str, dataset: str, base: str | os.PathLike[str] = "runs") -> Path:
    """The first of `runs/<net>-<dataset>-1`, `-2`, ... that does not exist."""
    number = 1
    while Path(base, f"{net}-{dataset}-{number}").exists():
        number += 1
    return Path(base, f"{net}-{dataset}-{number}")
