"""What there is to learn from (`Source`), how a net wants to see it (`Preprocess`), and its batches.

The k-th batch of an epoch is a pure function of (source, seed, epoch, k), so a run resumed in mid-epoch asks for the
same batches as one never interrupted, and no iterator's state needs saving.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from rawcnn.data.views import Crop, centre, take_boxes
from rawcnn.errors import DataError
from rawcnn.variables import fold

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

    def sample(self: S, share: float, seed: int) -> S:
        """About `share` (0 ... 1) of the images, the same share of each class, at least one each, in the old order."""
        return self.take(np.sort(_stratified(self.labels, share, seed)))

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


def _stratified(labels: np.ndarray, share: float, seed: int, leave: int = 0) -> np.ndarray:
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen.append(of_class[: min(max(1, round(share * len(of_class))), len(of_class) - leave)])
    return np.concatenate(chosen)


Level = float | tuple[float, ...]
"""A number, or one per channel."""


@dataclass(frozen=True)
class Preprocess:
    """From pixels 0 ... 255 to what a net is fed.

    Images are scaled to `resize` pixels a side (bilinear; 0: left as they are), then get `pad` pixels of 0 on every
    side, and at last 0 becomes `low` and 255 `high`, numbers for all channels or one for each.

    >>> Preprocess(pad=1, low=-1.0, high=1.0)(tf.fill((1, 1, 1, 1), 255)).numpy()[0, :, :, 0]
    array([[-1., -1., -1.],
           [-1.,  1., -1.],
           [-1., -1., -1.]], dtype=float32)
    """

    pad: int = 0
    low: Level = 0.0
    high: Level = 1.0
    resize: int = 0

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        if self.resize and images.shape[1:3] != (self.resize, self.resize):
            images = tf.image.resize(images, (self.resize, self.resize))
        if self.pad:
            images = tf.pad(images, [[0, 0], [self.pad] * 2, [self.pad] * 2, [0, 0]])
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return tf.cast(images, tf.float32) * ((high - low) / np.float32(255.0)) + low

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint: `Preprocess(**saved)` makes it again."""
        return asdict(self)

    @staticmethod
    def standardised(mean: Sequence[float], deviation: Sequence[float], **more: Any) -> "Preprocess":
        """The one that gives each channel mean 0 and deviation 1, from those of its pixels in 0 ... 255.

        >>> Preprocess.standardised((127.5,), (127.5,)).high
        (1.0,)
        """
        low = tuple(-m / d for m, d in zip(mean, deviation, strict=True))
        high = tuple((255.0 - m) / d for m, d in zip(mean, deviation, strict=True))
        return Preprocess(low=low, high=high, **more)


def permutation(n: int, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order of `n` images in `epoch` (counted from 0): int32 `[n]`, the ranks of random numbers.

    >>> sorted(permutation(5, seed=0, epoch=1).numpy().tolist())
    [0, 1, 2, 3, 4]
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    draws = tf.random.stateless_uniform((n,), key, minval=None, maxval=None, dtype=tf.int64)
    return tf.argsort(draws, stable=True)


def batches(
    source: Labelled,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    crop: Crop | None = None,
    size: int | None = None,
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """Endless batches, from number `start` of the run on: (images `[batch_size, H, W, C]`, labels `[batch_size]`).

    Batch number g is the k-th of epoch e, where `e, k = divmod(g, len(source) // batch_size)`: the images k *
    batch_size and following of `permutation(len(source), seed, e)`. Those that fill no whole batch are left out; the
    next epoch's order is another. `crop` takes one view of `size` pixels a side of each image, `augment` changes the
    batch; both get a seed that is a function of (seed, g).
    """
    per_epoch = len(source) // batch_size
    augment_seed = tf.constant(fold(seed, "augment"), tf.int64)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        numbers = epoch * per_epoch + tf.range(per_epoch, dtype=tf.int64)
        keys = tf.stack([tf.fill((per_epoch,), augment_seed), numbers], axis=1)
        whole = permutation(len(source), seed, epoch)[: per_epoch * batch_size]
        return tf.data.Dataset.from_tensor_slices((keys, tf.reshape(whole, (per_epoch, batch_size))))

    def changed(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        if crop is not None:
            images = tf.squeeze(images, axis=1)
        return (images if augment is None else augment(images, tf.stack([augment_seed, number]))), labels

    orders = tf.data.Dataset.counter(start // per_epoch).flat_map(order).skip(start % per_epoch)
    read = source.stream(orders, crop, size)
    if crop is not None or augment is not None:
        read = tf.data.Dataset.zip(tf.data.Dataset.counter(start), read).map(changed)
    return _read_ahead(read, source, 8 if crop is None else 2)


def batch_indices(source: Labelled, batch_size: int, *, seed: int, number: int) -> np.ndarray:
    """Which images of `source` are in batch `number` (from 0) of `batches`: int32 `[batch_size]`, in their order there.

    >>> source = Source(np.zeros((7, 1, 1, 1), np.uint8), np.zeros(7, np.int32), ("a",))
    >>> batches_of_epoch = [batch_indices(source, 3, seed=0, number=k).tolist() for k in (2, 3)]
    >>> len({i for batch in batches_of_epoch for i in batch})
    6
    """
    epoch, k = divmod(number, len(source) // batch_size)
    return permutation(len(source), seed, epoch).numpy()[k * batch_size : (k + 1) * batch_size]


def in_order(
    source: Labelled, batch_size: int, crop: Crop | None = None, size: int | None = None
) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
    """Every image once, in order, as `Labelled.stream` gives them; the last batch is filled up with the last image."""
    chosen = [np.arange(i, i + batch_size).clip(max=len(source) - 1) for i in range(0, len(source), batch_size)]
    if isinstance(source, Source) and crop is None:  # nothing to compute: no pipeline to set up after each epoch
        return ((tf.constant(source.images[some]), tf.constant(source.labels[some])) for some in chosen)
    order = tf.data.Dataset.from_tensor_slices(tf.constant(np.array(chosen), tf.int32))
    order = order.map(lambda indices: (tf.zeros(2, tf.int64), indices))
    return _read_ahead(source.stream(order, crop, size), source, 2)


def thumbnails(source: Labelled, indices: np.ndarray, size: int = 160) -> np.ndarray:
    """Images to look at: uint8 `[len(indices), H, W, C]`, as they are in memory, or the central squares of files."""
    if isinstance(source, Source) or not len(indices):
        return source.take(indices).images if isinstance(source, Source) else np.zeros((0, size, size, 3), np.uint8)
    views = [images.numpy()[:, 0] for images, _ in in_order(source.take(indices), 1, centre(), size)]
    return np.concatenate(views).astype(np.uint8)


def _read_ahead(dataset: tf.data.Dataset, source: Labelled, elements: int) -> tf.data.Dataset:
    # Threads of its own keep ahead of training; tf.data's autotuner would hold up the end of a run for a second.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = source.threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.prefetch(elements).with_options(options)
