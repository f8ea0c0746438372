"""A finished run, opened: the only module here that knows how a run is kept and how its data are found again."""

import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.data.batches import in_order
from rawcnn.data.datasets import KNOWN, DataSet
from rawcnn.data.source import Labelled
from rawcnn.errors import RawcnnError
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain
from rawcnn.run import film
from rawcnn.run.classify import Build, load_run
from rawcnn.run.given import data_of
from rawcnn.run.plan import recipe_for
from rawcnn.run.record import DataFacts, Origin, Record, origin_of
from rawcnn.run.settings import Settings
from rawcnn.train import checkpoints
from rawcnn.train.evaluate import Evaluation
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import LOSSES

Evaluate = Callable[[Labelled], Evaluation]


@dataclass(frozen=True)
class OpenRun:
    """A run as the page needs it; `data` is None where they are gone, and `missing` says why."""

    path: Path
    net: Chain
    record: Record
    origin: Origin
    history: list[dict[str, Any]]
    data: DataSet | None
    missing: str

    @property
    def settings(self) -> Settings:
        """What the run was told, every value settled."""
        return self.record.settings

    @property
    def inputs(self) -> Inputs:
        """How images are shown to the net."""
        return self.record.inputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.record.data.class_names

    @property
    def title(self) -> str:
        """The net and the data in a few words."""
        return f"{self.settings.net} on {self.record.data.name}"

    def command(self, *, resume: bool = False) -> str:
        """The command that trains such a run again, or the one that continues this one."""
        if resume:
            return shlex.join(["rawcnn", "train", f"--run={os.path.abspath(self.path)}", "--resume"])
        told = [f"--{name}={value}" for name, value in self.settings.texts().items() if self._differs(name)]
        return shlex.join(["rawcnn", "train", *told])

    def _differs(self, name: str) -> bool:
        return getattr(self.settings, name) != getattr(Settings, name) or name in ("net", "epochs", "seed")

    def probabilities(self) -> NDArray[np.float32]:
        """Every test image's class probabilities `[N, K]`, by the run's own test protocol."""
        assert self.data is not None
        return self._evaluator(self.settings.crops)(self.data.test).probabilities

    def shown(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Test images as the net is given them, after preprocessing: `[N, *net.input_shape]`."""
        assert self.data is not None
        some, size = self.data.test.take(np.asarray(indices)), self.inputs.size
        views = [images.numpy() for images, _ in in_order(some, len(indices), self.inputs.test_crop, size)]
        stacked = np.concatenate(views)[: len(indices)]
        stacked = stacked[:, 0] if stacked.ndim == 5 else stacked
        return np.asarray(self.inputs.preprocess(stacked).numpy(), np.float32)

    def pixels(self, shown: NDArray[np.float32]) -> NDArray[np.float64]:
        """What `shown` gave, as pixels 0 ... 255 again."""
        preprocess = self.inputs.preprocess
        low, high = (np.asarray(level, np.float64) for level in (preprocess.low, preprocess.high))
        return np.asarray((shown - low) * (255.0 / (high - low)))

    def frames(self) -> list[film.Frame]:
        """What is kept of the epochs so far, in order."""
        return film.read_frames(self.path, len(self.history))

    def resumed(self) -> list[int]:
        """The epochs in which the run was resumed."""
        return film.resumed_epochs(self.path)

    def _evaluator(self, crops: str) -> Evaluate:
        loss = LOSSES[recipe_for(self.settings, None if self.settings.net in NETS else self.net).loss]
        return self.inputs.tester(self.net, loss, crops)


def open_run(
    directory: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None, net: Build = None
) -> OpenRun:
    """Open the run in `directory`; its data come from `data_dir`, or from where the run had them.

    Where the data are gone or have changed, the run is opened without them. `net` is needed for a net of one's own, as
    in `load_run`. Raises `RunError` if there is no run.
    """
    path = Path(os.path.expanduser(directory))
    classifier = load_run(path, net)
    saved, record = checkpoints.newest(path), classifier.record
    assert saved is not None and record is not None  # `load_run` found both
    settings = record.settings if data_dir is None else replace(record.settings, data_dir=os.fspath(data_dir))
    data, missing = _find_data(settings, record)
    history = [asdict(row) for row in record.history]
    return OpenRun(path, classifier.net, record, origin_of(saved), history, data, missing)


def _find_data(settings: Settings, record: Record) -> tuple[DataSet | None, str]:
    """The run's data set, or None and why not."""
    if record.data.name not in KNOWN:
        return None, "The run was given arrays in Python, which are not kept in its directory."
    try:
        data = data_of(None, settings, record.input_shape)
    except RawcnnError as error:
        return None, str(error)
    now = DataFacts.of(data)
    if now != record.data:
        return None, f"The run was trained on {record.data}, but the data set is now {now}."
    return data, ""
