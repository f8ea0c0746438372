"""The epochs of a run, one after the other, with all that must survive a kill."""

import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.data.datasets import DataSet
from rawcnn.errors import RunError
from rawcnn.run import ending, film, opening, signals
from rawcnn.run.directory import RunDir
from rawcnn.run.ending import Result
from rawcnn.run.output import tell
from rawcnn.run.plan import Plan
from rawcnn.run.progress import Display, columns_of, epoch_line
from rawcnn.run.record import LISTED, DataFacts, Epoch, Record, Sums, is_better
from rawcnn.run.tensorboard import TensorBoard
from rawcnn.train import checkpoints, schedules
from rawcnn.train.evaluate import Evaluation, class_scores, confusion_matrix
from rawcnn.train.fit import Progress

TOLD = 3
"""Numbers that the chief tells those who wait for it."""
OWN_BUSINESS = ("data_dir", "class_names", "class_weights", "weights", "threads", "print_every", "on_save_error",
                "tensorboard", "test_sample", "crops")  # fmt: skip
"""Settings that each worker may be told otherwise: where its files are, and what the chief does alone."""


class Session:
    """One process's work on a run: `ready` trains on `data`, from the checkpoint `saved` or from the start."""

    def __init__(self, directory: RunDir, data: DataSet, ready: Plan, saved: checkpoints.Checkpoint | None = None):
        self.directory, self.data, self.ready, self.settings = directory, data, ready, ready.settings
        self.state = ready.state
        self._saved, self._resumed = saved, saved is not None
        self._board: TensorBoard | None = None
        self.began = time.perf_counter()
        facts = DataFacts.of(data)
        self.record = Record(
            self.settings, facts, ready.inputs, ready.net.input_shape, ready.shards, ready.changes.class_weights,
            loaded=ready.pretrained.rows, replicas=1 if ready.replicas is None else ready.replicas.count,
        )  # fmt: skip
        if saved is not None:
            then = Record.of(saved)
            self._refuse_changes(saved, then)
            self.record = replace(self.record, sums=then.sums, history=then.history, best=then.best)

    def run(self) -> Result:
        """Train from wherever the run stands to the end of its last epoch, and test."""
        opening.say_start(self.ready, self.data)
        self._begin_or_resume()
        self._train()
        with self._others_wait():
            result = ending.finish(self._where_it_stands())
        self._tell(result.test.loss, result.test.accuracy)
        return result

    def _begin_or_resume(self) -> None:
        saved, directory = self._saved, self.directory
        self._agree()
        checkpoints.check_room(directory.path, self.state)
        if saved is not None:
            saved.restore(self.state)
            directory.restore_history([asdict(row) for row in self.record.history])
            epoch = saved.step // self.ready.per_epoch + 1
            if epoch <= self.settings.epochs and not self.record.stops_early:
                film.mark_resumed(directory.path, epoch, saved.step)
        else:
            self.ready.inputs.prepare(self.ready.net, self.data.train)
            film.write_frame(directory.path, film.frame_of(0, self.ready.net))
        directory.write_flags(self.settings.texts())
        directory.write_bad_images(self.data.bad)
        if saved is None or Record.of(saved).settings != self.settings:
            self._save(must=True)  # proves before any work that the directory takes checkpoints
        self._saved = None  # its arrays are not needed any more
        tell(f"run directory {directory.path}" + (f": continuing after step {saved.step}" if saved else ""))

    def _refuse_changes(self, saved: checkpoints.Checkpoint, then: Record) -> None:
        """Raise `RunError` if what decides the numbers changed."""
        now = self.record
        if then.data != now.data:
            raise RunError(
                f"{saved.path} was trained on {then.data}, but the data set is now {now.data}: "
                "give back the same files, or begin another run."
            )
        if then.class_weights != now.class_weights:
            raise RunError(
                f"{saved.path} was trained with other class weights than {self.settings.class_weights} gives now: give "
                "back the same file, or begin another run."
            )
        if self.settings.deterministic and then.shards != now.shards:
            raise RunError(
                f"{saved.path} was computed in {then.shards} shards a batch, and now it would be {now.shards}: "
                "with --deterministic give back the same --threads, or begin another run."
            )
        if then.replicas != now.replicas:
            what = f"{saved.path} was computed by {then.replicas} replicas, and now there are {now.replicas}"
            if self.settings.deterministic:
                raise RunError(f"{what}: with --deterministic start as many again, or begin another run.")
            tell(f"{what}: the rest of the run is as good, but not bit for bit the same.")

    def _train(self) -> None:
        """All epochs that are left. A signal ends the current call, or an evaluation at once; then all is saved."""
        display = Display()
        try:
            with signals.deferred():
                try:
                    self._epochs(display)
                except signals.Stopped:
                    self._save(must=True)
                    display.close()
                    ending.pictures_of_a_stopped_run(self._where_it_stands())
                    raise
        finally:
            display.close()

    def _epochs(self, display: Display) -> None:
        if self._epoch_left_open():  # the run was stopped while this epoch was being evaluated
            self._end_epoch(self._standing(), display.say)
        if self.record.stops_early:
            return
        settings, sums = self.settings, self.record.sums
        clock = time.perf_counter()
        for now in self.ready.train(
            self.data.train,
            epochs=settings.epochs,
            pause_every=settings.save_every,
            loss_sum=sums.loss_sum,
            correct=sums.correct,
        ):
            display.update(now)
            seconds = self.record.sums.seconds + time.perf_counter() - clock
            self.record = replace(self.record, sums=Sums(now.loss_sum, now.correct, seconds))
            if now.epoch_ended:
                self._end_epoch(now, display.say)
                if self.record.stops_early:
                    return
            elif now.step % settings.save_every == 0:
                self._save()
            self._check_signals()
            clock = time.perf_counter()

    def _standing(self) -> Progress:
        """Where the state stands, as `train_epochs` would have said."""
        step, per_epoch, sums = int(self.state.step), self.ready.per_epoch, self.record.sums
        epoch = max(1, -(-step // per_epoch))
        batch_size = self.settings.batch_size or 1
        return Progress(epoch, self.settings.epochs, step, per_epoch, batch_size, sums.loss_sum, sums.correct)

    def _epoch_left_open(self) -> bool:
        """Whether the last epoch's steps are all made, and its line in the history is missing."""
        now = self._standing()
        return now.epoch_ended and len(self.record.history) < now.epoch

    def _end_epoch(self, now: Progress, say: Callable[[str], None]) -> None:
        before, clock = self.record, time.perf_counter()
        with self._others_wait(), self.state.averaged(), signals.at_once():
            validation = None if self.data.validation is None else self.ready.validate(self.data.validation)
            confusion = self._confusion(validation)
            frame = film.frame_of(now.epoch, self.ready.net, confusion)
        judged = None if validation is None else (validation.loss, validation.accuracy)
        row = self._row(now, judged, time.perf_counter() - clock, **self._by_class(confusion))
        self.directory.append_history(asdict(row))
        film.write_frame(self.directory.path, frame)
        if self.settings.tensorboard:
            self._board = self._board or TensorBoard(self.directory.path, self.ready.net, self.data.train.class_names)
            self._board.epoch(asdict(row), confusion)
        self._close_epoch(row)
        kept = self._save()
        if not kept:  # a best epoch that was not kept could not be tested later
            self.record = replace(self.record, best=before.best)
        self._tell(*(judged or (np.nan, np.nan)), kept)
        if row.epoch % self.settings.print_every == 0 or row.epoch == now.epochs:
            say(epoch_line(row, now.epochs, self.record.best, columns_of(sys.stdout)))

    def _row(self, now: Progress, judged: tuple[float, float] | None, seconds: float, **by_class: Any) -> Epoch:
        """The line of an epoch; `judged` are validation loss and accuracy, found in so many `seconds`."""
        training = max(self.record.sums.seconds, 1e-9)
        return Epoch(
            epoch=now.epoch,
            step=now.step,
            train_loss=now.loss,
            train_accuracy=now.accuracy,
            val_loss=None if judged is None else judged[0],
            val_accuracy=None if judged is None else judged[1],
            learning_rate=float(self.ready.schedule(tf.constant(now.step - 1)) * self.state.optimizer.factor),
            seconds=round(training + seconds, 3),
            images_per_second=round(now.steps_per_epoch * now.batch_size / training, 1),
            **by_class,
        )

    def _close_epoch(self, row: Epoch) -> None:
        """Add `row` to the history; with a plateau schedule it decides the learning rate."""
        before = self.record
        best = row if is_better(row, before.best) else before.best
        self.record = replace(before, sums=Sums(), history=(*before.history, row), best=best)
        if self.settings.schedule == "plateau":
            factor = schedules.plateau_factor([one.judged for one in self.record.history])
            self.state.optimizer.factor.assign(factor)

    def _confusion(self, validation: Evaluation | None) -> np.ndarray | None:
        source = self.data.validation
        if validation is None or source is None:
            return None
        return confusion_matrix(source.labels, validation.probabilities.argmax(axis=1), len(source.class_names))

    def _by_class(self, matrix: np.ndarray | None) -> dict[str, Any]:
        """What an epoch's line says of the single classes, from the confusion of the validation images."""
        if matrix is None:
            return {}
        scores = class_scores(matrix)
        rounded = {"val_macro_f1": round(scores.macro_f1, 6)}
        if len(matrix) > LISTED:
            return rounded
        lists = {"val_precision": scores.precision, "val_recall": scores.recall, "val_f1": scores.f1}
        return rounded | {name: values.round(4).tolist() for name, values in lists.items()}

    def _where_it_stands(self) -> ending.Standing:
        self.directory.check_held()  # who asks is going to write pictures and weights
        return ending.Standing(self.directory.path, self.data, self.ready, self.record, self.began, self._resumed)

    def _save(self, *, must: bool = False) -> bool:
        """Write a checkpoint; False if the disk did not take it and the run is to go on without (`--on_save_error`)."""
        best = self.record.best
        keep_best = () if best is None else (best.step,)
        self.directory.check_held()
        try:
            checkpoints.save(self.directory.path, self.state, self.record.as_dict(), also_keep=keep_best)
        except checkpoints.SaveError as error:
            if must or self.settings.on_save_error == "stop":
                raise
            tell(f"continuing without a checkpoint: {error}", sys.stderr)
            return False
        return True

    # Other workers, where there are some: see `rawcnn.run.workers`

    def _agree(self) -> None:
        """Raise `UsageError` unless all workers are to do the same."""
        if self.ready.replicas is not None:
            told = {name: value for name, value in self.settings.as_dict().items() if name not in OWN_BUSINESS}
            settings, data = (zlib.crc32(repr(what).encode()) for what in (told, self.record.data))
            checkpoint = -1 if self._saved is None else self._saved.step
            self.ready.replicas.agree(settings=settings, data=data, shards=self.ready.shards, checkpoint=checkpoint)

    def _check_signals(self) -> None:
        """Raise `Stopped` if a signal came, to this process or to another worker."""
        if self.ready.replicas is None:
            signals.check()
        elif number := int(self.ready.replicas.meet(signals.pending()).max()):
            raise signals.Stopped(number)

    def _tell(self, *numbers: float, signal: int = 0) -> None:
        """Tell the workers that wait for this one what came of it."""
        if self.ready.replicas is not None:
            self.ready.replicas.meet(signal, *numbers, *[0.0] * (TOLD - len(numbers)))

    @contextmanager
    def _others_wait(self) -> Iterator[None]:
        """Around what this worker does alone: if a signal stops it, the others are told."""
        try:
            yield
        except signals.Stopped as stopped:
            self._tell(signal=stopped.status - 128)
            raise
