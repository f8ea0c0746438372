"""Time of a whole training command, start-up included: rawcnn's example beside the equivalent Keras script, in turn.

python -m benchmarks.whole_command --data_dir=DIR --rounds=5
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.children import Child, run_child
from benchmarks.harness import OURS, machine, machine_line, markdown_table, summarise


def commands(args: argparse.Namespace, run: str) -> dict[str, list[str]]:
    """The commands to compare; each writes what it saves into the directory `run`."""
    shared = [f"--data_dir={args.data_dir.resolve()}", f"--epochs={args.epochs}", f"--run={run}"]
    keras = [sys.executable, "-m", "benchmarks.keras_lenet_script", *shared]
    ours = [sys.executable, "examples/train_lenet.py", "--net=lenet5_relu", "--dataset=mnist", *shared]
    return {OURS: ours, "Keras": keras, "Keras, 50 steps per execution": [*keras, "--steps_per_execution=50"]}


def time_once(name: str, args: argparse.Namespace) -> Child:
    """Runs one command into a fresh directory; ends the benchmark if the command fails."""
    directory = tempfile.mkdtemp(prefix="whole_command-")
    try:
        child = run_child(commands(args, f"{directory}/run")[name], args.timeout)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if child.status:
        raise SystemExit(f"{name} ended with status {child.status}:\n{child.stderr[-2000:]}")
    return child


def accuracy(stdout: str) -> float | None:
    """The last `test accuracy NN.NN%` of an output."""
    found = re.findall(r"test accuracy\D*([\d.]+)\s*%", stdout, flags=re.IGNORECASE)
    return float(found[-1]) if found else None


def table(children: dict[str, list[Child]]) -> str:
    """One row per command; the ratio is ours over theirs in the same round."""
    header = (
        "command",
        "seconds (median)",
        "spread",
        "n",
        "rawcnn / this",
        "spread",
        "peak memory",
        "test accuracy",
        "others",
    )
    rows = []
    for name, runs in children.items():
        time = summarise(child.seconds for child in runs)
        ratio = summarise(mine.seconds / child.seconds for mine, child in zip(children[OURS], runs, strict=True))
        accuracies = [a for a in (accuracy(child.stdout) for child in runs) if a is not None]
        assert time and ratio
        rows.append(
            (
                name,
                f"{time.median:.1f}",
                f"{time.low:.1f} to {time.high:.1f}",
                str(time.n),
                f"{ratio.median:.2f}",
                f"{ratio.low:.2f} to {ratio.high:.2f}",
                f"{max(child.peak_memory_mb for child in runs):,.0f} MB",
                f"{min(accuracies):.2f} to {max(accuracies):.2f} %" if accuracies else "-",
                f"{max(child.others for child in runs):.0%}",
            )
        )
    return markdown_table(header, rows)


def as_json(children: dict[str, list[Child]]) -> dict[str, Any]:
    """The raw readings."""
    return {
        "machine": machine(),
        "seconds": {name: [round(child.seconds, 2) for child in runs] for name, runs in children.items()},
        "peak_memory_mb": {name: [round(child.peak_memory_mb, 1) for child in runs] for name, runs in children.items()},
        "test_accuracy": {name: [accuracy(child.stdout) for child in runs] for name, runs in children.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each command")
    parser.add_argument("--rounds", type=int, default=5, help="how often every command runs")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds that one command may take")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line with every reading instead of the table"
    )
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    start = machine_line()
    children: dict[str, list[Child]] = {name: [] for name in commands(args, "")}
    for k in range(args.rounds):
        for name, runs in children.items():
            runs.append(time_once(name, args))
            print(f"round {k + 1}/{args.rounds}  {name}: {runs[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(as_json(children)))
        return
    print(
        f"Command: `{shlex.join(['python', '-m', 'benchmarks.whole_command', *sys.argv[1:]])}`\n\nMachine: {start}.\n"
    )
    print(table(children))


if __name__ == "__main__":
    main()
