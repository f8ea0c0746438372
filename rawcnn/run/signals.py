"""SIGTERM and Ctrl-C: the first ends a run in good order, the second at once.

`handled()` turns both into the exception `Stopped`. Where that would tear something apart, `deferred()` holds it back
until `check()` asks for it; within, `at_once()` lets it through again. Outside `handled()`, and in every thread but the
main one, these do nothing, so a library's user keeps whatever handlers there were.

Python runs handlers between its own instructions, so one that comes during a long TensorFlow op waits for its end, and
of two only one is seen. So a thread reads every signal as it comes (`signal.set_wakeup_fd`): it says that the first was
heard, and ends the process at the second, whatever the main thread is doing.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end; `status` is what it should exit with (128 + the signal's number)."""

    def __init__(self, number: int):
        super().__init__(NAMES[signal.Signals(number)])
        self.status = 128 + number


class _Handlers:
    """The state behind the functions below; there is one a process, for so are signals."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self.held = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending = number
            if not self.held:
                raise Stopped(number)

    def check(self) -> None:
        if self.pending is not None:
            raise Stopped(self.pending)


_active: _Handlers | None = None


def _mine() -> _Handlers:
    """This thread's handlers; where it has none, some that never hear anything."""
    return _active if _active and threading.current_thread() is threading.main_thread() else _Handlers()


@contextmanager
def handled() -> Iterator[None]:
    """Within the block the first SIGTERM or Ctrl-C raises `Stopped`, the second ends the process with its status.

    Handlers that were there before come back at the end. A signal that the process was told to ignore (`nohup`, a
    shell's background jobs) stays ignored. Nested in itself, or not in the main thread, the block does nothing.
    """
    global _active
    numbers = [number for number in NAMES if signal.getsignal(number) is not signal.SIG_IGN]
    if _active is not None or threading.current_thread() is not threading.main_thread() or not numbers:
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handlers = _Handlers()
    before = {number: signal.getsignal(number) for number in numbers}
    wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, frozenset(map(int, numbers))), daemon=True)
    watcher.start()
    try:
        _active = handlers
        for number in numbers:
            signal.signal(number, handlers)
        yield
    finally:
        for number, handler in before.items():
            # None: it was set by C code, which Python can neither call nor put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _active = None
        signal.set_wakeup_fd(wakeup_before)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, numbers: frozenset[int]) -> None:
    """Count signals as they come, until the other end is closed."""
    seen = 0
    while received := reader.recv(1):
        if received[0] not in numbers:
            continue
        seen += 1
        if seen == 2:
            os._exit(128 + received[0])
        name = NAMES[signal.Signals(received[0])]
        _say(f"\n{name}: stopping as soon as all is safe; once more to stop at once.\n")


def _say(text: str) -> None:
    # Not through sys.stderr: the main thread may hold its lock just now.
    with suppress(OSError):  # nobody reads it
        os.write(2, text.encode())


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block only `check()` and `at_once()` raise `Stopped`; if the block ends well, so does its end."""
    handlers = _mine()
    before, handlers.held = handlers.held, True
    try:
        yield
    finally:
        handlers.held = before
    if not handlers.held:
        handlers.check()


@contextmanager
def at_once() -> Iterator[None]:
    """Within the block, which may stand in a `deferred()` one, `Stopped` is raised as soon as a signal comes."""
    handlers = _mine()
    before, handlers.held = handlers.held, False
    try:
        handlers.check()
        yield
    finally:
        handlers.held = before


def check() -> None:
    """Raise `Stopped` if a signal came in a `deferred()` block."""
    _mine().check()


def renew() -> None:
    """Set the handlers of `handled()` again: TensorFlow takes SIGTERM for itself as it connects to other workers."""
    if _active is not None and threading.current_thread() is threading.main_thread():
        for number in NAMES:
            if signal.getsignal(number) is _active:
                signal.signal(number, _active)


def pending() -> int:
    """The number of the signal that came in a `deferred()` block, 0 if none did."""
    return _mine().pending or 0


@contextmanager
def quitting() -> Iterator[None]:
    """Within the block SIGTERM and Ctrl-C end the process at once, with status 128 + their number and no traceback.

    For a program's imports, when there is nothing to save: an exception there might be swallowed by an import that
    tries alternatives. Handlers that were there before come back; not in the main thread, the block does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in NAMES}
    before = {number: old for number, old in before.items() if old is not signal.SIG_IGN and old is not None}
    try:
        for number in before:
            signal.signal(number, leave)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
