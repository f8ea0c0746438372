"""Image files decoded by TensorFlow and turned upright, after their headers were judged (`headers`).

What comes out is RGB, uint8 `[H, W, 3]`, as Pillow would give it: of JPEG (grey, CMYK, progressive), PNG of every kind,
GIF, BMP, WebP, TIFF, PPM and, where Pillow has it, AVIF; of moving pictures the first frame. 16-bit values are divided
by 256. Transparent pixels are laid on white paper. The orientation in EXIF or XMP data is applied.
"""

import os
from functools import partial

import numpy as np
import tensorflow as tf

from rawcnn.data.images.headers import JPEG, MAX_PIXELS, UNDECODABLE, ImageInfo, examine, inspect, quiet_pillow
from rawcnn.errors import DataError

DCT = "INTEGER_ACCURATE"  # within a level or two of other decoders; the default is off by ten or more, and no faster

ALIASING = 2.5
"""Linear interpolation reads two pixels each way: up to here it leaves few out, beyond it a filter must average."""


def read_rgb(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one picture, upright: uint8 `[H, W, 3]`.

    Raises:
      DataError: no such file, no permission, no image or a damaged one, more than `max_pixels` by its header (nothing
        is decoded then), or a format that Pillow cannot decode here (HEIC, ...). The message names the file and the
        remedy.
    """
    info = inspect(path, max_pixels)
    try:
        with quiet_pillow():
            return decode(info.png or tf.io.read_file(os.fsencode(path)), info.kind, info.orientation).numpy()
    except tf.errors.OpError:
        raise DataError(f"{os.fspath(path)} {UNDECODABLE.format(info.format)}") from None


def undecodable(path: str | os.PathLike[str], info: ImageInfo) -> str | None:
    """What is wrong with a file whose header, when it was examined, said `info`; None if it decodes to that size."""
    found = examine(path, max_pixels=max(info.width * info.height, 1))
    if isinstance(found, str):
        return found
    if found[:4] != info[:4]:
        return f"has changed: it was {info.width}x{info.height} when its folder was read. Put it back or start anew."
    try:
        decode(found.png or tf.io.read_file(os.fsencode(path)), info.kind, info.orientation)
    except tf.errors.OpError:
        return UNDECODABLE.format(found.format)
    return None


# Decoding, also inside graphs ---------------------------------------------------------------------------------------


def decode(contents: tf.Tensor, kind: int | tf.Tensor, orientation: int | tf.Tensor) -> tf.Tensor:
    """Decode an image file's bytes: upright, uint8 `[H, W, 3]`; `kind` and `orientation` as `inspect` tells."""
    ways = (_whole_jpeg, _whole_jpeg, _opaque, _on_white)
    if isinstance(kind, int):  # outside graphs, where a choice among tensors takes longer than to decode a small image
        image = ways[kind](contents)
    else:
        image = tf.switch_case(kind, [partial(way, contents) for way in ways])
    if isinstance(orientation, int) and orientation == 1:
        return image
    how = turns(tf.convert_to_tensor(orientation))
    # bfloat16 holds 0 ... 255 exactly in half of float32's memory, and oneDNN complains of uint8.
    turned = lambda: tf.cast(turn(tf.cast(image, tf.bfloat16), *how), tf.uint8)  # noqa: E731
    return tf.cond(tf.reduce_any(how), turned, lambda: image)


def decode_part(contents: tf.Tensor, kind: tf.Tensor, ratio: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Decode the `window` (top, left, height, width) of an image as stored, not upright: uint8 `[h, w, 3]`.

    A JPEG's pixels outside the window are skipped where that is possible. `ratio` (1, 2, 4 or 8; 1 for other kinds)
    shrinks a JPEG by so much while it is decoded; the window then counts the shrunk pixels.
    """

    def jpeg(ratio: int) -> tf.Tensor:
        return tf.image.decode_and_crop_jpeg(contents, window, 3, ratio, dct_method=DCT)

    def part(image: tf.Tensor) -> tf.Tensor:
        return tf.slice(image, tf.pad(window[:2], [[0, 1]]), tf.concat([window[2:], [3]], 0))

    shrunk = tf.reduce_sum(tf.cast(ratio >= [2, 4, 8], tf.int32))
    return tf.switch_case(
        tf.where(kind == JPEG, shrunk, 3 + kind),
        [
            lambda: jpeg(1),
            lambda: jpeg(2),
            lambda: jpeg(4),
            lambda: jpeg(8),
            lambda: part(_whole_jpeg(contents)),
            lambda: part(_opaque(contents)),
            lambda: part(_on_white(contents)),
        ],
    )


def turns(orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What makes stored pixels upright: (swap rows and columns, then turn upside down, and mirror), as booleans.

    EXIF 2.32, section 4.6.4, tag 0x0112.
    """

    def is_one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(orientation[..., None] == tf.constant(values, orientation.dtype), axis=-1)

    return is_one_of(5, 6, 7, 8), is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)


def turn(image: tf.Tensor, swapped: tf.Tensor, upside_down: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Apply `turns` to one image `[H, W, C]`; costs nothing where all are False. Floats: oneDNN complains of uint8."""
    image = tf.transpose(image, tf.where(swapped, [1, 0, 2], [0, 1, 2]))
    dims = tf.stack([upside_down, mirrored, False])
    return tf.cond(tf.reduce_any(dims), lambda: tf.raw_ops.Reverse(tensor=image, dims=dims), lambda: image)


def _whole_jpeg(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(contents, channels=3, dct_method=DCT)


def _opaque(contents: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=3, expand_animations=False)


def _on_white(contents: tf.Tensor) -> tf.Tensor:
    """About a megapixel at a time: floats of a large picture would take many times the memory of its bytes."""
    image = tf.io.decode_image(contents, channels=4, expand_animations=False)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows = tf.maximum(2**20 // width, 1)
    count = (height + rows - 1) // rows

    def blend(k: tf.Tensor, strips: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        strip = tf.cast(image[k * rows : (k + 1) * rows], tf.float32)
        alpha = strip[..., 3:] / 255.0
        blended = tf.round(strip[..., :3] * alpha + 255.0 * (1.0 - alpha))
        return k + 1, strips.write(k, tf.cast(blended, tf.uint8))

    strips = tf.TensorArray(tf.uint8, size=count, infer_shape=False, element_shape=(None, None, 3))
    return tf.while_loop(lambda k, _: k < count, blend, (0, strips), parallel_iterations=1)[1].concat()


def cut(image: tf.Tensor, box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The pixels in `box` (int32, edges), scaled: float32 `[height, width, 3]`, 0 ... 255; 0 outside of the image.

    Only what lies in the image is scaled, so a box that is much larger than the image takes no more memory than it.
    """
    size, extent, low, high = tf.constant([height, width]), tf.shape(image)[:2], box[:2], box[2:]
    first, last = tf.clip_by_value(low, 0, extent), tf.clip_by_value(high, 0, extent)
    inside = tf.slice(image, tf.pad(first, [[0, 1]]), tf.concat([last - first, [3]], 0))

    def padded() -> tf.Tensor:
        small = tf.cast(size, tf.float32) / tf.cast(high - low, tf.float32)
        before, until = (tf.cast(tf.round(tf.cast(edge - low, tf.float32) * small), tf.int32) for edge in (first, last))
        before = tf.minimum(before, size - 1)
        until = tf.maximum(until, before + 1)  # at least a pixel
        return tf.pad(_scaled(inside, until - before), tf.pad(tf.stack([before, size - until], 1), [[0, 1], [0, 0]]))

    def partly() -> tf.Tensor:
        return tf.cond(tf.reduce_all(last > first), padded, lambda: tf.zeros((height, width, 3)))

    whole = tf.reduce_all((first == low) & (last == high))
    return tf.ensure_shape(tf.cond(whole, lambda: _scaled(inside, size), partly), (height, width, 3))


def _scaled(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Scaled to float32 `[*size, 3]`, 0 ... 255."""
    sides, wanted = tf.cast(tf.shape(image)[:2], tf.float32), tf.cast(size, tf.float32)

    def interpolated() -> tf.Tensor:
        return tf.raw_ops.ResizeBilinear(images=image[None], size=size, half_pixel_centers=True)

    def averaged() -> tf.Tensor:
        return tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=size,
            scale=wanted / sides,
            translation=[0.0, 0.0],
            kernel_type="triangle",
        )

    few = tf.reduce_all(sides <= ALIASING * wanted)
    return tf.cond(few, interpolated, averaged)[0]
