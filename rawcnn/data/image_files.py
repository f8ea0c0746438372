"""Image files: told apart by their first bytes, judged by their headers, decoded by TensorFlow, turned upright.

TensorFlow decodes a few formats wrongly, some with a message that names no file, and none with regard to the camera's
orientation or to a limit of size. So every file is examined before it is decoded: `examine` reads a few hundred bytes.

What comes out is RGB, uint8 `[H, W, 3]`: JPEG (grey, CMYK, progressive), PNG of every kind (16-bit values are divided
by 256), the first frame of a GIF, 24- and 32-bit BMP, still WebP. Transparent PNG and WebP are laid on white paper; a
GIF's transparent pixels come out black, and a 32-bit BMP's fourth channel is not regarded. The EXIF orientation of
JPEG, PNG and WebP is applied.
"""

import os
import re
import stat
import struct
from typing import BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.errors import DataError

MAX_PIXELS = 50_000_000
"""A 50-megapixel photo takes 150 MB when decoded; a PNG of 48 KB can declare 400 megapixels."""

JPEG, WHOLE_JPEG, OPAQUE, ALPHA = range(4)
"""How a file is decoded: a JPEG in part and shrunk if it allows that, others whole, with transparency on white."""

DCT = "INTEGER_ACCURATE"  # within a level or two of other decoders; the default is off by ten or more, and no faster

ALIASING = 2.5
"""Linear interpolation reads two pixels each way: up to here it leaves few out, beyond it a filter must average."""

CONVERT = "Convert it to PNG or JPEG."
TRUNCATED = "is truncated: its end is missing. Copy or download it again."
DAMAGED = "is damaged: its {} header makes no sense. Copy or download it again."


class ImageInfo(NamedTuple):
    """What a header says: size in pixels as seen (upright), EXIF `orientation` 1 ... 8, and how to decode it."""

    width: int
    height: int
    orientation: int = 1
    kind: int = OPAQUE
    format: str = ""


class _Unusable(Exception):
    """What is wrong with a file, and the remedy; the words follow its name."""


def inspect(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read an image's header. Raises `DataError` as `read_image` does, save for damage within."""
    if isinstance(found := examine(path, max_pixels), str):
        raise DataError(f"{os.fspath(path)} {found}")
    return found


def examine(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> ImageInfo | str:
    """As `inspect`, but returns what is wrong, as words that follow the file's name."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return "is a folder, not an image file. Name a file in it."
        if not stat.S_ISREG(status.st_mode):
            return "is no regular file. Copy the image into one."
        with open(path, "rb") as file:
            info = _read_header(file, status.st_size)
    except _Unusable as error:
        return str(error)
    except FileNotFoundError:
        return "does not exist. Check the spelling and the folder."
    except PermissionError:
        return "may not be read. Change its permissions, or copy it."
    except OSError as error:
        return f"cannot be read: {error.strerror}. Copy it to another place."
    if info.width * info.height > max_pixels:
        size = f"{info.width}x{info.height} pixels; at most {max_pixels:,}"
        return f"has {size} are decoded. Save it smaller, or raise max_pixels."
    return info._replace(width=info.height, height=info.width) if info.orientation >= 5 else info


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read one picture, upright: uint8 `[H, W, 3]`.

    Raises:
      DataError: no such file, no permission, no image or a damaged one, more than `max_pixels` by its header (nothing
        is decoded then), or a format that TensorFlow cannot decode (TIFF, AVIF, moving WebP, ...) or decodes wrongly
        (BMP with a palette). The message names the file and the remedy.
    """
    info = inspect(path, max_pixels)
    if problem := undecodable(path, info):
        raise DataError(f"{os.fspath(path)} {problem}")
    return decode(tf.io.read_file(os.fsencode(path)), info.kind, info.orientation).numpy()


def undecodable(path: str | os.PathLike[str], info: ImageInfo) -> str | None:
    """What is wrong with a file whose header, when it was examined, said `info`; None if it decodes to that size."""
    found = examine(path, max_pixels=max(info.width * info.height, 1))
    if isinstance(found, str):
        return found
    if found != info._replace(format=found.format):
        return f"has changed: it was {info.width}x{info.height} when its folder was read. Put it back or start anew."
    try:
        decode(tf.io.read_file(os.fsencode(path)), info.kind, info.orientation)
    except tf.errors.OpError:
        return f"is damaged: its {found.format} data cannot be decoded. Copy or download it again."
    return None


# Decoding, also inside graphs ---------------------------------------------------------------------------------------


def decode(contents: tf.Tensor, kind: int | tf.Tensor, orientation: int | tf.Tensor) -> tf.Tensor:
    """Decode an image file's bytes: upright, uint8 `[H, W, 3]`; `kind` and `orientation` as `inspect` tells."""
    image = tf.switch_case(
        tf.convert_to_tensor(kind),
        [
            *(2 * [lambda: _whole_jpeg(contents)]),
            lambda: _opaque(contents),
            lambda: _on_white(contents),
        ],
    )
    return tf.cast(turn(tf.cast(image, tf.float32), *turns(tf.convert_to_tensor(orientation))), tf.uint8)


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
    image = tf.cast(tf.io.decode_image(contents, channels=4, expand_animations=False), tf.float32)
    share = image[..., 3:] / 255.0
    return tf.cast(tf.round(image[..., :3] * share + 255.0 * (1.0 - share)), tf.uint8)


def cut(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """The pixels in `box` (int32, edges), 0 where it reaches outside the image."""
    extent, low, high = tf.shape(image)[:2], box[:2], box[2:]
    first, last = tf.clip_by_value(low, 0, extent), tf.clip_by_value(high, 0, extent)
    before = tf.minimum(tf.maximum(-low, 0), high - low)
    after = (high - low) - before - (last - first)
    inside = tf.slice(image, tf.pad(first, [[0, 1]]), tf.concat([last - first, [3]], 0))
    return tf.pad(inside, tf.pad(tf.stack([before, after], 1), [[0, 1], [0, 0]]))


def scale(image: tf.Tensor, size: int) -> tf.Tensor:
    """Scaled to float32 `[size, size, 3]`, 0 ... 255."""
    sides = tf.shape(image)[:2]

    def interpolated() -> tf.Tensor:
        return tf.raw_ops.ResizeBilinear(images=image[None], size=[size, size], half_pixel_centers=True)

    def averaged() -> tf.Tensor:
        return tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=[size, size],
            scale=size / tf.cast(sides, tf.float32),
            translation=[0.0, 0.0],
            kernel_type="triangle",
        )

    few = tf.cast(tf.reduce_max(sides), tf.float32) <= ALIASING * size
    return tf.cond(few, interpolated, averaged)[0]


# Headers ------------------------------------------------------------------------------------------------------------


def _read_header(file: BinaryIO, size: int) -> ImageInfo:
    """Width and height as stored; raises `_Unusable`."""
    start = file.read(64)
    for name, magic, parse in _FORMATS:
        if re.match(magic, start, re.DOTALL):
            if parse is None:
                raise _Unusable(f"is {name}, which cannot be decoded here. {CONVERT}")
            try:
                info = parse(file, size)
            except (struct.error, IndexError):  # the file ends inside its header
                raise _Unusable(TRUNCATED) from None
            if info.width <= 0 or info.height <= 0:
                raise _Unusable(DAMAGED.format(name))
            return info._replace(format=name)
    if not start:
        raise _Unusable("is empty (0 bytes). Copy or download it again.")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|svg)", start, re.IGNORECASE):
        raise _Unusable("is text (HTML, XML or SVG), whatever its name says. Download the image itself.")
    raise _Unusable("is no image: it begins like no JPEG, PNG, GIF, BMP or WebP file. Replace it or take it away.")


def _jpeg(file: BinaryIO, size: int) -> ImageInfo:
    """ITU-T T.81, annex B: markers, each 0xFF and its code, most followed by their length."""
    info, orientation = None, 1
    file.seek(2)
    while True:
        marker = _next_marker(file)
        if marker == 0xDA and info is not None:
            break
        if marker in (0x01, *range(0xD0, 0xD8)):  # stand alone
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if length < 2 or marker in (0xD9, 0xDA):
            raise _Unusable(DAMAGED.format("JPEG"))
        body_ends = file.tell() + length - 2
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            info = _jpeg_frame(marker, file.read(6))
        elif marker == 0xE1 and file.read(6) == b"Exif\0\0":
            orientation = _orientation(file.read(length - 8))
        file.seek(body_ends)
    # Compressed data never hold these two bytes, so they are the end of the image; junk may follow them.
    if not _contains(file, size, b"\xff\xd9"):
        raise _Unusable(TRUNCATED)
    return info._replace(orientation=orientation)


def _jpeg_frame(marker: int, frame: bytes) -> ImageInfo:
    precision, height, width, components = struct.unpack(">BHHB", frame)
    if marker > 0xC2 or precision != 8:
        raise _Unusable(f"is a JPEG of a rare kind (lossless, arithmetic or 12-bit). {CONVERT}")
    # Parts of a progressive file differ at their edges from the whole, and CMYK must be converted: decode these whole.
    in_part = marker != 0xC2 and components != 4
    return ImageInfo(width, height, kind=JPEG if in_part else WHOLE_JPEG)


def _next_marker(file: BinaryIO) -> int:
    while file.read(1)[0] != 0xFF:
        pass
    while (code := file.read(1)[0]) == 0xFF:
        pass
    return code


def _contains(file: BinaryIO, size: int, wanted: bytes) -> bool:
    """Whether `wanted` comes after the file's position; looks near the end first."""
    here = file.tell()
    for start in (max(here, size - 1024), here):
        file.seek(start)
        if wanted in file.read():
            return True
    return False


def _png(file: BinaryIO, size: int) -> ImageInfo:
    """PNG specification, section 5: chunks of length, type, data and checksum, from IHDR to IEND."""
    orientation, alpha, info = 1, False, None
    file.seek(8)
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        body_ends = file.tell() + length + 4
        if name == b"IHDR":
            width, height, _, colours = struct.unpack(">IIBB", file.read(10))
            info, alpha = ImageInfo(width, height), colours in (4, 6)
        elif name == b"tRNS":
            alpha = True
        elif name == b"eXIf" and body_ends <= size:
            orientation = _orientation(file.read(length))
        if body_ends > size:
            raise _Unusable(TRUNCATED)
        if name == b"IEND" and info is not None:
            return info._replace(orientation=orientation, kind=ALPHA if alpha else OPAQUE)
        file.seek(body_ends)


def _gif(file: BinaryIO, size: int) -> ImageInfo:
    """GIF89a, sections 18 to 24: the first frame's size, which may be less than the whole picture's."""
    file.seek(10)
    flags = file.read(1)[0]
    file.seek(13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))  # past the palette
    while (block := file.read(1)) == b"!":  # an extension: a code, then parts that each tell their length, then 0
        file.seek(1, os.SEEK_CUR)
        while length := file.read(1)[0]:
            file.seek(length, os.SEEK_CUR)
    width, height = struct.unpack("<4xHH", file.read(8))
    if block != b",":
        raise _Unusable(DAMAGED.format("GIF"))
    return ImageInfo(width, height)


def _bmp(file: BinaryIO, size: int) -> ImageInfo:
    file.seek(10)
    pixels_at, header, width, height, _, bits, packing = struct.unpack("<IIiiHHI", file.read(24))
    height = abs(height)  # negative: the rows go downwards
    # 3: the places of red, green and blue are written out; TensorFlow takes the usual ones for granted.
    file.seek(54)
    usual = packing == 0 or (packing == 3 and file.read(12) == struct.pack("<III", 0xFF0000, 0xFF00, 0xFF))
    if header < 40 or bits not in (24, 32) or not usual:
        raise _Unusable(f"is a BMP with a palette or packed pixels, which would be decoded wrongly. {CONVERT}")
    if pixels_at + (width * bits + 31) // 32 * 4 * height > size:
        raise _Unusable(TRUNCATED)
    return ImageInfo(width, height)


def _webp(file: BinaryIO, size: int) -> ImageInfo:
    """RFC 9649: chunks in a RIFF container; VP8 or VP8L holds the image, VP8X says what else there is."""
    file.seek(4)
    ends = 8 + struct.unpack("<I", file.read(4))[0]
    if ends > size:
        raise _Unusable(TRUNCATED)
    width, height, orientation, alpha = 0, 0, 1, False
    file.seek(12)
    while file.tell() + 8 <= ends:
        name, length = struct.unpack("<4sI", file.read(8))
        body_ends = file.tell() + length + length % 2
        if name == b"VP8X":
            flags, low, high = struct.unpack("<I3s3s", file.read(10))
            if flags & 0x02:
                raise _Unusable(f"is a moving WebP, which cannot be decoded here. {CONVERT}")
            width, height = (int.from_bytes(side, "little") + 1 for side in (low, high))
            alpha = bool(flags & 0x10)
        elif name == b"VP8L":
            bits = struct.unpack("<xI", file.read(5))[0]
            width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
        elif name == b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack("<6xHH", file.read(10)))
        elif name == b"EXIF":
            orientation = _orientation(file.read(length).removeprefix(b"Exif\0\0"))
        file.seek(body_ends)
    return ImageInfo(width, height, orientation, ALPHA if alpha else OPAQUE)


def _orientation(exif: bytes) -> int:
    """The orientation 1 ... 8 in EXIF data (a TIFF header and its first directory); 1 where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # cameras and editors leave damaged EXIF data, which say nothing about the pixels
        pass
    return 1


# (name, first bytes as a regular expression, the header's reader or None where TensorFlow has no decoder)
_FORMATS = (
    ("JPEG", rb"\xff\xd8\xff", _jpeg),
    ("PNG", rb"\x89PNG\r\n\x1a\n", _png),
    ("GIF", rb"GIF8[79]a", _gif),
    ("BMP", rb"BM", _bmp),
    ("WebP", rb"RIFF....WEBP", _webp),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", None),
    ("AVIF or HEIC", rb"....ftyp(avi|hei|hev|mif|msf)", None),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL ", None),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", None),
    ("PDF", rb"%PDF", None),
)
