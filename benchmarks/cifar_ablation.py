"""What each part of `cifar_fast` is worth: the same training with one part changed, judged by held-out images.

python -m benchmarks.cifar_ablation --data_dir=cifar-10-batches-bin --epochs=10 --seeds=3

No test image is looked at: 5,000 of the training images are held out, the same for all rows and seeds. `--keep=FILE`
keeps every training, so that the same command goes on after a stop, and several commands can share the rows.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import rawcnn.start  # noqa: F401

import tensorflow as tf

from benchmarks.harness import keep_line, kept_lines, machine_line, markdown_table
from rawcnn import ops
from rawcnn.data.datasets import DataSet, load
from rawcnn.data.views import padded_crop
from rawcnn.layers import Conv2D, Whitening
from rawcnn.layers.variables import glorot_uniform, he_normal
from rawcnn.nets.chain import Chain, Row, Table, row
from rawcnn.nets.cifar import CIFAR_FAST, cifar_fast_head
from rawcnn.nets.precision import parse
from rawcnn.train.fit import steps_per_epoch, train_epochs
from rawcnn.train.inputs import Inputs
from rawcnn.train.lookahead import Lookahead
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.optimizers import Muon, Nesterov, Optimizer
from rawcnn.train.recipes import Recipe, recipe_of
from rawcnn.train.schedules import Schedule, linear
from rawcnn.train.step import TrainState, make_train_step

HELD_OUT = 5000
Found = tuple[float, float]  # held-out accuracy in %, one view and six
OURS = recipe_of("cifar_fast")
Optimize = Callable[[Chain, Schedule, int], Optimizer]  # of the net, the schedule and the steps of the whole run


def muon(net: Chain, schedule: Schedule, steps: int, **more: Any) -> Muon:
    return Muon(net, schedule, weight_decay=OURS.weight_decay, **more)


def looking_ahead(net: Chain, schedule: Schedule, steps: int) -> Lookahead:
    """As in airbench94: weights are taken back by less and less of their way until there, every 5 updates."""

    def share(step: tf.Tensor) -> tf.Tensor:
        return 1.0 - 0.95**5 * (tf.cast(step, tf.float32) / steps) ** 3

    return Lookahead(muon(net, schedule, steps), 5, share)


def nesterov(net: Chain, schedule: Schedule, steps: int) -> Nesterov:
    return Nesterov(net, linear(0.5, steps), weight_decay=5e-4)


def changed(**kwargs: Any) -> Table:
    """The table with other arguments in the rows that have them."""
    return tuple(
        (name, replace(one, kwargs={**one.kwargs, **{k: v for k, v in kwargs.items() if k in one.kwargs}}))
        for name, one in CIFAR_FAST
    )


def first(conv1: Row) -> Table:
    """The table with another first row."""
    return (("conv1", conv1), *CIFAR_FAST[1:])


@dataclass(frozen=True)
class Variant:
    table: Table = CIFAR_FAST
    recipe: Recipe = OURS
    optimize: Optimize = muon


_random = row(Conv2D, bias=False, padding="VALID", activation=ops.gelu, w_init=he_normal)
WHOLE = "all of it"
VARIANTS = {
    WHOLE: Variant(),
    "first filters drawn and trained, not whitening": Variant(first(_random(24, 2))),
    "whitening with a bias": Variant(first(row(Whitening, activation=ops.gelu)(2))),
    "filters drawn, not the identity": Variant(changed(w_init=glorot_uniform)),
    "ReLU, not GELU": Variant(changed(activation=tf.nn.relu)),
    "momentum 0.99 in batch normalisation, not 0.6": Variant(changed(momentum=0.99)),
    "Nesterov (0.5) for all weights, not Muon": Variant(optimize=nesterov),
    "biases at the rate of the head, not 64 times": Variant(optimize=partial(muon, biases=1.0)),
    "lookahead besides": Variant(optimize=looking_ahead),
    "mirrored by a coin, not in every other epoch": Variant(recipe=replace(OURS, alternate=False, crop=padded_crop(0))),
    "never mirrored": Variant(recipe=replace(OURS, alternate=False)),
    "not shifted": Variant(recipe=replace(OURS, augment=None)),
    "labels not smoothed": Variant(recipe=replace(OURS, label_smoothing=0.0)),
}


def held_out_accuracy(variant: Variant, data: DataSet, args: argparse.Namespace, seed: int) -> Found:
    """In %, with one view and with six, after a whole training."""
    recipe, train, batch, held_out = variant.recipe, data.train, args.batch_size, data.validation
    assert held_out is not None
    table = (*variant.table, ("logits", cifar_fast_head(10)))
    net = Chain(table, input_shape=(32, 32, 3), seed=seed, policy=parse(args.precision))
    steps = args.epochs * steps_per_epoch(train, batch)
    state = TrainState(net, variant.optimize(net, linear(recipe.learning_rate, steps), steps))
    inputs = Inputs.of(recipe, train, 32)
    inputs.prepare(net, train)
    loss = partial(softmax_cross_entropy, label_smoothing=recipe.label_smoothing)
    step = make_train_step(state, loss, inputs.preprocess)
    for _ in train_epochs(
        state, step, train, batch_size=batch, epochs=args.epochs, seed=seed, crop=inputs.crop, size=inputs.size,
        augment=recipe.augment, alternate=recipe.alternate,
    ):  # fmt: skip
        pass
    one, six = (inputs.evaluator(net, softmax_cross_entropy, crops)(held_out).accuracy for crops in ("1", "6"))
    return 100 * one, 100 * six


class Kept:
    """The trainings of a `path`, one JSON line each: those with the settings of `args` are not run again."""

    def __init__(self, path: Path | None, args: argparse.Namespace):
        self._path = path
        self._settings = {name: getattr(args, name) for name in ("epochs", "batch_size", "sample", "precision")}
        self.found: dict[tuple[str, int], Found] = {
            (line["row"], line["seed"]): (line["one view"], line["six views"])
            for line in kept_lines(path)
            if self._settings.items() <= line.items()
        }

    def add(self, row: str, seed: int, found: Found, seconds: float) -> None:
        self.found[row, seed] = found
        line = {"row": row, "seed": seed, **self._settings, "one view": found[0], "six views": found[1]}
        keep_line(self._path, {**line, "seconds": round(seconds), "machine": machine_line()})


def table_row(name: str, found: Mapping[tuple[str, int], Found], seeds: int) -> tuple[str, ...]:
    """Means over seeds, and the mean difference from the whole recipe with the same seed, with its standard error."""
    one, six = zip(*(found[name, seed] for seed in range(seeds)), strict=True)
    each = ", ".join(f"{accuracy:.2f}" for accuracy in six)
    whole = [found.get((WHOLE, seed)) for seed in range(seeds)]
    difference = ""
    if name != WHOLE and None not in whole:
        less = [accuracy - other[1] for accuracy, other in zip(six, whole, strict=True) if other]
        difference = f"{statistics.mean(less):+.2f}"
        if seeds > 1:
            difference += f" ± {statistics.stdev(less) / seeds**0.5:.2f}"
    return name, f"{statistics.mean(one):.2f}", f"{statistics.mean(six):.2f}", each, difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with CIFAR-10's binary files")
    parser.add_argument("--rows", default=";".join(VARIANTS), help="which of them, with semicolons between")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the images that are not held out")
    parser.add_argument("--batch_size", type=int, default=OURS.batch_size, help="images an update")
    parser.add_argument("--sample", type=float, default=1.0, help="part of the images, of each class, for a quick look")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each row, with seeds 0, 1, ...")
    parser.add_argument("--precision", default="bfloat16", help="of the computation")
    parser.add_argument("--keep", type=Path, help="file for all trainings, so that a stopped command can go on")
    args = parser.parse_args()
    names = args.rows.split(";")
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"there is no row {min(unknown)!r}: choose some of {'; '.join(VARIANTS)}")
    print(f"Command: `python -m benchmarks.cifar_ablation {' '.join(sys.argv[1:])}`\n")
    print(f"Machine: {machine_line()}. TensorFlow {tf.__version__}. Date: {datetime.date.today()}.\n")
    data = load("cifar10", args.data_dir, colour=True, validation=HELD_OUT, sample=args.sample)
    kept = Kept(args.keep, args)
    for seed in range(args.seeds):
        for name in names:
            if (name, seed) not in kept.found:
                began = time.perf_counter()
                kept.add(name, seed, held_out_accuracy(VARIANTS[name], data, args, seed), time.perf_counter() - began)
            one, six = kept.found[name, seed]
            print(f"{name}, seed {seed}: {one:.2f} {six:.2f}", file=sys.stderr, flush=True)
    rows = [table_row(name, kept.found, args.seeds) for name in names]
    print(
        markdown_table(("changed", "one view %", "six views %", "each seed, six views", "difference, six views"), rows)
    )


if __name__ == "__main__":
    main()
