"""The document inside a checkpoint: all that a run must know to continue, and a classifier to read images."""

import platform
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import rawcnn
from rawcnn import machine
from rawcnn.data.datasets import DataSet
from rawcnn.errors import RunError, UsageError
from rawcnn.run.settings import Settings
from rawcnn.train import checkpoints, schedules
from rawcnn.train.checkpoints import Checkpoint
from rawcnn.train.inputs import Inputs

LISTED = 20
"""Classes of which the history lists precision, recall and F1; of more it has the macro F1 alone."""
VERSION = 3
"""Of this document. A checkpoint of another version is refused: what is not in it cannot be guessed."""
OWN_NET = "own"
"""What a net is called that was given as a `Chain`, not by name."""


@dataclass(frozen=True)
class Epoch:
    """One line of the history: mean losses, accuracies 0 ... 1; validation is None where there is none.

    Precision, recall and F1 of each class, in the order of the class names, are those of the validation images; None
    where there are more than `LISTED` classes. See `rawcnn.train.evaluate.ClassScores`.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    val_macro_f1: float | None = None
    val_precision: list[float] | None = None
    val_recall: list[float] | None = None
    val_f1: list[float] | None = None

    @property
    def judged(self) -> float:
        """The accuracy by which epochs are compared: of validation, or where there is none, of training."""
        return self.train_accuracy if self.val_accuracy is None else self.val_accuracy


@dataclass(frozen=True)
class Sums:
    """Of the epoch that is under way: sums over its steps so far, and the seconds they took."""

    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class DataFacts:
    """What a resumed run must find unchanged of its data; `labels` is a checksum of the training labels."""

    name: str
    training_images: int
    class_names: tuple[str, ...]
    labels: int

    @staticmethod
    def of(data: DataSet) -> "DataFacts":
        train = data.train
        return DataFacts(data.name, len(train), tuple(train.class_names), zlib.crc32(train.labels.tobytes()))

    def __str__(self) -> str:
        first = ", ".join(self.class_names[:5]) + (", ..." if len(self.class_names) > 5 else "")
        return f"{self.name}, {self.training_images:,} training images of {len(self.class_names)} classes ({first})"


@dataclass(frozen=True)
class Record:
    """Everything about a run, apart from the variables of its training state.

    `best` is the epoch with the best validation accuracy so far, None without validation images or before the first.
    `shards` are those of a batch, computed side by side. `class_weights` are those in the training loss, as they were
    when the run began.
    `loaded` are the rows whose first weights came from `Settings.weights`. `replicas` share each batch, see
    `rawcnn.train.strategy`.
    """

    settings: Settings
    data: DataFacts
    inputs: Inputs
    input_shape: tuple[int, ...]
    shards: int
    class_weights: tuple[float, ...] | None = None
    sums: Sums = Sums()
    history: tuple[Epoch, ...] = ()
    best: Epoch | None = None
    loaded: tuple[str, ...] = ()
    replicas: int = 1

    @property
    def tested(self) -> Epoch | None:
        """The epoch whose weights are tested: the last, or the best if the run stopped early; None before the first."""
        if self.stops_early and self.best is not None:
            return self.best
        return self.history[-1] if self.history else None

    @property
    def stops_early(self) -> bool:
        """Whether the run is over because none of its last `patience` epochs was better than the best."""
        epochs = len(self.history)
        return schedules.stops_early(epochs, self.best.epoch if self.best else epochs, self.settings.patience)

    def as_dict(self) -> dict[str, Any]:
        """The document, as JSON takes it."""
        return {
            "version": VERSION,
            "versions": _versions(),
            "machine": machine.described(),
            "settings": self.settings.as_dict(),
            "data": asdict(self.data),
            "inputs": self.inputs.as_dict(),
            "input_shape": list(self.input_shape),
            "shards": self.shards,
            "class_weights": None if self.class_weights is None else list(self.class_weights),
            "sums": asdict(self.sums),
            "history": [asdict(row) for row in self.history],
            "best": None if self.best is None else asdict(self.best),
            "loaded": list(self.loaded),
            "replicas": self.replicas,
        }

    @staticmethod
    def of(saved: Checkpoint) -> "Record":
        """The record in a checkpoint. Raises `RunError` if it is of another version, or damaged."""
        document = saved.meta
        if document.get("version") != VERSION:
            raise RunError(
                f"{saved.path} was written by another version of rawcnn (its record has version "
                f"{document.get('version', 1)!r}, this rawcnn reads {VERSION}): use the rawcnn that wrote it, "
                "or begin another run."
            )
        try:
            return _record(document)
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise RunError(
                f"{saved.path} holds a damaged record ({error}): delete it, and the checkpoint before it is used."
            ) from None


class Origin(NamedTuple):
    """What wrote a checkpoint: versions by the name of the program, and the machine in words."""

    versions: dict[str, str]
    machine: str


def origin_of(saved: Checkpoint) -> Origin:
    """What wrote a checkpoint. Raises `RunError` if its record is damaged."""
    versions, where = saved.meta.get("versions"), saved.meta.get("machine")
    if not isinstance(versions, dict) or not isinstance(where, str):
        raise RunError(f"{saved.path} holds a damaged record: delete it, and the checkpoint before it is used.")
    return Origin({str(name): str(version) for name, version in versions.items()}, where)


def tested(directory: Path) -> tuple[Checkpoint, Record] | None:
    """The newest sound checkpoint of the run in `directory`, or that of its best epoch if it stopped early.

    None if there is no run. Raises `RunError` if all checkpoints are damaged.
    """
    saved = checkpoints.newest(directory) if directory.is_dir() else None
    if saved is None:
        return None
    record = Record.of(saved)
    if record.stops_early and record.best:
        saved = checkpoints.read(checkpoints.path_of(directory, record.best.step))
    return saved, record


def is_better(row: Epoch, best: Epoch | None) -> bool:
    """Whether an epoch is the best so far: a higher validation accuracy, and a validation loss that is a number.

    Where all is NaN the first class is the answer to everything, which may well be the highest accuracy so far.
    """
    if row.val_loss is None or row.val_accuracy is None or not np.isfinite([row.val_loss, row.val_accuracy]).all():
        return False
    return best is None or best.val_accuracy is None or row.val_accuracy > best.val_accuracy


def _versions() -> dict[str, str]:
    return {
        "rawcnn": rawcnn.__version__,
        "Python": platform.python_version(),
        "TensorFlow": tf.__version__,
        "NumPy": np.__version__,
    }


def _record(document: Mapping[str, Any]) -> Record:
    known = {"version", "versions", "machine", *(item.name for item in fields(Record))}
    if wrong := document.keys() ^ known:
        raise ValueError(f"{min(wrong)} is {'missing' if min(wrong) in known else 'unknown'}")
    data = document["data"]
    shape, shards, replicas = tuple(document["input_shape"]), document["shards"], document["replicas"]
    if not all(type(length) is int and length > 0 for length in (*shape, shards, replicas)):
        raise ValueError("its shapes make no sense")
    return Record(
        settings=Settings.from_dict(document["settings"]),
        data=_of(DataFacts, data | {"class_names": tuple(map(str, data["class_names"]))}),
        inputs=Inputs.from_dict(document["inputs"]),
        input_shape=shape,
        shards=shards,
        class_weights=_weights(document["class_weights"]),
        sums=_of(Sums, document["sums"]),
        history=tuple(_of(Epoch, row) for row in document["history"]),
        best=None if document["best"] is None else _of(Epoch, document["best"]),
        loaded=tuple(map(str, document["loaded"])),
        replicas=replicas,
    )


def _weights(values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise TypeError(f"class_weights is {values!r}")
    return tuple(values)


def _of(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of numbers and texts; raises `TypeError` for fields too many, too few, or of another type."""
    optional = (type(None),)
    kinds: dict[Any, tuple[type, ...]] = {
        int: (int,), float: (float, int), str: (str,), list[float] | None: (list, *optional)
    }  # fmt: skip
    made = kind(**values)
    for item in fields(kind):
        value = getattr(made, item.name)
        wanted = kinds.get(item.type, (tuple, float, int, *optional))
        numbers = not isinstance(value, list) or all(type(one) in (int, float) for one in value)
        if isinstance(value, bool) or not isinstance(value, wanted) or not numbers:
            raise TypeError(f"{item.name} is {value!r}")
    return made
