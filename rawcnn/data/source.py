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
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
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


def permutation(n: int, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order of `n` images in `epoch` (counted from 0): int32 `[n]`, the ranks of random numbers.

    >>> sorted(permutation(5, seed=0, epoch=1).numpy().tolist())
    [0, 1, 2, 3, 4]
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    draws = tf.random.stateless_uniform((n,), key, minval=None, maxval=None, dtype=tf.int64)
    return tf.argsort(draws, stable=True)


def batches(
    source: Source, batch_size: int, *, seed: int, start: int = 0, augment: Augment | None = None
) -> tf.data.Dataset:
    """Endless batches, from number `start` of the run on: (images `[batch_size, H, W, C]`, labels `[batch_size]`).

    Batch number g is the k-th of epoch e, where `e, k = divmod(g, len(source) // batch_size)`: the images k *
    batch_size and following of `permutation(len(source), seed, e)`. Those that fill no whole batch are left out; the
    next epoch's order is another. `augment` gets a seed that is a function of (seed, g).
    """
    images, labels = tf.constant(source.images), tf.constant(source.labels)
    per_epoch = len(source) // batch_size
    augment_seed = fold(seed, "augment")

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        whole = permutation(len(source), seed, epoch)[: per_epoch * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(whole, (per_epoch, batch_size)))

    def batch(number: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = tf.gather(images, chosen), tf.gather(labels, chosen)
        return (x if augment is None else augment(x, tf.stack([tf.constant(augment_seed, tf.int64), number]))), y

    # One thread of its own keeps ahead of training; tf.data's autotuner would hold up the end of a run for a second.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    orders = tf.data.Dataset.counter(start // per_epoch).flat_map(order).skip(start % per_epoch)
    numbered = tf.data.Dataset.zip(tf.data.Dataset.counter(start), orders)
    return numbered.map(batch).prefetch(8).with_options(options)
