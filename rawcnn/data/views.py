"""Views of images: every training and every test view of the papers is a box of the image, scaled, perhaps mirrored.

A box is (top, left, bottom, right) in pixels of the image, edges and not centres: the whole image is (0, 0, H, W). A
`Crop` chooses boxes from the images' heights and widths alone, so that a source may choose before it decodes;
`take_boxes` cuts them out. Papers scale an image first and crop whole pixels afterwards; here the box is chosen on the
unscaled image, with the same part of it, and is scaled once. So a box may start between pixels, not only on the
scaled image's pixel grid (except for `padded_crop`); `scale_jitter` draws its scale from real numbers too.
"""

from collections.abc import Callable

import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.seeds import fold

Crop = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""`(heights int32 [N], widths int32 [N], seed int [2]) -> (boxes float32 [N, K, 4], mirrored bool [N, K])`.

The same seed gives the same boxes, and each image of a batch its own. K is static. Test crops ignore the seed.
"""

STANDARD = 224 / 256  # AlexNet, VGG and GoogLeNet all crop 224 pixels of images whose shorter side is about 256


# Cutting boxes out


def take_boxes(images: tf.Tensor, boxes: tf.Tensor, mirrored: tf.Tensor, size: int) -> tf.Tensor:
    """Cut, scale and mirror: `[N, H, W, C]`, boxes `[N, K, 4]`, mirrored `[N, K] -> float32 [N, K, size, size, C]`.

    Interpolates linearly and, where it shrinks, averages (a triangle filter as wide as two pixels of the result), as
    `tf.image.resize(..., antialias=True)` and Pillow's `resize(box=...)` do: the filter may reach beyond the box, but
    not beyond the image. A pixel of the result is 0 if its centre lies outside the image. A box of `size` x `size`
    whole pixels gives exactly those pixels. Images are uint8 or float in 0 ... 255, and so is the result.

    >>> image = tf.reshape(tf.range(9.0), (1, 3, 3, 1))
    >>> left_below = tf.constant([[[1.0, -1.0, 3.0, 1.0]]])
    >>> take_boxes(image, left_below, tf.constant([[True]]), 2).numpy()[0, 0, :, :, 0]
    array([[3., 0.],
           [6., 0.]], dtype=float32)
    """
    _, height, width, channels = _dimensions(images)
    views = boxes.shape[1]
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    from_top = tf.range(size, dtype=tf.float32)
    from_left = tf.where(mirrored[..., None], size - 1 - from_top, from_top)
    rows = _interpolation(top, bottom, from_top, height, size)
    columns = _interpolation(left, right, from_left, width, size)
    # Two small products of matrices. Columns go first: then what must be transposed is the input and the half-scaled
    # image, and the last product leaves the result, often the largest of the three, in the right order.
    # Behind `ensure_shape` TensorFlow's optimizer may not transpose before the cast: of a transposed uint8 oneDNN
    # complains on stderr where the processor has no AVX512.
    x = tf.transpose(tf.ensure_shape(tf.cast(images, tf.float32), images.shape), (0, 2, 1, 3))
    x = columns @ tf.reshape(x, (-1, 1, width, height * channels))
    x = tf.transpose(tf.reshape(x, (-1, views, size, height, channels)), (0, 1, 3, 2, 4))
    x = rows @ tf.reshape(x, (-1, views, height, size * channels))
    return tf.reshape(x, (-1, views, size, size, channels))


def _interpolation(low: tf.Tensor, high: tf.Tensor, index: tf.Tensor, length: int | tf.Tensor, size: int) -> tf.Tensor:
    """Weights `[N, K, size, length]` of `length` pixels in pixel `index` of `size` between `low` and `high`."""
    step = ((high - low) / size)[..., None]
    at = low[..., None] + (index + 0.5) * step
    centres = tf.range(length, dtype=tf.float32) + 0.5
    weights = tf.nn.relu(1.0 - tf.abs(at[..., None] - centres) / tf.maximum(step, 1.0)[..., None])
    inside = (at >= 0.0) & (at <= tf.cast(length, tf.float32))
    weights = tf.where(inside[..., None], weights, 0.0)
    # Weights of pixels in the image sum to 1: the image does not darken towards its edge.
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True))


def _dimensions(x: tf.Tensor) -> list:
    """Each a number where the graph knows it, else a scalar tensor."""
    return [d if known is None else known for known, d in zip(x.shape, tf.unstack(tf.shape(x)), strict=True)]


# Views for training


def random_crop(central_fraction: float = STANDARD, *, mirror: bool = True) -> Crop:
    """AlexNet's training view: a square anywhere in the central square, mirrored half of the time. K = 1.

    Krizhevsky et al. 2012, section 4.1: 224 x 224 of the central 256 x 256: 224 / 256 of the shorter side.
    """
    _check_fraction(central_fraction)

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        down, right, flip = _uniform(seed, "random_crop", heights, 3)
        return _square(_square(_whole(heights, widths)), central_fraction, down, right), _flipped(flip, mirror)

    return crop


def scale_jitter(size: int = 224, low: int = 256, high: int = 512, *, mirror: bool = True) -> Crop:
    """VGG's training view: the shorter side scaled to S in `low` ... `high`, then `size` x `size` of it. K = 1.

    Simonyan & Zisserman 2014, section 3.1 ("multi-scale training"); `low` = `high` is their training at one scale. The
    box may be anywhere in the image, not only in its central square. S is uniform, and not a whole number.
    """
    if not 0 < size <= low <= high:
        raise UsageError(f"Sizes must be 0 < size <= low <= high, but they are {size}, {low} and {high}.")

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scale, down, right, flip = _uniform(seed, "scale_jitter", heights, 4)
        fraction = size / (low + (high - low) * scale)
        return _square(_whole(heights, widths), fraction, down, right), _flipped(flip, mirror)

    return crop


def area_crop(low: float = 0.08, high: float = 1.0, ratio: float = 4 / 3, *, mirror: bool = True) -> Crop:
    """GoogLeNet's training view: `low` ... `high` of the image's area, of an aspect that varies. K = 1.

    Szegedy et al. 2014, section 6: area "distributed evenly between 8% and 100%", aspect (width / height) "chosen
    randomly between 3/4 and 4/3" (1 / `ratio` ... `ratio`). The paper does not say what happens to boxes that do not
    fit into the image. Here none is drawn: the area is uniform up to the largest that fits, then the aspect is
    log-uniform over those with which that area fits. (Drawing again until one fits would favour small areas.)
    """
    if not (0 < low <= high <= 1 and ratio >= 1):
        raise UsageError(f"Areas must be 0 < low <= high <= 1 and ratio >= 1, but they are {low}, {high} and {ratio}.")

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size, shape, down, right, flip = _uniform(seed, "area_crop", heights, 5)
        whole = _whole(heights, widths)
        height, width = whole[..., 2], whole[..., 3]
        image = width / height
        # An area s with aspect a is sqrt(s * image / a) of the image's height and sqrt(s * a / image) of its width.
        most = tf.minimum(high, ratio * tf.minimum(image, 1 / image))
        least = tf.minimum(low, most)
        area = least + (most - least) * size
        narrow, wide = tf.maximum(1 / ratio, area * image), tf.minimum(ratio, image / area)
        aspect = narrow * (wide / narrow) ** shape
        box_height, box_width = height * tf.sqrt(area * image / aspect), width * tf.sqrt(area * aspect / image)
        return _inside(whole, box_height, box_width, down, right), _flipped(flip, mirror)

    return crop


def padded_crop(pad: int = 4, *, mirror: bool = True) -> Crop:
    """The CIFAR recipe's training view: the image moved by up to `pad` whole pixels each way, mirrored or not. K = 1.

    Lee et al. 2015 and He et al. 2015, section 4.2: pad by 4, crop 32 x 32. What moves in is 0, black; the papers pad
    after subtracting the mean, so theirs is grey. The fastest recipes pad by reflection:
    that is `rawcnn.data.augment.reflected_shift`.
    """
    if pad < 0:
        raise UsageError(f"pad must be a whole number of pixels, 0 or more, not {pad}.")

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        down, right, flip = _uniform(seed, "padded_crop", heights, 3)
        down, right = (tf.floor(x * (2 * pad + 1)) - pad for x in (down, right))
        return _whole(heights, widths) + tf.stack([down, right, down, right], axis=-1), _flipped(flip, mirror)

    return crop


# Views for testing


def whole() -> Crop:
    """The whole image, its aspect changed to that of a square: the courses' plain resize. K = 1."""
    return lambda heights, widths, seed: _unmirrored(_whole(heights, widths))


def centre(central_fraction: float = 1.0) -> Crop:
    """The central square, its side `central_fraction` (0 ... 1) of the shorter side. K = 1.

    1 is "resize the shorter side, then crop the centre"; 224 / 256 is the usual test view of ImageNet.

    >>> boxes, mirrored = centre(0.5)(tf.constant([8]), tf.constant([12]), tf.constant([0, 0]))
    >>> boxes.numpy()[0]
    array([[2., 4., 6., 8.]], dtype=float32)
    """
    _check_fraction(central_fraction)
    return lambda heights, widths, seed: _unmirrored(_square(_whole(heights, widths), central_fraction))


def letterboxed() -> Crop:
    """The smallest square around the whole image, with black (0) where the image does not reach. K = 1.

    As Pillow's `ImageOps.pad`. An image of 2 x 4 pixels gets a row of black above and one below:

    >>> boxes, mirrored = letterboxed()(tf.constant([2]), tf.constant([4]), tf.constant([0, 0]))
    >>> boxes.numpy()[0]
    array([[-1.,  0.,  3.,  4.]], dtype=float32)
    """

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = _whole(heights, widths)
        side = tf.reduce_max(image[..., 2:], axis=-1)
        return _unmirrored(_inside(image, side, side, 0.5, 0.5))

    return crop


FITS: dict[str, Callable[[], Crop]] = {"squeeze": whole, "crop": centre, "pad": letterboxed}
"""How an image that is not square becomes a square: with its aspect changed, by its central square, or with black."""


def ten_crop(central_fraction: float = STANDARD) -> Crop:
    """AlexNet's test: four corners and the centre of the central square, then their mirror images. K = 10.

    Krizhevsky et al. 2012, section 4.1. The order is top left, top right, bottom left, bottom right, centre.
    """
    _check_fraction(central_fraction)
    return lambda heights, widths, seed: _and_mirrored(_five(_square(_whole(heights, widths)), central_fraction))


def crops_144() -> Crop:
    """GoogLeNet's test: 4 scales x 3 squares x 6 boxes, then their mirror images. K = 144.

    Szegedy et al. 2014, section 7: shorter side 256, 288, 320, 352; of each the left, central and right square (top,
    central and bottom if upright); of each its four corners and centre of 224 x 224, and the square itself. In a square
    image the three squares are one, and at every scale the square itself is the same box: such views count repeatedly.
    """

    def crop(heights: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        views = []
        for shorter in (256, 288, 320, 352):
            for place in (0.0, 0.5, 1.0):
                square = _square(_whole(heights, widths), 1.0, place, place)
                views += [_five(square, 224 / shorter), square]
        return _and_mirrored(tf.concat(views, axis=1))

    return crop


def protocol(crops: str, central_fraction: float = STANDARD) -> Crop:
    """The boxes of the test protocol "1" (`centre`), "10" (`ten_crop`) or "144" (`crops_144`).

    "6" and "dense" are more than boxes: `rawcnn.train.inputs.Inputs.evaluator` knows all. Raises `UsageError` for any
    other name.
    """
    if crops == "144":
        return crops_144()
    if crops not in ("1", "10"):
        raise UsageError(f"There are no boxes for crops={crops!r}: the protocols of boxes are 1, 10 and 144.")
    return centre(central_fraction) if crops == "1" else ten_crop(central_fraction)


# Views beyond the edge: whole pixels, the image continued by reflection

SIX_WEIGHTS = (1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8)
"""How much each of the `six_views` counts."""


def six_views(images: tf.Tensor) -> tf.Tensor:
    """The image, moved by a pixel down and right, and up and left, each with its mirror image. -> `[N, 6, H, W, C]`.

    What moves in is reflected (`reflected`). For small images, on which a crop would lose much (Jordan 2024, section
    3.5, where the views count as `SIX_WEIGHTS` says).

    >>> six_views(tf.reshape(tf.range(3), (1, 1, 3, 1)))[0, :, 0, :, 0].numpy().tolist()
    [[0, 1, 2], [2, 1, 0], [1, 0, 1], [1, 0, 1], [1, 2, 1], [1, 2, 1]]
    """
    views = []
    for move in (0, 1, -1):
        height, width = images.shape[1:3]
        rows, columns = reflected(tf.range(height) - move, height), reflected(tf.range(width) - move, width)
        moved = tf.gather(tf.gather(images, rows, axis=1), columns, axis=2)
        views += [moved, tf.reverse(moved, axis=[2])]
    return tf.stack(views, axis=1)


def reflected(index: tf.Tensor, length: int) -> tf.Tensor:
    """Which of `length` pixels is seen at `index`, in -length < index < 2 length - 1, if the edge pixels are mirrors.

    >>> reflected(tf.range(-2, 5), 3).numpy()
    array([2, 1, 0, 1, 2, 1, 0], dtype=int32)
    """
    last = length - 1
    return last - tf.abs(last - tf.abs(index)) if length > 1 else tf.zeros_like(index)


# Boxes in boxes: `outer` is [N, 1, 4], a result [N, K, 4]


def _whole(heights: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    height, width = tf.cast(heights, tf.float32), tf.cast(widths, tf.float32)
    return tf.stack([tf.zeros_like(height), tf.zeros_like(width), height, width], axis=-1)[:, None]


def _inside(
    outer: tf.Tensor, height: tf.Tensor, width: tf.Tensor, down: float | tf.Tensor, right: float | tf.Tensor
) -> tf.Tensor:
    """The box of `height` x `width` with the fractions `down` and `right` of the spare room above and left of it."""
    outer_top, outer_left, outer_bottom, outer_right = tf.unstack(outer, axis=-1)
    top = outer_top + down * (outer_bottom - outer_top - height)
    left = outer_left + right * (outer_right - outer_left - width)
    return tf.stack([top, left, top + height, left + width], axis=-1)


def _square(
    outer: tf.Tensor, fraction: float | tf.Tensor = 1.0, down: float | tf.Tensor = 0.5, right: float | tf.Tensor = 0.5
) -> tf.Tensor:
    """A square whose side is `fraction` of the shorter side of `outer`; in its centre, unless it is told where."""
    side = fraction * tf.minimum(outer[..., 2] - outer[..., 0], outer[..., 3] - outer[..., 1])
    return _inside(outer, side, side, down, right)


def _five(square: tf.Tensor, central_fraction: float) -> tf.Tensor:
    """Top left, top right, bottom left, bottom right and centre `[N, 5, 4]` of a square."""
    return _square(
        square, central_fraction, tf.constant([0.0, 0.0, 1.0, 1.0, 0.5]), tf.constant([0.0, 1.0, 0.0, 1.0, 0.5])
    )


def _unmirrored(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return boxes, tf.zeros_like(boxes[..., 0], tf.bool)


def _and_mirrored(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    boxes, straight = _unmirrored(boxes)
    return tf.concat([boxes, boxes], axis=1), tf.concat([straight, tf.logical_not(straight)], axis=1)


# Drawing


def _uniform(seed: tf.Tensor, name: str, heights: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` numbers in [0, 1) for each image, each `[N, 1]`; those of another name have nothing to do with them."""
    key = tf.random.experimental.stateless_fold_in(seed, fold(0, name))
    return tf.unstack(tf.random.stateless_uniform((tf.shape(heights)[0], 1, count), key), axis=-1)


def _flipped(flip: tf.Tensor, mirror: bool) -> tf.Tensor:
    return flip < (0.5 if mirror else 0.0)


def _check_fraction(central_fraction: float) -> None:
    if not 0 < central_fraction <= 1:
        raise UsageError(
            f"central_fraction is side / shorter side, in 0 ... 1, not {central_fraction}: for 224 of 256 give "
            "224 / 256."
        )
