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


def timed(blocks: int, block: Callable[[], Any]) -> list[float]:
    """The seconds of each of `blocks` calls of `block`, after one that is not timed: it compiles and warms up."""
    block()
    seconds = []
    for _ in range(blocks):
        wait_for_turn()
        start = time.perf_counter()
        block()
        seconds.append(time.perf_counter() - start)
    return seconds
