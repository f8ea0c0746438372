"""Cats and dogs from 1,500 photos: from scratch, and by a net that rawcnn trained on CIFAR-10, in the same minutes.

python -m benchmarks.finetune --cifar=cifar-10-batches-bin --photos=dogs-vs-cats/train --minutes=3 --seeds=3

Trains on cat.N.jpg and dog.N.jpg with N = 0 ... 749, and tests once on N = 750 ... 1000. Each way takes as many epochs
as fit into the minutes: two epochs are tried first, and the second is timed. `--source` is a finished run on CIFAR-10,
or its weights; without it one is trained with the net's own recipe.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.children import ROOT
from benchmarks.harness import machine_line, markdown_table

TRAIN_BELOW, TEST_BELOW = 750, 1001
BACKBONE = {
    "cifar_fast": "conv1..pool7",
    "cifar_basic": "conv1..conv5",
    "vgg11": "conv1_1..pool5",
    "googlenet": "conv1..pool5",
}
"""The rows that are frozen: all but the classifier."""
EQUAL = ("--optimizer=adam", "--schedule=cosine", "--average=0", "--validation=0", "--print_every=1000000")
"""How all ways train; the rate and the batch are arguments."""


def ways(net: str, source: Path) -> dict[str, tuple[str, ...]]:
    """The flags of each way to train."""
    begun, frozen = f"--weights={source}", f"--freeze={BACKBONE[net]}"
    return {
        "from scratch": (),
        "frozen: only the classifier trains": (begun, frozen),
        "unfrozen: all rows train, loaded ones at a tenth of the rate": (begun, "--loaded_rate_factor=0.1"),
    }


def chosen_photos(photos: Path, there: Path) -> None:
    """Links to the photos of each split and class; what is no photo of the table's is left out."""
    for path in sorted(photos.iterdir()):
        match = re.fullmatch(r"(cat|dog)\.(\d+)\.jpg", path.name)
        if match and int(match[2]) < TEST_BELOW:
            folder = there / ("train" if int(match[2]) < TRAIN_BELOW else "test") / match[1]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).symlink_to(path.resolve())


def train(directory: Path, *flags: str) -> dict[str, float]:
    """One run of the command: its test accuracy in %, epochs, the seconds of all and of the last one."""
    command = [sys.executable, "-m", "rawcnn", "train", f"--run={directory}", "--overwrite", *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    rows = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    found = re.findall(r"^test accuracy ([\d.]+)%$", done.stdout, re.MULTILINE)
    seconds = [row["seconds"] for row in rows]
    return {"accuracy": float(found[-1]), "epochs": len(rows), "seconds": sum(seconds), "last": seconds[-1]}


def measure(args: argparse.Namespace, source: Path, work: Path) -> list[list[str]]:
    """The rows of the table."""
    shared = (f"--net={args.net}", f"--data_dir={work / 'photos'}", f"--input_size={args.input_size}",
              f"--precision={args.precision}", f"--batch_size={args.batch_size}",
              f"--learning_rate={args.learning_rate}", "--bad_images=skip", *EQUAL)  # fmt: skip
    rows = []
    for way, flags in ways(args.net, source).items():
        tried = train(work / "tried", *shared, *flags, "--epochs=2")
        epochs = max(1, round(60 * args.minutes / tried["last"]))
        runs = []
        for seed in range(args.seeds):
            began = time.perf_counter()
            runs.append(train(work / "run", *shared, *flags, f"--epochs={epochs}", f"--seed={seed}"))
            took = time.perf_counter() - began
            print(f"{way}, seed {seed}: {runs[-1]}, {took:.0f} s", file=sys.stderr, flush=True)
        each = [run["accuracy"] for run in runs]
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        rows.append([way, f"{statistics.mean(each):.2f}", ", ".join(f"{one:.2f}" for one in each), str(epochs),
                     f"{minutes:.1f}"])  # fmt: skip
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", help="folder with CIFAR-10's binary files, to train the source")
    parser.add_argument("--photos", type=Path, required=True, help="folder with cat.0.jpg, dog.0.jpg, ...")
    parser.add_argument("--source", type=Path, help="a run on CIFAR-10 that is finished, or its weights")
    parser.add_argument("--source_epochs", type=int, default=10)
    parser.add_argument("--net", choices=sorted(BACKBONE), default="cifar_fast")
    parser.add_argument("--input_size", type=int, default=32, help="pixels a side, of CIFAR-10 and the photos")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch_size", type=int, default=50)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--minutes", type=float, default=3.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args(arguments)
    if args.source is None and not args.cifar:
        parser.error("give --source, or --cifar to train it")
    print(f"Command: `python -m benchmarks.finetune {' '.join(arguments or sys.argv[1:])}`\n")
    print(f"Machine: {machine_line()}. Date: {datetime.date.today()}.\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        chosen_photos(args.photos, work / "photos")
        source = args.source
        if source is None:
            source = work / "source"
            learnt = train(source, f"--net={args.net}", "--dataset=cifar10", f"--data_dir={args.cifar}",
                           f"--input_size={args.input_size}", f"--precision={args.precision}",
                           f"--epochs={args.source_epochs}", "--print_every=1000000")  # fmt: skip
            print(f"{args.net} on CIFAR-10: {learnt['accuracy']:.2f} % after {learnt['epochs']} epochs, "
                  f"{learnt['seconds'] / 60:.1f} minutes\n", flush=True)  # fmt: skip
        rows = measure(args, source, work)
    print(markdown_table(("way", "test %, mean", "each seed", "epochs", "minutes"), rows))


if __name__ == "__main__":
    main()
