"""The directory that a folder is packed into: whether it may be used, what is left of a pack that was killed."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from rawcnn.data.images.layout import LEFT_BY_SYSTEMS
from rawcnn.data.log import Log
from rawcnn.data.packed.index import INDEX, UNFINISHED, VERSION, read_index
from rawcnn.errors import DataError
from rawcnn.files.whole import whole_file

MEGABYTE = 10**6
_OWN = re.compile(r"(unfinished\.json|index\.jsonl|(train|validation|test)-\d{5,9}\.(tfrecord|json))(\.\d+-\d+\.tmp)?")


@contextmanager
def alone(out: Path) -> Iterator[Callable[[], None]]:
    """Keep other processes from packing into the same directory, where the system has such locks.

    What it gives raises `DataError` if the directory was moved or deleted since: another process may pack there now.
    """
    try:
        import fcntl
    except ImportError:
        yield lambda: None
        return
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out} is in use: another process packs into it. Wait for it, or name another.") from None
        except OSError:  # some network file systems have no locks; two processes would write the same bytes
            pass
        yield partial(_check_same, out, descriptor)
    finally:
        os.close(descriptor)


def _check_same(out: Path, descriptor: int) -> None:
    if not out.is_dir() or not os.path.samestat(os.fstat(descriptor), os.stat(out)):
        raise DataError(
            f"{out} was moved or deleted while this process packed into it. If you moved it, give the same command "
            "with its new name: it goes on after the finished shards."
        )


def claim(out: Path, fingerprint: int, log: Log) -> bool:
    """Whether there is work left in `out`; raises `DataError` if it holds anything else."""
    entries = {path.name for path in out.iterdir()} - LEFT_BY_SYSTEMS
    if strangers := sorted(name for name in entries if not _OWN.fullmatch(name)):
        raise DataError(f"{out} holds something else ({strangers[0]}): name an empty or a new directory.")
    if INDEX in entries:
        if read_index(out)[0].fingerprint != fingerprint:
            raise DataError(f"{out} holds other packed images: name another directory, or delete it.")
        sweep(out)
        log(f"{out} is finished already: nothing to do")
        return False
    begun: Any = {"fingerprint": fingerprint, "version": VERSION}
    if UNFINISHED in entries:
        with suppress(ValueError):
            begun = json.loads((out / UNFINISHED).read_bytes())
    if begun != {"fingerprint": fingerprint, "version": VERSION}:
        raise DataError(
            f"{out} was begun with another folder or other settings, or files were added or changed: name another "
            "directory, or delete it."
        )
    if shards := sorted(name for name in entries if not name.endswith(".tmp") and UNFINISHED not in entries):
        raise DataError(f"{out} holds something else ({shards[0]}): name an empty or a new directory.")
    for name in entries:
        if name.endswith(".tmp"):
            (out / name).unlink(missing_ok=True)
    with whole_file(out / UNFINISHED) as file:
        file.write(json.dumps(begun).encode())
    return True


def check_room(out: Path, needed: int) -> None:
    """Raise `DataError` if the disk has no room for `needed` bytes, less those that are packed already."""
    there = sum(path.stat().st_size for path in out.glob("*.tfrecord"))
    free = shutil.disk_usage(out).free
    if needed - there > free:
        raise DataError(
            f"{out} has room for {free / MEGABYTE:,.0f} MB, but {(needed - there) / MEGABYTE:,.0f} MB are to be "
            "written. Make room, or name a directory on another disk."
        )


def sweep(out: Path) -> None:
    """Remove what only an unfinished pack needs."""
    for path in (*out.glob("*-*.json"), *out.glob("*.tmp"), out / UNFINISHED):
        if _OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def reported(out: Path) -> Iterator[None]:
    """Turn errors of writing into one that says what to do."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        why = getattr(error, "strerror", None) or getattr(error, "message", None) or error
        raise DataError(
            f"{out} cannot be written ({why}). Finished shards are kept: make room there, and the same command goes on "
            "after them."
        ) from error
