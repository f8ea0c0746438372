"""A trained run, ready to say what is in an image."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rawcnn.errors import RunError, UsageError, similar_path
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain
from rawcnn.nets.predictor import Predictor
from rawcnn.nets.weights import assign
from rawcnn.ops.fast.forms import chosen_for
from rawcnn.run.lock import check_not_in_use
from rawcnn.run.record import OWN_NET, Record, tested
from rawcnn.train.inputs import Inputs, Seen

Build = Chain | Callable[[], Chain] | None


@dataclass(frozen=True)
class Classifier:
    """A net with its weights, how images are shown to it, the names of its classes, and the record of its run."""

    net: Chain
    inputs: Inputs
    class_names: tuple[str, ...]
    record: Record | None = None

    def __repr__(self) -> str:
        net = self.record.settings.net if self.record else "a net"
        shape = "x".join(map(str, self.image_shape))
        return f"<Classifier: {net}, images {shape}, {len(self.class_names)} classes>"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that `probabilities` takes."""
        return self.inputs.image_shape

    def read(self, path: str | os.PathLike[str]) -> Seen:
        """An image file as the net is shown it, as it is, and a remark; see `Inputs.read`."""
        return self.inputs.read(path)

    def probabilities(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Every class's probability for images uint8 `[N, *image_shape]`: float32 `[N, K]`, rows summing to 1.

        Grey images may come without their last axis; no images give no rows. Raises `DataError` for images of another
        shape or type, or in 0 ... 1 instead of 0 ... 255.
        """
        images = self.inputs.checked(images)
        if not len(images):
            return np.zeros((0, len(self.class_names)), np.float32)
        with chosen_for(self.record.settings.forms) if self.record else nullcontext():
            return self._predictor(images)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self.net, self.inputs.shown)


def load_run(directory: str | os.PathLike[str], net: Build = None) -> Classifier:
    """The classifier that the run in `directory` trained, as of its newest sound checkpoint.

    `net` is needed where the run's net is one of your own: a `Chain` like it, or a function that makes one. Of a run
    that stopped early its best epoch is taken, of one that averages its weights the averages: what its test accuracy is
    that of. Raises `RunError` if there is no checkpoint, or the net is not the run's.
    """
    path = Path(os.path.expanduser(directory))
    if path.is_file():
        raise RunError(f"{path} is a file: name the directory of the run.")
    found = tested(path)
    if found is None:
        what = "holds no checkpoint of rawcnn" if path.is_dir() else "does not exist"
        below = sorted(path.glob("*/ckpt-*.npz"))
        meant = f" Did you mean {below[-1].parent}?" if below else similar_path(path, folder=True)
        check_not_in_use(path)  # a run that still loads its data has no checkpoint yet
        raise RunError(f"{path} {what}.{meant} Train a net with rawcnn train --run={path}.")
    saved, record = found
    chain = _built(net, record, path)
    assign(named_variables(chain), saved.net_arrays(), str(saved.path))
    chain.expects = replace(record.inputs.preprocess, resize=0)  # for `rc.evaluate` and further training
    return Classifier(chain, record.inputs, record.data.class_names, record)


def _built(net: Build, record: Record, path: Path) -> Chain:
    """The run's net, with weights still to come."""
    name, classes = record.settings.net, record.data.class_names
    if net is None:
        if name not in NETS:
            registered = "" if name == OWN_NET else f" Or register it before, as in rc.register_net({name!r}, build)."
            raise RunError(
                f"{path} trained a net of your own ({name}): give it, as in load_run({str(path)!r}, net=build), where "
                f"build() makes the net again.{registered}"
            )
        return NETS[name](record.input_shape, len(classes))
    chain = net if isinstance(net, Chain) else net()
    if not isinstance(chain, Chain):
        raise UsageError(f"net must be a Chain or a function that makes one, not {type(chain).__name__}.")
    if chain.input_shape != record.input_shape or chain.out_shape != (len(classes),):
        raise RunError(
            f"{path} trained a net from {record.input_shape} to {len(classes)} classes, but this one goes from "
            f"{chain.input_shape} to {chain.out_shape}: give the same net."
        )
    return chain
