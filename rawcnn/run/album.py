"""Which images the pictures of a run show, and which pictures of its net a run leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import batches
from rawcnn.data.mixing import Mix, larger
from rawcnn.data.source import Augment, Labelled, images_named
from rawcnn.layers import RBF, PartialConv2D
from rawcnn.nets.chain import Chain
from rawcnn.run import inside, net_pictures
from rawcnn.run.drawing import save_drawing
from rawcnn.run.pictures import MOST_IMAGES, worst_mistakes
from rawcnn.train.inputs import Inputs

PHOTOS = 64  # pixels a side: of larger inputs, where the net looks is worth a picture


def training_views(
    source: Labelled,
    inputs: Inputs,
    *,
    seed: int,
    augment: Augment | None = None,
    balanced: bool = False,
    mix: Mix | None = None,
    count: int = MOST_IMAGES,
) -> tuple[np.ndarray, np.ndarray]:
    """The first images of the first epoch as the net is given them: (uint8 `[M, H, W, C]`, labels int `[M]`).

    They are cut, changed, mixed, scaled and padded as in training, in the order of training, so that the classes are
    mixed; only the levels are those of pixels, 0 ... 255. The label of a mixed image is that of its larger part.
    """
    order = batches(
        source,
        min(count, len(source)),
        seed=seed,
        crop=inputs.crop,
        size=inputs.size,
        augment=augment,
        balanced=balanced,
        mix=mix,
    )
    with images_named(source):
        images, labels = next(iter(order))
    pixels = replace(inputs.preprocess, low=0.0, high=255.0)(images).numpy()
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8), larger(labels).numpy()


def test_views(source: Labelled, indices: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The test images at `indices` as the net is given them: float32 `[len(indices), *net.input_shape]`."""
    return inputs.shown(tf.constant(inputs.test_images(source.take(indices)))).numpy()


def of_net(
    directory: Path, net: Chain, inputs: Inputs, source: Labelled, probabilities: np.ndarray, *, title: str
) -> list[Callable[[], Path]]:
    """What draws the pictures of a net, each a function that writes one and returns its path.

    `net.png`, `filters.png` and `maps.png` for all nets; `grad_cam.png` where the input has more than 64 pixels a side;
    `connections.png` and `bitmaps.png` for LeNet-5. `probabilities` `[N, K]` are the net's for the images of `source`;
    the images shown are of different classes, for Grad-CAM 3 right answers and the 3 worst mistakes.
    """
    predicted, names = probabilities.argmax(axis=1), source.class_names
    some = _of_different_classes(source.labels, np.arange(len(source)))[:3]
    layers = [layer for _, layer in net.rows]
    images = test_views(source, some, inputs)
    drawings: list[Callable[[], Path]] = [
        partial(save_drawing, net, directory / "net.png", title=title),
        *(
            [partial(net_pictures.save_filters, net, directory / "filters.png", title=title)]
            if inside.convolves(net)
            else []
        ),
        partial(net_pictures.save_maps, net, images[:2], directory / "maps.png", title=f"{title}: feature maps"),
    ]
    if net.input_shape[0] > PHOTOS and inside.convolves(net):
        right = _of_different_classes(source.labels, np.flatnonzero(predicted == source.labels))[:3]
        both = np.concatenate([right, worst_mistakes(source.labels, probabilities, 3)])
        drawings.append(
            partial(
                net_pictures.save_grad_cam,
                net,
                test_views(source, both, inputs),
                predicted[both],
                names,
                directory / "grad_cam.png",
                title=f"{title}: where it sees its answer",
                true=source.labels[both],
            )
        )
    if any(isinstance(layer, PartialConv2D) for layer in layers):
        row = next(name for name, layer in net.rows if isinstance(layer, PartialConv2D))
        drawings.append(
            partial(net_pictures.save_connections, net, directory / "connections.png", title=title, row=row)
        )
    if isinstance(layers[-1], RBF) and layers[-1].input_shape[0] % 7 == 0:
        drawings.append(
            partial(
                net_pictures.save_bitmaps, net, images, names, directory / "bitmaps.png", title=f"{title}: RBF units"
            )
        )
    return drawings


def _of_different_classes(labels: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The first image of each class among some, in the order of the images."""
    _, firsts = np.unique(labels[among], return_index=True)
    return among[np.sort(firsts)]
