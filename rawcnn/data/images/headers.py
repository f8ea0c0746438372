"""Headers of image files: what a file is, its size in pixels and its orientation, before anything is decoded.

Pillow reads the header, and TensorFlow decodes the pixels while a net trains. TensorFlow decodes JPEG, PNG, WebP and
plain BMP files as Pillow does, apart from their orientation. All other files that Pillow reads (GIF, TIFF, PPM, AVIF,
BMP with a palette, moving WebP) are decoded by Pillow at once, and kept in memory as PNG.

What a header declares decides how much memory a decoder takes, so it is compared with the limits here.
"""

import io
import os
import re
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import (  # fmt: skip
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from rawcnn.errors import DataError
from rawcnn.files.limits import Unfit

try:
    from PIL.AvifImagePlugin import AvifImageFile
except ImportError:  # Pillow before 11.3
    AvifImageFile = None  # type: ignore[assignment, misc]

T = TypeVar("T")
MAX_PIXELS = 50_000_000
"""A 50-megapixel photo takes 150 MB when decoded; a PNG of 48 KB can declare 400 megapixels."""

JPEG, WHOLE_JPEG, OPAQUE, ALPHA = range(4)
"""How a file is decoded: a JPEG in part and shrunk if it allows that, others whole, with transparency on white."""

MAX_BYTES = 2**28
"""Larger image files are refused: an uncompressed BMP of 50 megapixels has 200 MB."""

MAX_CHUNKS = 2**17
"""Chunks of a PNG: real files have some hundreds, 25,000 at most."""

_RARE_FRAME = rb"\xff[\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..\x08"
"""A JPEG's frame header (ITU T.81, table B.1 and B.2.2) up to its height; only markers 0xC0 to 0xC2 are common."""

CONVERT = "Convert it to PNG or JPEG."
TRUNCATED = "is truncated: its end is missing. Copy or download it again."
DAMAGED = "is damaged, truncated or of a rare kind: its {} header cannot be read. Copy it again, or convert it."
UNDECODABLE = "is damaged, truncated or of a rare kind: its {} data cannot be decoded. Copy it again, or convert it."


class ImageInfo(NamedTuple):
    """What a header says: size in pixels as seen (upright), EXIF `orientation` 1 ... 8, and how to decode it.

    `png`: the upright pixels, if the file itself is not what TensorFlow should decode; else empty.
    """

    width: int
    height: int
    orientation: int = 1
    kind: int = OPAQUE
    format: str = ""
    png: bytes = b""


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings of odd files that it reads all the same. For the whole process: enter it outside of
    threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def inspect(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read an image's header. Raises `DataError` as `read_rgb` does, except for damage within."""
    with quiet_pillow():
        found = examine(path, max_pixels)
    if isinstance(found, str):
        raise DataError(f"{os.fspath(path)} {found}")
    return found


def examine(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> ImageInfo | str:
    """As `inspect`, but returns what is wrong, as words that follow the file's name."""
    return _of_file(path, lambda file, size: _read_header(file, size, max_pixels))


def examine_bytes(contents: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo | str:
    """As `examine`, of a file's contents."""
    try:
        return _read_header(io.BytesIO(contents), len(contents), max_pixels)
    except Unfit as error:
        return str(error)


def contents_of(path: str | os.PathLike[str]) -> bytes | str:
    """The bytes of an image file, or what is wrong with it, as words that follow its name."""
    return _of_file(path, lambda file, _: file.read())


def _of_file(path: str | os.PathLike[str], read: Callable[[BinaryIO, int], T]) -> T | str:
    """What `read` makes of the open file and its size, or what is wrong with the file."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return "is a folder, not an image file. Name a file in it."
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file but a pipe or a device. Copy the image into a file."
        if status.st_size > MAX_BYTES:
            return f"has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read. Save it smaller."
        with open(path, "rb") as file:
            return read(file, status.st_size)
    except Unfit as error:
        return str(error)
    except FileNotFoundError:
        return "does not exist. Check the spelling and the folder."
    except PermissionError:
        return "may not be read. Change its permissions, or copy it."
    except OSError as error:
        return f"cannot be read: {error.strerror}. Copy it to another place."


def _read_header(file: BinaryIO, size: int, max_pixels: int) -> ImageInfo:
    name, opened = _format_of(file.read(64))
    file.seek(0)
    # Not by Image.open, which would start work on a size that is refused here, and warn of others that are not.
    image = _of_pillow(lambda: opened(file), DAMAGED.format(name))
    width, height = image.size
    if width <= 0 or height <= 0:
        raise Unfit(DAMAGED.format(name))
    if width * height > max_pixels:
        declared = f"{width}x{height} pixels; at most {max_pixels:,}"
        raise Unfit(f"has {declared} are decoded. Save it smaller, or raise max_pixels.")
    kind, late = _KINDS[name](image, file, size) if name in _KINDS else (None, False)
    if kind is None:
        return _of_pillow(lambda: _as_png(image, name), UNDECODABLE.format(name))
    if late:
        _of_pillow(image.load, UNDECODABLE.format(name))
    orientation = _orientation(image)
    if orientation >= 5:
        width, height = height, width
    return ImageInfo(width, height, orientation, kind, name)


def _format_of(start: bytes) -> tuple[str, Callable[[BinaryIO], ImageFile.ImageFile]]:
    """The name of a file's format and Pillow's reader of it, from its first 64 bytes."""
    for name, magic, opened in _FORMATS:
        if re.match(magic, start, re.DOTALL):
            if opened is None:
                raise Unfit(f"is {name}, which cannot be decoded here. {CONVERT}")
            return name, opened
    if not start:
        raise Unfit("is empty (0 bytes). Copy or download it again.")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|svg)", start, re.IGNORECASE):
        raise Unfit("is text (HTML, XML or SVG), whatever its name says. Download the image itself.")
    raise Unfit("is not an image: its first bytes match no image format. Replace it or remove it.")


def _of_pillow(call: Callable, otherwise: str):  # type: ignore[no-untyped-def]
    """What `call` returns. Pillow raises errors of almost any type on a damaged file; they become `otherwise`."""
    try:
        return call()
    except Unfit:
        raise
    except Exception as error:
        raise Unfit(otherwise) from error


def _orientation(image: Image.Image) -> int:
    """The orientation 1 ... 8 that `ImageOps.exif_transpose` obeys, from EXIF or XMP; 1 where there is none."""
    try:
        found = Image.Image.getexif(image).get(0x0112)  # a PNG's own method would decode it
    except Exception:  # cameras and editors leave damaged EXIF data, which say nothing about the pixels
        return 1
    return next((known for known in range(2, 9) if known == found), 1)


def _as_png(image: Image.Image, format: str) -> ImageInfo:
    """The first frame, decoded, upright and on white paper."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and format == "PPM"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise Unfit("has values of 32 bits, so that black and white are unknown. Convert it to 8 bits a channel.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    png = io.BytesIO()
    image.convert("L" if image.mode in ("1", "L") else "RGB").save(png, "PNG", compress_level=1)
    return ImageInfo(*image.size, format=format, png=png.getvalue())


# (kind, whether metadata follow the pixels) of a file; the kind is None where TensorFlow would decode it wrongly ------


def _jpeg(image: Image.Image, file: BinaryIO, size: int) -> tuple[int | None, bool]:
    here = file.tell()
    file.seek(0)
    if re.search(_RARE_FRAME + re.escape(struct.pack(">HH", image.height, image.width)), file.read(here), re.DOTALL):
        raise Unfit(f"is a lossless, arithmetic-coded or hierarchical JPEG, which is not decoded here. {CONVERT}")
    # Compressed data never hold these two bytes, so they are the end of the image; junk may follow them.
    for start in (max(here, size - 1024), here):  # it is mostly at the end
        file.seek(start)
        if b"\xff\xd9" in file.read():
            break
    else:
        raise Unfit(TRUNCATED)
    # Parts of a progressive file differ at their edges from the whole, and CMYK must be converted: decode these whole.
    return JPEG if image.mode in ("L", "RGB") and "progressive" not in image.info else WHOLE_JPEG, False


def _png(image: Image.Image, file: BinaryIO, size: int) -> tuple[int | None, bool]:
    """PNG specification, section 5: chunks of length, type, data and checksum, from IHDR to IEND."""
    here, at, late, pixels_seen = file.tell(), 8, False, False
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(40)
        at += 12 + int.from_bytes(head[:4], "big")
        if len(head) < 12 or at > size:
            raise Unfit(TRUNCATED)
        name, body = head[4:8], head[8:]
        if name == b"IEND":
            break
        pixels_seen |= name == b"IDAT"
        late |= pixels_seen and (name == b"eXIf" or body.startswith((b"Raw profile type exif", b"XML:com.adobe.xmp")))
    else:
        raise Unfit(DAMAGED.format("PNG"))
    file.seek(here)  # from where Pillow reads on
    return ALPHA if image.has_transparency_data else OPAQUE, late


def _bmp(image: Image.Image, file: BinaryIO, size: int) -> tuple[int | None, bool]:
    """Those of three bytes a pixel and nothing after the last: of other files TensorFlow says that they are damaged."""
    decoder, _, offset, arguments = image.tile[0]  # type: ignore[attr-defined]
    file.seek(14)
    (header,) = struct.unpack("<I", file.read(4))
    plain = header >= 40 and decoder == "raw" and arguments[0] == "BGR"
    end = offset + (image.width * 3 + 3) // 4 * 4 * image.height
    if plain and end > size:
        raise Unfit(TRUNCATED)
    return OPAQUE if plain and end == size else None, False


def _webp(image: Image.Image, file: BinaryIO, size: int) -> tuple[int | None, bool]:
    still = not getattr(image, "is_animated", False)
    return (ALPHA if image.has_transparency_data else OPAQUE) if still else None, False


_KINDS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "WebP": _webp}

# (name, first bytes as a regular expression, Pillow's reader or None where there is none)
_FORMATS: tuple[tuple[str, bytes, Callable[[BinaryIO], ImageFile.ImageFile] | None], ...] = (
    ("JPEG", rb"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    ("PNG", rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    ("GIF", rb"GIF8[79]a", GifImagePlugin.GifImageFile),
    ("BMP", rb"BM", BmpImagePlugin.BmpImageFile),
    ("WebP", rb"RIFF....WEBP", WebPImagePlugin.WebPImageFile),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", TiffImagePlugin.TiffImageFile),
    ("PPM", rb"P[1-6][\s#]", PpmImagePlugin.PpmImageFile),
    ("AVIF", rb"....ftypavi[fs]", AvifImageFile),
    ("HEIC", rb"....ftyp(hei|hev|mif|msf)", None),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL ", None),
    ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", None),
    ("PDF", rb"%PDF", None),
)
