"""How long rawcnn and Keras take to an accuracy on held-out images: the same net, data, optimizer, rate and batch.

python -m benchmarks.time_to_accuracy --net=cifar_wide --data_dir=cifar-10-batches-bin --target=80 \\
    --out=results/races/cifar_wide.json

Seconds begin when the images are in memory and end with the first validation at the target or above: building, tracing
and all validations count. Keras trains as a course does, with `fit` in float32 at a constant rate; rawcnn with its
recipe, whose rate falls over `--epochs`, in bfloat16 (`--precision`). `--out` keeps every epoch's seconds and accuracy;
`results/make.py` makes a picture and a table of the files in `results/races`.
With `--keep=DIR` a race that was stopped goes on from each side's last whole epoch: the same command again, on the same
kind of machine. No test image is looked at.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.children import Child, run_child
from benchmarks.harness import QUIET, keep_line, kept_lines, machine, markdown_table, which_machine

os.environ["KERAS_BACKEND"] = "tensorflow"
SIDES = ("rawcnn", "keras")
PLACES = ("data_dir", "keep", "out", "timeout", "side")
"""Flags that change nothing about a race."""


class Epochs:
    """The epochs of a side: `say` prints one. Those of a race that was stopped are said first, from `folder`.

    `folder` is None if nothing is kept. The clock goes on where it stood after the last whole epoch.
    """

    def __init__(self, folder: Path | None, side: str):
        self.folder = folder and folder / side
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder and self.folder / "epochs.jsonl"
        self.before = kept_lines(self._path)
        for line in self.before:
            print(json.dumps(line), flush=True)
        self._began = time.perf_counter() - (self.before[-1]["seconds"] if self.before else 0.0)

    def say(self, epoch: int, accuracy: float) -> None:
        """Print the line of an epoch, after its weights were saved; `accuracy` is in %."""
        seconds = round(time.perf_counter() - self._began, 1)
        line = {"epoch": epoch, "seconds": seconds, "accuracy": round(accuracy, 2)}
        keep_line(self._path, line)
        print(json.dumps(line), flush=True)

    def reached(self, target: float) -> bool:
        """Whether the race was over before."""
        return bool(self.before) and self.before[-1]["accuracy"] >= target


def train_rawcnn(args: argparse.Namespace) -> None:
    """Epochs until the target, with the recipe's own settings."""
    from rawcnn.run import opening
    from rawcnn.run.given import data_of
    from rawcnn.run.plan import plan, recipe_for, settle
    from rawcnn.run.settings import Settings
    from rawcnn.train import checkpoints

    asked = Settings(
        args.net, "cifar10", args.data_dir, args.epochs, precision=args.precision, seed=args.seed, sample=args.sample,
        input_size=args.input_size or None,
    )  # fmt: skip
    recipe = recipe_for(asked)
    settings = settle(asked, recipe)
    opening.use_threads(settings, recipe)
    data = data_of(None, settings)
    assert data.validation is not None
    epochs = Epochs(args.keep, "rawcnn")
    if epochs.reached(args.target):
        return
    ready = plan(settings, data, recipe=recipe)
    if epochs.folder and epochs.before:
        checkpoints.read(checkpoints.path_of(epochs.folder, len(epochs.before) * ready.per_epoch)).restore(ready.state)
    for now in ready.train(data.train, epochs=settings.epochs):
        if now.epoch_ended:
            with ready.state.averaged():
                accuracy = 100 * ready.validate(data.validation).accuracy
            if epochs.folder:
                checkpoints.save(epochs.folder, ready.state, {})
            epochs.say(now.epoch, accuracy)
            if accuracy >= args.target:
                return


def train_keras(args: argparse.Namespace) -> None:
    """Epochs of `fit` until the target; images are scaled up in the input pipeline, as courses do it."""
    import rawcnn.start  # noqa: F401  (oneDNN for Keras too)

    import keras
    import tensorflow as tf

    from benchmarks.peers_keras import pipeline
    from rawcnn.data.datasets import load
    from rawcnn.data.source import Source
    from rawcnn.train.recipes import recipe_of
    from tests.oracles.nets_keras import NETS

    recipe = recipe_of(args.net)
    data = load("cifar10", args.data_dir, colour=True, validation=recipe.validation, seed=args.seed,
                sample=args.sample, log=lambda line: None)  # fmt: skip
    assert data.validation is not None
    epochs = Epochs(args.keep, "keras")
    if epochs.reached(args.target):
        return
    build, (side, _, channels), _ = NETS[args.net]
    side = args.input_size or side
    keras.utils.set_random_seed(args.seed)
    model = build((side, side, channels), len(data.train.class_names))
    model.compile(
        optimizer=keras.optimizers.Adam(recipe.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    if epochs.folder and epochs.before:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(epochs.folder / f"{len(epochs.before)}.weights.h5")  # Adam's moments too

    def shown(images: Any, labels: Any) -> tuple[Any, Any]:
        images = tf.cast(images, tf.float32) / 255.0
        return (images if side == images.shape[1] else tf.image.resize(images, (side, side))), labels

    def end_of_epoch(epoch: int, logs: dict[str, float]) -> None:
        accuracy = 100 * logs["val_accuracy"]
        if epochs.folder:
            model.save_weights(epochs.folder / f"{epoch + 1}.weights.h5")
        epochs.say(epoch + 1, accuracy)
        if epochs.folder:
            (epochs.folder / f"{epoch}.weights.h5").unlink(missing_ok=True)
        model.stop_training = accuracy >= args.target

    train, held_out = data.train, data.validation
    assert isinstance(train, Source) and isinstance(held_out, Source)
    model.fit(
        pipeline(train.images, train.labels, recipe.batch_size).map(shown, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE),
        validation_data=tf.data.Dataset.from_tensor_slices((held_out.images, held_out.labels))
        .batch(recipe.batch_size)
        .map(shown, tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE),
        initial_epoch=len(epochs.before),
        epochs=args.keras_epochs,
        shuffle=False,  # `pipeline` does
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=end_of_epoch)],
    )


def check_machine(folder: Path) -> None:
    """Raise `SystemExit` if the race in `folder` began on another kind of machine: its minutes would be no one's."""
    m = machine()
    here, kept = f"{m['cpu']} ({m['model']}), {m['cores']} cores", folder / "machine.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if not kept.is_file():
        kept.write_text(here + "\n", "utf-8")
    elif (there := kept.read_text("utf-8").strip()) != here:
        raise SystemExit(f"{folder} holds a race on {there}, and this is {here}: go on there, or give another --keep.")


def epochs_of(child: Child) -> list[dict[str, float]]:
    """The lines that a side printed. Raises `SystemExit` if it failed."""
    if child.status:
        raise SystemExit(child.stderr[-2000:])
    return [json.loads(line) for line in child.stdout.splitlines() if line.startswith('{"epoch"')]


def table_row(side: str, epochs: Sequence[dict[str, float]], target: float, others: float) -> tuple[str, ...]:
    """Minutes to the target, or that it was not reached."""
    last = epochs[-1]
    reached = last["accuracy"] >= target
    minutes = f"{last['seconds'] / 60:.1f}" if reached else f"not in {last['seconds'] / 60:.1f}"
    disturbed = f"{others:.0%}" + (" (!)" if others > QUIET else "")
    return side, f"{last['epoch']:.0f}", f"{last['accuracy']:.2f}", minutes, disturbed


def flags_without_paths(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[str]:
    """The flags that make the race, besides those that say where files are: `--out` is for others to read."""
    given = {name: value for name, value in vars(args).items() if value != parser.get_default(name)}
    return [f"--{name}={value}" for name, value in given.items() if name not in PLACES]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("cifar_basic", "cifar_wide", "alexnet_bn"), default="cifar_wide")
    parser.add_argument("--data_dir", required=True, help="folder with CIFAR-10's binary files")
    parser.add_argument("--target", type=float, required=True, help="accuracy in %% of the held-out images")
    parser.add_argument("--epochs", type=int, default=20, help="rawcnn's: its rate falls over so many")
    parser.add_argument("--keras_epochs", type=int, default=20, help="the most that Keras trains")
    parser.add_argument("--precision", default="bfloat16", help="rawcnn's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample", type=float, default=1.0, help="fraction of the training images, to try it out")
    parser.add_argument("--input_size", type=int, default=0, help="pixels a side; by default the net's own")
    parser.add_argument("--timeout", type=float, default=6 * 3600, help="seconds that a side may take")
    parser.add_argument("--out", type=Path, help="JSON file for every epoch of both")
    parser.add_argument("--keep", type=Path, help="folder for both sides' weights, so that a stopped race can go on")
    parser.add_argument("--side", choices=SIDES, help="train this side only, and print its epochs")
    args = parser.parse_args(arguments)
    if args.side:
        return (train_rawcnn if args.side == "rawcnn" else train_keras)(args)
    if args.keep:
        check_machine(args.keep)
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept: dict[str, Any] = {
        "net": args.net,
        "target": args.target,
        "flags": flags_without_paths(parser, args),
        "machine": which_machine(),
        "versions": {package: version(package) for package in ("tensorflow", "keras")},
        "date": str(datetime.date.today()),
        "others": {},
    }
    rows = []
    for side in SIDES:
        child = run_child([sys.executable, "-m", "benchmarks.time_to_accuracy", *given, f"--side={side}"], args.timeout)
        kept[side], kept["others"][side] = epochs_of(child), round(child.others, 3)
        rows.append(table_row(side, kept[side], args.target, child.others))
        print(f"{side}: {rows[-1]}", file=sys.stderr, flush=True)
    print(f"Command: `python -m benchmarks.time_to_accuracy {' '.join(given)}`\n")
    print(f"Machine: {kept['machine']}. Date: {kept['date']}.\n")
    print(markdown_table(("", "epochs", "held out %", f"minutes to {args.target:g} %", "others' CPU use"), rows))
    if args.out:
        args.out.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
