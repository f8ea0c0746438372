"""What of an image a net is shown, in training, testing and classifying: which views, of what size, and how scaled."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import in_order
from rawcnn.data.images.decode import cut, read_rgb
from rawcnn.data.images.digit_photo import read_digit, read_grey
from rawcnn.data.images.headers import MAX_PIXELS
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Labelled
from rawcnn.data.views import FITS, STANDARD, Crop, centre, protocol, take_boxes
from rawcnn.errors import DataError, UsageError
from rawcnn.layers import Whitening
from rawcnn.nets.chain import Chain
from rawcnn.nets.folding import folds, for_inference
from rawcnn.nets.inference import check_dense, dense_logits, six_view_logits
from rawcnn.nets.predictor import Watched, images_at_once
from rawcnn.train.evaluate import Evaluation, evaluate, make_eval_step
from rawcnn.train.losses import Loss
from rawcnn.train.recipes import Recipe

CROPS = ("1", "6", "10", "144", "dense")
FIRST = 5000  # images, of which rows that are computed from data need no more
INVERTED = "inverted, because the net learnt from light things on dark ground, and this picture's border is light"


class Seen(NamedTuple):
    """A picture as a net is shown it (uint8 `[H, W, C]`, grey ones `[H, W]`), as it is, and what to say about it."""

    image: np.ndarray
    original: np.ndarray
    remark: str = ""


@dataclass(frozen=True)
class Inputs:
    """From images of any size to the input of a net; the same object in training, testing and classifying.

    `size` is the pixels a side of what goes into `preprocess`; its height, where a net takes oblong images.
    `central_fraction` (0 ... 1) is the part of the shorter side that the test view keeps; 1: the whole image, which
    becomes a square as `fit` says, one of `FITS` (None: its aspect is changed; but of files that a net for images in
    memory reads, the central part is taken). `data_shape` is the (H, W, C) of the data's images, with H and W None for
    image files. Of grey data, `light_on_dark` tells whether things are lighter than their ground, and `digits` whether
    they are single handwritten digits: only then a photo is read as one. Files that declare more than `max_pixels` are
    refused. `crop` takes the training views (None: whole images), and is not saved.

    Images in memory of which whole views are taken stay as they are, and `preprocess` scales them. A net whose input is
    not square takes images in memory of exactly its size: nothing is scaled or cut then.
    """

    size: int
    preprocess: Preprocess
    central_fraction: float
    data_shape: tuple[int | None, int | None, int]
    digits: bool = False
    light_on_dark: bool = False
    max_pixels: int = MAX_PIXELS
    fit: str | None = None
    crop: Crop | None = field(default=None, compare=False)

    @staticmethod
    def of(recipe: Recipe, source: Labelled, side: int | Sequence[int], **more: Any) -> "Inputs":
        """For images like those of `source` and a net whose input is `side` pixels a side, or (height, width).

        `more`: see the class. Raises `UsageError` for images that cannot be made to fit that input.
        """
        sides, pad = (side, side) if isinstance(side, int) else tuple(side), recipe.preprocess.pad
        size, width = sides[0] - 2 * pad, sides[1] - 2 * pad
        if min(size, width) < 1:
            raise UsageError(f"An input of {min(sides)} pixels a side has no room within its {pad} of padding.")
        of_files = source.shape[0] is None
        scaled = not of_files and source.shape[:2] != (size, width)
        if size != width and (of_files or scaled or recipe.crop or recipe.fit or recipe.central_fraction < 1):
            raise UsageError(
                f"The net's input is not square, so it takes images in memory of exactly {size}x{width} pixels, whole: "
                "scale the images first, and use a recipe without crops and fit."
            )
        preprocess = replace(recipe.preprocess, resize=size) if scaled else recipe.preprocess
        inputs = Inputs(size, preprocess, recipe.central_fraction, source.shape, fit=recipe.fit, **more)
        return replace(inputs, crop=recipe.crop or inputs.whole)

    def as_dict(self) -> dict[str, Any]:
        """All but the training view, as JSON takes it."""
        saved = {name: value for name, value in vars(self).items() if name != "crop"}
        return saved | {"preprocess": asdict(self.preprocess)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Inputs":
        """What `as_dict` gave. Raises `ValueError` or `TypeError` if it is damaged."""
        given = dict(values)
        levels: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.pop("preprocess").items()}
        height, width, channels = given.pop("data_shape")
        inputs = Inputs(preprocess=Preprocess(**levels), data_shape=(height, width, channels), **given)
        if not (inputs.size >= 1 and 0 < inputs.central_fraction <= 1 and channels >= 1 and inputs.max_pixels >= 1):
            raise ValueError("its sizes make no sense")
        if inputs.fit not in (None, *FITS):
            raise ValueError(f"its fit is {inputs.fit!r}")
        return inputs

    # Testing

    @property
    def cropped(self) -> bool:
        """Whether the net is shown a part of each image, at the centre where nothing else is said."""
        return self.central_fraction < 1

    @property
    def of_files(self) -> bool:
        """Whether the data are image files, each of its own size."""
        return self.data_shape[0] is None

    @property
    def oblong(self) -> bool:
        """Whether the net's input is not square: images in memory that are not, and are not scaled either."""
        height, width, _ = self.data_shape
        return height != width and not self.preprocess.resize

    @property
    def whole(self) -> Crop | None:
        """The whole image as a square, as `fit` says; None: as it is, and `preprocess` scales it."""
        height, width, _ = self.data_shape
        if self.of_files:
            return FITS[self.fit or "squeeze"]()
        return None if self.fit in (None, "squeeze") or height == width else FITS[self.fit]()

    @property
    def test_crop(self) -> Crop | None:
        """The test view; None: whole images, which `preprocess` scales."""
        return centre(self.central_fraction) if self.cropped else self.whole

    def evaluator(
        self, net: Chain, loss: Loss, crops: str = "1", *, shards: int = 1
    ) -> Callable[[Labelled], Evaluation]:
        """`evaluate(source)` by the test protocol `crops`, one of `CROPS`.

        "1": the test view; "6": that one and five like it, see `six_views`; "10" and "144": see `rawcnn.data.views`;
        "dense": the net on the larger central square and its mirror image, see `rawcnn.nets.inference`. Raises
        `UsageError` for another name, and for a protocol that net or `fit` do not allow.
        """
        if crops not in CROPS:
            raise UsageError(f"crops is {crops!r}, but must be one of {', '.join(CROPS)}.")
        if self.oblong and crops not in ("1", "6"):
            raise UsageError(f"crops={crops} takes square views, and the net's input is not square: use crops=1.")
        if self.fit == "pad" and crops not in ("1", "6"):
            raise UsageError(
                f"crops={crops} looks at the central square of each image, and fit=pad shows all of it: choose crops=1 "
                "or 6."
            )
        apply: Callable[[tf.Tensor], tf.Tensor] = net
        crop, size, views, preprocess = self.test_crop, self.size, 1, self.preprocess
        fraction = self.central_fraction if self.cropped else STANDARD
        if crops == "dense":
            check_dense(net)
            apply, crop, size, views = partial(dense_logits, net), _central_square, round(self.size / fraction), 2
            preprocess = replace(preprocess, resize=0)
        elif crops == "6":
            apply, views = partial(six_view_logits, net), 6
        elif crops != "1":
            crop, views = protocol(crops, fraction), int(crops)
        largest = images_at_once(size * size * views)
        step = make_eval_step(apply, loss, preprocess, shards=shards)

        def judge(source: Labelled) -> Evaluation:
            at_once = min(largest, 1 << (len(source) - 1).bit_length())  # few sizes: each one is traced once
            return evaluate(step, source, max(1, at_once // shards) * shards, crop=crop, size=size)

        return judge

    def tester(self, net: Chain, loss: Loss, crops: str = "1", *, shards: int = 1) -> Callable[[Labelled], Evaluation]:
        """`evaluator` of a net that is not being trained: its batch normalisation is folded, see `for_inference`.

        But not for "dense": a folded convolution may know its border, which lies elsewhere in larger images. Changed
        weights are seen by the next call, which then folds and traces again.
        """
        plain = self.evaluator(net, loss, crops, shards=shards)
        if crops == "dense" or not folds(net):
            return plain
        weights, folded = Watched(net), plain

        def test(source: Labelled) -> Evaluation:
            nonlocal folded
            if weights.changed():
                folded = self.evaluator(for_inference(net), loss, crops, shards=shards)
            return folded(source)

        return test

    def prepare(self, net: Chain, source: Labelled) -> None:
        """Show `FIRST` images of `source` to rows that are computed from data, before the first step of a training.

        That is a first row `Whitening`, unless it has seen images already: a resumed run has it from its checkpoint.
        """
        _, first = next(net.rows)
        if isinstance(first, Whitening) and first.fresh:
            some = source.take(np.arange(min(FIRST, len(source))))
            batches = in_order(some, min(1000, len(some)), self.test_crop, self.size)
            images = tf.concat([self.preprocess(x if x.shape.rank == 4 else x[:, 0]) for x, _ in batches], axis=0)
            first.look_at(images[: len(some)])

    # Classifying

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images that `checked` and `shown` take."""
        height, width, channels = self.data_shape
        return height or self.size, width or self.size, channels

    def read(self, path: str | os.PathLike[str]) -> Seen:
        """An image file as a test image like it would be, and as it is; its header and its pixels are read once.

        A net that learnt handwritten digits is shown a digit cut out of a photo or scan, see `as_mnist`. Other nets for
        images in memory are shown the largest central part of their shape (or what `fit` says), made as small as those;
        a grey one is inverted where its data are light on dark and its border is light, which the remark says. Raises
        `DataError` if the file cannot be read.
        """
        path = os.path.expanduser(path)
        height, width, channels = self.image_shape
        if channels == 1 and self.digits and height == width:
            digit, grey = read_digit(path, height, max_pixels=self.max_pixels)
            return Seen(digit, grey)
        if channels == 1:
            grey = read_grey(path, max_pixels=self.max_pixels)
            view = self._view(np.repeat(grey[..., np.newaxis], 3, axis=2))[..., 0]
            border = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
            inverted = self.light_on_dark and np.median(border) >= 128
            return Seen(255 - view, grey, INVERTED) if inverted else Seen(view, grey)
        original = read_rgb(path, self.max_pixels)
        return Seen(self._view(original), original)

    def _view(self, image: np.ndarray) -> np.ndarray:
        """What a file of these pixels, uint8 `[H, W, 3]`, would give as a test image: uint8 `[*image_shape[:2], 3]`."""
        crop = (self.test_crop if self.of_files else None) or FITS[self.fit or "crop"]()
        rows, columns, _ = self.image_shape
        common = math.gcd(rows, columns)
        units = np.array([columns, rows]) // common  # in these the view is a square, as crops want it
        height, width = (tf.constant([length]) for length in (np.array(image.shape[:2]) * units).tolist())
        boxes, _ = crop(height, width, tf.zeros(2, tf.int64))
        box = tf.cast(tf.round(boxes[0, 0] / np.tile(units, 2)), tf.int32)
        box = tf.concat([box[:2], tf.maximum(box[2:], box[:2] + 1)], axis=0)
        return tf.cast(cut(tf.constant(image), box, rows, columns) + 0.5, tf.uint8).numpy()

    def test_images(self, source: Labelled) -> np.ndarray:
        """The images of `source` as `checked` takes them: uint8 `[N, *image_shape]`."""
        crop = self.test_crop if self.of_files else None
        blocks = [x.numpy()[:, 0] if crop else x.numpy() for x, _ in in_order(source, 1, crop, self.size)]
        return np.rint(np.concatenate(blocks)).astype(np.uint8)

    def checked(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Images as an array `[N, *image_shape]` in 0 ... 255, grey ones with or without the last axis.

        Raises `DataError` for other shapes, types or values.
        """
        height, width, channels = self.image_shape
        wanted = f"images uint8 [N, {height}, {width}, {channels}] in 0 ... 255"
        try:
            array = np.asarray(images)
        except ValueError:
            raise DataError(f"The net takes {wanted}, but these differ in shape.") from None
        if array.size == 0 and array.ndim <= 1:
            return np.zeros((0, height, width, channels), np.uint8)
        if channels == 1 and array.ndim == 3:
            array = array[..., np.newaxis]
        if array.shape[1:] != (height, width, channels):
            raise DataError(f"The net takes {wanted}, not {list(array.shape)}.{_remedy(array.shape, self.image_shape)}")
        if array.dtype == np.uint8 or not len(array):
            return array.astype(np.uint8)
        if array.dtype.kind not in "iuf":
            raise DataError(f"The net takes {wanted}, not {array.dtype}.")
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 255):
            raise DataError(f"The net takes {wanted}, but these are in {low:.4g} ... {high:.4g}.")
        if array.dtype.kind == "f" and 0 < high <= 1:
            raise DataError(f"The net takes {wanted}, but these are in 0 ... 1: multiply them by 255.")
        return array.astype(np.float32 if array.dtype.kind == "f" else np.uint8)

    def shown(self, images: tf.Tensor) -> tf.Tensor:
        """What the net is given for images `[N, *image_shape]` in 0 ... 255: their test view, preprocessed."""
        if not self.of_files and self.test_crop is not None:
            height, width, _ = self.image_shape
            box = self.test_crop(tf.constant([height]), tf.constant([width]), tf.zeros(2, tf.int64))  # one for all
            images = take_boxes(images, *box, self.size)[:, 0]
        return self.preprocess(images)


def _remedy(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> str:
    """What to do about images of a wrong shape, where that is plain."""
    height, width, channels = wanted
    if shape == wanted:
        return " Give one image as images[np.newaxis]."
    if shape[1:] == (channels, height, width):
        return " Give images.transpose(0, 2, 3, 1)."
    if shape[1:] == (height, width, 4) and channels == 3:
        return " Give images[..., :3], without their transparency."
    return ""


def _central_square(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both ways round."""
    boxes, straight = centre(1.0)(heights, widths, seed)
    return tf.concat([boxes, boxes], axis=1), tf.concat([straight, ~straight], axis=1)
