"""What a net computes inside: its first filters, every row's maps, Grad-CAM and how its units respond.

Pure functions of `(net, images)` for pictures, reports and notebooks. `images` is what the net is given, `[N, H, W, C]`
after preprocessing; what comes back is NumPy's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from rawcnn.errors import UsageError
from rawcnn.layers import BatchNorm, Conv2D, Inception, Layer, PartialConv2D
from rawcnn.nets.chain import Chain

Images = Any  # an array or a tensor
Floats = NDArray[np.float32]

INCEPTION_PARTS = ("conv1x1", "conv3x3_reduce", "conv3x3", "conv5x5_reduce", "conv5x5", "pool_proj")
"""The six convolutions of an `Inception` row, in the order of the paper's table 1."""


def filters(layer: Layer) -> Floats:
    """The filters of a convolution: float32 `[size, size, in, out]`, 0 where a connection table has no connection.

    Of a convolution in groups, `in` is the channels of one group. Raises `UsageError` for other layers.

    >>> from rawcnn.nets import NETS
    >>> filters(NETS["lenet5"]().c3).shape
    (5, 5, 6, 16)
    """
    if isinstance(layer, Conv2D):
        return np.asarray(layer.w.numpy(), np.float32)
    if isinstance(layer, PartialConv2D):
        full = np.zeros((*layer.w.shape[:2], *layer.table.shape), np.float32)
        full[:, :, layer.table] = layer.w.numpy()
        return full
    raise UsageError(f"{type(layer).__name__} has no filters: choose a convolution.")


def convolves(net: Chain) -> bool:
    """Whether a row of the net is a convolution."""
    return any(isinstance(layer, Conv2D | PartialConv2D) for _, layer in net.rows)


def first_convolution(net: Chain) -> str:
    """The name of the first row that is a convolution; raises `UsageError` if there is none."""
    for name, layer in net.rows:
        if isinstance(layer, Conv2D | PartialConv2D):
            return name
    raise UsageError("The net has no row that is a convolution, so it has no first filters.")


def first_filters(net: Chain) -> Floats:
    """The filters of the first convolution: float32 `[size, size, in, out]`. Raises `UsageError` if there is none.

    >>> from rawcnn.nets import NETS
    >>> first_filters(NETS["lenet5"]()).shape
    (5, 5, 1, 6)
    """
    return filters(getattr(net, first_convolution(net)))


def feature_maps(net: Chain, images: Images, rows: Collection[str] | None = None) -> dict[str, Floats]:
    """What every row makes of the images, by name and in order: float32 `[N, H, W, C]`, or `[N, D]` of flat rows.

    Args:
      net: computes in its own precision, as outside of training.
      images: `[N, *net.input_shape]`, preprocessed.
      rows: the names wanted; without it all of them.

    Raises:
      UsageError: a name that no row has, or images of another shape.

    >>> from rawcnn.nets import NETS
    >>> maps = feature_maps(NETS["lenet5"](), np.zeros((2, 32, 32, 1)), rows=("c1", "f6"))
    >>> {name: values.shape for name, values in maps.items()}
    {'c1': (2, 28, 28, 6), 'f6': (2, 84)}
    """
    names = [name for name, _ in net.rows]
    wanted = names if rows is None else list(rows)
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(f"There is no row {unknown[0]!r}: choose among {', '.join(names)}.")
    if not wanted:
        return {}
    _, outputs = net.endpoints(images, until=max(wanted, key=names.index))
    return {name: _numpy(outputs[name]) for name in names if name in wanted}


def inception_maps(net: Chain, images: Images, row: str) -> dict[str, Floats]:
    """What the six convolutions of an `Inception` row make of the images: float32 `[N, H, W, C]` by name.

    The names are `INCEPTION_PARTS`; the row's own output is conv1x1, conv3x3, conv5x5 and pool_proj, joined
    (Szegedy et al. 2014, figure 2b). Raises `UsageError` if `row` is not an `Inception`.
    """
    names, layer = [name for name, _ in net.rows], getattr(net, row, None)
    if row not in names or not isinstance(layer, Inception):
        raise UsageError(f"{row!r} is not an Inception row of the net.")
    before = names.index(row) - 1
    x = _checked(net, images) if before < 0 else net.endpoints(images, until=names[before])[0]
    x = tf.cast(x, net.policy.compute)
    reduced3x3, reduced5x5 = layer.conv3x3_reduce(x), layer.conv5x5_reduce(x)
    outputs = (
        layer.conv1x1(x),
        reduced3x3,
        layer.conv3x3(reduced3x3),
        reduced5x5,
        layer.conv5x5(reduced5x5),
        layer.pool_proj(layer.pool(x)),
    )
    return dict(zip(INCEPTION_PARTS, map(_numpy, outputs), strict=True))


def last_convolution(net: Chain) -> str:
    """The last convolution or `Inception` whose maps have more than one pixel: where Grad-CAM looks.

    Where batch normalisation with an activation follows it, that row. Raises `UsageError` if there is no such row.
    """
    rows, found = list(net.rows), None
    for place, (name, layer) in enumerate(rows):
        if isinstance(layer, Conv2D | PartialConv2D | Inception) and max(layer.out_shape[:2]) > 1:
            after, follower = rows[min(place + 1, len(rows) - 1)]
            found = after if isinstance(follower, BatchNorm) and follower.activation is not None else name
    if found is None:
        raise UsageError("The net has no convolution whose maps have more than one pixel, so there is no Grad-CAM.")
    return found


def grad_cam(
    net: Chain, images: Images, classes: Sequence[int] | NDArray[np.integer], row: str | None = None
) -> Floats:
    """Where in each image a row finds evidence for a class: Grad-CAM, float32 `[N, H', W']`, at least 0.

    The maps A^k of the row are weighted by how much the logit of the class rises with them,
    alpha_k = 1/Z sum_ij d y^c / d A^k_ij, and what speaks for the class is kept: ReLU(sum_k alpha_k A^k)
    (Selvaraju et al. 2017, equations 1 and 2). y^c is the logit, before the softmax; of LeNet-5's RBF units it is minus
    the distance to the bitmap. H' x W' are the pixels of the row's maps: scale the result to the image to lay it over.

    Args:
      net: computes in float32 here, whatever its precision.
      images: `[N, *net.input_shape]`, preprocessed.
      classes: int `[N]` in 0 ... K - 1, the class asked about for each image.
      row: the row that is asked; without it `last_convolution(net)`.

    Raises:
      UsageError: a row without maps, a class for each image missing, or images of another shape.

    >>> from rawcnn.nets import NETS
    >>> grad_cam(NETS["lenet5"](), np.zeros((2, 32, 32, 1)), classes=(3, 7)).shape
    (2, 10, 10)
    """
    row = last_convolution(net) if row is None else row
    if row not in dict(net.rows) or len(getattr(net, row).out_shape) != 3:
        raise UsageError(f"Grad-CAM needs a row with maps [H, W, C], which {row!r} does not have.")
    x = tf.cast(_checked(net, images), tf.float32)
    classes = np.asarray(classes, np.int64)
    if classes.shape != (x.shape[0],) or (classes.size and not 0 <= classes.min() <= classes.max() < net.out_shape[0]):
        raise UsageError(f"Grad-CAM needs a class 0 ... {net.out_shape[0] - 1} for each of {x.shape[0]} images.")
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for name, layer in net.rows:
            x = layer(x)
            if name == row:
                maps = x
                tape.watch(maps)
        asked = tf.gather(x, classes, batch_dims=1)
    alpha = tf.reduce_mean(tape.gradient(asked, maps), axis=(1, 2), keepdims=True)
    return _numpy(tf.nn.relu(tf.reduce_sum(alpha * maps, axis=-1)))


@dataclass(frozen=True)
class Activations:
    """How the units of a row respond to images; a unit is a map `[H, W]`, or a number of a flat row.

    `counts` int `[bins]` and `edges` float `[bins + 1]` are the histogram of all values; `mean` and `deviation` are of
    all values; `zeros` is the fraction of values that are 0, `dead` the fraction of units that are 0 everywhere, in
    every image: with ReLU they learn nothing more from these images.
    """

    counts: NDArray[np.integer]
    edges: NDArray[np.floating]
    mean: float
    deviation: float
    zeros: float
    dead: float


def activations(maps: Floats, bins: int = 40) -> Activations:
    """Histogram, mean, deviation, zeros and dead units of a row's maps `[N, H, W, C]` or `[N, D]`.

    >>> row = activations(np.float32([[0, 1, 2], [0, 3, 0]]), bins=3)
    >>> row.counts.tolist(), row.mean, row.zeros, round(row.dead, 3)
    ([3, 1, 2], 1.0, 0.5, 0.333)
    """
    values = np.asarray(maps, np.float32)
    counts, edges = np.histogram(values, bins=bins)
    dead = ~values.reshape(-1, values.shape[-1]).any(axis=0)
    mean, deviation = (float(of(values, dtype=np.float64)) for of in (np.mean, np.std))
    return Activations(counts, edges, mean, deviation, float(np.mean(values == 0)), float(np.mean(dead)))


def _checked(net: Chain, images: Images) -> tf.Tensor:
    x = tf.convert_to_tensor(images)
    if x.shape.rank != len(net.input_shape) + 1 or not x.shape[1:].is_compatible_with(net.input_shape):
        raise UsageError(f"The net takes images [N, {', '.join(map(str, net.input_shape))}], not {x.shape}.")
    return x


def _numpy(values: tf.Tensor) -> Floats:
    return np.asarray(tf.cast(values, tf.float32).numpy())
