"""A net as a drawing in the manner of the papers: a box for each row, with its shape and its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rawcnn.layers import Conv2D, Dropout, Flatten, Layer, PartialConv2D
from rawcnn.nets.chain import Chain
from rawcnn.run.figures import INK, StrPath, new_figure, save, short

A_LINE = 8  # boxes
CELL, HIGHEST, WIDEST, TEXT = 1.65, 1.5, 0.8, 1.1  # inches: a box with its text, the input, the most channels, the text
SLANT = 0.3  # of a box's height, to the right and up
COLOURS = {
    "Conv2D": "#7FB3D9",
    "PartialConv2D": "#7FB3D9",
    "Inception": "#3D85BD",
    "MaxPool": "#EFA66F",
    "AveragePool": "#EFA66F",
    "Subsample": "#EFA66F",
    "Dense": "#7CC2A3",
    "RBF": "#7CC2A3",
    "BatchNorm": "#D9D9D9",
    "LRN": "#D9D9D9",
}
GROUPS = {"convolution": "Conv2D", "inception": "Inception", "pooling": "MaxPool", "dense": "Dense", "norm": "LRN"}
"""What the key calls the colours."""


class Box(NamedTuple):
    """One row as it is drawn: its name, what it is, its shape (H, W, C), and its parameters (None: the input)."""

    name: str
    kind: str
    detail: str
    shape: tuple[int, int, int]
    params: int | None


def save_drawing(net: Chain, path: StrPath, *, title: str) -> Path:
    """Draw the net: a box for each row, in lines of 8, then each head for training on a line of its own.

    A box is as high as the square root of its maps' pixels a side, and as wide as the square root of its channels, both
    on one scale for the whole drawing. Below it stand the row's name, its kind with window and stride, its output and
    its trainable parameters. Rows that only reshape (`Flatten`, `Dropout`) are left out.

    Raises:
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    lines = _lines(net)
    boxes = [box for _, line in lines for box in line]
    high = HIGHEST / math.sqrt(max(box.shape[0] for box in boxes))
    wide = WIDEST / math.sqrt(max(box.shape[2] for box in boxes))
    width = 0.5 + CELL * min(A_LINE, max(len(line) for _, line in lines))
    multiply_adds = sum(layer.multiply_adds() for _, layer in net.rows)
    heads = " with the heads for training" if list(net.heads) else ""
    counts = f"{net.num_params():,} parameters{heads}, {multiply_adds:,} multiply-adds an image"
    tallest = [(1 + SLANT) * high * math.sqrt(max(box.shape[0] for box in line)) for _, line in lines]
    heights = [tall + TEXT + (0.5 if remark else 0.2) for tall, (remark, _) in zip(tallest, lines, strict=True)]
    figure = new_figure(max(6.5, width), sum(heights) + 1.2, f"{title}\n{counts}")
    axes = figure.subplots()
    top = 0.0
    for tall, height, (remark, line) in zip(tallest, heights, lines, strict=True):
        bottom = top - height + TEXT
        if remark:
            axes.text(0, bottom + tall + 0.15, remark, fontsize=11, fontweight="bold", color=INK, parse_math=False)
        for place, box in enumerate(line):
            _draw(axes, box, CELL * place, bottom, high, wide)
        top -= height
    axes.set_xlim(-0.1, width - 0.3)
    axes.set_ylim(top, 0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    _key(figure, {box.kind for box in boxes})
    return save(figure, path)


def _lines(net: Chain) -> list[tuple[str, list[Box]]]:
    """The boxes of each line, those of heads on lines that say where the head hangs."""
    boxes = [input_box(net), *boxes_of(net)]
    lines = [("", boxes[i : i + A_LINE]) for i in range(0, len(boxes), A_LINE)]
    for name, at, head in net.heads:
        lines.append((f"{name}: a head for training, on {at}", list(boxes_of(head))))
    return lines


def input_box(net: Chain) -> Box:
    """What the net is given."""
    height, width, channels = (*net.input_shape, 1, 1)[:3]
    return Box("input", "input", "", (height, width, channels), None)


def group_of(kind: str) -> str:
    """What the key calls the colour of a kind of row; "" where it has none of its own."""
    return next((name for name, one in GROUPS.items() if COLOURS[one] == COLOURS.get(kind)), "")


def boxes_of(net: Chain) -> Iterator[Box]:
    """A box for each row but those that only reshape."""
    for name, layer in net.rows:
        if not isinstance(layer, Flatten | Dropout):
            shape = layer.out_shape if len(layer.out_shape) == 3 else (1, 1, layer.out_shape[-1])
            yield Box(name, type(layer).__name__, _detail(layer), shape, layer.num_params())


def _detail(layer: Layer) -> str:
    """Window and stride, groups, or that only some maps are connected."""
    size, stride = layer.window
    kind = type(layer).__name__
    if kind == "Inception" or (layer.window == (1, 1) and not isinstance(layer, Conv2D)):
        return kind
    parts = [f"{size}x{size}", *([f"stride {stride}"] if stride > 1 else [])]
    if isinstance(layer, Conv2D) and layer.groups > 1:
        parts.append(f"{layer.groups} groups")
    names = {"MaxPool": "max", "AveragePool": "mean", "Subsample": "sum", "Conv2D": "conv", "PartialConv2D": "conv"}
    return " ".join([names.get(kind, kind), *parts, *(["by table"] if isinstance(layer, PartialConv2D) else [])])


def _draw(axes: Any, box: Box, left: float, bottom: float, high: float, wide: float) -> None:
    """One cuboid: front, top and side, and the text below it."""
    from matplotlib.patches import Polygon

    height, width = high * math.sqrt(box.shape[0]), max(0.05, wide * math.sqrt(box.shape[2]))
    slant = SLANT * height
    x, y, top = left, bottom, bottom + height
    colour = COLOURS.get(box.kind, "#F2F2F2")
    right = x + width
    faces = (
        ([(x, y), (right, y), (right, top), (x, top)], 1.0),
        ([(x, top), (right, top), (right + slant, top + slant), (x + slant, top + slant)], 0.7),
        ([(right, y), (right + slant, y + slant), (right + slant, top + slant), (right, top)], 0.85),
    )
    for points, opacity in faces:
        axes.add_patch(Polygon(points, closed=True, facecolor=colour, edgecolor=INK, linewidth=0.7, alpha=opacity))
    height_px, width_px, channels = box.shape
    shape = f"{height_px}x{width_px}x{channels:,}" if (height_px, width_px) != (1, 1) else f"{channels:,}"
    params = "" if box.params is None else f"{box.params:,} parameters" if box.params else "no parameters"
    axes.text(x, y - 0.1, short(box.name, 16), fontsize=9.5, fontweight="bold", va="top", color=INK, parse_math=False)
    small = "\n".join(line for line in (box.detail, shape, params) if line)
    axes.text(x, y - 0.3, small, fontsize=8, va="top", color="#555555", linespacing=1.4, parse_math=False)


def _key(figure: Any, kinds: set[str]) -> None:
    """Name the colours that occur."""
    from matplotlib.patches import Patch

    colours = {COLOURS[kind] for kind in kinds if kind in COLOURS}
    shown = {name: COLOURS[kind] for name, kind in GROUPS.items() if COLOURS[kind] in colours}
    patches = [Patch(facecolor=colour, edgecolor=INK, linewidth=0.7, label=name) for name, colour in shown.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=9.5)
