"""A trained run, ready to say what is in an image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.chain import Chain
from rawcnn.data.source import Preprocess
from rawcnn.errors import RunError
from rawcnn.nets import NETS
from rawcnn.train import checkpoints
from rawcnn.weights import assign, named_variables


@dataclass(frozen=True)
class Classifier:
    """A net with its weights, how it wants to see images, and the names of its classes."""

    net: Chain
    preprocess: Preprocess
    class_names: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images it takes, before padding."""
        height, width, channels = self.net.in_shape
        return height - 2 * self.preprocess.pad, width - 2 * self.preprocess.pad, channels

    def probabilities(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Every class's probability for images uint8 `[N, *image_shape]`: float32 `[N, K]`, rows summing to 1."""
        x = tf.constant(np.asarray(images, np.uint8).reshape(-1, *self.image_shape))
        return tf.nn.softmax(self.net(self.preprocess(x))).numpy()


def load_run(directory: str | os.PathLike[str]) -> Classifier:
    """The classifier that the run in `directory` trained, as of its newest sound checkpoint.

    Raises `RunError` if there is none.
    """
    path = Path(directory)
    saved = checkpoints.newest(path) if path.is_dir() else None
    if saved is None:
        raise RunError(f"{path} holds no checkpoint of rawcnn: train one with examples/train_lenet.py --run={path}.")
    net = NETS[saved.meta["flags"]["net"]]()
    values = {name.removeprefix("net/"): a for name, a in saved.arrays.items() if name.startswith("net/")}
    assign(named_variables(net), values, str(saved.path))
    return Classifier(net, Preprocess(**saved.meta["preprocess"]), tuple(saved.meta["class_names"]))
