"""A race by turns: all contenders stay in memory, and each in turn makes one short block.

On a machine whose speed changes from second to second, two blocks a second apart were made at the same speed, and two
processes a minute apart were not. All must fit into memory together; `harness.race` runs them one at a time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.blocks import TURNS
from benchmarks.children import Child, Process, busy_seconds, others_share
from benchmarks.harness import Contender, ratios_to_fastest, read_result, summarise


class Runner:
    """A contender's process: it waits between its blocks, and answers `turn` when one is made."""

    def __init__(self, contender: Contender, timeout: float):
        self.name = contender.name
        self._ready, ready = os.pipe()
        leave, self._leave = os.pipe()
        environment = os.environ | {TURNS: f"{ready},{leave}"}
        self._process = Process(contender.command, timeout, pass_fds=(ready, leave), env=environment)
        os.close(ready)
        os.close(leave)
        self._alive = True

    def warm_up(self) -> None:
        """Wait until the process has made its untimed block."""
        self._alive = bool(os.read(self._ready, 1))

    def turn(self) -> None:
        """Let it make one block, and wait for the end of that."""
        if self._alive:
            os.write(self._leave, b".")
            self._alive = bool(os.read(self._ready, 1))  # nothing: it has made its last, or failed

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> Child:
        """Wait for the end of the process."""
        os.close(self._leave)
        os.close(self._ready)
        return self._process.wait()


def race_by_turns(
    contenders: Sequence[Contender], turns: int, timeout: float, progress: Callable[[str], None] = lambda _: None
) -> list[list[dict[str, Any]]]:
    """Let all contenders make a block in turn, `turns` times; returns each turn's results, as `harness.race` does.

    Each command must make `turns` timed blocks. `timeout`: seconds for a contender, the others' turns included.
    """
    busy, start = busy_seconds(), time.perf_counter()
    runners: list[Runner] = []
    try:
        for contender in contenders:
            runners.append(Runner(contender, timeout))
            runners[-1].warm_up()
            progress(f"{contender.name} is ready")
        for number in range(turns):
            for runner in runners if number % 2 == 0 else runners[::-1]:
                runner.turn()
    except BaseException:  # an interrupt too
        for runner in runners:
            runner.kill()
        raise
    finally:
        ended = [(runner.name, runner.end()) for runner in runners]
    own = sum(child.cpu_seconds for _, child in ended)
    others = others_share(busy, own, time.perf_counter() - start) or 0.0
    results = [read_result(child, name) | {"others": others} for name, child in ended]
    for result in results:
        outcome = result.get("error") or f"{result['images_per_second']:,.0f} images/s"
        progress(f"{result['contender']}: {outcome}")
    return [[_of_turn(result, number) for result in results] for number in range(turns)]


def _of_turn(result: dict[str, Any], number: int) -> dict[str, Any]:
    """A contender's result in one turn."""
    if "error" in result:
        return result
    rate = result["rates"][number]
    return result | {"images_per_second": rate, "ms_per_step": 1000 * result["batch_size"] / rate}


def fastest_peer(rounds: Sequence[Sequence[dict[str, Any]]], ours: str) -> str | None:
    """The peer with the greatest median: a turn is short, and the fastest of many in one turn is the luckiest."""
    rates: dict[str, list[float]] = {}
    for results in rounds:
        for result in results:
            if "error" not in result and result["contender"] != ours:
                rates.setdefault(result["contender"], []).append(result["images_per_second"])
    medians = {name: found.median for name, values in rates.items() if (found := summarise(values))}
    return max(medians, key=lambda name: medians[name]) if medians else None


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """Between which of them half of the values lie."""
    ordered = sorted(values)
    return ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]


def ratio_to(rounds: Sequence[Sequence[dict[str, Any]]], ours: str, peer: str) -> str:
    """One sentence: the median of the turns' ratios to a peer, and between which ratios half of them lie."""
    pair = [[result for result in results if result["contender"] in (ours, peer)] for results in rounds]
    ratios = [ratio for ratio, _ in ratios_to_fastest(pair, ours)]
    found = summarise(ratios)
    if found is None:
        return f"No ratio to {peer}: no turn had both."
    low, high = middle_half(ratios)
    return f"**{ours} / {peer}: {found.median:.2f}** (half of the turns {low:.2f} to {high:.2f}, n={found.n} turns)"


def ratio_to_fastest(rounds: Sequence[Sequence[dict[str, Any]]], ours: str) -> str:
    """The same to the fastest peer."""
    peer = fastest_peer(rounds, ours)
    if peer is None:
        return "No ratio: all peers failed."
    return f"Fastest peer: {peer}. " + ratio_to(rounds, ours, peer)
