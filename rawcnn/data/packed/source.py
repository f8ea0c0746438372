"""Packed images as a source: records are read at their offsets, in any order; only where they are is in memory."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from rawcnn.data.images.decode import decode
from rawcnn.data.images.headers import MAX_PIXELS, UNDECODABLE, examine_bytes, quiet_pillow
from rawcnn.data.images.stream import NAMED, EncodedSource
from rawcnn.data.packed.index import PACK_AGAIN, Head, Shard, check_sizes, join, read_index
from rawcnn.errors import DataError

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/png": tf.io.FixedLenFeature([], tf.string, ""),
    "image/filename": tf.io.FixedLenFeature([], tf.string, ""),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64, -1),
}


class PackedSource(EncodedSource):
    """Images in shards, read as they are needed: image i begins at byte `offsets[i]` of `files[shards[i]]`.

    `labels`, `class_names`, `infos` and `channels` as in `EncodedSource`. Batches are those of the folder that was
    packed, bit for bit. In memory: 32 bytes an image, and the few batches that are just being made.
    """

    def __init__(
        self,
        files: Sequence[str],
        shards: np.ndarray,
        offsets: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        infos: np.ndarray,
        channels: int = 3,
    ):
        super().__init__(labels, class_names, infos, channels)
        self.files = tuple(files)
        self.shards, self.offsets = np.asarray(shards, np.int32), np.asarray(offsets, np.int64)

    def take(self, indices: np.ndarray) -> "PackedSource":
        """The images at `indices`, in that order."""
        part = super().take(indices)
        part.shards, part.offsets = self.shards[indices], self.offsets[indices]
        return part

    def names(self, indices: np.ndarray, most: int = 8) -> str:
        """What a message calls the images at `indices`: shard, record and file of the first `most`."""
        more = f" and {len(indices) - most} more" if len(indices) > most else ""
        return ", ".join(self._name(int(i)) for i in indices[:most]) + more

    def file_names(self, indices: np.ndarray) -> list[str]:
        """The files that were packed, without their folders; of a damaged record where it begins."""
        return [(self._file(int(i)) or f"record at byte {self.offsets[i]}").rsplit("/", 1)[-1] for i in indices]

    def rgb(self, index: int) -> np.ndarray:
        """One image, whole and upright: uint8 `[H, W, 3]`. Raises `DataError` that names it if it cannot be read."""
        self.take(np.array([index])).check()
        record = _parsed(_record(self.files[self.shards[index]], self.offsets[index]))
        *_, orientation, kind = self._infos[index].tolist()
        return np.asarray(decode(_pixels(record), kind, orientation))

    def check(self) -> None:
        """Read and decode every image. Raises `DataError` naming shard and record of those that cannot be."""
        with quiet_pillow(), ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(self._problem, range(len(self))))
        if bad := [(i, problem) for i, problem in enumerate(found) if problem]:
            first = " ".join(f"{self._name(i)} {problem}" for i, problem in bad[:NAMED])
            more = f" And {len(bad) - NAMED:,} more." if len(bad) > NAMED else ""
            raise DataError(
                f"{len(bad):,} of {len(self):,} packed images cannot be used: {first}{more} "
                "Copy these shards again, or pack the folder again."
            )

    def _problem(self, i: int) -> str | None:
        """What is wrong with image i, as words that follow its name."""
        width, height, orientation, kind = self._infos[i].tolist()
        try:
            record = _parsed(_record(self.files[self.shards[i]], self.offsets[i]))
        except tf.errors.OpError as error:
            return f"cannot be read: {error.message.splitlines()[0]}."
        contents = record["image/encoded"].numpy()
        info = examine_bytes(contents, width * height)
        if isinstance(info, str):
            return info
        told = (*info[:4], record["image/class/label"].numpy())
        if told != (width, height, orientation, kind, self.labels[i]):
            return "is not the image that the index tells of."
        try:
            decode(_pixels(record), kind, orientation)
        except tf.errors.OpError:
            return UNDECODABLE.format(info.format)
        return None

    def _name(self, i: int) -> str:
        file, place = self._file(i), f"{self.files[self.shards[i]]}, record at byte {self.offsets[i]}"
        return f"{place} ({file})" if file else place

    def _file(self, i: int) -> str:
        """The file that was packed; "" where its record is damaged, for nothing in it can be trusted then."""
        try:
            record = _parsed(_record(self.files[self.shards[i]], self.offsets[i]))
        except tf.errors.OpError:
            return ""
        return os.fsdecode(record["image/filename"].numpy())

    def _where(self) -> tuple[tf.Tensor, ...]:
        return tf.constant(self.shards), tf.constant(self.offsets)

    def _fetch(self, *where: tf.Tensor) -> tf.Tensor:
        shard, offset = where
        return _pixels(_parsed(_record(tf.gather(tf.constant(self.files), shard), offset)))


def open_packed(
    directory: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, channels: int = 3
) -> tuple[dict[str, PackedSource], dict[str, str]]:
    """Open what `pack` wrote: a directory, or a URL of one on a file system that TensorFlow knows.

    Returns ("train" and, where there are such images, "validation" and "test", each a `PackedSource`), and what was
    wrong with each file of the folder that was left out. Raises `DataError` if the index is damaged, a shard is missing
    or cut off, or an image has more than `max_pixels`. A shard's inside is looked at when it is read: TensorFlow then
    compares the checksums of each record.
    """
    head, shards = read_index(directory)
    check_sizes(directory, shards)
    splits = list(dict.fromkeys(shard.split for shard in shards))
    sources = {
        split: _source(directory, head, [shard for shard in shards if shard.split == split], channels)
        for split in splits
    }
    for source in sources.values():
        pixels = source._infos[:, 0].astype(np.int64) * source._infos[:, 1]
        if len(large := np.flatnonzero(pixels > max_pixels)):
            width, height = source._infos[large[0], :2]
            raise DataError(
                f"{source.names(large[:1])} has {width}x{height} pixels; at most {max_pixels:,} are decoded. "
                "Raise max_pixels, or pack the folder without it."
            )
    missing = np.bincount(sources["train"].labels, minlength=len(head.class_names)) == 0
    if missing.any():
        raise DataError(f"{directory} has no training images of {head.class_names[missing.argmax()]!r}. {PACK_AGAIN}")
    return sources, dict(head.bad)


def _source(directory: str | os.PathLike[str], head: Head, shards: Sequence[Shard], channels: int) -> PackedSource:
    def column(name: str) -> np.ndarray:
        return np.concatenate([shard.columns[name] for shard in shards])

    counts = [len(shard.columns["label"]) for shard in shards]
    infos = np.stack([column(name) for name in ("width", "height", "orientation", "kind")], axis=1)
    return PackedSource(
        [join(directory, shard.file) for shard in shards],
        np.repeat(np.arange(len(shards), dtype=np.int32), counts),
        column("offset"),
        column("label"),
        head.class_names,
        infos,
        channels,
    )


def _record(path: str | tf.Tensor, offset: int | tf.Tensor) -> tf.Tensor:
    """The record that begins at a byte of a TFRecord file, its checksums compared; also inside graphs.

    Without a buffer TensorFlow reads the record's own bytes and nothing else.
    """
    path, offset = tf.reshape(path, [1]), tf.reshape(tf.cast(offset, tf.int64), [1])
    file = tf.raw_ops.TFRecordDatasetV2(filenames=path, compression_type="", buffer_size=0, byte_offsets=offset)
    one = {"output_types": [tf.string], "output_shapes": [tf.TensorShape([])]}
    first = tf.raw_ops.TakeDataset(input_dataset=file, count=1, **one)
    return tf.raw_ops.DatasetToSingleElement(dataset=first, **one)[0]


def _parsed(record: tf.Tensor) -> dict[str, tf.Tensor]:
    return tf.io.parse_single_example(record, _FEATURES)


def _pixels(record: dict[str, tf.Tensor]) -> tf.Tensor:
    """The bytes that TensorFlow decodes: the file's own, or the PNG that Pillow made of it."""
    return tf.where(record["image/png"] == "", record["image/encoded"], record["image/png"])
