"""The end of a run: the weights that are tested, the pictures, and the last lines."""

import html
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rawcnn.data.batches import thumbnails
from rawcnn.data.datasets import DataSet
from rawcnn.errors import RawcnnError
from rawcnn.layers import Dropout
from rawcnn.nets import NETS
from rawcnn.nets.weights import save_weights
from rawcnn.run import album, pictures
from rawcnn.run.directory import WEIGHTS
from rawcnn.run.output import tell
from rawcnn.run.plan import Plan
from rawcnn.run.progress import columns_of, wrapped
from rawcnn.run.record import Epoch, Record
from rawcnn.train import checkpoints
from rawcnn.train.evaluate import Evaluation, confusion_matrix
from rawcnn.train.fit import duration

FEW_UPDATES = 500  # the moving averages of batch normalisation may be far from the data's until then


@dataclass(frozen=True)
class Standing:
    """Where a run stands, when it ends or is stopped.

    `began` is when this process began (`time.perf_counter`); `resumed`: whether it resumed the run.
    """

    directory: Path
    data: DataSet
    ready: Plan
    record: Record
    began: float
    resumed: bool = False


@dataclass(frozen=True)
class Result:
    """What a run came to: its history, and the test of the weights of epoch `tested` (None: of no training at all)."""

    directory: Path
    history: tuple[Epoch, ...]
    tested: Epoch | None
    best: Epoch | None
    test: Evaluation

    def __repr__(self) -> str:
        return f"<test accuracy {self.test.accuracy:.2%} after {len(self.history)} epochs, in {self.directory}>"

    def _repr_html_(self) -> str:
        """The history as a table, as notebooks show it."""
        head = ("epoch", "training loss", "accuracy", "validation loss", "accuracy", "seconds")
        cells = [
            (row.epoch, f"{row.train_loss:.4f}", f"{row.train_accuracy:.2%}", _loss(row.val_loss),
             _percent(row.val_accuracy), f"{row.seconds:.1f}")
            for row in self.history
        ]  # fmt: skip
        rows = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in cells]
        header = "".join(f"<th>{name}</th>" for name in head)
        end = f"<p>{html.escape(repr(self)[1:-1])}</p>"
        return f"<table><tr>{header}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>{end}"


def finish(now: Standing) -> Result:
    """Test the last epoch, or the best if the run stopped early; keep weights and pictures, and say all of it."""
    record, ready, directory = now.record, now.ready, now.directory
    tested = record.tested
    if record.stops_early and tested is not None:
        tell(f"no better validation accuracy in {now.ready.settings.patience} epochs: testing epoch {tested.epoch}")
        checkpoints.read(checkpoints.path_of(directory, tested.step)).restore(ready.state)
    with ready.state.averaged():
        save_weights(ready.net, directory / WEIGHTS)
        test = ready.test(now.data.test)
    made = _drawn(_pictures_so_far(now), _test_pictures(now, test))
    title = f"{ready.settings.net} on {now.data.name}"
    with ready.state.averaged():
        made += (
            _drawn(album.of_net(directory, ready.net, ready.inputs, now.data.test, test.probabilities, title=title))
            if made
            else []
        )  # without matplotlib
    tell("")
    columns = columns_of(sys.stdout)
    for line in _tested(record):
        tell(wrapped(line, columns))
    if remark := _one_answer(now, test):
        tell(wrapped(remark, columns))
    first = f"look at {directory / made[1]} first; " if len(made) > 1 else ""
    kept = f"{directory} holds {', '.join([*made, WEIGHTS])}, history.jsonl and the checkpoints"
    tell(wrapped(f"took {_took(now)}; {first}{kept}", columns))
    if ready.settings.net in NETS:
        tell(wrapped(f"see inside the net: {shlex.join(['rawcnn', 'report', f'--run={directory}'])}", columns))
    tell(f"test loss {test.loss:.4f}")
    tell(f"test accuracy {test.accuracy:.2%}")
    return Result(directory, record.history, tested, record.best, test)


def _took(now: Standing) -> str:
    """The time of this process and, where it resumed a run, that of all epochs."""
    took = duration(time.perf_counter() - now.began)
    if not now.resumed:
        return took
    return f"{took} since it was resumed ({duration(sum(row.seconds for row in now.record.history))} for all epochs)"


def weights_in_words(record: Record) -> str:
    """Which weights the test of a run is of, by the record of its newest checkpoint."""
    kind, epochs = ("averaged weights" if record.settings.average else "weights"), record.settings.epochs
    if record.sums.seconds:  # the run was stopped, or still trains
        return f"the {kind} in the middle of epoch {len(record.history) + 1}"
    tested = record.tested
    if tested is None:
        return "the initial weights"
    last = "the last" if tested.epoch >= epochs else f"the last so far of {epochs}"
    return f"the {kind} of epoch {tested.epoch}, {last if tested == record.history[-1] else 'the best'}"


def _tested(record: Record) -> list[str]:
    """Which weights were tested, and how the last epoch and the best did on validation images."""
    lines = [f"tested: {weights_in_words(record)}"]
    if not record.history:
        return lines
    last, best = record.history[-1], record.best
    if best is None:
        return lines + (
            [] if last.val_loss is not None else ["no validation images: the test images are the only judge"]
        )
    lines.append(f"last epoch {_judged(last)}")
    if best != last:
        lines.append(f"best epoch {_judged(best)}")
    return lines


def _judged(row: Epoch) -> str:
    return f"{row.epoch}: validation loss {_loss(row.val_loss)}, accuracy {_percent(row.val_accuracy)}"


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _one_answer(now: Standing, test: Evaluation) -> str:
    """What to say where one class is the answer to every test image."""
    answers = np.unique(test.probabilities.argmax(axis=1))
    if len(answers) != 1 or len(np.unique(now.data.test.labels)) == 1:
        return ""
    updates = int(now.ready.state.step)
    if not np.isfinite(test.probabilities).all():
        why = "its outputs are not finite numbers. Try a smaller learning rate."
    elif now.ready.net.num_statistics() and updates < FEW_UPDATES:
        why = (
            f"after {updates} updates the averages of its batch normalisation are still far from the data's. "
            "Train for more epochs."
        )
    else:
        why = "it has not learnt to tell the classes apart. Train longer, or try another learning rate."
    return f"every answer is {now.data.test.class_names[answers[0]]!r}: {why}"


# Pictures

Drawing = Callable[[], Path]


def pictures_of_a_stopped_run(now: Standing) -> None:
    """What a run that was stopped can already show."""
    if made := _drawn(_pictures_so_far(now)):
        tell(f"{now.directory} holds {', '.join(made)} of the run so far")


def _drawn(*groups: list[Drawing]) -> list[str]:
    """Draw the pictures and return their names; without matplotlib, say what is missing."""
    try:
        return [draw().name for group in groups for draw in group]
    except RawcnnError as error:
        tell(f"no pictures: {error}")
        return []


def _pictures_so_far(now: Standing) -> list[Drawing]:
    """Training images, and the curves of the epochs so far."""
    data, path = now.data, now.directory
    rows = [vars(row) for row in now.record.history]
    title = f"{now.ready.settings.net} on {data.name}"
    loss, classes = now.ready.recipe.loss.replace("_", " "), len(data.train.class_names)
    curves: list[Drawing] = [
        lambda: pictures.save_curves(
            rows, path / "curves.png", title=title, loss=loss, classes=classes, harder=_harder(now.ready)
        )
    ]
    return [lambda: _samples(now), *(curves if rows else [])]


def _harder(ready: Plan) -> list[str]:
    """What makes the training images harder to read than the validation images."""
    layers = [layer for _, layer in ready.net.rows]
    found = {
        "dropout": any(isinstance(layer, Dropout) for layer in layers),
        "cropped views": ready.recipe.crop is not None,
        "changed colours or shapes": ready.changes.augment is not None,
        "mixed images": ready.changes.mix is not None,
    }
    return [what for what, there in found.items() if there]


def _samples(now: Standing) -> Path:
    train, ready = now.data.train, now.ready
    seed, more = ready.settings.seed, ready.changes
    images, labels = album.training_views(
        train, ready.inputs, seed=seed, augment=more.augment, balanced=more.balanced, mix=more.mix
    )
    title = f"{now.data.name}: {len(images)} of the {len(train):,} training images, as the net is given them"
    return pictures.save_samples(images, labels, train.class_names, now.directory / "samples.png", title=title)


def _test_pictures(now: Standing, test: Evaluation) -> list[Drawing]:
    """Confusion and mistakes."""
    source, net, path = now.data.test, now.ready.settings.net, now.directory
    predicted = test.probabilities.argmax(axis=1)
    matrix = confusion_matrix(source.labels, predicted, len(source.class_names))
    sure = pictures.worst_mistakes(source.labels, test.probabilities)
    return [
        lambda: pictures.save_confusion(
            matrix, source.class_names, path / "confusion.png", title=f"{net}, test images"
        ),
        lambda: pictures.save_mistakes(
            thumbnails(source, sure, crop=now.ready.inputs.test_crop),
            source.labels[sure],
            predicted[sure],
            test.probabilities[sure, predicted[sure]],
            source.class_names,
            path / "mistakes.png",
            indices=sure,
            files=source.file_names(sure),
            title=f"{net}: the test images it got most wrong",
        ),
    ]  # fmt: skip
