"""What all pictures share: figures that need no window, their files, images as panels, and text that fits.

They need matplotlib, the extra `plots`, and draw on a figure of their own: no pyplot, no global state.
"""

from __future__ import annotations

import io
import logging
import math
import os
import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rawcnn.errors import RawcnnError, RunError
from rawcnn.files.whole import whole_file
from rawcnn.run.fonts import fit

StrPath = str | os.PathLike[str]

# Okabe and Ito's palette, distinct to colour-blind readers: blue is right, vermilion is wrong.
BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#9A9A9A", "#222222"
DPI = 120


def new_figure(width: float, height: float, title: str = "") -> Any:
    """Return a figure of `width` x `height` inches that draws itself, without pyplot; a wrapped title makes it higher.

    Raises `RawcnnError` if matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RawcnnError('Pictures need matplotlib: pip install "rawcnn[plots]".') from None
    letters = int(7.5 * width)  # bold ones of 14 points, in a line
    given = plain(title).split("\n")
    lines = [part for line in given for part in textwrap.wrap(line, letters)]
    figure = Figure(figsize=(width, height + 0.24 * max(0, len(lines) - len(given))), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    if lines:
        figure.suptitle("\n".join(lines), fontsize=14, fontweight="bold", parse_math=False)
    return figure


def grid(images: Sequence[NDArray[np.uint8]], title: str, *, above: int = 1, below: int = 0) -> tuple[Any, list[Any]]:
    """Draw images in rows: the figure, and each image's panel, with room for so many lines above and below it."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = new_figure(max(5.0, 2.6 * columns), (2.55 + 0.2 * (above + below)) * rows + 0.6, title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, image in zip(panels, images, strict=False):
        show(axes, image)
    for axes in panels[len(images) :]:
        axes.set_visible(False)
    return figure, panels[: len(images)]


def png_of(figure: Any) -> bytes:
    """A figure as the bytes of a PNG, its texts in fonts that have their letters."""
    fit(figure)
    png = io.BytesIO()
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # no remark on a family whose bold is called semi-bold
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a letter that no font has becomes a box; `fit` said so
            figure.canvas.draw()  # `savefig` draws twice: once to find the layout, which the first drawing does too
            Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]).save(png, "PNG", dpi=(DPI, DPI))
    finally:
        log.setLevel(level)
    return png.getvalue()


def save(figure: Any, path: StrPath) -> Path:
    """Write a figure as PNG, whole or not at all; raise `RunError` if that cannot be."""
    path, png = Path(path), png_of(figure)
    try:
        with whole_file(path) as file:
            file.write(png)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}. Check the folder and its free space.") from None
    return path


def show(axes: Any, image: NDArray[np.generic]) -> None:
    """Draw a picture `[H, W]`, `[H, W, 1]` or `[H, W, 3]` without axes; uint8 as it is, other types by their range."""
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = np.clip(255 * (image.astype(float) - low) / (high - low or 1), 0, 255).astype(np.uint8)
    # Pixels are shown as pixels where there are few of them.
    interpolation = "nearest" if max(image.shape[:2]) <= 64 else "antialiased"
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#BBBBBB")


def percent(fraction: float) -> str:
    """A fraction 0..1 as a percentage, with decimals only near certainty.

    >>> [percent(fraction) for fraction in (0.98, 0.9956, 0.0004, 1)]
    ['98 %', '99.6 %', '<0.1 %', '100 %']
    """
    value = 100 * float(fraction)
    if 0 < value < 0.1:
        return "<0.1 %"
    if 99.9 < value < 100:
        return ">99.9 %"
    decimals = 0 if 1 <= value <= 99 else 1
    return f"{value:.{decimals}f}".removesuffix(".0") + " %"


def percents(fractions: Sequence[float] | NDArray[np.floating]) -> list[str]:
    """Fractions 0..1 as percentages; those that would read alike and are not get one decimal.

    >>> percents([0.503, 0.497, 0.0])
    ['50.3 %', '49.7 %', '0 %']
    """
    texts = [percent(fraction) for fraction in fractions]
    finer = [f"{100 * float(fraction):.1f} %" for fraction in fractions]
    return [
        fine if text[0] not in "<>" and any(text == other and fine != f for other, f in zip(texts, finer, strict=True))
        else text
        for text, fine in zip(texts, finer, strict=True)
    ]  # fmt: skip


def plain(text: str) -> str:
    """Text that a font can draw: no control characters, no bytes of a file name that are not letters.

    A letter that is written as several, as macOS writes Korean file names, becomes one.
    """
    text = unicodedata.normalize("NFC", str(text).encode("utf-8", "replace").decode())
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def short(text: str, longest: int) -> str:
    """Text of at most `longest` letters on one line, cut in the middle.

    >>> short("Staffordshire bullterrier", 15)
    'Staffor…terrier'
    """
    text = " ".join(plain(text).split())
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"
