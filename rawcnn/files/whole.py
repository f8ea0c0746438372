"""Files that are written completely or not at all: nobody ever sees a part of one, even after a crash."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file next to `path`, and rename it to `path` once the block has ended well and the bytes are on the disk.

    If the block raises, or the disk is full, `path` stays as it was. Raises `OSError` as `open` and `write` do.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def begin_sync(file: BinaryIO) -> None:
    """Let the disk start with what was written so far, where the system can, so that the final sync waits less."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # not a file on a disk
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` survive a power cut (where the system lets a directory be synced)."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
