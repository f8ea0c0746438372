"""What there is to learn from (`Source`), how a net wants to see it (`Preprocess`), and its batches.

The k-th batch of an epoch is a pure function of (source, seed, epoch, k), so a run resumed in mid-epoch asks for the
same batches as one never interrupted, and no iterator's state needs saving.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import rawcnn.start  # noqa: F401

import numpy as np
import tensorflow as tf

from rawcnn.data.views import Crop, take_boxes
from rawcnn.errors import DataError

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`(images [N, H, W, C] in 0 ... 255, seed [2] int64) -> images` in 0 ... 255; stateless."""
S = TypeVar("S", bound="Labelled")


class Labelled:
    """What all sources share: labels int32 `[N]` in 0 ... K - 1, the K class names, and how to choose among them.

    A source says what there is with `take(indices)` (some of it, in that order), `shape` (`(H, W, C)`, H and W None
    where images differ) and `stream(order, crop, size)`, which reads images in a given order.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    shape: tuple[int | None, int | None, int]
    threads = 1  # that reading ahead of training keeps busy

    def __len__(self) -> int:
        return len(self.labels)

    def take(self: S, indices: np.ndarray) -> S:
        """The images at `indices`, in that order."""
        raise TypeError(f"{type(self).__name__} has no take().")

    def stream(self, order: tf.data.Dataset, crop: Crop | None = None, size: int | None = None) -> tf.data.Dataset:
        """Read images: `order` gives (seed int64 `[2]`, indices int32 `[B]`), one element a batch.

        Gives, for each, (images `[B, H, W, C]`, labels int32 `[B]`), or with `crop` (images `[B, K, size, size, C]`,
        labels) where K is the number of boxes that `crop` gives an image. Images are uint8 or float32 in 0 ... 255.
        """
        raise TypeError(f"{type(self).__name__} has no stream().")

    def check(self) -> None:
        """Raise `DataError` naming the images that cannot be read, if there are any."""

    def names(self, indices: np.ndarray, most: int = 8) -> str:
        """What a message calls the images at `indices`: the first `most` files, or numbers in this source."""
        paths = getattr(self, "paths", None)
        some = [str(i) if paths is None else paths[i] for i in indices[:most]]
        more = f" and {len(indices) - most} more" if len(indices) > most else ""
        return f"{'numbers ' if paths is None else ''}{', '.join(some)}{more}"

    def sample(self: S, fraction: float, seed: int) -> S:
        """About `fraction` (0 ... 1) of the images of each class, at least one of each, in the old order."""
        return self.take(np.sort(_stratified(self.labels, fraction, seed)))

    def split(self: S, count: int, seed: int) -> tuple[S, S]:
        """(all others, about `count` images with each class in proportion), drawn by `seed`, in the old order.

        Each class keeps at least one image on either side; raises `DataError` naming one that has a single image.
        """
        present, counts = np.unique(self.labels, return_counts=True)
        if counts.min() < 2:
            name = self.class_names[present[counts.argmin()]]
            raise DataError(
                f"Class {name!r} has one image left: it cannot be held out and trained on. Add images to it."
            )
        held_out = np.sort(_stratified(self.labels, count / len(self), seed, leave=1))
        return self.take(np.setdiff1d(np.arange(len(self)), held_out)), self.take(held_out)


@dataclass(frozen=True)
class Source(Labelled):
    """Images uint8 `[N, H, W, C]` in memory, labels int32 `[N]` in 0 ... K - 1, and the K class names."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"Images must be uint8 [N, H, W, C], not {self.images.dtype} {self.images.shape}.")
        check_labels(self.labels, len(self.images), self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """(height, width, channels) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, indices: np.ndarray) -> "Source":
        """The images at `indices`, in that order."""
        return Source(self.images[indices], self.labels[indices], self.class_names)

    def stream(self, order: tf.data.Dataset, crop: Crop | None = None, size: int | None = None) -> tf.data.Dataset:
        """Gather whole batches at once; see `Labelled.stream`."""
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        height, width, _ = self.shape

        def batch(seed: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x = tf.gather(images, chosen)
            if crop is not None:
                boxes, mirrored = crop(tf.fill(tf.shape(chosen), height), tf.fill(tf.shape(chosen), width), seed)
                x = take_boxes(x, boxes, mirrored, size or height)
            return x, tf.gather(labels, chosen)

        return order.map(batch)


def check_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...]) -> None:
    """Raise `DataError` unless there are `count` labels, all of classes that have a name."""
    if labels.shape != (count,):
        raise DataError(f"There are {count} images but labels of shape {labels.shape}.")
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(outside):
        raise DataError(
            f"Label {labels[outside[0]]} of image {outside[0]} is outside 0 ... {len(class_names) - 1}: "
            "check that labels and class names belong together."
        )


def _stratified(labels: np.ndarray, fraction: float, seed: int, leave: int = 0) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen.append(of_class[: min(max(1, round(fraction * len(of_class))), len(of_class) - leave)])
    return np.concatenate(chosen)
