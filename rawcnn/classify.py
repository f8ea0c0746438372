"""A trained run, ready to say what is in an image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.chain import Chain
from rawcnn.data.image_files import read_image
from rawcnn.data.own_image import read_digit
from rawcnn.data.source import Preprocess
from rawcnn.data.views import centre, take_boxes, whole
from rawcnn.errors import RunError
from rawcnn.nets import NETS
from rawcnn.train import checkpoints
from rawcnn.weights import assign, named_variables


@dataclass(frozen=True)
class Classifier:
    """A net with its weights, how it wants to see images, and the names of its classes.

    `share` of the shorter side is the central part of an image that the net was trained to look at; None: all of it.
    """

    net: Chain
    preprocess: Preprocess
    class_names: tuple[str, ...]
    share: float | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images it takes, before padding."""
        height, width, channels = self.net.in_shape
        return height - 2 * self.preprocess.pad, width - 2 * self.preprocess.pad, channels

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
        """An image file as the net is to see it, uint8 `image_shape`, and as it is, uint8 `[H, W]` or `[H, W, 3]`.

        Nets for grey images are shown a digit cut out of a photo or scan, see `rawcnn.data.own_image`; nets for colour
        what the test images of their data set were shown as. Raises `DataError` if the file cannot be read.
        """
        if self.net.in_shape[2] == 1:
            return read_digit(path)
        original = read_image(path)
        height, width, _ = original.shape
        crop = whole() if self.share is None else centre(self.share)
        boxes, mirrored = crop(tf.constant([height]), tf.constant([width]), tf.zeros(2, tf.int64))
        seen = take_boxes(original[None], boxes, mirrored, self.image_shape[0])[0, 0]
        return np.rint(seen.numpy()).astype(np.uint8), original

    def probabilities(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Every class's probability for images uint8 `[N, *image_shape]`: float32 `[N, K]`, rows summing to 1."""
        x = tf.constant(np.asarray(images, np.uint8).reshape(-1, *self.image_shape))
        return tf.nn.softmax(self.net(self.preprocess(x))).numpy()


def load_run(directory: str | os.PathLike[str]) -> Classifier:
    """The classifier that the run in `directory` trained, as of its newest sound checkpoint.

    Of a run that averages its weights, the averages are taken. Raises `RunError` if there is no checkpoint.
    """
    path = Path(directory)
    saved = checkpoints.newest(path) if path.is_dir() else None
    if saved is None:
        raise RunError(f"{path} holds no checkpoint of rawcnn: train one with examples/train_lenet.py --run={path}.")
    meta, class_names = saved.meta, tuple(saved.meta["class_names"])
    net = NETS[meta["flags"]["net"]](tuple(meta["input_shape"]), len(class_names))
    own, averages = (
        {name.removeprefix(prefix): a for name, a in saved.arrays.items() if name.startswith(prefix)}
        for prefix in ("net/", "averages/")
    )
    assign(named_variables(net), own | averages, str(saved.path))
    return Classifier(net, Preprocess(**meta["preprocess"]), class_names, meta["share"])
