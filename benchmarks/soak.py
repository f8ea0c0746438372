"""Resident memory of a long training run: 200,000 steps of LeNet with evaluations and checkpoints, as a user starts it.

    python -m benchmarks.soak

The run is a process of its own, watched from outside: memory from /proc, steps from its newest checkpoint. Memory at
10 % of the steps and at the end (medians over 2 % of them) may differ by 5 %; status 1 if it grows more, or if the run
fails. Without --data_dir it trains on drawn digits, in a temporary directory that is deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.children import ROOT
from benchmarks.harness import machine_line

ALLOWED = 0.05
AT, SPAN = 0.10, 0.02  # shares of the steps: where the first reading is taken, and the length of both readings
SAMPLE_SECONDS = 0.25


def resident_mb(pid: int) -> float | None:
    """Memory of process `pid` that is in RAM now, in MiB; None where there is no such process any more."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def newest_step(run: Path) -> int:
    """The step in the name of the newest checkpoint, 0 where there is none."""
    return max((int(path.stem[5:]) for path in run.glob("ckpt-*.npz")), default=0)


def median_between(samples: Sequence[tuple[int, float]], low: float, high: float) -> float:
    """Median memory of the samples (step, MiB) from step `low` to `high`; raises `ValueError` if there is none."""
    chosen = [memory for step, memory in samples if low <= step <= high]
    if not chosen:
        raise ValueError(f"no sample between steps {low:.0f} and {high:.0f}: the run is too short to be watched")
    return statistics.median(chosen)


def growth(samples: Sequence[tuple[int, float]], steps: int) -> tuple[float, float, float]:
    """Memory at `AT` of the steps, at the end, and by what share it grew."""
    early = median_between(samples, steps * (AT - SPAN / 2), steps * (AT + SPAN / 2))
    late = median_between(samples, steps * (1 - SPAN), steps)
    return early, late, late / early - 1


def watch(process: subprocess.Popen[bytes], run: Path, steps: int) -> list[tuple[int, float]]:
    """(step, MiB) every moment until the last step is saved: what follows, test and pictures, is no training."""
    samples: list[tuple[int, float]] = []
    shown = 0
    while process.poll() is None:
        step, memory = newest_step(run), resident_mb(process.pid)
        if step >= steps:
            break
        if memory is not None and step:
            samples.append((step, memory))
        if samples and step * 10 // steps > shown:
            shown = step * 10 // steps
            print(f"{step:9,} steps  {samples[-1][1]:8.1f} MB", file=sys.stderr, flush=True)
        time.sleep(SAMPLE_SECONDS)
    return samples


def start(args: argparse.Namespace, run: Path, cache: Path, log: Path, epochs: int) -> subprocess.Popen[bytes]:
    flags = [
        f"--run={run}",
        f"--net={args.net}",
        f"--batch_size={args.batch_size}",
        f"--save_every={args.save_every}",
        f"--epochs={epochs}",
        f"--validation={args.validation}",
    ]
    flags += [f"--data_dir={args.data_dir}"] if args.data_dir else ["--dataset=drawn"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if not args.data_dir:
        environment.setdefault("RAWCNN_DATA", str(cache))
    command = [sys.executable, str(ROOT / "examples" / "train_lenet.py"), *flags]
    with open(log, "wb") as out:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def soak(args: argparse.Namespace, directory: Path) -> dict[str, object]:
    """Run, watch, and return what is printed; raises `RuntimeError` if the run does not end well."""
    run, log = directory / "run", directory / "log"
    per_epoch = (args.images - args.validation) // args.batch_size
    epochs = -(-args.steps // per_epoch)
    process = start(args, run, directory / "cache", log, epochs)
    began = time.monotonic()
    try:
        samples = watch(process, run, epochs * per_epoch)
        status = process.wait(600)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    if status != 0:
        raise RuntimeError(f"the run ended with status {status}:\n{text[-2000:]}")
    last = json.loads((run / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    if last["step"] != epochs * per_epoch:
        raise RuntimeError(f"the run did not make {epochs * per_epoch} steps: is --images right?\n{text[-2000:]}")
    early, late, grown = growth(samples, epochs * per_epoch)
    return {
        "steps": epochs * per_epoch,
        "evaluations": epochs,
        "checkpoints": epochs * per_epoch // args.save_every + epochs + 1,
        "MB at 10 %": round(early, 1),
        "MB at 100 %": round(late, 1),
        "growth": round(grown, 4),
        "largest MB": round(max(memory for _, memory in samples), 1),
        "seconds": round(time.monotonic() - began),
        "machine": machine_line(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000, help="rounded up to whole epochs")
    parser.add_argument("--net", default="lenet5_relu", help="a LeNet")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--save_every", type=int, default=500)
    parser.add_argument("--images", type=int, default=60_000, help="training images of the data set")
    parser.add_argument("--validation", type=int, default=2_000, help="of these, held out and evaluated every epoch")
    parser.add_argument("--data_dir", type=Path, help="the data set's files; without it drawn digits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        try:
            result = soak(args, Path(directory))
        except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            print(f"soak.py: {error}", file=sys.stderr)
            return 1
    print(json.dumps(result))
    return 0 if float(str(result["growth"])) <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
