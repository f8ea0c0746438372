"""A race by turns: whose block comes when, and what becomes of those that fail."""

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import blocks, turns
from benchmarks.harness import Contender

PROGRAM = """
import json, sys, time
from pathlib import Path
from benchmarks.blocks import timed
name, seconds, count, log = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
done = 0
def block():
    global done
    if name == "breaks" and done == 2:
        sys.exit("no more")
    with log.open("a") as file:
        file.write(f"{name} {done}\\n")
    done += 1
    time.sleep(seconds)
found = timed(count, block)
print(json.dumps({"contender": "?", "batch_size": 4, "rates": [4 / s for s in found], "images_per_second": 0.0}))
"""


def race(tmp_path: Path, *names: str, count: int = 3, timeout: float = 60) -> tuple[list[str], list[Any]]:
    seconds = {"slow": 0.2, "hangs": 60}
    contenders = [
        Contender(n, (sys.executable, "-c", PROGRAM, n, str(seconds.get(n, 0.05)), str(count), str(tmp_path / "log")))
        for n in names
    ]
    found = turns.race_by_turns(contenders, count, timeout)
    return (tmp_path / "log").read_text().splitlines(), found


def test_blocks_alternate_and_every_turn_has_its_own_rates(tmp_path: Path) -> None:
    log, found = race(tmp_path, "rawcnn", "slow")
    warm_up = ["rawcnn 0", "slow 0"]
    assert log == [*warm_up, "rawcnn 1", "slow 1", "slow 2", "rawcnn 2", "rawcnn 3", "slow 3"]
    assert len(found) == 3
    for fast, slow in found:
        assert (fast["contender"], slow["contender"]) == ("rawcnn", "slow")
        assert slow["images_per_second"] <= 20 and fast["images_per_second"] <= 80  # they sleep as long, or longer
        assert slow["ms_per_step"] == pytest.approx(4000 / slow["images_per_second"])
    assert "rawcnn / slow: " in turns.ratio_to_fastest(found, "rawcnn")


def test_one_that_fails_is_a_row_with_its_error_and_stops_nobody(tmp_path: Path) -> None:
    log, found = race(tmp_path, "rawcnn", "breaks")
    assert log[-1] == "rawcnn 3" and log.count("breaks 1") == 1
    assert [broken["error"] for _, broken in found] == ["exit status 1: no more"] * 3
    assert all("error" not in fast for fast, _ in found)
    assert turns.ratio_to_fastest(found, "rawcnn") == "No ratio: all peers failed."


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    _, found = race(tmp_path, "hangs", count=1, timeout=2)
    assert found[0][0]["error"].startswith("killed after")


def test_without_a_race_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blocks.TURNS, raising=False)
    assert len(blocks.timed(2, lambda: None)) == 2


def test_the_fastest_peer_is_the_fastest_by_its_median() -> None:
    def turn(**rates: float) -> list[dict[str, Any]]:
        return [{"contender": name, "images_per_second": rate} for name, rate in rates.items()]

    found = [turn(ours=8, steady=4, lucky=40), turn(ours=6, steady=4, lucky=2), turn(ours=2, steady=4, lucky=2)]
    assert turns.fastest_peer(found, "ours") == "steady"
    assert turns.ratio_to_fastest(found, "ours") == (
        "Fastest peer: steady. **ours / steady: 1.50** (half of the turns 0.50 to 2.00, n=3 turns)"
    )


def test_an_interrupt_ends_all_processes_at_once(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    contender = Contender("hangs", (sys.executable, "-c", PROGRAM, "hangs", "0.05", "3", str(tmp_path / "log")))
    started: list[turns.Runner] = []

    class Noted(turns.Runner):
        def __init__(self, *given: Any):
            super().__init__(*given)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(turns, "Runner", Noted)
        turns.race_by_turns([contender, contender], 3, 600, stop)
    assert len(started) == 1 and started[0]._process._process.returncode == -9
