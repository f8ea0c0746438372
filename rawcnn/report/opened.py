"""A finished run, opened: the only module here that knows how a run is kept and how its data are found again."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rawcnn.start  # noqa: F401

import numpy as np
from numpy.typing import NDArray

from rawcnn.data import datasets
from rawcnn.data.batches import in_order
from rawcnn.data.datasets import DataSet
from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import RawcnnError, RunError
from rawcnn.nets.chain import Chain
from rawcnn.run import directory as rundir
from rawcnn.run import inside
from rawcnn.run.classify import load_run
from rawcnn.train import checkpoints
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import LOSSES
from rawcnn.train.recipes import recipe_of

EXAMPLES = {"lenet": "train_lenet", "alexnet": "train_alexnet", "vgg": "train_vgg", "cifar": "train_cifar"}
SMOKE_IMAGES, SMOKE_LARGE_IMAGES, LARGE = 1000, 100, 64


@dataclass(frozen=True)
class Frame:
    """What is kept of one epoch: its first filters `[size, size, in, out]`, and its confusion matrix if known."""

    epoch: int
    filters: NDArray[np.float32]
    confusion: NDArray[np.integer] | None


@dataclass(frozen=True)
class OpenRun:
    """A run as the page needs it; `data` and `inputs` are None where the data are gone, and `missing` says why."""

    path: Path
    net: Chain
    preprocess: Preprocess
    class_names: tuple[str, ...]
    flags: Mapping[str, Any]
    meta: Mapping[str, Any]
    history: list[dict[str, Any]]
    data: DataSet | None
    inputs: Inputs | None
    missing: str

    @property
    def name(self) -> str:
        """The net's name."""
        return str(self.flags["net"])

    @property
    def data_name(self) -> str:
        """The data set's name."""
        return str(self.meta["data"]["name"])

    def command(self, *, resume: bool = False) -> str:
        """The command that began the run, or the one that goes on with it."""
        family = next((script for net, script in EXAMPLES.items() if self.name.startswith(net)), "train_googlenet")
        return f"python examples/{family}.py " + (
            f"--run={self.path} --resume" if resume else f"--flagfile={self.path / rundir.FLAGS} --run=NEW_DIRECTORY"
        )

    def probabilities(self) -> NDArray[np.float32]:
        """Every test image's class probabilities `[N, K]`, by the run's own test protocol."""
        assert self.data is not None and self.inputs is not None
        loss = LOSSES[recipe_of(self.name, self.flags["recipe"]).loss]
        return self.inputs.evaluator(self.net, loss, self.flags["crops"])(self.data.test).probabilities

    def shown(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Test images as the net is given them, after preprocessing: `[N, *net.input_shape]`."""
        assert self.data is not None and self.inputs is not None
        some, size = self.data.test.take(np.asarray(indices)), self.inputs.size
        views = [images.numpy() for images, _ in in_order(some, len(indices), self.inputs.test_crop, size)]
        stacked = np.concatenate(views)[: len(indices)]
        stacked = stacked[:, 0] if stacked.ndim == 5 else stacked
        return np.asarray(self.preprocess(stacked).numpy(), np.float32)

    def pixels(self, shown: NDArray[np.float32]) -> NDArray[np.float64]:
        """What `shown` gave, as pixels 0 ... 255 again."""
        low, high = (np.asarray(level, np.float64) for level in (self.preprocess.low, self.preprocess.high))
        return np.asarray((shown - low) * (255.0 / (high - low)))

    def frames(self) -> list[Frame]:
        """The epochs whose checkpoints are still there, in order."""
        row, found = inside.first_convolution(self.net), []
        epochs = {int(line["step"]): int(line["epoch"]) for line in self.history}
        for step in sorted(checkpoints.steps(self.path)):
            if step in epochs:
                arrays = checkpoints.read(checkpoints.path_of(self.path, step)).arrays
                found.append(Frame(epochs[step], _kernel(self.net, row, arrays[f"net/{row}/w"]), None))
        return found


def _kernel(net: Chain, row: str, w: NDArray[np.float32]) -> NDArray[np.float32]:
    layer = getattr(net, row)
    if w.ndim == 4:
        return w
    full = np.zeros((*w.shape[:2], *layer.table.shape), np.float32)
    full[:, :, layer.table] = w
    return full


def open_run(directory: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> OpenRun:
    """Open the run in `directory`; its data come from `data_dir`, or from where the run had them.

    Where the data are gone or have changed, the run is opened without them. Raises `RunError` if there is no run.
    """
    path = Path(directory)
    classifier = load_run(path)
    saved = checkpoints.newest(path)
    if saved is None:
        raise RunError(f"{path} holds no checkpoint of rawcnn.")
    meta = saved.meta
    flags = meta["flags"] | ({"data_dir": os.fspath(data_dir)} if data_dir is not None else {})
    data, missing = _find_data(flags, meta, classifier.data_shape[2])
    inputs = None
    if data is not None:
        inputs = Inputs.of(recipe_of(flags["net"], flags["recipe"]), data.train, flags["input_size"])
    return OpenRun(
        path, classifier.net, classifier.preprocess, classifier.class_names, flags, meta, meta["history"],
        data, inputs, missing,
    )  # fmt: skip


def _find_data(flags: Mapping[str, Any], meta: Mapping[str, Any], channels: int) -> tuple[DataSet | None, str]:
    """The run's data set, or None and why not."""
    limit = None
    if flags.get("smoke"):
        limit = SMOKE_IMAGES if meta["input_shape"][0] <= LARGE else SMOKE_LARGE_IMAGES
    try:
        data = datasets.load(
            flags["dataset"], flags["data_dir"], colour=channels == 3, validation=flags["validation"],
            seed=flags["seed"], sample=flags["sample"], limit=limit, bad_images=flags["bad_images"],
            max_pixels=flags["max_pixels"], log=lambda line: None,
        )  # fmt: skip
    except RawcnnError as error:
        return None, str(error)
    then = meta["data"]
    labels = zlib.crc32(data.train.labels.tobytes())
    if (len(data.train), labels) != (then["training images"], then["labels"]):
        return None, f"The data set is not the one that the run was trained on ({then['training images']:,} images)."
    return data, ""
