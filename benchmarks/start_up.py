"""Where the seconds go between a command and its first training steps.

python -m benchmarks.start_up --net=lenet5 --rounds=9

Trains on digits that rawcnn draws, in fresh processes, each of which ends when its first call of steps has returned. A
first process, which is not counted, fills the caches: Python's byte code, and the drawn digits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.children import run_child
from benchmarks.harness import machine_line, markdown_table, summarise

PYTHON, TENSORFLOW, OURS = "Python", "import tensorflow", "import rawcnn"
DATA, PLAN, FILES, STEPS = "read the images", "make the net", "write the first files", "trace and make the first steps"
STAGES = (PYTHON, TENSORFLOW, OURS, DATA, PLAN, FILES, STEPS)


class FirstStepMade(Exception):
    """The end of what is measured."""


def child(net: str, start: float, smoke: bool) -> dict[str, float]:
    """Seconds of each stage; `start` is when the parent started this process."""
    marks = {PYTHON: time.time() - start}

    def mark(stage: str) -> None:
        marks[stage] = time.time() - start - sum(marks.values())

    import rawcnn.start  # noqa: F401, I001
    import tensorflow  # noqa: F401

    mark(TENSORFLOW)
    from rawcnn.run import session
    from rawcnn.run.plan import Plan

    mark(OURS)

    def marked(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            answer = function(*given, **named)
            mark(stage)
            return answer

        return call

    def first_steps(plan: Plan, *given: Any, **named: Any) -> Iterator[Any]:
        mark(FILES)
        next(train(plan, *given, **named))
        mark(STEPS)
        raise FirstStepMade

    train = Plan.train
    setattr(session, "data_of", marked(DATA, session.data_of))  # noqa: B010  # mypy knows no such assignment
    setattr(session, "plan", marked(PLAN, session.plan))  # noqa: B010
    setattr(Plan, "train", first_steps)  # noqa: B010
    with tempfile.TemporaryDirectory() as directory:
        try:
            session.Run(os.path.join(directory, "run"), net=net, dataset="drawn", smoke=smoke).train()
        except FirstStepMade:
            return marks
    raise SystemExit("no step was made")


def measure(net: str, rounds: int) -> list[dict[str, float]]:
    """Each round's stages."""
    found = []
    for _ in range(rounds + 1):
        command = [sys.executable, "-m", "benchmarks.start_up", f"--net={net}", f"--child={time.time()}"]
        done = run_child(command, timeout=600)
        if done.status:
            raise SystemExit(f"the command ended with status {done.status}: {done.stderr[-1000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found[1:]


def table(rounds: list[dict[str, float]]) -> str:
    """A row for each stage, and one for all: median, least and greatest seconds."""
    columns = {stage: [stages[stage] for stages in rounds] for stage in STAGES}
    columns["**all**"] = [sum(stages.values()) for stages in rounds]
    rows = []
    for stage, seconds in columns.items():
        found = summarise(seconds)
        assert found
        rows.append([stage, f"{found.median:.2f}", f"{found.low:.2f} to {found.high:.2f}"])
    return markdown_table(("stage", "seconds (median)", "spread"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="lenet5", help="a net for digits")
    parser.add_argument("--rounds", type=int, default=9, help="processes that are counted")
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)  # few digits, for a test
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.net, args.child, args.smoke)))
        return
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    machine = machine_line()  # before we are its load
    print(table(measure(args.net, args.rounds)))
    print(f"\nCommand: `python -m benchmarks.start_up --net={args.net} --rounds={args.rounds}`, n={args.rounds}.")
    print(f"\nMachine: {machine}.")


if __name__ == "__main__":
    main()
