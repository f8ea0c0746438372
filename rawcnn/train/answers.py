"""What a net answers: `evaluate` judges it by labels, `predict` asks it.

How images are shown to a net (`Preprocess`, test view) and its loss are said once, to `fit`, which notes them on the
net.
"""

from typing import Any

import numpy as np

from rawcnn.data.arrays import as_array, as_images
from rawcnn.data.source import Labelled, Source
from rawcnn.errors import DataError, UsageError
from rawcnn.nets.chain import Chain
from rawcnn.nets.predictor import Predictor
from rawcnn.train.checks import check_chain, check_labels, net_and_source
from rawcnn.train.evaluate import Evaluation
from rawcnn.train.recipes import Recipe
from rawcnn.train.shown import shown_to


@net_and_source
def evaluate(net: Chain, source: Labelled, *, crops: str = "1", recipe: Recipe | None = None) -> Evaluation:
    """Mean loss, accuracy (0 ... 1) and class probabilities `[N, K]` of all images of `source`, in their order.

    Images are shown to the net as `fit` showed them, or as loaded weights expect them (`net.expects`). Other nets that
    `fit` did not train need the `recipe` they were trained with, unless that is `Recipe()`: pixels scaled to 0 ... 1.
    `crops` is a test protocol, as in `rawcnn evaluate`: "1", "6", "10", "144" or "dense", see `Inputs.evaluator`. In
    float32, batch normalisation is folded into the convolutions, which changes answers by rounding only.

    Raises `UsageError` for images of another size or other channels than those the net was trained on, and for a
    protocol that the net does not allow; `DataError` that names images that cannot be read.
    """
    shown = shown_to(net, recipe)
    shown.check_size(net, source)
    check_labels(net, source)
    inputs = shown.inputs(net, source)
    key = (repr(inputs.preprocess), source.shape, net.policy, crops)
    if key not in shown.testers:
        shown.testers[key] = inputs.tester(net, shown.loss, crops)
    return shown.testers[key](source)


def predict(net: Chain, images: Any, *, recipe: Recipe | None = None) -> np.ndarray:
    """Class probabilities `[N, K]` of `images`, float32; each row sums to 1. `recipe`: see `evaluate`.

    `images` are what a `Source` takes: `[N, H, W, C]` or, if grey, `[N, H, W]`; whole numbers in 0 ... 255, or floats
    in 0 ... 1 or in 0 ... 255. No images give no rows. Raises `DataError` or `UsageError` for others, with the remedy.

    >>> from rawcnn.layers import Dense, Flatten
    >>> from rawcnn.nets.chain import row
    >>> net = Chain((("flat", row(Flatten)()), ("logits", row(Dense)(3))), input_shape=(4, 4, 1))
    >>> predict(net, np.zeros((2, 4, 4))).shape, predict(net, []).shape
    ((2, 3), (0, 3))
    """
    if isinstance(images, Labelled):
        raise UsageError("predict takes images alone: for a source write rc.evaluate(net, source).probabilities.")
    check_chain(net, "predict")
    images = as_array(images, "images")
    if not len(images):
        return np.zeros((0, net.out_shape[-1]), np.float32)
    shape, noted = images.shape, getattr(net, "_shown", None)
    if len(shape) < 3 or shape in (net.input_shape, noted and noted.shape):
        raise DataError(
            f"Images are [N, H, W, C] or, if grey, [N, H, W], not {list(shape)}: give one image as image[None]."
        )
    images, shown = as_images(images), shown_to(net, recipe)
    predictor = shown.predictors.get(images.shape[1:])
    if predictor is None:
        source = Source(images[:1], [0], ("0",))
        shown.check_size(net, source)
        predictor = shown.predictors[images.shape[1:]] = Predictor(net, shown.inputs(net, source).shown)
    return predictor(images)
