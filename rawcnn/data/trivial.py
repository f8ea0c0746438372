"""TrivialAugment: one change of an image, drawn from fourteen, with a strength drawn too (Mueller & Hutter 2021).

Each image gets one op, so three passes over the batch do all of them: one moves pixels, one looks levels up in a
table, one blends with another image. Images whose op is not of that kind come out of a pass as they were.
"""

import math

import tensorflow as tf

from rawcnn.data.augment import enhance, key

OPS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "contrast", "colour",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""The changes that `trivial_augment` draws from; `apply_ops` takes their numbers."""
LEVELS = 31
# Of the paper's wide search space (table 2): at the greatest strength.
SHEAR, TRANSLATE, DEGREES, BLEND, BITS = 0.99, 32.0, 135.0, 0.99, 6.0


def trivial_augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Change each image by one of the `OPS`: `[N, H, W, C]` in 0 ... 255 -> float32 `[N, H, W, C]` in 0 ... 255.

    Mueller & Hutter 2021, algorithm 1, with the wide search space: op and strength (one of 31) are uniform, and there
    is nothing to tune. It is made for colour photos; a digit that is turned by up to 135 degrees loses its label.
    Images have 3 channels (RGB) or 1 (grey).

    >>> trivial_augment(tf.zeros((2, 32, 32, 3), tf.uint8), tf.constant([1, 2])).shape
    TensorShape([2, 32, 32, 3])
    """
    return apply_ops(images, *draw_ops(tf.shape(images)[0], seed))


def draw_ops(count: int | tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For `count` images what `apply_ops` takes: numbers of `OPS`, and strengths of 31 levels with either sign."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(key(seed, "trivial_augment"), 3))
    which, level, toss = (
        tf.random.stateless_uniform((count,), one, 0, many, tf.int32)
        for one, many in zip(seeds, (len(OPS), LEVELS, 2), strict=True)
    )
    return which, tf.cast((2 * toss - 1) * level, tf.float32) / (LEVELS - 1)


def apply_ops(images: tf.Tensor, which: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """`OPS[which]` on each image: which int32 `[N]`, strength float32 `[N]` in -1 ... 1. -> float32 `[N, H, W, C]`.

    Shears (up to 0.99), shifts (up to 32 pixels) and turns (up to 135 degrees) go the other way where the strength is
    negative, take the nearest pixel, and fill with black. Brightness, contrast, colour and sharpness are multiplied by
    1 + 0.99 strength. Of the rest only the size of the strength counts: posterize drops up to 6 of the 8 bits,
    solarize inverts levels from 256 - 256 strength on, autocontrast and equalize have no strength. All as Pillow does
    them.
    """
    if images.dtype != tf.uint8:
        images = tf.cast(tf.round(images), tf.uint8)
    return _blended(_looked_up(_moved(images, which, strength), which, tf.abs(strength)), which, strength)


def _only(name: str, which: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """`values` for the images whose op has that name, else 0."""
    return tf.where(which == OPS.index(name), values, tf.zeros_like(values))


def _moved(images: tf.Tensor, which: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Shears about the top left corner, shifts, and turns about the centre. uint8 `[N, H, W, C]`, as given."""
    height, width = images.shape[1:3]
    angle = _only("rotate", which, strength * math.radians(DEGREES))
    cos, sin = tf.cos(angle), tf.sin(angle)
    # From (x, y) of the result into the image, edges and not centres: x' = a x + b y + c, y' = d x + e y + f.
    b = _only("shear_x", which, SHEAR * strength) - sin
    d = _only("shear_y", which, SHEAR * strength) + sin
    whole = tf.cast(tf.cast(TRANSLATE * strength, tf.int32), tf.float32)
    c = _only("translate_x", which, whole) + (width - cos * width + sin * height) / 2
    f = _only("translate_y", which, whole) + (height - sin * width - cos * height) / 2
    c, f = c + (cos + b - 1.0) / 2, f + (d + cos - 1.0) / 2  # TensorFlow's are centres: half a pixel further
    none = tf.zeros_like(cos)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([cos, b, c, d, cos, f, none, none], axis=1),
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


def _looked_up(images: tf.Tensor, which: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Posterize, solarize, autocontrast, equalize: each level of a channel becomes another. int32 `[N, H, W, C]`."""
    channels = images.shape[-1]
    # The levels of channel c are numbered from 256 c on, so all channels are counted at once, and looked up at once.
    numbers = tf.cast(images, tf.int32) + 256 * tf.range(channels)
    flat = tf.reshape(numbers, (-1, math.prod(images.shape[1:])))
    no_weights = tf.zeros((0,), tf.int32)
    counts = tf.raw_ops.DenseBincount(input=flat, size=256 * channels, weights=no_weights, binary_output=False)
    tables = _tables(tf.reshape(counts, (-1, channels, 256)), which, strength)
    return tf.gather(tf.reshape(tables, (-1, 256 * channels)), numbers, batch_dims=1)


def _tables(counts: tf.Tensor, which: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """What becomes of the levels 0 ... 255 in each channel: int32 `[N, C, 256]`, for as many counts of pixels."""
    level = tf.range(256)
    low = tf.reduce_min(tf.where(counts > 0, level, 255), axis=-1, keepdims=True)
    high = tf.reduce_max(tf.where(counts > 0, level, 0), axis=-1, keepdims=True)

    stretched = tf.where(high > low, (level - low) * 255 // tf.maximum(high - low, 1), level)
    # As Pillow equalizes: a step holds a 255th of all pixels but those of the highest level.
    step = tf.reduce_sum(tf.where(level == high, 0, counts), axis=-1, keepdims=True) // 255
    below = tf.cumsum(counts, axis=-1, exclusive=True)
    even = tf.where(step > 0, (step // 2 + below) // tf.maximum(step, 1), level)
    dropped = 2 ** tf.cast(tf.round(BITS * strength), tf.int32)[:, None, None]
    threshold = 256.0 * (1.0 - strength)[:, None, None]
    tables = tf.broadcast_to(level, tf.shape(counts))
    for name, table in (
        ("posterize", level // dropped * dropped),
        ("solarize", tf.where(tf.cast(level, tf.float32) < threshold, level, 255 - level)),
        ("autocontrast", stretched),
        ("equalize", even),
    ):
        tables = tf.where((which == OPS.index(name))[:, None, None], table, tables)
    return tf.clip_by_value(tables, 0, 255)


def _blended(images: tf.Tensor, which: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Brightness, contrast and colour by `enhance`, and sharpness: float32 `[N, H, W, C]` in 0 ... 255."""
    more = BLEND * strength
    factor = 1.0 + sum(_only(name, which, more) for name in ("brightness", "contrast", "colour"))
    images = enhance(images, which - OPS.index("brightness"), factor)  # no op of `enhance` where the factor is 1
    # A sharper image is further away from its smooth one: the mean of 3 x 3 pixels in which the centre counts 5 times.
    # The pixels at the edge have no smooth ones, and stay.
    inner = images[:, 1:-1, 1:-1]
    columns = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    smooth = (columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:] + 4.0 * inner) / 13.0
    detail = tf.pad(inner - smooth, [[0, 0], [1, 1], [1, 1], [0, 0]])
    sharper = images + _only("sharpness", which, more)[:, None, None, None] * detail
    return tf.clip_by_value(sharper, 0.0, 255.0)
