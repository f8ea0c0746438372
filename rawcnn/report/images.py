"""Arrays as small pictures inside a page: PNG or JPEG by Pillow, as `data:` addresses."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BLUE, WHITE, ORANGE = (0, 68, 136), (255, 255, 255), (160, 50, 0)
SMALL = 64  # pixels a side up to which pixels are shown as pixels, and kept exactly


def palette() -> NDArray[np.uint8]:
    """256 colours for numbers from negative (blue) over 0 (white, entry 128) to positive (orange): uint8 `[256, 3]`."""
    steps = np.arange(256)
    strength = np.minimum(1.0, np.abs(steps - 128) / 127)[:, None]
    middle = np.where(steps[:, None] < 128, (80, 150, 210), (235, 130, 40))
    ends = np.where(steps[:, None] < 128, BLUE, ORANGE)
    colours = np.where(
        strength < 0.6, WHITE + (middle - WHITE) * strength / 0.6, middle + (ends - middle) * (strength - 0.6) / 0.4
    )
    return np.rint(colours).astype(np.uint8)


def levels(values: NDArray[np.floating], largest: float) -> NDArray[np.uint8]:
    """Numbers as entries of the palette: 0 is 128, +-`largest` are 255 and 1. Any shape."""
    return np.rint(128 + 127 * np.clip(values / (largest or 1.0), -1, 1)).astype(np.uint8)


def tiles(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Pictures `[h, w]` of one size in rows of `columns`, one pixel of 0 between them: palette entry 0 is the gap."""
    height, width = images[0].shape
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    joined = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1), np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        joined[top : top + height, left : left + width] = image
    return joined


def coloured_png(entries: NDArray[np.uint8]) -> str:
    """A picture `[h, w]` of palette entries; entry 0 is transparent, the gap between tiles."""
    image = Image.frombytes("P", (entries.shape[1], entries.shape[0]), entries.tobytes())
    image.putpalette(palette().tobytes())
    return _address(image, "PNG", transparency=0, optimize=True)


def picture(image: NDArray[np.generic], longest: int = 0) -> str:
    """A grey or colour picture, 0 ... 255, `[h, w]`, `[h, w, 1]` or `[h, w, 3]`, no longer than `longest` (0: any).

    Small pictures are exact PNGs; larger ones are JPEGs.
    """
    pixels = as_bytes(image)
    made = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
    if longest and max(made.size) > longest:
        ratio = longest / max(made.size)
        made = made.resize(
            (max(1, round(made.width * ratio)), max(1, round(made.height * ratio))), Image.Resampling.BOX
        )
    if max(made.size) <= SMALL:
        return _address(made, "PNG", optimize=True)
    return _address(made, "JPEG", quality=85)


def exact(image: NDArray[np.generic], *, gaps: bool = False) -> str:
    """A picture as PNG, every pixel as it is; with `gaps`, black is transparent: it lies between `tiles`."""
    pixels = as_bytes(image)
    options: dict[str, object] = {"transparency": (0, 0, 0)} if gaps else {}
    made = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return _address(made, "PNG", optimize=True, **options)


def overlaid(image: NDArray[np.generic], heat: NDArray[np.floating], longest: int) -> str:
    """A picture with a heat map `[h', w']`, at least 0, over it: grey where there is none, orange where it is hot."""
    pixels = as_bytes(image)
    grey = np.repeat(pixels.reshape(*pixels.shape[:2], -1).mean(axis=-1, keepdims=True), 3, axis=-1)
    side = max(min(longest, 4 * max(pixels.shape[:2])), 1)
    ratio = side / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * ratio)), max(1, round(pixels.shape[0] * ratio)))
    below = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BOX), np.float64)
    scaled = Image.fromarray((heat / (heat.max() or 1.0)).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    strength = 0.75 * np.clip(np.asarray(scaled), 0, 1)[..., None]
    mixed = (1 - strength) * (0.75 * below + 32) + strength * np.array((255, 120, 0))
    return _address(Image.fromarray(np.rint(mixed).astype(np.uint8)), "JPEG", quality=85)


def as_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Pixels 0 ... 255 of any type as whole numbers."""
    return np.clip(np.rint(np.asarray(image, np.float64)), 0, 255).astype(np.uint8)


def shrunk(maps: NDArray[np.floating], longest: int) -> NDArray[np.floating]:
    """Maps `[..., H, W]` no longer than `longest`, blocks of pixels as their mean; a rest at the edge is dropped."""
    height, width = maps.shape[-2:]
    step = math.ceil(max(height, width) / longest)
    if step == 1:
        return maps
    rows, columns = max(1, height // step), max(1, width // step)
    cut = maps[..., : rows * step, : columns * step]
    return np.asarray(cut.reshape(*maps.shape[:-2], rows, step, columns, step).mean(axis=(-3, -1)))


def _address(image: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
