"""Timed blocks of work; in a race by turns, one after the other with those of other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

TURNS = "RAWCNN_TURNS"
"""The environment variable that names two pipes: where to say that a block has ended, and where leave for one comes."""


def wait_for_turn() -> None:
    """Say that this process is ready for its next timed block, and wait until that may begin.

    Returns at once where no race by turns is on (see `benchmarks/turns.py`).
    """
    if pipes := os.environ.get(TURNS):
        ready, leave = map(int, pipes.split(","))
        os.write(ready, b".")
        if not os.read(leave, 1):
            raise SystemExit("the race is over")


class Clock:
    """The seconds of blocks whose ends it is told of; the first `untimed` of them are not timed."""

    def __init__(self, blocks: int, untimed: int = 1):
        self.seconds: list[float] = []
        self._blocks, self._untimed, self._ended, self._start = blocks, untimed, 0, 0.0

    def block_ended(self) -> None:
        """Note the end of a block, and wait for the turn of the next timed one."""
        self._ended += 1
        if self._ended > self._untimed:
            self.seconds.append(time.perf_counter() - self._start)
        if self._untimed <= self._ended < self._untimed + self._blocks:
            wait_for_turn()
            self._start = time.perf_counter()


def timed(blocks: int, block: Callable[[], Any]) -> list[float]:
    """The seconds of each of `blocks` calls of `block`, after one that is not timed: it compiles and warms up."""
    clock = Clock(blocks)
    for _ in range(blocks + 1):
        block()
        clock.block_ended()
    return clock.seconds
