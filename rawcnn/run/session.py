"""One run from data to pictures: what a training example does between its flags and its last line."""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import rawcnn.start  # noqa: F401

import numpy as np
import tensorflow as tf

from rawcnn.data.augment import distort
from rawcnn.data.batches import thumbnails
from rawcnn.data.datasets import DataSet
from rawcnn.errors import RawcnnError, RunError
from rawcnn.layers.variables import named_weights
from rawcnn.nets import NETS, precision
from rawcnn.nets.summary import summary
from rawcnn.nets.weights import save_weights
from rawcnn.run import pictures, signals
from rawcnn.run.directory import WEIGHTS, RunDir
from rawcnn.run.output import tell
from rawcnn.run.progress import Display
from rawcnn.train import checkpoints, schedules
from rawcnn.train.evaluate import Evaluation, confusion_matrix
from rawcnn.train.fit import Progress, fit, steps_per_epoch
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import LOSSES, softmax_cross_entropy
from rawcnn.train.optimizers import OPTIMIZERS
from rawcnn.train.recipes import SCHEDULES, recipe_of
from rawcnn.train.step import TrainState, make_train_step

MAY_CHANGE = ("data_dir", "epochs", "learning_rate", "save_every", "patience", "crops", "threads", "on_save_error")
"""Flags that a resumed run may be given anew; all others decide what is computed.

`epochs` and `learning_rate` decide what comes, and are said aloud; `threads` decides last bits only, and may not change
with `deterministic`.
"""


class Session:
    """A net, its data and its run directory, put together from `flags` (see `rawcnn.cli`); `run()` does the rest."""

    def __init__(self, directory: RunDir, data: DataSet, flags: Mapping[str, Any], shards: int):
        self.directory, self.data, self.flags, self.shards = directory, data, flags, shards
        self.recipe = recipe_of(flags["net"], flags["recipe"])
        side = flags["input_size"]
        self.net = NETS[flags["net"]](
            (side, side, data.train.shape[2]),
            len(data.train.class_names),
            seed=flags["seed"],
            policy=precision.parse(flags["precision"]),
        )
        self.inputs = Inputs.of(self.recipe, data.train, side)
        per_epoch = steps_per_epoch(data.train, flags["batch_size"])
        self.schedule = SCHEDULES[self.recipe.schedule](flags["learning_rate"], flags["epochs"] * per_epoch, per_epoch)
        optimizer = OPTIMIZERS[flags["optimizer"]](
            named_weights(self.net), self.schedule, weight_decay=self.recipe.weight_decay
        )
        self.state = TrainState(self.net, optimizer, decay=flags["average"])
        loss = LOSSES[self.recipe.loss]
        smoothing = self.recipe.label_smoothing
        training_loss = partial(softmax_cross_entropy, label_smoothing=smoothing) if smoothing else loss
        self.train_step = make_train_step(
            self.state,
            training_loss,
            self.inputs.preprocess,
            shards=shards,
            head_weights=self.recipe.head_weights,
            timed=not flags["deterministic"],
        )
        self.validate = self.inputs.evaluator(self.net, loss, shards=shards)
        self.test = self.inputs.evaluator(self.net, loss, flags["crops"], shards=shards)
        self.best: dict[str, Any] | None = None
        self.sums: dict[str, Any] = {"loss_sum": 0.0, "correct": 0}

    def run(self) -> float:
        """Train from wherever the run stands to the end of its last epoch; returns the test accuracy, 0 ... 1."""
        tell(f"{self.data.describe()}\n\n{self.flags['net']}\n{summary(self.net)}\n")
        self._begin_or_resume()
        with self._files_named():
            self._train()
            return self._finish()

    def _begin_or_resume(self) -> None:
        saved = checkpoints.newest(self.directory.path, tell)
        checkpoints.check_room(self.directory.path, self.state)
        if saved is not None:
            self._refuse_changes(saved)
            saved.restore(self.state)
            self.best, self.sums = saved.meta["best"], saved.meta["sums"]
            self.directory.restore_history(saved.meta["history"])
        self.directory.write_flags(self.flags)
        self.directory.write_bad_images(self.data.bad)
        if saved is None:
            self._save(must=True)  # proves before any work that the directory takes checkpoints
        tell(f"run directory {self.directory.path}" + (f": going on after step {saved.step}" if saved else ""))

    def _refuse_changes(self, saved: checkpoints.Checkpoint) -> None:
        """Raise `RunError` if what decides the numbers changed; the flags too, for flags.txt may be damaged."""
        then = saved.meta
        if missing := {"data", "flags", "shards", "best", "sums", "history"} - then.keys():
            raise RunError(f"{saved.path} is of another version of rawcnn, without {min(missing)}: begin another run.")
        if then["data"] != self._data_facts():
            raise RunError(
                f"{saved.path} was trained on {then['data']}, but the data set is now {self._data_facts()}: "
                "give back the same files, or begin another run."
            )
        if changed := [n for n, v in self.flags.items() if n not in MAY_CHANGE and then["flags"].get(n, v) != v]:
            was = ", ".join(f"--{name}={then['flags'][name]}" for name in changed)
            raise RunError(f"{saved.path} was trained with {was}, which flags.txt no longer says: put it back there.")
        if self.flags["deterministic"] and then["shards"] != self.shards:
            raise RunError(
                f"{saved.path} was computed in {then['shards']} shards a batch, and now it would be {self.shards}: "
                "with --deterministic give back the same --threads, or begin another run."
            )

    def _train(self) -> None:
        """All epochs that are left. A signal ends the current call, or an evaluation at once; then all is saved."""
        display = Display()
        try:
            with signals.deferred():
                try:
                    self._epochs(display)
                except signals.Stopped:
                    self._save(must=True)
                    raise
        finally:
            display.close()

    def _epochs(self, display: Display) -> None:
        if self._epoch_left_open():  # the run was stopped while this epoch was being evaluated
            self._end_epoch(self._standing(), display.say)
        if self._stops_early():
            return
        for now in fit(
            self.state,
            self.train_step,
            self.data.train,
            batch_size=self.flags["batch_size"],
            epochs=self.flags["epochs"],
            seed=self.flags["seed"],
            crop=self.inputs.crop,
            size=self.inputs.size,
            augment=distort if self.flags["distort"] else self.recipe.augment,
            pause_every=self.flags["save_every"],
            **self.sums,
        ):
            display.update(now)
            self.sums = {"loss_sum": now.loss_sum, "correct": now.correct}
            if now.epoch_ended:
                self._end_epoch(now, display.say)
                if self._stops_early():
                    return
            elif now.step % self.flags["save_every"] == 0:
                self._save()
            signals.check()

    def _standing(self) -> Progress:
        """Where the state stands, as `fit` would have said."""
        step, per_epoch = int(self.state.step), steps_per_epoch(self.data.train, self.flags["batch_size"])
        epoch = max(1, -(-step // per_epoch))
        return Progress(epoch, self.flags["epochs"], step, per_epoch, self.flags["batch_size"], **self.sums)

    def _epoch_left_open(self) -> bool:
        """Whether the last epoch's steps are all made, and its line in the history is missing."""
        now = self._standing()
        return now.epoch_ended and len(self.directory.history()) < now.epoch

    def _end_epoch(self, now: Progress, say: Callable[[str], None]) -> None:
        with self.state.averaged(), signals.at_once():
            validation = self.validate(self.data.validation)
        best_before = self.best
        if is_better(validation, self.best):
            self.best = {"epoch": now.epoch, "step": now.step, "val_accuracy": validation.accuracy}
        self.directory.append_history(
            {
                "epoch": now.epoch,
                "step": now.step,
                "train_loss": now.loss,
                "train_accuracy": now.accuracy,
                "val_loss": validation.loss,
                "val_accuracy": validation.accuracy,
                "learning_rate": float(self.schedule(tf.constant(now.step - 1)) * self.state.optimizer.factor),
            }
        )
        self.sums = {"loss_sum": 0.0, "correct": 0}
        if self.recipe.schedule == "plateau":
            accuracies = [row["val_accuracy"] for row in self.directory.history()]
            self.state.optimizer.factor.assign(schedules.plateau_factor(accuracies))
        if not self._save():
            self.best = best_before  # a best epoch that was not kept could not be tested later
        best = (
            f"best {self.best['val_accuracy']:.2%} after epoch {self.best['epoch']}" if self.best else "none finite yet"
        )
        say(
            f"epoch {now.epoch:{len(str(now.epochs))}}/{now.epochs}  validation loss {validation.loss:.4f}  "
            f"acc {validation.accuracy:.2%}  ({best})"
        )

    def _stops_early(self) -> bool:
        epoch = len(self.directory.history())
        return schedules.stops_early(epoch, self.best["epoch"] if self.best else epoch, self.flags["patience"])

    def _save(self, *, must: bool = False) -> bool:
        """Write a checkpoint; False if the disk did not take it and the run is to go on without (`--on_save_error`)."""
        meta = {
            "flags": dict(self.flags),
            "data": self._data_facts(),
            "shards": self.shards,
            "class_names": self.data.train.class_names,
            "input_shape": self.net.input_shape,
            "preprocess": self.inputs.preprocess.as_dict(),
            "size": self.inputs.size,
            "central_fraction": self.inputs.central_fraction,
            "data_shape": self.data.train.shape,
            "best": self.best,
            "sums": self.sums,
            "history": self.directory.history(),
            "versions": {"tensorflow": tf.__version__, "numpy": np.__version__},
        }
        keep_best = () if self.best is None else (self.best["step"],)
        try:
            checkpoints.save(self.directory.path, self.state, meta, also_keep=keep_best)
        except checkpoints.SaveError as error:
            if must or self.flags["on_save_error"] == "stop":
                raise
            tell(f"going on without a checkpoint: {error}", sys.stderr)
            return False
        return True

    def _data_facts(self) -> dict[str, Any]:
        """What a resumed run must find unchanged."""
        train = self.data.train
        return {
            "name": self.data.name,
            "training images": len(train),
            "classes": list(train.class_names),
            "labels": zlib.crc32(train.labels.tobytes()),
            "seed": self.flags["seed"],
        }

    def _finish(self) -> float:
        if self._stops_early() and self.best is not None:
            tell(
                f"no better validation accuracy in {self.flags['patience']} epochs: testing epoch {self.best['epoch']}"
            )
            checkpoints.read(checkpoints.path_of(self.directory.path, self.best["step"])).restore(self.state)
        with self.state.averaged():
            save_weights(self.net, self.directory.path / WEIGHTS)
            test = self.test(self.data.test)
        written = [WEIGHTS, *self._pictures(test)]
        tell(f"\n{self.directory.path} holds {', '.join(written)}, history.jsonl, flags.txt and the checkpoints")
        tell(f"test accuracy {test.accuracy:.2%}")
        return test.accuracy

    @contextmanager
    def _files_named(self) -> Iterator[None]:
        """Turn TensorFlow's complaint about an image that it cannot read into an error that names the file."""
        try:
            yield
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError:
            for source in (self.data.train, self.data.validation, self.data.test):
                source.check()
            raise

    def _pictures(self, test: Evaluation) -> list[str]:
        """Draw the pictures; without matplotlib, say what is missing and go on."""
        source, net, path = self.data.test, self.flags["net"], self.directory.path
        predicted = test.probabilities.argmax(axis=1)
        matrix = confusion_matrix(source.labels, predicted, len(source.class_names))
        wrong = np.flatnonzero(predicted != source.labels)
        sure = wrong[np.argsort(-test.probabilities[wrong, predicted[wrong]], kind="stable")][: pictures.MOST_IMAGES]
        train, some = self.data.train, spread(len(self.data.train), pictures.MOST_IMAGES)
        of_train = f"{self.data.name}: some of the {len(train):,} training images"
        try:
            made: list[Path] = [
                pictures.save_samples(
                    thumbnails(train, some), train.labels[some], train.class_names, path / "samples.png", title=of_train
                ),
                pictures.save_curves(self.directory.history(), path / "curves.png", title=f"{net} on {self.data.name}"),
                pictures.save_confusion(
                    matrix, source.class_names, path / "confusion.png", title=f"{net}, test images"
                ),
                pictures.save_mistakes(
                    thumbnails(source, sure),
                    source.labels[sure],
                    predicted[sure],
                    test.probabilities[sure, predicted[sure]],
                    source.class_names,
                    path / "mistakes.png",
                    indices=sure,
                    title=f"{net}: the test images it got most wrong",
                ),
            ]
        except RawcnnError as error:
            tell(f"no pictures: {error}")
            return []
        return [picture.name for picture in made]


def spread(n: int, count: int) -> np.ndarray:
    """Up to `count` indices, evenly spread over n."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64))


def is_better(validation: Evaluation, best: Mapping[str, Any] | None) -> bool:
    """Whether an epoch is the best so far: a higher accuracy, and a loss that is a number.

    Where all is NaN the first class is the answer to everything, which may well be the highest accuracy so far.
    """
    if not np.isfinite(validation.loss) or not np.isfinite(validation.accuracy):
        return False
    return best is None or validation.accuracy > best["val_accuracy"]
