"""Headers of image files: what a file is, its size in pixels and its orientation, before anything is decoded.

TensorFlow decodes a few formats wrongly, some with a message that names no file, and none with regard to the camera's
orientation or to a limit of size. So every file is examined before it is decoded: of most, a few hundred bytes are
read. What a file declares decides how much memory its decoder takes, and is judged here.
"""

import os
import re
import stat
import struct
from typing import BinaryIO, NamedTuple

from rawcnn.errors import DataError

MAX_PIXELS = 50_000_000
"""A 50-megapixel photo takes 150 MB when decoded; a PNG of 48 KB can declare 400 megapixels."""

JPEG, WHOLE_JPEG, OPAQUE, ALPHA = range(4)
"""How a file is decoded: a JPEG in part and shrunk if it allows that, others whole, with transparency on white."""

MAX_BYTES = 2**28
"""No file is larger that is worth it: an uncompressed BMP of 50 megapixels has 200 MB."""

MAX_PIECES = 2**17
"""Chunks of a PNG, bytes between a JPEG's markers, parts of a GIF: a real file has some hundreds, or 25,000 at most."""

MAX_FRAMES = 2**28
"""Pixels of all frames of a GIF, for its decoder unpacks them all, a byte each, to give the first."""

EXIF_BYTES = 2**16
"""As much as a JPEG can have; PNG and WebP may declare gigabytes, and Python takes the memory before it reads."""

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
    """Read an image's header. Raises `DataError` as `read_rgb` does, save for damage within."""
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
        if status.st_size > MAX_BYTES:
            return f"has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read. Save it smaller."
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
    for _ in range(MAX_PIECES):
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
    if info is None or not _contains(file, size, b"\xff\xd9"):
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
    """The code after the next 0xFF; between markers there may be other bytes, and before a code more of 0xFF."""
    before = 0
    for _ in range(MAX_PIECES):
        code = file.read(1)[0]
        if before == 0xFF and code != 0xFF:
            return code
        before = code
    raise _Unusable(DAMAGED.format("JPEG"))


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
    for _ in range(MAX_PIECES):
        length, name = struct.unpack(">I4s", file.read(8))
        body_ends = file.tell() + length + 4
        if name == b"IHDR":
            width, height, _, colours = struct.unpack(">IIBB", file.read(10))
            info, alpha = ImageInfo(width, height), colours in (4, 6)
        elif name == b"tRNS":
            alpha = True
        elif name == b"eXIf" and body_ends <= size:
            orientation = _orientation(file.read(min(length, EXIF_BYTES)))
        if body_ends > size:
            raise _Unusable(TRUNCATED)
        if name == b"IEND" and info is not None:
            return info._replace(orientation=orientation, kind=ALPHA if alpha else OPAQUE)
        file.seek(body_ends)
    raise _Unusable(DAMAGED.format("PNG"))


def _gif(file: BinaryIO, size: int) -> ImageInfo:
    """GIF89a, sections 18 to 24: the first frame's size, which may be less than the whole picture's."""
    file.seek(10)
    flags = file.read(1)[0]
    file.seek(13 + _palette(flags))
    frames: list[ImageInfo] = []
    for _ in range(MAX_PIECES):
        block = file.read(1)
        if block == b"!":  # an extension: a code, then its parts
            file.seek(1, os.SEEK_CUR)
        elif block == b",":
            width, height, flags = struct.unpack("<4xHHB", file.read(9))
            frames.append(ImageInfo(width, height))
            file.seek(_palette(flags) + 1, os.SEEK_CUR)
        elif frames:  # the end, or a last part is missing: the first frame may be whole
            break
        else:
            raise _Unusable(DAMAGED.format("GIF") if block else TRUNCATED)
        _skip_parts(file, required=len(frames) < 2)
    if (pixels := sum(frame.width * frame.height for frame in frames)) > MAX_FRAMES:
        raise _Unusable(
            f"has {pixels:,} pixels in {len(frames):,} frames; at most {MAX_FRAMES:,} are decoded. {CONVERT}"
        )
    return frames[0]


def _palette(flags: int) -> int:
    """Bytes of the colour table that `flags` announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_parts(file: BinaryIO, required: bool) -> None:
    """Go past parts that each tell their length, to the one of length 0 or, if that is not required, the file's end."""
    for _ in range(MAX_PIECES):
        length = file.read(1)
        if not length and required:
            raise _Unusable(TRUNCATED)
        if not length or not length[0]:
            return
        file.seek(length[0], os.SEEK_CUR)
    raise _Unusable(DAMAGED.format("GIF"))


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
    for _ in range(MAX_PIECES):
        if file.tell() + 8 > ends:
            break
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
            orientation = _orientation(file.read(min(length, EXIF_BYTES)).removeprefix(b"Exif\0\0"))
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
