"""Batches in a fixed order: the k-th batch of an epoch is a pure function of (source, seed, epoch, k).

So a run that resumes in mid-epoch asks for the same batches as an uninterrupted one, and no iterator's state is saved.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from rawcnn.data.augment import alternating_flip
from rawcnn.data.mixing import Mix, Mixed
from rawcnn.data.source import Augment, Labelled, Source, images_named, no_autograph
from rawcnn.data.views import Crop, centre
from rawcnn.seeds import fold


def permutation(n: int, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order of `n` images in `epoch` (counted from 0): int32 `[n]`, the ranks of random numbers.

    >>> sorted(permutation(5, seed=0, epoch=1).numpy().tolist())
    [0, 1, 2, 3, 4]
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    draws = tf.random.stateless_uniform((n,), key, minval=None, maxval=None, dtype=tf.int64)
    return tf.argsort(draws, stable=True)


def balanced_permutation(labels: np.ndarray, count: int, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order of an epoch of `count` images in which all classes occur equally often, up to one: int32 `[count]`.

    Of each class the images are taken in random order, as often as it takes: of a small class each image several times,
    of a large one some images not at all. `labels` int32 `[N]` are those of all images; classes without any are left
    out. Over all epochs together too, classes occur equally often, up to one.

    >>> order = balanced_permutation(np.array([0, 0, 0, 0, 0, 1]), 6, seed=0, epoch=0).numpy()
    >>> int((order == 5).sum())
    3
    """
    _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    shuffled = permutation(len(labels), seed, epoch)
    by_class = tf.gather(shuffled, tf.argsort(tf.gather(tf.constant(places, tf.int32), shuffled), stable=True))
    turns = tf.range(count, dtype=tf.int64)
    chosen = (tf.cast(epoch, tf.int64) * count + turns) % len(counts)  # the classes take turns, from epoch to epoch too
    within = turns // len(counts) % tf.gather(tf.constant(counts, tf.int64), chosen)
    images = tf.gather(by_class, tf.gather(tf.constant(starts, tf.int64), chosen) + within)
    return tf.gather(images, permutation(count, fold(seed, "balanced"), epoch))


def batches(
    source: Labelled,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    crop: Crop | None = None,
    size: int | None = None,
    augment: Augment | None = None,
    alternate: bool = False,
    balanced: bool = False,
    mix: Mix | None = None,
) -> tf.data.Dataset:
    """Endless batches, from number `start` of the run on: (images `[batch_size, H, W, C]`, labels `[batch_size]`).

    Batch number g is the k-th of epoch e, where `e, k = divmod(g, len(source) // batch_size)`: the images k *
    batch_size and following of `permutation(len(source), seed, e)`. Those that fill no whole batch are left out; the
    next epoch's order is another. `crop` takes one view of `size` pixels a side of each image, `augment` changes the
    batch; both get a seed that is a function of (seed, g). With `alternate`, each image is mirrored in every other
    epoch (`rawcnn.data.augment.alternating_flip`), in the odd or the even ones as a function of (seed, its number).
    With `balanced` the order of an epoch is that of `balanced_permutation`. `mix`, such as `rc.mixup`, comes last: the
    batches are then (images, `Mixed`); it gets the same seed as `augment`. The iterator raises a `tf.errors.OpError`
    for an image that cannot be read; within `images_named(source)` it becomes a `DataError` that names it.
    """
    per_epoch = len(source) // batch_size
    augment_seed = tf.constant(fold(seed, "augment"), tf.int64)

    @no_autograph
    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        numbers = epoch * per_epoch + tf.range(per_epoch, dtype=tf.int64)
        keys = tf.stack([tf.fill((per_epoch,), augment_seed), numbers], axis=1)
        whole = _order(source, per_epoch * batch_size, seed, epoch, balanced)
        return tf.data.Dataset.from_tensor_slices((keys, tf.reshape(whole, (per_epoch, batch_size))))

    @no_autograph
    def changed(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        if crop is not None:
            images = tf.squeeze(images, axis=1)
        return (images if augment is None else augment(images, tf.stack([augment_seed, number]))), labels

    coins = tf.random.stateless_uniform((len(source),), [fold(seed, "alternate"), 0], 0, 2, tf.int64)

    @no_autograph
    def flipped(order: tuple[tf.Tensor, tf.Tensor], batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        (key, chosen), (images, labels) = order, batch
        return alternating_flip(images, tf.gather(coins, chosen), key[1] // per_epoch), labels

    @no_autograph
    def mixed(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Mixed]:
        assert mix is not None
        return mix(*batch, tf.stack([augment_seed, number]))

    orders = tf.data.Dataset.counter(start // per_epoch).flat_map(order).skip(start % per_epoch)
    read = source.stream(orders, crop, size)
    if crop is not None or augment is not None:
        read = tf.data.Dataset.zip(tf.data.Dataset.counter(start), read).map(changed)
    if alternate:
        read = tf.data.Dataset.zip(orders, read).map(flipped)
    if mix is not None:
        read = tf.data.Dataset.zip(tf.data.Dataset.counter(start), read).map(mixed)
    return _read_ahead(read, source, 8 if crop is None else 2)


def _order(source: Labelled, count: int, seed: int, epoch: int | tf.Tensor, balanced: bool) -> tf.Tensor:
    """The images of an epoch of `count`, int32 `[count]`."""
    if balanced:
        return balanced_permutation(source.labels, count, seed, epoch)
    return permutation(len(source), seed, epoch)[:count]


def batch_indices(source: Labelled, batch_size: int, *, seed: int, number: int, balanced: bool = False) -> np.ndarray:
    """Which images of `source` are in batch `number` (from 0) of `batches`: int32 `[batch_size]`, in their order there.

    >>> source = Source(np.zeros((7, 1, 1, 1), np.uint8), np.zeros(7, np.int32), ("a",))
    >>> batches_of_epoch = [batch_indices(source, 3, seed=0, number=k).tolist() for k in (2, 3)]
    >>> len({i for batch in batches_of_epoch for i in batch})
    6
    """
    per_epoch = len(source) // batch_size
    epoch, k = divmod(number, per_epoch)
    order = _order(source, per_epoch * batch_size, seed, epoch, balanced)
    return order.numpy()[k * batch_size : (k + 1) * batch_size]


def in_order(
    source: Labelled, batch_size: int, crop: Crop | None = None, size: int | None = None
) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
    """Every image once, in order, as `Labelled.stream` gives them; the last batch is filled up with the last image.

    The iterator raises `DataError` that names the images that cannot be read.
    """
    chosen = [np.arange(i, i + batch_size).clip(max=len(source) - 1) for i in range(0, len(source), batch_size)]
    if isinstance(source, Source) and crop is None:  # nothing to compute: no pipeline to set up after each epoch
        return ((tf.constant(source.images[some]), tf.constant(source.labels[some])) for some in chosen)
    order = tf.data.Dataset.from_tensor_slices(tf.constant(np.array(chosen), tf.int32))
    order = order.map(no_autograph(lambda indices: (tf.zeros(2, tf.int64), indices)))
    return _named(_read_ahead(source.stream(order, crop, size), source, 2), source)


def _named(read: tf.data.Dataset, source: Labelled) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    with images_named(source):
        yield from read


def thumbnails(source: Labelled, indices: np.ndarray, size: int = 160, *, crop: Crop | None = None) -> np.ndarray:
    """Images to look at: uint8 `[len(indices), H, W, C]`, as they are in memory; of files their central squares.

    `crop`: the view that is taken of files in the place of the central square.
    """
    if isinstance(source, Source):
        return np.rint(source.images[indices]).astype(np.uint8)
    if not len(indices):
        return np.zeros((0, size, size, 3), np.uint8)
    views = [images.numpy()[:, 0] for images, _ in in_order(source.take(indices), 1, crop or centre(), size)]
    return np.concatenate(views).astype(np.uint8)


def _read_ahead(dataset: tf.data.Dataset, source: Labelled, elements: int) -> tf.data.Dataset:
    # Its own threads keep ahead of training; tf.data's autotuner would hold up the end of a run for a second.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = source.threads
    options.threading.max_intra_op_parallelism = 1
    return dataset.prefetch(elements).with_options(options)
