"""Whether bfloat16 costs accuracy: the examples' own commands in float32 and in bfloat16, several seeds each.

python -m benchmarks.precision --mnist=MNIST --cifar=CIFAR --out=results/precision.md
"""

from __future__ import annotations

import argparse
import datetime
import re
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.children import ROOT, Child, run_child
from benchmarks.harness import machine_line, markdown_table, publish

PRECISIONS = ("float32", "bfloat16")
# name -> (data, example and its flags, seeds)
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "lenet5": ("mnist", ("train_lenet.py", "--net=lenet5", "--epochs=10", "--dataset=mnist"), 3),
    "cifar_basic": ("cifar", ("train_cifar.py", "--net=cifar_basic", "--epochs=5"), 3),
    "cifar_wide": ("cifar", ("train_cifar.py", "--net=cifar_wide", "--epochs=1", "--batch_size=128"), 1),
}
PROGRESS = re.compile(r"epoch +\d+/\d+ +step +(\d+)/(\d+) +loss ([\d.]+)")


def train(name: str, precision: str, seed: int, args: argparse.Namespace) -> Child:
    """One run of the example."""
    data, flags, _ = CASES[name]
    with tempfile.TemporaryDirectory(prefix="precision-") as directory:
        where = (f"--data_dir={getattr(args, data).resolve()}", f"--run={directory}/run")
        chosen = (f"--precision={precision}", f"--seed={seed}")
        command = [sys.executable, str(ROOT / "examples" / flags[0]), *flags[1:], *chosen, *where]
        child = run_child(command, args.timeout)
    if child.status:
        raise SystemExit(f"{shlex.join(command)} ended with status {child.status}:\n{child.stderr[-2000:]}")
    return child


def accuracy(child: Child) -> float:
    """Test accuracy in %, from the last line."""
    return float(child.stdout.splitlines()[-1].split()[-1].rstrip("%"))


def curve(child: Child) -> dict[int, float]:
    """Share of the epoch done, in tenths -> mean training loss of the epoch until then."""
    found: dict[int, float] = {}
    for step, steps, loss in PROGRESS.findall(child.stdout + child.stderr):
        found.setdefault(round(10 * int(step) / int(steps)), float(loss))
    return found


def case(name: str, args: argparse.Namespace) -> tuple[list[str], str]:
    """A row of the table of accuracies, and the loss curves where there is one seed."""
    _, flags, seeds = CASES[name]
    children = {precision: [train(name, precision, seed, args) for seed in range(seeds)] for precision in PRECISIONS}
    found = {precision: [accuracy(child) for child in some] for precision, some in children.items()}
    means = {precision: statistics.mean(values) for precision, values in found.items()}
    each = ("; ".join(f"{value:.2f}" for value in found[precision]) for precision in PRECISIONS)
    seconds = ", ".join(f"{statistics.median(child.seconds for child in children[p]):.0f}" for p in PRECISIONS)
    difference = means["bfloat16"] - means["float32"]
    row = [f"`{' '.join(flags)}`", *(f"{means[p]:.2f}" for p in PRECISIONS), f"{difference:+.2f}", *each, seconds]
    print(f"{name}: {row}", file=sys.stderr, flush=True)
    if seeds > 1:
        return row, ""
    curves = [curve(children[precision][0]) for precision in PRECISIONS]
    both = sorted(set(curves[0]) & set(curves[1]))
    rows = [(f"{tenth / 10:.0%}", *(f"{c[tenth]:.4f}" for c in curves)) for tenth in both]
    table = markdown_table(("share of the epoch", *PRECISIONS), rows)
    return row, f"## Loss curves of {name}\n\nMean training loss of the epoch until then, seed 0.\n\n{table}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--cifar", type=Path, required=True, help="folder with CIFAR-10's binary files")
    parser.add_argument("--cases", default=",".join(CASES), help="which nets, with commas between them")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds that one run may take")
    parser.add_argument("--out", type=Path, help="also write the result to this markdown file")
    args = parser.parse_args()
    rows, curves = zip(*(case(name, args) for name in args.cases.split(",")), strict=True)
    header = (
        "example",
        "float32 %",
        "bfloat16 %",
        "difference",
        "float32, each seed",
        "bfloat16, each seed",
        "s a run",
    )
    publish(
        (
            "# What bfloat16 costs",
            "Test accuracy, means over seeds 0, 1, ...; everything but the precision is the same.",
            f"Machine: {machine_line()}. Date: {datetime.date.today()}.",
            markdown_table(header, rows),
            *filter(None, curves),
        ),
        args.out,
    )


if __name__ == "__main__":
    main()
