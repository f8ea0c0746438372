"""How the images of a data set reach a net: which views of them, of what size, and their preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Labelled
from rawcnn.data.views import STANDARD, Crop, centre, protocol, whole
from rawcnn.errors import UsageError
from rawcnn.nets.chain import Chain
from rawcnn.nets.inference import check_dense, dense_logits
from rawcnn.train.evaluate import Evaluation, evaluate, make_eval_step
from rawcnn.train.losses import Loss
from rawcnn.train.recipes import Recipe

CROPS = ("1", "10", "144", "dense")
EVALUATED_AT_ONCE = 80 * 224 * 224  # pixels; and no more than 1,000 images


@dataclass(frozen=True)
class Inputs:
    """`size`: pixels a side of what goes into `preprocess`; `crop`, `test_crop`: the views; others: see `Recipe`.

    Images in memory of which whole views are taken (a crop of None) stay as they are, and `preprocess` scales them.
    """

    size: int
    preprocess: Preprocess
    crop: Crop | None
    test_crop: Crop | None
    central_fraction: float

    @property
    def cropped(self) -> bool:
        """Whether nets are shown shards of images, at the centre where nothing else is said."""
        return self.central_fraction < 1

    @staticmethod
    def of(recipe: Recipe, source: Labelled, side: int) -> "Inputs":
        """For a net whose input is `side` pixels a side."""
        size = side - 2 * recipe.preprocess.pad
        if size < 1:
            raise UsageError(
                f"An input of {side} pixels a side has no room within its {recipe.preprocess.pad} of padding."
            )
        all_of_it = whole() if source.shape[0] is None else None
        test_crop = centre(recipe.central_fraction) if recipe.central_fraction < 1 else all_of_it
        scaled = source.shape[0] is not None and source.shape[:2] != (size, size)
        preprocess = replace(recipe.preprocess, resize=size) if scaled else recipe.preprocess
        return Inputs(size, preprocess, recipe.crop or all_of_it, test_crop, recipe.central_fraction)

    def evaluator(
        self, net: Chain, loss: Loss, crops: str = "1", *, shards: int = 1
    ) -> Callable[[Labelled], Evaluation]:
        """`evaluate(source)` by the test protocol `crops`, one of `CROPS`.

        "1": the central view (whole images where training takes whole ones); "10" and "144": see
        `rawcnn.data.views`; "dense": the net on the larger central square and its mirror image, see `rawcnn.dense`.
        """
        apply: Callable[[tf.Tensor], tf.Tensor] = net
        crop, size, views, preprocess = self.test_crop, self.size, 1, self.preprocess
        fraction = self.central_fraction if self.cropped else STANDARD
        if crops == "dense":
            check_dense(net)
            apply, crop, size, views = partial(dense_logits, net), _central_square, round(self.size / fraction), 2
            preprocess = replace(preprocess, resize=0)
        elif crops != "1":
            crop, views = protocol(crops, fraction), int(crops)
        batch_size = min(1000, EVALUATED_AT_ONCE // (size * size * views)) // shards * shards
        step = make_eval_step(apply, loss, preprocess, shards=shards)
        return partial(evaluate, step, batch_size=max(shards, batch_size), crop=crop, size=size)


def _central_square(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both ways round."""
    boxes, straight = centre(1.0)(heights, widths, seed)
    return tf.concat([boxes, boxes], axis=1), tf.concat([straight, ~straight], axis=1)
