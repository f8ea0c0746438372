"""A user's own picture of a digit, made into what MNIST would hold of it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rawcnn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# Raster formats only: some others that Pillow reads (EPS) would start an interpreter for a file's program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")

# All lengths below are fractions of what the comment names, so pictures of every size are treated alike.
BOX = 20 / 28  # LeCun et al. 1998, section III.A: the digit fills 20x20 of 28x28
STROKE = 2.2 / 20  # of that box: a quarter of MNIST's training digits has thinner strokes, the median is 2.6 / 20
SPECK = 0.03  # of the largest piece of ink: smaller pieces are dirt
REACH = 0.4  # of the digit's longer side: pieces of ink farther apart are not one digit
OUTSIDE = 0.3  # of the picture's shorter side: what meets the border on so long a line is a table or a hand
SMALLEST = 0.025  # of the picture's longer side: ink that is smaller is grain of the paper
WINDOW = 1 / 3  # of the picture's longer side: whatever is dark and wider is shadow or table, not a stroke

BLANK = "no digit found: the picture is blank, or the ink too faint or too small. Draw it larger with a darker pen."


def read_grey(path: str | os.PathLike[str], *, max_pixels: int = 50_000_000) -> Grey:
    """Read an image file of any common format as grey.

    PNG, JPEG, GIF (first frame), BMP, WebP, TIFF, PPM and, where Pillow has it, AVIF. A camera's EXIF rotation is
    applied and transparent parts are laid on white paper.

    Args:
      path: the file.
      max_pixels: the largest height times width; it is compared with the file's header, before anything is decoded.

    Returns:
      uint8 `[H, W]`, 0 black to 255 white.

    Raises:
      DataError: no such file, no image, a damaged image, or more than `max_pixels`.
    """
    from PIL import Image

    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name the image files in it.")
    if not path.is_file():
        raise DataError(f"{path}: no such file. Check the spelling and the folder.")
    Image.init()
    try:
        # Pillow warns of odd files that it reads all the same; whatever it can't read, it raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
                if image.width * image.height > max_pixels:
                    raise DataError(_too_large(path, f"{image.width}x{image.height} pixels", max_pixels))
                return _grey(image)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(_too_large(path, "far too many pixels", max_pixels)) from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it. Change its permissions, or copy it.") from None
    except Exception as error:  # Pillow's decoders raise almost any type on a damaged file
        why = "it is empty" if path.stat().st_size == 0 else "it is damaged, or no PNG, JPEG, GIF, BMP, WebP or TIFF"
        raise DataError(f"{path} cannot be read as an image: {why}. Save it again as PNG or JPEG.") from error


def as_mnist(grey: Grey, size: int = 28) -> Grey:
    """Turn a picture of one digit into what MNIST would hold of it: white on black, 20x20, centred by mass.

    The picture may be a photo or scan of dark ink on light paper, or light on dark; uneven light, noise, specks,
    and a digit of any size and place are fine. Where MNIST's makers began with clean scans, the ink must first be
    found: the paper's brightness is estimated and divided out, what is left is cut in two by Otsu's threshold,
    and the largest piece of ink is kept together with those near it. Strokes that are thinner than MNIST's are
    thickened, or they would fade when the picture shrinks. Then as in the source: fitted to 20x20 with
    antialiasing, aspect ratio kept, centre of mass moved to the middle.

    Args:
      grey: uint8 `[H, W]`, 0 black to 255 white.
      size: side of the result.

    Returns:
      uint8 `[size, size]`, 0 background to 255 ink. A picture of this size on a dark background is an MNIST
      picture already and comes back as it is.

    Raises:
      DataError: not uint8 `[H, W]`, or nothing is drawn on it.

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition" (1998),
    section III.A; N. Otsu, "A threshold selection method from gray-level histograms" (1979).

    >>> paper = np.full((200, 300), 230, np.uint8)
    >>> paper[40:160, 140:158] = 60                       # a 1
    >>> rows, columns = np.nonzero(as_mnist(paper))
    >>> print(np.ptp(rows) + 1, np.ptp(columns) + 1)
    20 3
    """
    if grey.dtype != np.uint8 or grey.ndim != 2 or grey.size == 0:
        raise DataError(f"as_mnist needs a uint8 picture [H, W], not {grey.dtype} {list(grey.shape)}.")
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if grey.shape == (size, size) and np.median(frame) < 128 and grey.max() > frame.max():
        return np.array(grey)
    ink = _thicken(_one_digit(_ink(_contrast(_resize(grey, 256, 1024)))))
    return _centre(ink, size)


def read_digit(path: str | os.PathLike[str], size: int = 28, *, max_pixels: int = 50_000_000) -> tuple[Grey, Grey]:
    """Read an image file as `as_mnist` makes it, with the picture it was made from.

    Returns:
      The digit, uint8 `[size, size]`, and the whole picture in grey, uint8 `[H, W]`, at most 512 pixels long.

    Raises:
      DataError: as `read_grey` and `as_mnist`, always naming the file.
    """
    grey = read_grey(path, max_pixels=max_pixels)
    try:
        return as_mnist(grey, size), _resize(grey, 1, 512)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _too_large(path: Path, size: str, max_pixels: int) -> str:
    return f"{path} has {size}; at most {max_pixels:,} are read. Crop it or save it smaller."


def _grey(image: Image.Image) -> Grey:
    """Decode an opened image to uint8 `[H, W]`: upright, on white paper."""
    from PIL import Image, ImageOps

    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.asarray(np.asarray(image).astype(np.uint16) >> 8, np.uint8)
    if image.mode in ("I", "F"):  # no format says what white is here
        return _stretch(np.asarray(image, np.float64))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB").convert("L"))


def _stretch(values: NDArray[np.float64]) -> Grey:
    values = np.nan_to_num(values - np.nanmin(values))
    return np.asarray(values * (255 / max(values.max(), 1e-30)), np.uint8)


def _resize(picture: Grey, shortest: int, longest: int) -> Grey:
    """Resize so that the longer side is in `shortest..longest`."""
    from PIL import Image

    longer = max(picture.shape)
    scale = min(max(longer, shortest), longest) / longer
    if scale == 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape)
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def _contrast(grey: Grey) -> Floats:
    """How far each point differs from the paper around it, towards ink: float32 `[H, W]`, 0 paper to 1."""
    from PIL import Image
    from scipy import ndimage

    small = _resize(grey, 1, 96).astype(np.float32)
    side = max(small.shape)
    # Ink is the minority in every neighbourhood, so it is on the long tail of the difference from the median.
    difference = small - ndimage.median_filter(small, size=side // 2 + 1, mode="nearest")
    if np.sum(difference**3) > 0:
        grey, small = 255 - grey, 255 - small
    # The paper is the closing: darkness that is narrower than the window is filled. Between its two halves the
    # border is continued by point reflection, which keeps a slope of the light a slope up to the edge.
    window = int(side * WINDOW)
    margin = [(min(window, length - 1),) * 2 for length in small.shape]
    paper = np.pad(ndimage.maximum_filter(small, window, mode="nearest"), margin, mode="reflect", reflect_type="odd")
    paper = ndimage.minimum_filter(paper, window, mode="nearest")
    paper = paper[tuple(slice(before, before + n) for (before, _), n in zip(margin, small.shape, strict=True))]
    full = Image.fromarray(paper).resize(grey.shape[::-1], Image.Resampling.BILINEAR)
    smooth = ndimage.gaussian_filter(grey.astype(np.float32), max(1, max(grey.shape) / 600))
    return np.asarray(np.clip(1 - smooth / np.maximum(np.asarray(full), 1), 0, 1), np.float32)


def _ink(contrast: Floats) -> Mask:
    """The points darker than a threshold halfway between the paper and the ink."""
    noise = 1.4826 * np.median(np.abs(contrast - np.median(contrast)))
    floor = max(0.08, np.median(contrast) + 5 * noise)
    marks = contrast[contrast > floor]
    ink = contrast > (_otsu(marks) if marks.size else 1)
    if not ink.any() or contrast[ink].mean() < 1.5 * floor:  # grain only just passes the floor, ink is far beyond it
        raise DataError(BLANK)
    return np.asarray(ink)


def _otsu(values: Floats) -> float:
    """The threshold with the greatest variance between the two classes (Otsu 1979, equation 14)."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    moment = np.cumsum(counts * centres)
    means = moment[:-1] / np.maximum(below, 1) - (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * means**2)])


def _one_digit(ink: Mask) -> Mask:
    """Keep the largest piece of ink and the pieces close to it, cropped to their box."""
    from scipy import ndimage

    eight = np.ones((3, 3), bool)
    pieces, _ = ndimage.label(ink, eight)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    border = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    outside = np.bincount(border, minlength=areas.size) > OUTSIDE * min(ink.shape)
    inside = np.where(outside, 0, areas)
    if inside.max() > SPECK * areas.max():
        areas = inside
    largest = int(np.argmax(areas))
    kept = (areas >= SPECK * areas[largest])[pieces]
    box = ndimage.find_objects(pieces)[largest - 1]
    side = max(part.stop - part.start for part in box)
    if side < SMALLEST * max(ink.shape):
        raise DataError(BLANK)
    groups, _ = ndimage.label(ndimage.distance_transform_edt(~kept) <= REACH * side / 2, eight)
    kept &= groups == groups[pieces == largest][0]
    return np.asarray(kept[ndimage.find_objects(kept.astype(np.uint8))[0]])


def _thicken(ink: Mask) -> Mask:
    """Widen thin strokes to the width of MNIST's, in proportion to the digit."""
    from scipy import ndimage

    side = max(ink.shape)
    # Across a stroke of width w the distances to its edge are 1, 2, .., 2, 1 with mean w/4 + 1/2.
    width = 4 * float(ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1][ink].mean()) - 2
    radius = (STROKE * side - width) / (2 - 2 * STROKE)  # (width + 2 radius) / (side + 2 radius) = STROKE
    if radius < 0.5:
        return ink
    margin = int(np.ceil(radius))
    return np.asarray(ndimage.distance_transform_edt(~np.pad(ink, margin)) <= radius)


def _centre(ink: Mask, size: int) -> Grey:
    """Fit the ink's box to 20x20 of 28x28 and move its centre of mass to the middle."""
    from PIL import Image
    from scipy import ndimage

    scale = size * BOX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    mark = np.asarray(Image.fromarray(np.uint8(255) * ink).resize((width, height), Image.Resampling.BOX))
    mass = ndimage.center_of_mass(mark.astype(np.float64))
    # MNIST's files have the centre at pixel 14.0 +- 0.5 of 0..27.
    top, left = (
        min(max(round(size / 2 - centre), 0), size - side) for centre, side in zip(mass, mark.shape, strict=True)
    )
    digit = np.zeros((size, size), np.uint8)
    digit[top : top + height, left : left + width] = mark
    return digit
