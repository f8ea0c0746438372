"""What saving costs: a checkpoint of rawcnn beside `np.savez` and `tf.train.Checkpoint.write`, and the finite check.

python -m benchmarks.checkpoint --net=alexnet_bn --rounds=5
python -m benchmarks.checkpoint --check --net=alexnet_bn --rounds=5

Targets: LeNet-5 in 30 ms; alexnet_bn with Adam's slots in 1.5 times `tf.train.Checkpoint.write`, which syncs nothing;
the check that an update is finite in 1 % of a step.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.harness import drawn_data, machine_line, markdown_table
from benchmarks.step_time import build, tf, trainer  # starts TensorFlow
from rawcnn.data.batches import batches
from rawcnn.data.source import Source
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from rawcnn.train import checkpoints
from rawcnn.train import step as loop
from rawcnn.train.step import TrainState

TURN = 2.0  # seconds that one of the two takes before it is the other's turn


def sync(directory: Path) -> None:
    """What a checkpoint needs to survive a power cut, for those that leave it out."""
    for path in directory.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def savers(state: TrainState, directory: Path) -> dict[str, Callable[[], object]]:
    """Each way to save; a directory a way, emptied before each."""
    tensorflow = tf.train.Checkpoint(**{name.replace("/", "."): v for name, v in named_variables(state).items()})

    def rawcnn() -> None:
        checkpoints.save(directory, state, {})

    def savez() -> None:
        with open(directory / "a.npz", "wb") as file:
            np.savez(file, **{name: v.numpy() for name, v in named_variables(state).items()})
            os.fsync(file.fileno())

    def write() -> None:
        tensorflow.write(str(directory / "tf"))

    def write_and_sync() -> None:
        write()
        sync(directory)

    return {
        "rawcnn (checked, summed, synced, renamed)": rawcnn,
        "np.savez and fsync": savez,
        "tf.train.Checkpoint.write": write,
        "tf.train.Checkpoint.write and fsync": write_and_sync,
    }


def saving(net_name: str, rounds: int, base: Path) -> str:
    """A table for one net; the ways take turns, and the disk is let settle before each."""
    net, recipe, shards = build(net_name, 64)
    state, _ = trainer(net, recipe, shards)
    size = sum(v.numpy().nbytes for v in named_variables(state).values())
    directory = Path(tempfile.mkdtemp(dir=base))
    seconds: dict[str, list[float]] = {}
    for k in range(rounds + 1):  # the first is not counted
        for name, save in savers(state, directory).items():
            for path in directory.iterdir():
                path.unlink()
            os.sync()
            began = time.perf_counter()
            save()
            if k:
                seconds.setdefault(name, []).append(time.perf_counter() - began)
    shutil.rmtree(directory)
    base_line = statistics.median(seconds["tf.train.Checkpoint.write"])
    rows = [
        [name, *(f"{1000 * s:,.1f}" for s in (statistics.median(t), min(t), max(t))), str(len(t)),
         f"{statistics.median(t) / base_line:.2f}"]
        for name, t in seconds.items()
    ]  # fmt: skip
    header = ("way", "ms (median)", "least", "most", "n", "times tf.train.Checkpoint.write")
    return f"## {net_name}, {size / 1e6:,.1f} MB\n\n{markdown_table(header, rows)}\n"


def stepper(net_name: str, batch_size: int, checked: bool) -> Callable[[], object]:
    """One call makes one step, with or without the check: two graphs, each with a net of its own."""
    net, recipe, shards = build(net_name, batch_size)
    _state, step = trainer(net, recipe, shards)
    height, width, channels = net.input_shape
    pad = recipe.preprocess.pad
    images, labels = drawn_data(4 * batch_size, (height - 2 * pad, width - 2 * pad, channels), net.out_shape[0])
    source = Source((images * 255).astype(np.uint8), labels.astype(np.int32), tuple(map(str, range(net.out_shape[0]))))
    data = iter(batches(source, batch_size, seed=0))
    steps = tf.constant(max(1, 256 // batch_size))
    call = lambda: step(data, steps).loss.numpy()  # noqa: E731
    if checked:
        call()
    else:
        with mock.patch.object(loop, "require_finite", lambda *a: tf.no_op()):
            call()  # traced here
    return call


def timed(call: Callable[[], object], count: int) -> float:
    """Seconds a call."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def checking(net_name: str, rounds: int) -> str:
    """Steps with and without the check in turn; the share is the median over rounds of each round's own."""
    from rawcnn.train.recipes import recipe_of

    batch_size = recipe_of(net_name).batch_size
    calls = [stepper(net_name, batch_size, checked) for checked in (False, True)]
    count = max(3, round(TURN / min(timed(call, 3) for call in calls)))
    shares = []
    for k in range(rounds):
        first = k % 2  # whoever is second meets a warmer processor
        took = {which: timed(calls[which], count) for which in (first, 1 - first)}
        shares.append(took[1] / took[0] - 1)
    low, middle, high = min(shares), statistics.median(shares), max(shares)
    return f"{net_name}, batch {batch_size}: check {middle:.2%} ({low:.2%} to {high:.2%}, n={rounds}) of a step"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=sorted(NETS), default="lenet5", help="one a process: threads are a process's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("."), help="on the disk to measure, not in memory")
    parser.add_argument("--check", action="store_true", help="time the finite check instead of saving")
    args = parser.parse_args()
    print(f"Machine: {machine_line()}. Date: {datetime.date.today()}.\n")
    print(checking(args.net, args.rounds) if args.check else saving(args.net, args.rounds, args.directory))


if __name__ == "__main__":
    main()
