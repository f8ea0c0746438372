"""The net as the papers draw it: a box for each row, all on one scale, in lines that break where a page is narrow."""

import math
from collections.abc import Sequence

from rawcnn.nets.chain import Chain
from rawcnn.report.markup import Content, Markup, tag
from rawcnn.run.drawing import GROUPS, SLANT, Box, boxes_of, group_of, input_box

HIGHEST, WIDEST, NARROWEST = 90, 56, 3
"""Pixels: the front of the box with the largest maps, with the most channels, and with the fewest."""


def drawing(net: Chain) -> list[Content]:
    """The boxes of all rows, then those of each head, and what the colours mean."""
    main, heads = [input_box(net), *boxes_of(net)], [(name, at, list(boxes_of(head))) for name, at, head in net.heads]
    every = [*main, *(box for _, _, boxes in heads for box in boxes)]
    high = HIGHEST / math.sqrt(max(box.shape[0] for box in every))
    wide = WIDEST / math.sqrt(max(box.shape[2] for box in every))
    groups = {group_of(box.kind) for box in every}
    told = "A box is high where maps are large, and wide where there are many channels (square roots, one scale)."
    key = [tag("span", tag("span", class_=f"swatch {name}"), name, class_="entry") for name in GROUPS if name in groups]
    parts: list[Content] = [_line(main, high, wide), tag("p", key, class_="legend"), tag("p", told, class_="small")]
    for name, at, boxes in heads:
        words = f", a head on {at}: it helps in training only, and does not answer."
        parts += [tag("p", tag("b", name), words), _line(boxes, high, wide)]
    return parts


def _line(boxes: Sequence[Box], high: float, wide: float) -> Markup:
    return tag("ol", [_item(box, high, wide) for box in boxes], class_="drawing")


def _item(box: Box, high: float, wide: float) -> Markup:
    """A box with its name, window, shape and parameters."""
    height, width = high * math.sqrt(box.shape[0]), max(NARROWEST, wide * math.sqrt(box.shape[2]))
    rows, columns, channels = box.shape
    shape = f"{rows}x{columns}x{channels:,}" if (rows, columns) != (1, 1) else f"{channels:,}"
    params = None if box.params is None else f"{box.params:,} parameters" if box.params else "no parameters"
    lines = [tag("span", line) for line in (box.detail, shape, params) if line]
    return tag("li", _cuboid(height, width, group_of(box.kind)), tag("div", tag("b", box.name), lines))


def _cuboid(height: float, width: float, group: str) -> Markup:
    """Front, top and side."""
    slant = SLANT * height
    left, right, bottom, top = 1.0, 1.0 + width, 1.0 + slant + height, 1.0 + slant
    faces = {
        "front": ((left, bottom), (right, bottom), (right, top), (left, top)),
        "top": ((left, top), (right, top), (right + slant, top - slant), (left + slant, top - slant)),
        "side": ((right, bottom), (right + slant, bottom - slant), (right + slant, top - slant), (right, top)),
    }
    paths = [
        tag("path", d=f"M{' L'.join(f'{x:.1f},{y:.1f}' for x, y in points)}Z", class_=f"face {name} {group}")
        for name, points in faces.items()
    ]
    size = {"width": math.ceil(right + slant + 1), "height": math.ceil(bottom + 1)}
    return tag("svg", paths, **size, aria_hidden="true")
