"""Everything that a run is told, as one table: the flags, flags.txt and the checkpoints are made from it.

A setting says its default, its bounds, what it does, and whether a resumed run may be given another value.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rawcnn.data import datasets
from rawcnn.data.balance import BALANCED
from rawcnn.data.images.headers import MAX_PIXELS
from rawcnn.data.views import FITS
from rawcnn.errors import UsageError
from rawcnn.nets import precision
from rawcnn.ops.fast import forms
from rawcnn.run.fields import (
    CHANGES,
    DATA,
    FINE_TUNING,
    FIRST,
    MACHINE,
    SAVING,
    TRAINING,
    UNEVEN,
    check_all,
    check_names,
    setting,
)
from rawcnn.train.changes import AUGMENTS
from rawcnn.train.inputs import CROPS
from rawcnn.train.optimizers import OPTIMIZERS
from rawcnn.train.recipes import SCHEDULES
from rawcnn.train.strategy import NAMES as STRATEGIES
from rawcnn.train.strategy import NONE


@dataclass(frozen=True)
class Settings:
    """Settings of a run. None stands for a value that the net's recipe, or the machine, decides.

    Raises `UsageError` that names the setting, the value and the rule.

    >>> Settings(epochs=0)
    Traceback (most recent call last):
    rawcnn.errors.UsageError: epochs must be 1 or more, not 0.
    """

    net: str = setting("lenet5", FIRST, "The net to train.")
    dataset: str = setting(
        "auto", FIRST, "What to train on. auto: what data_dir holds, else MNIST or CIFAR-10, else synthetic digits.",
        choices=datasets.NAMES,
    )  # fmt: skip
    data_dir: str | None = setting(
        None, FIRST, "Directory with the data. Without it: the cache, else a download.", may_change=True, path=True
    )
    epochs: int = setting(10, FIRST, "Passes over the training images.", low=1, may_change=True)
    batch_size: int | None = setting(None, FIRST, "Images per update.", low=1)
    learning_rate: float | None = setting(
        None, FIRST, "Learning rate at the start; `schedule` says how it falls.", low=0.0, may_change=True
    )
    optimizer: str | None = setting(None, FIRST, "Update rule.", choices=tuple(sorted(OPTIMIZERS)))
    precision: str = setting(
        "auto", FIRST, "What to compute in; weights are always float32. auto: bfloat16 where the hardware has it and "
        "it was measured to cost no accuracy, else float32.",
        choices=precision.NAMES,
    )  # fmt: skip
    seed: int = setting(0, FIRST, "Decides initial weights, order of images and distortions.", low=0, high=2**32 - 1)
    smoke: bool = setting(False, FIRST, "Try it out: few images, 2 epochs.")

    sample: float = setting(1.0, DATA, "Fraction of the training images to use, of each class.", low=0.0, high=1.0)
    test_sample: float = setting(
        1.0, DATA, "Fraction of the test images to use, of each class.", low=0.0, high=1.0, may_change=True
    )
    validation: float | None = setting(
        None, DATA, "Fraction (below 1) or number of images to hold out for validation. 0: train on all.", low=0.0
    )
    folds: int = setting(
        0, DATA, "Cut the training images into so many folds, and validate on one, `fold`. `rawcnn sweep --folds=5` "
        "trains on all. 0: `validation` decides.", low=0,
    )  # fmt: skip
    fold: int | None = setting(None, DATA, "Which of the folds validates: 1 ... folds.", low=1)
    class_names: str | None = setting(
        None, DATA, "Text file with the names of the classes, one a line, where the data have none.", path=True
    )
    bad_images: str = setting("error", DATA, "What to do about images that cannot be read.", choices=("error", "skip"))
    max_pixels: int = setting(MAX_PIXELS, DATA, "Refuse image files that declare more pixels.", low=1)
    fit: str | None = setting(
        None, DATA, "How images that are not square become squares. squeeze: their aspect changes; crop: only the "
        "central square is seen; pad: black is added. By default squeeze, or crops as the recipe says.",
        choices=tuple(FITS),
    )  # fmt: skip
    distort: bool = setting(
        False, CHANGES, "Distort training images, elastically and in the plane, instead of the recipe's changes."
    )
    distort_strength: float = setting(
        1.0, CHANGES, "How far distort turns, scales, shears, moves and bends images. 2: twice as far as usual.",
        low=0.05, high=5.0,
    )  # fmt: skip
    augment: str | None = setting(
        None, CHANGES, "Change training images like this, not as the recipe does. trivial: TrivialAugment, for photos.",
        choices=tuple(AUGMENTS),
    )  # fmt: skip
    augment_epochs: int | None = setting(
        None, CHANGES, "Change training images in the first so many epochs only; the net sees them as they are in the "
        "rest. By default in all.", low=1,
    )  # fmt: skip
    erase: float = setting(
        0.0, CHANGES, "Fraction of the training images of which a rectangle is covered with noise.", low=0.0, high=1.0
    )
    mixup: float = setting(
        0.0, CHANGES, "Blend training images in pairs, and their labels: alpha, such as 0.2. 0: never.",
        low=0.0, high=1000.0,
    )  # fmt: skip
    cutmix: float = setting(
        0.0, CHANGES, "Paste a box of one training image into another, and mix the labels: alpha, such as 1. 0: never. "
        "With mixup too, a toss decides for each image.",
        low=0.0, high=1000.0,
    )  # fmt: skip
    balanced_sampling: bool = setting(False, UNEVEN, "Show each class equally often in an epoch.")

    weights: str | None = setting(
        None, FINE_TUNING, "Begin with these weights: the directory of a run, or a .npz, .safetensors or Keras's .h5. "
        "Rows that fit are loaded, and the others begin as always.", path=True,
    )  # fmt: skip
    freeze: str | None = setting(
        None, FINE_TUNING, "Rows that are not trained, by name: conv1..conv5,fc6. They compute as in testing."
    )
    unfreeze_after: int | None = setting(None, FINE_TUNING, "Train all rows after so many epochs.", low=1)
    loaded_rate_factor: float | None = setting(
        None, FINE_TUNING, "Multiply the learning rate by this in rows that were loaded from `weights`, as in 0.1.",
        low=1e-9, high=1.0,
    )  # fmt: skip
    recipe: str | None = setting(None, TRAINING, "How to train: paper, course or ours, as far as the net has them.")
    schedule: str | None = setting(
        None, TRAINING, "How the learning rate falls; by default as the recipe says.", choices=tuple(SCHEDULES)
    )
    input_size: int | None = setting(None, TRAINING, "Pixels a side of the net's input; by default its own.", low=1)
    class_weights: str | None = setting(
        None, UNEVEN, "How much each class counts in the training loss. balanced: rare ones more, so that all "
        "classes count the same; or a file with a class and a number in each line. Validation and test losses are not "
        "weighted.",
        path=True,
    )  # fmt: skip
    accumulate: int = setting(
        1, TRAINING, "Compute a batch in so many pieces, one after the other, to save memory. The update is that of "
        "the whole batch, but batch normalisation sees one piece at a time.",
        low=1,
    )  # fmt: skip
    recompute: bool = setting(
        False, TRAINING, "Compute most rows of the net a second time on the way back, to save memory. For batches that "
        "must stay whole, as for batch normalisation; otherwise `accumulate` saves more in less time.",
    )  # fmt: skip
    sync_batch_norm: bool = setting(
        True, TRAINING, "On several replicas (see strategy), batch normalisation takes its statistics over the whole "
        "batch. --nosync_batch_norm: each over its own part, which is faster, but depends on how many they are.",
    )  # fmt: skip
    average: float | None = setting(
        None, TRAINING, "Decay of the weights' moving averages; 0: none.", low=0.0, high=1.0
    )
    patience: int = setting(
        0, TRAINING, "Stop after so many epochs without a better one, and test the best. 0: never.", low=0,
        may_change=True,
    )  # fmt: skip
    crops: str = setting(
        "1", TRAINING, "Views of each test image whose answers are averaged.", choices=CROPS, may_change=True
    )

    save_every: int = setting(
        500, SAVING, "Steps between checkpoints; there is one after each epoch too.", low=1, may_change=True
    )
    on_save_error: str = setting(
        "stop", SAVING, "If a checkpoint cannot be written: stop, or warn and continue.", choices=("stop", "warn"),
        may_change=True,
    )  # fmt: skip
    print_every: int = setting(
        1, SAVING, "Print a line every so many epochs; the history has all of them.", low=1, may_change=True
    )

    tensorboard: bool = setting(
        False, SAVING, "Write what TensorBoard shows into the run's folder tensorboard.", may_change=True
    )

    threads: int | None = setting(
        None, MACHINE, "Threads to compute with; by default one a core.", low=1, may_change=True
    )
    strategy: str = setting(
        NONE, MACHINE, "mirrored: all GPUs of this machine share each batch. multi_worker: the processes that the "
        "environment variable TF_CONFIG names do, each with its GPUs.", choices=STRATEGIES, may_change=True,
    )  # fmt: skip
    forms: str = setting(
        "auto", MACHINE, "Use the faster, equal forms of ops that pay on this instruction set. auto: on this "
        "machine's; none: TensorFlow's own ops.",
        choices=("auto", *forms.CHOICES),
    )  # fmt: skip
    deterministic: bool = setting(
        False, MACHINE, "Use only ops that repeat bit for bit; the time spent waiting for data then reads 0%."
    )

    def __post_init__(self) -> None:
        check_all(self)
        for name in ("sample", "test_sample"):
            if getattr(self, name) == 0:
                raise UsageError(f"{name} must be above 0 and at most 1, not 0.")
        if self.validation is not None and self.validation > 1 and self.validation % 1:
            raise UsageError(
                f"validation must be a fraction below 1 or a whole number of images, not {self.validation:g}."
            )
        if self.folds == 1 or (self.folds > 0) != (self.fold is not None) or (self.fold or 0) > self.folds:
            raise UsageError(
                f"folds={self.folds} and fold={self.fold} do not fit: folds=5 (2 or more) goes with a fold of 1 ... 5. "
                "`rawcnn sweep --folds=5` trains all five."
            )
        if self.distort_strength != 1 and not self.distort:
            raise UsageError("distort_strength needs distort: it says how far images are distorted.")
        if self.distort and self.augment:
            raise UsageError("distort and augment exclude each other: choose one.")
        if self.unfreeze_after and not self.freeze:
            raise UsageError("unfreeze_after needs freeze: the rows that are trained later.")
        if self.loaded_rate_factor is not None and not self.weights:
            raise UsageError("loaded_rate_factor needs weights: it is for the rows that are loaded.")
        for name in ("data_dir", "class_names", "class_weights", "weights"):  # a run may go on from another directory
            path = getattr(self, name)
            if path and "://" not in path and not (name == "class_weights" and path == BALANCED):
                object.__setattr__(self, name, os.path.abspath(path))

    def texts(self) -> dict[str, str]:
        """Every setting that has a value, as text: what flags.txt says."""
        return {name: str(value) for name, value in self.as_dict().items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON takes it."""
        return {name: getattr(self, name) for name in NAMES}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """What `as_dict` gave. Raises `UsageError` that names a setting that is missing or unknown."""
        values = {**ADDED, **values}
        check_names(values, NAMES, "setting")
        if missing := [name for name in NAMES if name not in values]:
            raise UsageError(f"the setting {missing[0]!r} is missing.")
        return cls(**values)


@dataclass(frozen=True)
class Where:
    """Where a run's files are, and what to do about those that are there. Not saved."""

    run: str | None = setting(None, FIRST, "Directory for all results; by default a new one below runs/.", path=True)
    resume: bool = setting(False, FIRST, "Continue the run in --run from its last checkpoint, with its flags.")
    overwrite: bool = setting(False, FIRST, "Delete the run in --run and begin again.")

    def __post_init__(self) -> None:
        check_all(self)
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite exclude each other: choose one.")
        if (self.resume or self.overwrite) and not self.run:
            raise UsageError("Which run? Name its directory with --run=DIR.")


ADDED: dict[str, Any] = {"distort_strength": 1.0}
"""Settings that older runs do not have -> what those runs did."""
NAMES = tuple(item.name for item in fields(Settings))
MAY_CHANGE = tuple(item.name for item in fields(Settings) if item.metadata["info"].may_change)
"""Settings that a resumed run may be given anew; all others decide what is computed.

`epochs`, `learning_rate` decide what is still to come, which is said aloud; `threads` decides last bits only, and may
not change with `deterministic`.
"""

SETTLED = ("precision", "forms")
"""Settings whose "auto" a run decides when it begins: it keeps what it decided."""


def resumed(saved: Settings, told: Mapping[str, Any], where: str) -> tuple[Settings, dict[str, str]]:
    """The settings with which a run continues: those `saved`, but those in `told` that may change.

    Also returns what changes, by name, in words. Raises `UsageError` if a change is told that may not be made.
    """
    changed = {}
    for name, value in told.items():
        same = value == getattr(saved, name) or (name in SETTLED and value == "auto")
        if not same:
            changed[name] = f"--{name} was {getattr(saved, name)} and is now {value}"
    deterministic = told.get("deterministic", saved.deterministic)
    allowed = [name for name in MAY_CHANGE if not (name == "threads" and deterministic)]
    if refused := [change for name, change in changed.items() if name not in allowed]:
        raise UsageError(
            f"{where} cannot be resumed: {'; '.join(refused)}. Only --{', --'.join(allowed)} may change; "
            "leave the others out, or begin another run."
        )
    return replace(saved, **{name: told[name] for name in changed}), changed
