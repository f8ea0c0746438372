"""One process at a time in a directory: the lock file there, and whose it is."""

import os
from pathlib import Path

from rawcnn.errors import RunError

LOCK = "run.lock"


class Lock:
    """`directory`, taken for this process until `close`; a context manager.

    The file run.lock in it has the process's number, and stays; the lock itself ends with the process. `what` is done
    in the directory, such as "run", and `flag` names its directory: both stand in messages. Raises `RunError` with the
    remedy if another process has the directory, and `OSError` if it cannot be written.
    """

    def __init__(self, directory: str | os.PathLike[str], what: str, flag: str, remedy: str):
        self.directory, self.what, self.flag = Path(directory), what, flag
        self._file = open(self.directory / LOCK, "a+", encoding="utf-8")  # noqa: SIM115  (until `close`)
        try:
            import fcntl

            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such locks on this system
            return
        except BlockingIOError:
            with self._file:
                self._file.seek(0)
                raise RunError(f"{directory} is in use by process {self._file.read()}: {remedy}.") from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def other_holder(self) -> str:
        """The process that the lock file in the directory names, if it says other than the one held; else ""."""
        try:
            holder = (self.directory / LOCK).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        self._file.seek(0)
        return "" if holder == self._file.read() else holder

    def check_held(self) -> None:
        """Raise `RunError` if the directory was moved or deleted and another process has taken the one in its place."""
        if other := self.other_holder():
            raise RunError(
                f"{self.directory} is in use by process {other} now: it was moved or deleted while this {self.what} "
                f"was writing it, and another {self.what} began in its place. Nothing of that {self.what} was changed. "
                f"If you moved this {self.what}, continue it with {self.flag} where it is now."
            )

    def close(self) -> None:
        """Free the directory for other processes."""
        self._file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_not_in_use(directory: str | os.PathLike[str]) -> None:
    """Raise `RunError` if a process is writing the run in `directory`; nothing is written here."""
    try:
        import fcntl

        with open(Path(directory, LOCK), encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"{directory} is being written by process {lock.read()}: wait for its end, or stop it."
                ) from None
    except (ImportError, OSError):  # no such locks on this system, or no lock: nobody writes
        return
