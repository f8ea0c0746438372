"""Training speed of rawcnn: shuffled batches, input, loss, gradient and update, as `train_epochs` runs them.

python -m benchmarks.step_time --net=lenet5_tanh --batch_size=128 --precision=float32 --json
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import rawcnn.start  # noqa: F401

import numpy as np
import tensorflow as tf

from benchmarks.blocks import Clock
from benchmarks.harness import OURS, Plan, contender_parser, drawn_data, peak_memory_mb, plan, report
from benchmarks.peak import training_flops
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Source
from rawcnn.machine import one_thread_per_op, shards_of
from rawcnn.nets import (
    NETS,
    precision,
)
from rawcnn.nets.chain import Chain
from rawcnn.ops.fast import forms
from rawcnn.ops.fast.forms import plain
from rawcnn.run.plan import plan as assemble
from rawcnn.run.settings import Settings
from rawcnn.run.speed import convolution_peak
from rawcnn.train.fit import train_epochs
from rawcnn.train.recipes import Recipe, recipe_of
from rawcnn.train.step import TrainState, TrainStep


def build(name: str, batch_size: int, precision_name: str = "float32", shards: int = 0) -> tuple[Chain, Recipe, int]:
    """The net, its first recipe and the number of shards of a batch that run side by side (0: as the recipe says)."""
    recipe = recipe_of(name)
    shards = shards or (shards_of(batch_size) if recipe.small_ops else 1)
    if recipe.small_ops and shards > 1:
        one_thread_per_op()
    return NETS[name](policy=precision.parse(precision_name)), recipe, shards


def trainer(net: Chain, recipe: Recipe, shards: int) -> tuple[TrainState, TrainStep]:
    """Training with Adam at a constant rate and no more, whatever the recipe says, as the peers train."""
    bare = replace(recipe, weight_decay=0.0, label_smoothing=0.0, average=0.0)
    settings = Settings("own", batch_size=1, optimizer="adam", learning_rate=0.001, schedule="constant")
    height, width, channels = net.input_shape
    one = np.zeros((1, height - 2 * recipe.preprocess.pad, width - 2 * recipe.preprocess.pad, channels), np.uint8)
    blank = Source(one, np.zeros(1, np.int32), tuple(map(str, range(net.out_shape[0]))))
    ready = assemble(settings, DataSet("blank", blank, blank, blank), net=net, recipe=bare, shards=shards)
    return ready.state, ready.train_step


def drawn_source(net: Chain, recipe: Recipe, args: argparse.Namespace) -> tuple[Plan, Source]:
    """The plan of `args` for this net, and the images that it asks for."""
    height, width, channels = net.input_shape
    shape = (height - 2 * recipe.preprocess.pad, width - 2 * recipe.preprocess.pad, channels)
    classes = net.out_shape[0]
    todo = plan(args, shape)
    images, labels = drawn_data(todo.images, shape, classes)
    return todo, Source((images * 255).astype(np.uint8), labels.astype(np.int32), tuple(map(str, range(classes))))


Measured = tuple[list[float], dict[str, Any]]
"""Seconds of each timed block, and what else the report says."""


def train(net: Chain, recipe: Recipe, shards: int, todo: Plan, source: Source, args: argparse.Namespace) -> Measured:
    """Train a block to warm up, then the timed ones."""
    state, step = trainer(net, recipe, shards)
    clock, losses, waited = Clock(args.blocks), [], []
    epochs = todo.passes * (args.blocks + 1)
    for now in train_epochs(state, step, source, batch_size=args.batch_size, epochs=epochs, seed=0):
        waited.append(now.data_share)
        if now.epoch_ended and now.epoch % todo.passes == 0:
            losses.append(round(now.loss, 4))
            clock.block_ended()
    return clock.seconds, {"loss": losses, "data_share": round(float(np.median(waited)), 3)}


def speeds(net: Chain, flops: int, images_per_second: float, shards: int) -> dict[str, float]:
    """What the net computes in a second, and its share of what this process can compute at best."""
    gflops, peak = images_per_second * flops / 1e9, convolution_peak(net.policy.compute, shards)
    return {
        "gflop_per_image": round(flops / 1e9, 4),
        "gflop_per_second": round(gflops, 1),
        "peak_gflop_per_second": round(peak, 1),
        "share_of_peak": round(gflops / peak, 4),
    }


def run(args: argparse.Namespace) -> None:
    """Measure training, then the peak, and report."""
    net, recipe, shards = build(args.net, args.batch_size, args.precision, args.shards)
    todo, source = drawn_source(net, recipe, args)
    seconds, more = train(net, recipe, shards, todo, source, args)
    memory = peak_memory_mb()  # before the convolution that measures the peak takes its share
    images_per_second = todo.steps * args.batch_size / statistics.median(seconds)
    more |= speeds(net, training_flops(net), images_per_second, shards)
    more |= {"ms_spread": [round(1000 * s / todo.steps, 4) for s in (min(seconds), max(seconds))]}
    more |= {"shards": shards, "compute": net.policy.compute.name, "peak_memory_mb": memory}
    more |= {"forms": forms.in_use(), "plain": args.plain}
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    report(OURS, args, seconds, todo.steps, versions, parameters=net.num_params(), **more)
    if not args.json:
        low, high = more["ms_spread"]
        print(
            f"{low:.3f} to {high:.3f} ms/step (n={len(seconds)}); {more['gflop_per_second']:,.0f} GFLOP/s, "
            f"{more['share_of_peak']:.0%} of the {more['peak_gflop_per_second']:,.0f} that a 3x3 convolution reaches "
            f"in {more['compute']}"
        )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags of every contender, and our own."""
    shared = contender_parser(__doc__ or "")
    parser = argparse.ArgumentParser(
        description=shared.description, parents=[shared], conflict_handler="resolve", allow_abbrev=False
    )
    parser.add_argument("--precision", choices=precision.NAMES, default="float32", help="of the computation")
    parser.add_argument(
        "--shards", type=int, default=0, help="shards of a batch side by side; 0: as the net's recipe says"
    )
    parser.add_argument("--plain", default="", help="faster forms to leave out, or all; see rawcnn/ops/fast/forms.py")
    parser.add_argument("--forms", choices=forms.CHOICES, help="use the forms of this instruction set")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse()
    with plain(*filter(None, args.plain.split(","))), forms.chosen_for(args.forms or forms.here()):
        run(args)


if __name__ == "__main__":
    main()
