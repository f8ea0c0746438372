"""What there is to learn from (`Source`), how a net wants to see it (`Preprocess`), and its batches.

The k-th batch of an epoch is a pure function of (source, seed, epoch, k), so a run resumed in mid-epoch asks for the
same batches as one never interrupted, and no iterator's state needs saving.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.errors import DataError
from rawcnn.variables import fold

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`(images [N, H, W, C] uint8, seed [2] int64) -> images` of the same shape, in 0 ... 255; stateless."""


@dataclass(frozen=True)
class Source:
    """Images uint8 `[N, H, W, C]` in memory, labels int32 `[N]` in 0 ... K - 1, and the K class names."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"Images must be uint8 [N, H, W, C], not {self.images.dtype} {self.images.shape}.")
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(f"There are {len(self.images)} images but labels of shape {self.labels.shape}.")
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.class_names)))
        if len(outside):
            raise DataError(
                f"Label {self.labels[outside[0]]} of image {outside[0]} is outside 0 ... {len(self.class_names) - 1}: "
                "check that labels and class names belong together."
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Source":
        """The images at `indices`, in that order."""
        return Source(self.images[indices], self.labels[indices], self.class_names)

    def sample(self, share: float, seed: int) -> "Source":
        """About `share` (0 ... 1) of the images, the same share of each class, at least one each, in the old order."""
        return self.take(np.sort(_stratified(self.labels, share, seed)))

    def split(self, count: int, seed: int) -> tuple["Source", "Source"]:
        """(all others, about `count` images with each class in proportion), drawn by `seed`, in the old order."""
        held_out = np.sort(_stratified(self.labels, count / len(self), seed))
        return self.take(np.setdiff1d(np.arange(len(self)), held_out)), self.take(held_out)


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    order = permutation(len(labels), seed, epoch=0)
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen.append(of_class[: max(1, round(share * len(of_class)))])
    return np.concatenate(chosen)


@dataclass(frozen=True)
class Preprocess:
    """From pixels 0 ... 255 to what a net is fed: `pad` pixels of 0 on every side, then 0 becomes `low` and 255 `high`.

    >>> Preprocess(pad=1, low=-1.0, high=1.0)(tf.fill((1, 1, 1, 1), 255)).numpy()[0, :, :, 0]
    array([[-1., -1., -1.],
           [-1.,  1., -1.],
           [-1., -1., -1.]], dtype=float32)
    """

    pad: int = 0
    low: float = 0.0
    high: float = 1.0

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        if self.pad:
            images = tf.pad(images, [[0, 0], [self.pad] * 2, [self.pad] * 2, [0, 0]])
        return tf.cast(images, tf.float32) * ((self.high - self.low) / 255.0) + self.low

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint: `Preprocess(**saved)` makes it again."""
        return asdict(self)


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `n` images in `epoch`: int64 `[n]`, a function of its arguments alone."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def batches(
    source: Source, batch_size: int, *, seed: int, epoch: int, start: int = 0, augment: Augment | None = None
) -> tf.data.Dataset:
    """The whole batches of `epoch` from number `start` on: (images `[batch_size, H, W, C]`, labels `[batch_size]`).

    `augment` gets a seed that is a function of (seed, epoch, k).
    """
    order = tf.constant(permutation(len(source), seed, epoch))
    images, labels = tf.constant(source.images), tf.constant(source.labels)
    epoch_seed = fold(seed, f"augment/{epoch}")

    def batch(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = order[k * batch_size : (k + 1) * batch_size]
        chosen = tf.ensure_shape(chosen, (batch_size,))
        x = tf.gather(images, chosen)
        return (augment(x, tf.stack([tf.constant(epoch_seed, tf.int64), k])) if augment else x), tf.gather(
            labels, chosen
        )

    ordered = tf.data.Dataset.range(start, len(source) // batch_size)
    return ordered.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
