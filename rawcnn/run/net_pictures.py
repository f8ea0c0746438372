"""Pictures of what a trained net computes: filters, feature maps, Grad-CAM, LeNet-5's connection table and bitmaps.

Every function takes a net (and images as the net is given them, `[N, H, W, C]` after preprocessing), writes one PNG,
complete or not at all, and returns its path. They need matplotlib, the extra `plots`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.errors import UsageError
from rawcnn.layers import RBF, Dropout, Flatten, PartialConv2D
from rawcnn.nets.chain import Chain
from rawcnn.run import inside
from rawcnn.run.figures import BLUE, INK, VERMILION, StrPath, new_figure, save, short, show

MOST_FILTERS = 96  # AlexNet's first row
MOST_MAPS = 16  # of a row
MOST_IMAGES = 6
NOTE = {"fontsize": 10, "color": "#666666"}


def save_filters(net: Chain, path: StrPath, *, title: str) -> Path:
    """Draw the filters of the first convolution, those for colour images in colour; each by its own largest weight.

    Raises:
      UsageError: the net has no convolution.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    return save(filters_figure(net, title=title), path)


def filters_figure(net: Chain, *, title: str) -> Any:
    """The figure of `save_filters`."""
    name, filters = inside.first_convolution(net), inside.first_filters(net)
    size, _, channels, count = filters.shape
    shown = min(count, MOST_FILTERS)
    scaled = filters / np.maximum(np.abs(filters).max(axis=(0, 1, 2), keepdims=True), 1e-12)
    if channels == 3:
        cells, key = scaled.transpose(3, 0, 1, 2)[:shown] / 2 + 0.5, "grey is 0; lighter is above it, darker below"
    else:  # each channel's weights side by side
        signed = _signed(scaled).transpose(3, 0, 2, 1, 4)[:shown]
        cells, key = signed.reshape(shown, size, -1, 3), "blue is above 0, orange below, white is 0"
    columns = min(shown, 8 if shown <= 32 else 12)
    board = mosaic(cells, columns)
    figure = new_figure(max(5.5, 0.8 * columns), 1.3 + 0.8 * columns * board.shape[0] / board.shape[1], title)
    axes = figure.subplots()
    _show_board(axes, board)
    axes.set_title(f"{name}: {_of(shown, count, 'filters')} of {size}x{size} pixels", fontsize=11, color=INK)
    figure.supxlabel(key, **NOTE)
    return figure


def save_maps(net: Chain, images: inside.Images, path: StrPath, *, title: str) -> Path:
    """Draw what every row makes of up to 6 images: of each row up to 16 maps, one image's maps below the other's.

    Black is the lowest value of a map over all the images, white its highest; flat rows are strips, a cell a unit.
    Rows that only reshape (`Flatten`, `Dropout`) are left out.

    Args:
      net: the net.
      images: `[N, *net.input_shape]`, preprocessed.
      path: the PNG to write.
      title: stands above the picture.

    Raises:
      UsageError: no images, or of another shape.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    images = np.asarray(images)[:MOST_IMAGES]
    if not len(images):
        raise UsageError("save_maps needs at least one image.")
    rows = {name: layer for name, layer in net.rows if not isinstance(layer, Flatten | Dropout)}
    maps = inside.feature_maps(net, images, rows=list(rows))
    maps = {name: m[:, 0, 0] if m.shape[1:-1] == (1, 1) else m for name, m in maps.items()}  # 1x1: as flat
    boards, heights = [_pictures(images)], [0.75 * len(images)]
    for values in maps.values():
        boards.append(_map_board(values))
        heights.append(0.75 * len(images) if values.ndim == 4 else 0.3 * len(images))
    figure = new_figure(13.5, sum(heights) + 0.14 * len(heights) + 0.6, title)
    panels = figure.subplots(len(boards), 1, height_ratios=heights, squeeze=False)[:, 0]
    labels = ["input", *(f"{name}\n{'x'.join(map(str, layer.out_shape))}" for name, layer in rows.items())]
    for axes, board, label, values in zip(panels, boards, labels, [images, *maps.values()], strict=True):
        _show_board(axes, board, stretched=values.ndim == 2)
        axes.set_anchor("W")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10, color=INK)
        if note := _note(values) if label != "input" else "":
            axes.annotate(note, (1, 0.5), (8, 0), "axes fraction", "offset points", va="center", fontsize=8.5,
                          color="#666666")  # fmt: skip
    figure.supxlabel("black: a map's lowest value, white: its highest", **NOTE)
    return save(figure, path)


def save_grad_cam(
    net: Chain,
    images: inside.Images,
    classes: Sequence[int] | NDArray[np.integer],
    class_names: Sequence[str],
    path: StrPath,
    *,
    title: str,
    row: str | None = None,
    true: Sequence[int] | NDArray[np.integer] | None = None,
) -> Path:
    """Draw up to 6 images, and over them where the net finds evidence for a class (Grad-CAM).

    Args:
      net: the net.
      images: `[N, *net.input_shape]`, preprocessed.
      classes: int `[N]`, the class asked about for each image, such as the net's answer.
      class_names: K names.
      path: the PNG to write.
      title: stands above the picture.
      row: the row that is asked; by default the last convolution. See `inside.grad_cam`.
      true: int `[N]`, the true classes; where it differs, the image's title names the true class in orange.

    Raises:
      UsageError: no images, or what `inside.grad_cam` refuses.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    images, classes = np.asarray(images)[:MOST_IMAGES], np.asarray(classes)[:MOST_IMAGES]
    if not len(images):
        raise UsageError("save_grad_cam needs at least one image.")
    row = row or inside.last_convolution(net)
    heat = inside.grad_cam(net, images, classes, row)
    figure = new_figure(max(5.0, 2.3 * len(images)), 5.6, title)
    panels = figure.subplots(2, len(images), squeeze=False)
    height, width = images.shape[1:3]
    known = classes if true is None else np.asarray(true)[:MOST_IMAGES]
    for above, below, image, strength, k, truth in zip(*panels, images, heat, classes, known, strict=True):
        show(above, image)
        show(below, image)
        name, colour = short(class_names[int(k)], 20), INK if k == truth else VERMILION
        wrong = "" if k == truth else f"\nit is {short(class_names[int(truth)], 20)}"
        above.set_title(name + wrong, fontsize=11, color=colour, parse_math=False)
        strength = strength / (strength.max() or 1)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        seen = {"alpha": 0.8 * np.sqrt(strength), "extent": extent, "interpolation": "bilinear"}
        below.imshow(strength, cmap="inferno", vmin=0, vmax=1, **seen)
    pixels = "x".join(map(str, heat.shape[1:]))
    key = f"below: what speaks for the class named above, in {row} ({pixels}); bright is most"
    figure.supxlabel(key, **NOTE)
    return save(figure, path)


def save_connections(net: Chain, path: StrPath, *, title: str, row: str = "c3") -> Path:
    """Draw a row's connection table, as LeCun et al. 1998 print theirs in table I: which maps see which.

    Raises:
      UsageError: the row has no connection table.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    layer = getattr(net, row, None)
    if not isinstance(layer, PartialConv2D):
        raise UsageError(f"Row {row!r} has no connection table.")
    table = np.asarray(layer.table)
    figure = new_figure(2.2 + 0.42 * table.shape[1], 1.6 + 0.42 * table.shape[0], title)
    axes = figure.subplots()
    axes.imshow(table, cmap=_blues(), vmin=0, vmax=1)
    axes.set_xticks(range(table.shape[1]), range(table.shape[1]))
    axes.set_yticks(range(table.shape[0]), range(table.shape[0]))
    axes.set_xticks(np.arange(-0.5, table.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, table.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(f"map of {row}", fontsize=11)
    axes.set_ylabel("map below it", fontsize=11)
    axes.set_title(f"{table.sum()} of {table.size} pairs of maps are connected", fontsize=11, color=INK)
    return save(figure, path)


def save_bitmaps(
    net: Chain, images: inside.Images, class_names: Sequence[str], path: StrPath, *, title: str, width: int = 7
) -> Path:
    """Draw LeNet-5's RBF units: each class's bitmap, and what F6 draws for up to 6 images with the nearest bitmap.

    Args:
      net: its last row is `RBF`.
      images: `[N, *net.input_shape]`, preprocessed.
      class_names: K names.
      path: the PNG to write.
      title: stands above the picture.
      width: of a bitmap, in pixels.

    Raises:
      UsageError: the last row is not an `RBF`.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    *_, (last, layer) = net.rows
    if not isinstance(layer, RBF):
        raise UsageError(f"The last row, {last!r}, is {type(layer).__name__} and has no bitmaps: only RBF has.")
    before = [name for name, _ in net.rows][-2]
    images = np.asarray(images)[:MOST_IMAGES]
    maps = inside.feature_maps(net, images, rows=(before, last))
    figure = new_figure(10, 5.2 if len(images) else 2.8, title)
    above, *rest = figure.subfigures(2 if len(images) else 1, 1, squeeze=False)[:, 0]
    for axes, bitmap, name in zip(above.subplots(1, len(layer.centres)), layer.centres, class_names, strict=True):
        _bitmap(axes, bitmap, width, short(name, 10))
    above.supxlabel("the bitmap of each class", **NOTE)
    for below in rest:
        panels = below.subplots(1, 2 * len(images)).reshape(-1, 2)
        for (given, drawn), image, values, logits in zip(panels, images, maps[before], maps[last], strict=True):
            show(given, image)
            nearest = int(np.argmax(logits))
            _bitmap(drawn, values, width, f"{short(class_names[nearest], 8)}: {-logits[nearest]:.1f}")
        below.supxlabel(f"images, what {before} draws for them, the nearest bitmap and its squared distance", **NOTE)
    return save(figure, path)


def mosaic(cells: NDArray[np.floating], columns: int, gap: int = 1) -> NDArray[np.floating]:
    """Cells `[M, H, W]` or `[M, H, W, 3]` in rows of `columns`, with white gaps of so many pixels between them.

    >>> mosaic(np.zeros((3, 2, 2)), columns=2).shape
    (5, 5)
    """
    count, height, width, *colour = cells.shape
    rows = math.ceil(count / columns)
    board = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, *colour), float)
    for place, cell in enumerate(cells):
        top, left = (height + gap) * (place // columns), (width + gap) * (place % columns)
        board[top : top + height, left : left + width] = cell
    return board


def _map_board(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """A line for each image: its first maps `[H, W]`, or its units as cells; each map's range is 0 ... 1."""
    units = values[..., :MOST_MAPS] if values.ndim == 4 else values
    axis = tuple(range(units.ndim - 1)) if values.ndim == 4 else None
    low, high = units.min(axis=axis, keepdims=True), units.max(axis=axis, keepdims=True)
    scaled = (units - low) / np.where(high > low, high - low, 1)
    if values.ndim == 2:
        return scaled
    _, height, width, shown = scaled.shape
    gap = max(1, height // 16)
    board = mosaic(scaled.transpose(0, 3, 1, 2).reshape(-1, height, width), shown, gap)
    full = np.ones((board.shape[0], MOST_MAPS * (width + gap) - gap))  # so that a map of every row is drawn as large
    full[:, : board.shape[1]] = board
    return full


def _pictures(images: NDArray[np.generic]) -> NDArray[np.floating]:
    """The inputs by their range, one below the other, on a board as wide as those of maps."""
    low, high = float(images.min()), float(images.max())
    scaled = (images.astype(float) - low) / (high - low or 1)
    scaled = scaled if images.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, axis=-1)
    height, width = images.shape[1:3]
    gap = max(1, height // 16)
    board = mosaic(scaled, 1, gap)
    full = np.ones((board.shape[0], MOST_MAPS * (width + gap) - gap, 3))
    full[:, :width] = board
    return full


def _note(values: NDArray[np.floating]) -> str:
    """How many of a row's units are drawn, and how many are dead."""
    units = values.shape[-1]
    dead = round(inside.activations(values, bins=1).dead * units)
    lines = [f"{MOST_MAPS} of {units:,}"] if values.ndim == 4 and units > MOST_MAPS else []
    return "\n".join([*lines, *([f"{dead:,} always 0"] if dead else [])])


def _show_board(axes: Any, board: NDArray[np.floating], *, stretched: bool = False) -> None:
    interpolation = "nearest" if max(board.shape[:2]) <= 600 else "antialiased"
    aspect = "auto" if stretched else "equal"
    axes.imshow(board, cmap="gray", vmin=0, vmax=1, interpolation=interpolation, aspect=aspect)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(stretched)  # so that white cells of a strip are seen to be cells
    axes.spines[:].set_color("#BBBBBB")


def _signed(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """RGB `[..., 3]` of numbers in -1 ... 1: white at 0, through blue above it, through orange below."""
    from matplotlib.colors import to_rgb

    above, below = (np.array(to_rgb(colour)) - 1 for colour in (BLUE, VERMILION))
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    return 1 + strength * np.where(values[..., None] > 0, above, below)


def _blues() -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(["#ECECEC", BLUE])


def _bitmap(axes: Any, values: NDArray[np.floating], width: int, label: str) -> None:
    axes.imshow(values.reshape(-1, width), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(label, fontsize=10, color=INK, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])


def _of(shown: int, count: int, what: str) -> str:
    return f"{count} {what}" if shown == count else f"the first {shown} of {count} {what}"
