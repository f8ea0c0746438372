"""Filters and maps of a row as one picture each, with its size on the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rawcnn.layers import RBF, Dense, Layer
from rawcnn.report import images
from rawcnn.report.markup import Markup, tag
from rawcnn.report.rows import RowView, is_convolution
from rawcnn.run import inside

MOST_FILTERS, MOST_INPUTS = 64, 16
LONGEST = 56
"""Pixels a side of a map on the page; larger ones are shown as means of blocks."""
BITMAP = (12, 7)
"""Height and width of LeNet-5's bitmaps, and so of F6 as a picture (LeCun et al. 1998, figure 3)."""


def shown_as(address: str, words: str, width: int, **more: object) -> Markup:
    """A picture whose pixels are seen as pixels, `width` pixels wide where there is room."""
    return tag("img", src=address, alt=words, width=width, class_="pixels", **more)


def filters(layer: Layer) -> tuple[Markup, str] | None:
    """The filters of a row as a picture and what it shows; None for rows without weights to look at."""
    if is_convolution(layer):
        return of_kernel(inside.filters(layer))
    if isinstance(layer, RBF) and layer.centres.shape[1] == math.prod(BITMAP):
        bitmaps = [images.levels(centre.reshape(BITMAP), 1.0) for centre in layer.centres]
        address = images.coloured_png(images.tiles(bitmaps, 10))
        return shown_as(
            address, "The bitmaps", 560
        ), "The bitmap of each class: orange is +1 (ink), blue is -1 (paper)."
    if isinstance(layer, Dense):
        w = layer.w.numpy().T
        cut = w[: 4 * MOST_FILTERS, :512]
        address = images.coloured_png(images.levels(cut, scale_of(w)))
        what = f"The weights: a line for each of the {w.shape[0]} outputs, a column for each of the {w.shape[1]} inputs"
        return shown_as(address, what, min(900, 3 * cut.shape[1])), what + _only(w.shape != cut.shape, cut.shape)
    return None


def of_kernel(w: NDArray[np.float32]) -> tuple[Markup, str]:
    """Filters `[size, size, in, out]` as a picture, and what it shows."""
    address, what, width = drawn_kernel(w, scale_of(w))
    return shown_as(address, what, width), what


def drawn_kernel(w: NDArray[np.float32], largest: float) -> tuple[str, str, int]:
    """Filters `[size, size, in, out]` as the address of a picture, what it shows, and its width on the page.

    Of three input channels in their colours, else a tile for each connection. `largest`: the weight of the strongest
    colour.
    """
    size, _, inputs, outputs = w.shape
    only = _only(outputs > MOST_FILTERS, MOST_FILTERS)
    if inputs == 3:
        some = w[..., :MOST_FILTERS].transpose(3, 0, 1, 2)
        columns = min(16, len(some))
        pixels = np.rint(1 + 254 * np.clip(some / largest / 2 + 0.5, 0, 1)).astype(np.uint8)
        layers = [images.tiles(list(pixels[..., c]), columns) for c in range(3)]
        address = images.exact(np.stack(layers, axis=-1), gaps=True)
        what = f"{outputs} filters of {size}x{size} pixels, in the colours that they look for; grey is 0"
        return address, what + only, _width(columns, size)
    if inputs == 1:
        some = [images.levels(w[:, :, 0, k], largest) for k in range(min(outputs, MOST_FILTERS))]
        columns = min(16, len(some))
        address = images.coloured_png(images.tiles(some, columns))
        return address, f"{outputs} filters of {size}x{size} weights" + only, _width(columns, size)
    if size == 1:
        cut = w[0, 0, :128, :256]
        address = images.coloured_png(images.levels(cut, largest))
        what = (
            f"The weights: a line for each of the {inputs} input channels, a column for each of the {outputs} filters"
        )
        return address, what + _only(w[0, 0].shape != cut.shape, cut.shape), min(900, 4 * cut.shape[1])
    rows, columns = min(inputs, MOST_INPUTS), min(outputs, 16)
    some = [images.levels(w[:, :, c, k], largest) for c in range(rows) for k in range(columns)]
    empty = [not w[:, :, c, k].any() for c in range(rows) for k in range(columns)]
    some = [np.zeros_like(one) if nothing else one for one, nothing in zip(some, empty, strict=True)]
    address = images.coloured_png(images.tiles(some, columns))
    what = f"The weights: a column for each of the {outputs} filters, a row for each of the {inputs} input maps"
    what += _only(rows < inputs or columns < outputs, f"{rows} rows and {columns} columns")
    what += "; empty squares are not connected" if any(empty) else ""
    return address, what, _width(columns, size)


class Maps(NamedTuple):
    """Which maps of a row are shown, and how: what a mouse over them must know."""

    channels: list[int]
    height: int
    width: int
    step: int
    largest: float
    columns: int
    addresses: list[str]


def maps(view: RowView, most: int, columns: int) -> Maps:
    """The maps of the first images, up to `most` channels that differ most over them, as one picture an image."""
    values = view.maps
    if values.ndim == 2 or values.shape[1:3] == (1, 1):
        flat = values.reshape(len(values), -1)
        height, width = list_shape(flat.shape[1])
        padded = np.full((len(flat), height * width), np.nan, np.float32)
        padded[:, : flat.shape[1]] = flat[:, : height * width]
        values = padded.reshape(len(flat), height, width, 1)
        channels, step = [0], 1
    else:
        channels = strongest(values, most)
        step = math.ceil(max(values.shape[1:3]) / LONGEST)
    shown = images.shrunk(values[..., channels].transpose(0, 3, 1, 2), LONGEST)
    largest = float(np.nanquantile(np.abs(shown), 0.998)) or float(np.nanmax(np.abs(shown))) or 1.0
    columns = min(columns, len(channels))
    entries = np.where(np.isnan(shown), 0, images.levels(np.nan_to_num(shown), largest)).astype(np.uint8)
    addresses = [images.coloured_png(images.tiles(list(of_image), columns)) for of_image in entries]
    return Maps(channels, shown.shape[2], shown.shape[3], step, largest, columns, addresses)


def strongest(values: NDArray[np.float32], most: int) -> list[int]:
    """Up to `most` channels of maps `[N, H, W, C]`, those whose values vary most, in their own order."""
    spread = values.std(axis=(0, 1, 2))
    return sorted(int(k) for k in np.argsort(-spread, kind="stable")[:most])


def list_shape(n: int) -> tuple[int, int]:
    """How a list of `n` numbers is laid out as a picture: (height, width), wider than high.

    >>> list_shape(84), list_shape(10), list_shape(120)
    ((12, 7), (1, 10), (6, 20))
    """
    if n == math.prod(BITMAP):
        return BITMAP
    width = min(n, max(10, math.ceil(math.sqrt(3 * n) / 10) * 10))
    return math.ceil(n / width), width


def _width(columns: int, size: int) -> int:
    each = max(3, min(12, 60 // size))
    return (columns * (size + 1) - 1) * each


def scale_of(w: NDArray[np.floating]) -> float:
    """The weight that gets the strongest colour: only two of a thousand are larger."""
    return float(np.quantile(np.abs(w), 0.998)) or 1.0


def _only(cut: bool, what: int | str | Sequence[int]) -> str:
    if not cut:
        return ""
    return f" (shown: the first {what if isinstance(what, int | str) else ' x '.join(map(str, what))})"
