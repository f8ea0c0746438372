"""Encoded images as sources: they are read, decoded and cut in parallel, and only where they are stays in memory.

`EncodedSource` is what image files and packed images (`rawcnn.data.packed`) share, `FileSource` is a folder of files.
Nothing is ever written, renamed or deleted there.
"""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from rawcnn.data.arrays import check_labels
from rawcnn.data.images.decode import cut, decode_part, read_rgb, turn, turns, undecodable
from rawcnn.data.images.headers import JPEG, ImageInfo, quiet_pillow
from rawcnn.data.source import Labelled, no_autograph
from rawcnn.data.views import Crop
from rawcnn.errors import DataError, UsageError
from rawcnn.machine import cores

LEAVE_OUT = " Or leave bad files out: --bad_images=skip."
NAMED = 5  # bad files that an error names; the others it counts
E = TypeVar("E", bound="EncodedSource")


class EncodedSource(Labelled):
    """Encoded images of any size, decoded as they are needed. A kind of them says where they are and how to read one.

    `infos` int32 `[N, 4]`: width, height, orientation and kind of each, as `rawcnn.data.images.headers.inspect` tells.
    `channels` is 3, or 1 for grey: 0.299 of red, 0.587 of green and 0.114 of blue, as Pillow's mode L.
    """

    def __init__(self, labels: np.ndarray, class_names: Sequence[str], infos: np.ndarray, channels: int = 3):
        if channels not in (1, 3):
            raise UsageError(f"Image files are read with 3 channels or 1, not {channels}.")
        self.labels, self.class_names = np.asarray(labels, np.int32), tuple(class_names)
        self._infos = np.asarray(infos, np.int32).reshape(-1, 4)
        check_labels(self.labels, len(self._infos), self.class_names)
        self.shape = (None, None, channels)
        self.threads = cores()

    @property
    def sizes(self) -> np.ndarray:
        """(height, width) of each image as seen, upright: int `[N, 2]`."""
        return np.array(self._infos[:, 1::-1])

    def take(self: E, indices: np.ndarray) -> E:
        """The images at `indices`, in that order."""
        part = copy.copy(self)
        part.labels, part._infos = self.labels[indices], self._infos[indices]
        return part

    def rgb(self, index: int) -> np.ndarray:
        """One image, whole and upright: uint8 `[H, W, 3]`. Raises `DataError` that names it if it cannot be read."""
        raise TypeError(f"{type(self).__name__} has no rgb().")

    def _where(self) -> tuple[tf.Tensor, ...]:
        """What `_fetch` must know of each image: tensors of `[N]`."""
        raise TypeError(f"{type(self).__name__} has no _where().")

    def _fetch(self, *where: tf.Tensor) -> tf.Tensor:
        """The bytes that TensorFlow decodes of the image that is there: a string. Runs in graphs."""
        raise TypeError(f"{type(self).__name__} has no _fetch().")

    def stream(self, order: tf.data.Dataset, crop: Crop | None = None, size: int | None = None) -> tf.data.Dataset:
        """Read, decode and cut as many images at once as there are cores; see `Labelled.stream`.

        Images are uint8 `[B, K, size, size, C]`; each is decoded once for its K boxes, and of a JPEG only the part
        that the boxes cover. Boxes are rounded to whole pixels and scaled by linear interpolation; those much larger
        than `size` are averaged instead (a JPEG's by 2, 4 or 8 while it is decoded). All elements of `order` must have
        the same B, but the last may have fewer. Raises `UsageError` without `crop` and `size`; the iterator raises a
        `tf.errors.OpError` for an image that cannot be read: `images_named` tells which.
        """
        if crop is None or size is None:
            raise UsageError("Image files differ in size: give a crop (see rawcnn.data.views) and a size.")
        batch_size, exact = _batch_size(order)
        options = tf.data.Options()
        options.autotune.enabled = False  # as in `batches`
        options.threading.private_threadpool_size = self.threads
        options.threading.max_intra_op_parallelism = 1
        planned = order.map(self._plan(crop, size)).unbatch()
        # Twice as many as cores: a large image at the head of the queue does not stop the others.
        images = planned.map(
            no_autograph(partial(_read, self._fetch, size, self.shape[2])),
            num_parallel_calls=2 * self.threads,
            deterministic=True,
        )
        return images.batch(batch_size, drop_remainder=exact).with_options(options)

    def _plan(self, crop: Crop, size: int) -> Callable[..., tuple[Any, ...]]:
        """A function of (seed, indices `[B]`) that tells, for a batch at once, what `_read` must know of each image."""
        where, labels, infos = self._where(), tf.constant(self.labels), tf.constant(self._infos)

        @no_autograph
        def plan(seed: tf.Tensor, chosen: tf.Tensor) -> tuple[Any, ...]:
            width, height, orientation, kind = tf.unstack(tf.gather(infos, chosen), axis=1)
            boxes, mirrored = crop(height, width, seed)
            swapped, upside_down, flipped = turns(orientation)
            extent, boxes = _as_stored(tf.stack([height, width], 1), boxes, swapped, upside_down, flipped)
            ratio, window, boxes = _windows(extent, boxes, kind, size)
            mirrored = tf.not_equal(flipped[:, None], mirrored)
            image = (tuple(tf.gather(one, chosen) for one in where), tf.gather(labels, chosen), kind)
            return *image, ratio, window, boxes, swapped, upside_down, mirrored

        return plan


class FileSource(EncodedSource):
    """Image files of any size, read as they are needed: `paths`, `labels` int32 `[N]` and `class_names`.

    `infos` is what `rawcnn.data.images.headers.inspect` says of each; `channels` as in `EncodedSource`. In memory: the
    names, 20 bytes a file, the few images and batches that are just being made, and as PNG those files that TensorFlow
    cannot decode.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        class_names: Sequence[str],
        infos: Iterable[ImageInfo],
        channels: int = 3,
    ):
        infos = list(infos)
        # Names are kept as bytes, since they need not be text in any encoding.
        self._names = np.array([os.fsencode(path) for path in paths], object)
        self._pngs = np.array([info.png for info in infos], object)
        super().__init__(labels, class_names, np.array([info[:4] for info in infos], np.int32), channels)

    @property
    def paths(self) -> list[str]:
        """The files' names."""
        return [os.fsdecode(name) for name in self._names]

    def take(self, indices: np.ndarray) -> "FileSource":
        """The files at `indices`, in that order."""
        part = super().take(indices)
        part._names, part._pngs = self._names[indices], self._pngs[indices]
        return part

    def file_names(self, indices: np.ndarray) -> list[str]:
        """The files at `indices`, without their folders."""
        return [os.path.basename(os.fsdecode(self._names[i])) for i in indices]

    def rgb(self, index: int) -> np.ndarray:
        """One image, whole and upright: uint8 `[H, W, 3]`. Raises `DataError` that names it if it cannot be read."""
        return read_rgb(os.fsdecode(self._names[index]), max_pixels=int(self.sizes[index].prod()))

    def check(self) -> None:
        """Decode every file. Raises `DataError` naming those that cannot be, for TensorFlow's own error names none."""
        bad = find_undecodable(self)
        if bad:
            raise DataError(bad_files(bad, len(self)) + LEAVE_OUT)

    def _where(self) -> tuple[tf.Tensor, ...]:
        names = tf.constant(self._names)
        return (names, tf.constant(self._pngs)) if any(self._pngs) else (names,)

    def _fetch(self, *where: tf.Tensor) -> tf.Tensor:
        name, *png = where
        return tf.cond(png[0] == "", lambda: tf.io.read_file(name), lambda: png[0]) if png else tf.io.read_file(name)


def find_undecodable(source: FileSource) -> list[tuple[str, str]]:
    """(path, what is wrong) of every file of `source` that cannot be decoded."""
    infos = [ImageInfo(w, h, orientation, kind) for w, h, orientation, kind in source._infos.tolist()]
    with quiet_pillow(), ThreadPoolExecutor(source.threads) as pool:
        found = list(pool.map(undecodable, source.paths, infos))
    return [(path, problem) for path, problem in zip(source.paths, found, strict=True) if problem]


# Cutting ------------------------------------------------------------------------------------------------------------


def _batch_size(order: tf.data.Dataset) -> tuple[int, bool]:
    """B, and whether every element of `order` is known to have it."""
    known = order.element_spec[1].shape[0]
    if known is not None:
        return known, True
    for _, first in order.take(1):
        return len(first), False
    return 1, False


def _as_stored(
    size: tf.Tensor, boxes: tf.Tensor, swapped: tf.Tensor, upside_down: tf.Tensor, flipped: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """From upright images to stored ones: (height, width) int32 `[B, 2]` and boxes `[B, K, 4]`."""
    height, width = (tf.cast(side, tf.float32)[:, None] for side in tf.unstack(size, axis=1))
    top, left, bottom, right = tf.unstack(boxes, axis=2)
    upside_down, flipped = upside_down[:, None], flipped[:, None]
    top, bottom = tf.where(upside_down, height - bottom, top), tf.where(upside_down, height - top, bottom)
    left, right = tf.where(flipped, width - right, left), tf.where(flipped, width - left, right)
    straight, turned = tf.stack([top, left, bottom, right], 2), tf.stack([left, top, right, bottom], 2)
    return (
        tf.where(swapped[:, None], tf.reverse(size, [1]), size),
        tf.where(swapped[:, None, None], turned, straight),
    )


def _windows(extent: tf.Tensor, boxes: tf.Tensor, kind: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(ratio `[B]`, window `[B, 4]`, boxes `[B, K, 4]` within it), all int32.

    By `ratio` a JPEG is shrunk while it is decoded, so that its smallest box keeps `size` pixels; the `window` (top,
    left, height, width) is what all boxes of the image need of it.
    """
    shrink = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=[1, 2]) / size
    steps = tf.reduce_sum(tf.cast(shrink[:, None] >= [2.0, 4.0, 8.0], tf.int32), axis=1)
    ratio = tf.where(kind == JPEG, tf.bitwise.left_shift(1, steps), 1)
    extent = (extent + ratio[:, None] - 1) // ratio[:, None]
    boxes = tf.cast(tf.round(boxes / tf.cast(ratio, tf.float32)[:, None, None]), tf.int32)
    low = boxes[..., :2]
    high = tf.maximum(boxes[..., 2:], low + 1)
    first = tf.clip_by_value(tf.reduce_min(low, axis=1), 0, extent - 1)
    last = tf.clip_by_value(tf.reduce_max(high, axis=1), first + 1, extent)
    window = tf.concat([first, last - first], axis=1)
    return ratio, window, tf.concat([low - first[:, None], high - first[:, None]], axis=2)


def _read(
    fetch: Callable[..., tf.Tensor],
    size: int,
    channels: int,
    where: tuple[tf.Tensor, ...],
    label: tf.Tensor,
    kind: tf.Tensor,
    ratio: tf.Tensor,
    window: tf.Tensor,
    boxes: tf.Tensor,
    swapped: tf.Tensor,
    upside_down: tf.Tensor,
    mirrored: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One image's views, uint8 `[K, size, size, channels]`, and its label."""
    image = decode_part(fetch(*where), kind, ratio, window)

    def view(of: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        box, mirrored = of
        scaled = cut(image, box, size, size)
        if channels == 1:
            scaled = tf.tensordot(scaled, tf.constant([[0.299], [0.587], [0.114]]), 1)
        # The small result is turned upright, not the large image: the box was turned the other way round.
        return tf.cast(turn(scaled, swapped, upside_down, mirrored) + 0.5, tf.uint8)

    if boxes.shape[0] == 1:
        views = view((boxes[0], mirrored[0]))[None]
    else:
        views = tf.map_fn(no_autograph(view), (boxes, mirrored), fn_output_signature=tf.uint8)
    return tf.ensure_shape(views, (boxes.shape[0], size, size, channels)), label


# Bad files ----------------------------------------------------------------------------------------------------------


def bad_files(bad: Sequence[tuple[str, str]], count: int) -> str:
    """How many of `count` image files are bad, and the first of them with what is wrong, as words."""
    first = " ".join(f"{path} {problem}" for path, problem in bad[:NAMED])
    more = f" And {len(bad) - NAMED:,} more." if len(bad) > NAMED else ""
    return f"{len(bad):,} of {count:,} image files cannot be used: {first}{more}"
