"""Child processes of the benchmarks: how one is started and ended, what it printed, and what it took.

Only the standard library is imported: a small parent keeps the children's memory readings honest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Child:
    """How a child process ended: its output, wall time, peak memory and the share of the machine that others used."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    peak_memory_mb: float
    others: float
    cpu_seconds: float = 0.0


def busy_seconds() -> float | None:
    """How long all cores together have worked since the machine started, whoever they worked for; None: not known."""
    try:
        fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def others_share(busy: float | None, own: float, seconds: float) -> float | None:
    """The share of the machine (0 ... 1) that others used in the last `seconds`, of which `own` CPU seconds were ours.

    `busy` is what `busy_seconds` said before; None if that is not known.
    """
    after = busy_seconds()
    if busy is None or after is None:
        return None
    share = (after - busy - own) / (seconds * (os.cpu_count() or 1))
    return min(max(share, 0.0), 1.0)  # the system counts in ticks, coarse beside a short run


class Process:
    """A command in a process group of its own, which is ended whole after `timeout` seconds (status -9).

    `more` goes to `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], timeout: float, **more: Any):
        self._busy, self._start = busy_seconds(), time.perf_counter()
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115  # `wait` closes both
        self._err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdout=self._out,
            stderr=self._err,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=ROOT,
            **more,
        )
        self._timer = threading.Timer(timeout, self.kill)
        self._timer.start()

    def kill(self) -> None:
        """End it at once, with all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> Child:
        """Wait for its end; an interrupt of this process ends it."""
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        except KeyboardInterrupt:
            self.kill()
            raise
        finally:
            self._timer.cancel()
        seconds = time.perf_counter() - self._start
        self._process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read())
            file.close()
        own = usage.ru_utime + usage.ru_stime
        others = others_share(self._busy, own, seconds) or 0.0
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        return Child(self._process.returncode, texts[0], texts[1], seconds, peak, others, own)


def run_child(command: Sequence[str], timeout: float) -> Child:
    """Run a command to its end, or to the timeout."""
    return Process(command, timeout).wait()
