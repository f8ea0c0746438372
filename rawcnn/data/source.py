"""Sources of labelled images: what all have in common (`Labelled`), and images in memory (`Source`)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from numbers import Integral
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from rawcnn.data.arrays import as_images, as_labels, check_labels, numbered
from rawcnn.data.views import Crop, take_boxes
from rawcnn.errors import DataError, UsageError

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`(images [N, H, W, C] in 0 ... 255, seed [2] int64) -> images` in 0 ... 255; stateless."""
no_autograph = tf.autograph.experimental.do_not_convert
"""For functions that `tf.data` traces: AutoGraph would only rewrite their source, and warns on Python 3.13."""
SHOWN = 20  # classes that a table lists
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

    def file_names(self, indices: np.ndarray) -> list[str] | None:
        """The files of the images at `indices`, without their folders; None where images do not come from files."""
        return None

    def sample(self: S, fraction: float, seed: int) -> S:
        """About `fraction` (0 ... 1) of the images of each class, at least one of each, in the old order."""
        if not 0 < fraction <= 1:
            raise UsageError(f"A sample is a fraction of the images, above 0 and up to 1, not {fraction}.")
        return self.take(np.sort(_stratified(self.labels, fraction, seed)))

    def split(self: S, count: float, seed: int = 0) -> tuple[S, S]:
        """(all others, about `count` images with each class in proportion), drawn by `seed`, in the old order.

        A `count` below 1 is a fraction of the images. Each class keeps at least one image on either side; raises
        `DataError` naming one that has a single image, and `UsageError` if `count` leaves nothing on one side.
        """
        fraction = count if count < 1 else count / len(self)
        if not 0 < fraction < 1 or (count > 1 and count % 1):
            raise UsageError(
                f"Of {len(self):,} images {count} cannot be split off: give a fraction below 1, or a count."
            )
        present, counts = np.unique(self.labels, return_counts=True)
        if counts.min() < 2:
            name = self.class_names[present[counts.argmin()]]
            raise DataError(
                f"Class {name!r} has one image left: it cannot be held out and trained on. Add images to it."
            )
        held_out = np.sort(_stratified(self.labels, fraction, seed, leave=1))
        return self.take(np.setdiff1d(np.arange(len(self)), held_out)), self.take(held_out)

    def facts(self) -> dict[str, str]:
        """What `repr` and a notebook's table say of the images."""
        height, width, channels = self.shape
        shape = f"{height}x{width}x{channels}" if height else "files, each of its own size"
        return {"images": f"{len(self):,}", "shape": shape, "classes": f"{len(self.class_names):,}"}

    def __repr__(self) -> str:
        of, classes = self.facts()["shape"], len(self.class_names)
        return f"<{type(self).__name__}: {len(self):,} images ({of}), {classes} class{'es' if classes != 1 else ''}>"

    def _repr_html_(self) -> str:
        """For notebooks: the facts, then how many images each of the first classes has."""
        shown = self.class_names[:SHOWN]
        counts = np.bincount(self.labels, minlength=len(self.class_names))[: len(shown)].tolist()
        more = {"...": f"{len(self.class_names) - SHOWN} more"} if len(self.class_names) > SHOWN else {}
        names = (f"{i}: {name}" for i, name in enumerate(shown))
        return html_table(self.facts() | {n: f"{k:,}" for n, k in zip(names, counts, strict=True)} | more)


class Source(Labelled):
    """Images in memory: `images` `[N, H, W, C]` in 0 ... 255, `labels` int32 `[N]` in 0 ... K - 1, K `class_names`.

    Takes arrays as people have them:

    * images uint8 or any other whole numbers in 0 ... 255; floats in 0 ... 1 (they are scaled to 0 ... 255) or in
      0 ... 255; arrays or lists, `[N, H, W, C]` or, if grey, `[N, H, W]`. They are kept as uint8, or as float32 where
      they are not whole numbers;
    * labels whole numbers of any type, arrays or lists, `[N]` or `[N, 1]`;
    * class names, one for each class; without them "0", "1", ... up to the largest label.

    Raises `DataError` for anything else, with the remedy: one-hot labels, channels first, pixels below 0, ...

    >>> Source(np.zeros((6, 28, 28)), [0, 1, 2, 0, 1, 2])
    <Source: 6 images (28x28x1), 3 classes>
    """

    def __init__(self, images: Any, labels: Any, class_names: Sequence[str] | None = None):
        if getattr(images, "ndim", 3) < 3 <= getattr(labels, "ndim", 1):  # of arrays; lists are looked at below
            raise DataError("Images come first, then labels: write Source(images, labels).")
        self.images = as_images(images)
        self.labels = as_labels(labels, len(self.images))
        if isinstance(class_names, str):
            raise DataError(f"class_names is a list, a name for each class, and not the text {class_names!r}.")
        self.class_names = numbered(self.labels) if class_names is None else tuple(map(str, class_names))
        check_labels(self.labels, len(self.images), self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """(height, width, channels) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, indices: np.ndarray) -> "Source":
        """The images at `indices`, in that order."""
        taken = copy.copy(self)  # without looking at the pixels again: some floats in 0 ... 255 may all be below 1
        taken.images, taken.labels = self.images[indices], self.labels[indices]
        return taken

    def stream(self, order: tf.data.Dataset, crop: Crop | None = None, size: int | None = None) -> tf.data.Dataset:
        """Gather whole batches at once; see `Labelled.stream`."""
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        height, width, _ = self.shape

        @no_autograph
        def batch(seed: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x = tf.gather(images, chosen)
            if crop is not None:
                boxes, mirrored = crop(tf.fill(tf.shape(chosen), height), tf.fill(tf.shape(chosen), width), seed)
                x = take_boxes(x, boxes, mirrored, size or height)
                x.set_shape((chosen.shape[0], *x.shape[1:]))  # known again, as what changes batches may want it
            return x, tf.gather(labels, chosen)

        return order.map(batch)


@contextmanager
def images_named(source: Labelled) -> Iterator[None]:
    """Within the block, TensorFlow's complaint about an image of `source` becomes a `DataError` that names the image.

    TensorFlow's own names neither the file nor the record.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError:  # memory: no image is to blame
        raise
    except tf.errors.OpError:
        try:
            source.check()
        except DataError as named:
            raise named from None
        raise


def check_same_classes(train: Labelled, other: Labelled, split: str) -> None:
    """Raise `DataError` if a label means one class in `train` and another in `other`, the images of `split`.

    `other` may lack the last classes, as a source without class names does.
    """
    ours, theirs = train.class_names, other.class_names
    wrong = [k for k, name in enumerate(theirs) if name not in ours[k : k + 1]]
    if wrong:
        k = wrong[0]
        known = f"called {ours[k]!r} in training" if k < len(ours) else "not among the training images"
        raise DataError(
            f"Class {k} of the {split} images is {theirs[k]!r}, which is {known}: give both sources the same classes."
        )


def html_table(rows: Mapping[str, str]) -> str:
    """A table of two columns for a notebook."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{cells}</table>"


def _stratified(labels: np.ndarray, fraction: float, seed: int, leave: int = 0) -> np.ndarray:
    if not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed is a whole number from 0 on, not {seed!r}.")
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        chosen.append(of_class[: min(max(1, round(fraction * len(of_class))), len(of_class) - leave)])
    return np.concatenate(chosen)
