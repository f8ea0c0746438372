"""A trained run, ready to say what is in an image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rawcnn.start  # noqa: F401

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import in_order
from rawcnn.data.images.decode import read_rgb
from rawcnn.data.images.digit_photo import read_digit
from rawcnn.data.images.headers import MAX_PIXELS, inspect
from rawcnn.data.images.stream import FileSource
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.views import centre, take_boxes, whole
from rawcnn.errors import RunError
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain
from rawcnn.nets.weights import assign
from rawcnn.run import directory as rundir
from rawcnn.train import checkpoints, schedules


@dataclass(frozen=True)
class Classifier:
    """A net with its weights, how its test images were shown to it, and the names of its classes.

    `central_fraction` of the shorter side is the part that it looks at (1: all of the image); `size` is the pixels a
    side of what goes into `preprocess`; `data_shape` is the (H, W, C) of its data's images, (None, None, 3) for files.
    """

    net: Chain
    preprocess: Preprocess
    class_names: tuple[str, ...]
    size: int
    central_fraction: float
    data_shape: tuple[int | None, int | None, int]
    max_pixels: int = MAX_PIXELS

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that `probabilities` takes."""
        height, width, channels = self.data_shape
        return height or self.size, width or self.size, channels

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
        """An image file as `probabilities` takes it (a grey one without its last axis), and as it is; both uint8.

        Nets for grey images are shown a digit cut out of a photo or scan, see `rawcnn.data.own_image`. Others are shown
        what a test file would be, or where they learnt from small images the central square made as small as those.
        Raises `DataError` if the file cannot be read.
        """
        side = self.image_shape[0]
        if self.image_shape[2] == 1:
            return read_digit(path, side)
        original = read_rgb(path, self.max_pixels)
        of_files = self.data_shape[0] is None
        crop = (
            whole() if of_files and self.central_fraction == 1 else centre(self.central_fraction if of_files else 1.0)
        )
        file = FileSource([os.fspath(path)], np.zeros(1, np.int32), ("unknown",), [inspect(path, self.max_pixels)])
        ((views, _),) = in_order(file, 1, crop, side)
        return _rounded(views[0, 0]), original

    def probabilities(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Every class's probability for images uint8 `[N, *image_shape]`: float32 `[N, K]`, rows summing to 1."""
        x = tf.constant(np.asarray(images, np.uint8).reshape(-1, *self.image_shape))
        if self.data_shape[0] is not None and self.central_fraction < 1:
            heights, widths = (tf.repeat(length, tf.shape(x)[0]) for length in self.image_shape[:2])
            x = take_boxes(x, *centre(self.central_fraction)(heights, widths, tf.zeros(2, tf.int64)), self.size)[:, 0]
        return tf.nn.softmax(self.net(self.preprocess(x))).numpy()


def _rounded(image: tf.Tensor) -> np.ndarray:
    return np.rint(image.numpy()).astype(np.uint8)


def load_run(directory: str | os.PathLike[str]) -> Classifier:
    """The classifier that the run in `directory` trained, as of its newest sound checkpoint.

    Of a run that stopped early its best epoch is taken, of one that averages its weights the averages: what its test
    accuracy is that of. Raises `RunError` if there is no checkpoint.
    """
    path = Path(directory)
    saved = checkpoints.newest(path) if path.is_dir() else None
    if saved is None:
        raise RunError(f"{path} holds no checkpoint of rawcnn: train one with examples/train_lenet.py --run={path}.")
    meta, class_names = saved.meta, tuple(saved.meta["class_names"])
    best, flags = meta["best"], meta["flags"]
    patience = int(rundir.read_flags(path)["patience"])  # may have changed since that checkpoint
    if best and schedules.stops_early(len(meta["history"]), best["epoch"], patience):
        saved = checkpoints.read(checkpoints.path_of(path, best["step"]))
    net = NETS[flags["net"]](tuple(meta["input_shape"]), len(class_names))
    own, averages = (
        {name.removeprefix(prefix): a for name, a in saved.arrays.items() if name.startswith(prefix)}
        for prefix in ("net/", "averages/")
    )
    assign(named_variables(net), own | averages, str(saved.path))
    shown = (
        Preprocess(**meta["preprocess"]),
        class_names,
        meta["size"],
        meta["central_fraction"],
        tuple(meta["data_shape"]),
    )
    return Classifier(net, *shown, flags["max_pixels"])
