"""The table of the net, in which every row unfolds: filters, maps, histogram, dead units; and what each row is."""

from collections.abc import Sequence
from typing import Any

from rawcnn.nets.chain import Chain
from rawcnn.report import charts, pictures
from rawcnn.report.drawing import drawing
from rawcnn.report.markup import Content, Markup, count, tag
from rawcnn.report.rows import RowView

KINDS = {
    "Conv2D": "A convolution. Each filter slides over the maps of the row above. Where the pixels under it look "
    "like the "
    "filter, its own map is large.",
    "PartialConv2D": "A convolution with a connection table: each map sees only some of the maps above it.",
    "Subsample": "Trainable subsampling: the sum of each window, times one number, plus one number, then the "
    "activation. "
    "Each map has its own two numbers.",
    "AveragePool": "Each number is the mean of a window, so the maps become smaller.",
    "MaxPool": "Each number is the largest of a window. The maps become smaller, and small shifts of the image "
    "matter less.",
    "LRN": "Local response normalisation: a large number makes the numbers of neighbouring channels at the same "
    "pixel smaller.",
    "BatchNorm": "Batch normalisation: each channel is shifted and scaled to a mean and a deviation that the net "
    "learnt.",
    "Dropout": "Dropout: in training some numbers, chosen by chance, become 0. Here, after training, it changes "
    "nothing.",
    "Flatten": "All maps, written as one list of numbers.",
    "Dense": "Every output sees every input: a sum of all inputs, each times its own weight, plus a bias.",
    "RBF": "Each output is minus the squared distance between the row above and the picture of one class. "
    "The class with the smallest distance wins.",
    "Inception": "Four branches look at the same maps in windows of 1x1, 3x3, 5x5 and a pooling; their maps are "
    "joined.",
}
ACTIVATIONS = {
    "relu": "ReLU: negative numbers become 0.",
    "tanh": "tanh squeezes the numbers between -1 and 1.",
    "scaled_tanh": "1.7159 tanh(2x/3) squeezes the numbers between -1.7159 and 1.7159.",
    "sigmoid": "The sigmoid squeezes the numbers between 0 and 1.",
}


def section(
    net: Chain, views: Sequence[RowView], most_maps: int, words: Sequence[str], geometry: list[dict[str, Any]]
) -> Markup:
    """Drawing and table. `words` describe the chosen images; `geometry` gets what JavaScript must know of the maps."""
    total = sum(view.seconds for view in views) or 1.0
    rows = [_row(view, view.seconds / total, most_maps, words, geometry) for view in views]
    names = ("row", "layer", "output", "parameters", "multiply-adds", "sees", "time")
    header = tag(
        "div",
        [tag("span", name, class_=f"c-{i}") for i, name in enumerate(names)],
        class_="row head",
        aria_hidden="true",
    )
    intro = (
        "This is the table of the net, as its paper prints it. Open a row to see what is inside: its weights, what it "
        "makes of some test images, and how its numbers are spread. In every picture white is 0, orange is "
        "positive and "
        "blue is negative."
    )
    sees = (
        "“sees” is the receptive field: so many input pixels a side can change one number. “time” is each row's "
        "part of one "
        "pass through the net, measured while this page was made."
    )
    hint = (
        tag("p", "Point at a map to see which part of the image that pixel sees.", class_="hint js") if words else None
    )
    body = tag("div", header, rows, class_="net")
    return tag(
        "section",
        tag("h2", "The net, row by row"),
        drawing(net),
        tag("p", intro),
        body,
        tag("p", sees, class_="small"),
        hint,
        id="net",
    )


def _row(view: RowView, time: float, most: int, words: Sequence[str], geometry: list[dict[str, Any]]) -> Markup:
    line = view.line
    assert line is not None
    cells = (
        ("row", line.name), ("layer", line.kind), ("output", "x".join(map(str, line.out_shape))),
        ("parameters", f"{line.params:,}"), ("multiply-adds", f"{line.multiply_adds:,}"),
        ("sees", f"{line.receptive_field}x{line.receptive_field}"),
    )  # fmt: skip
    spans = [
        tag("span", tag("span", f"{name} ", class_="label"), value, class_=f"c-{i}")
        for i, (name, value) in enumerate(cells)
    ]
    share = tag(
        "span",
        tag("span", "time ", class_="label"),
        tag("span", _share(time), class_="part-of"),
        _bar(time),
        class_="c-6",
    )
    return tag("details", tag("summary", tag("div", spans, share, class_="row")), _inside(view, most, words, geometry))


def _share(fraction: float) -> str:
    """A part of the time, without decimals.

    >>> _share(0.234), _share(0.002), _share(0)
    ('23 %', '<1 %', '0 %')
    """
    return "<1 %" if 0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _bar(fraction: float) -> Markup:
    rect = tag("rect", x=0, y=0, width=round(60 * fraction, 1), height=8, class_="bar")
    return tag("svg", rect, viewBox="0 0 60 8", class_="share", aria_hidden="true")


def _inside(view: RowView, most: int, words: Sequence[str], geometry: list[dict[str, Any]]) -> Markup:
    kind = type(view.layer).__name__
    told = f"{KINDS.get(kind, '')} {ACTIVATIONS.get(view.activation, '')}".strip()
    parts: list[Content] = [tag("p", told)] if told else []
    if found := pictures.filters(view.layer):
        picture, what = found
        parts.append(tag("figure", picture, tag("figcaption", f"{what}."), class_="filters"))
    if kind not in ("Flatten", "Dropout"):
        if words and most:
            parts.append(_maps(view, most, words, geometry))
        parts.append(_numbers(view))
    if view.parts:
        parts.append(tag("p", "Its six convolutions:"))
        parts += [_part(part, most, words, geometry) for part in view.parts]
    return tag("div", parts, class_="inside")


def _part(view: RowView, most: int, words: Sequence[str], geometry: list[dict[str, Any]]) -> Markup:
    shape = "x".join(map(str, view.layer.out_shape))
    told = f"{shape}, {view.layer.num_params():,} parameters"
    summary = tag("summary", tag("strong", view.name), " ", told)
    return tag("details", summary, _inside(view, most, words, geometry), class_="part")


def _maps(view: RowView, most: int, words: Sequence[str], geometry: list[dict[str, Any]]) -> Markup:
    """What the row makes of each chosen image."""
    shown = pictures.maps(view, most, columns=8 if most > 8 else 4)
    place, flat = len(geometry), len(view.layer.out_shape) == 1 or view.layer.out_shape[:2] == (1, 1)
    geometry.append({
        "row": view.name, "channels": shown.channels, "height": shown.height, "width": shown.width, "step": shown.step,
        "largest": shown.largest, "columns": shown.columns, "flat": flat, "units": view.layer.out_shape[-1],
        "field": [view.field.start, view.field.jump, view.field.size],
    })  # fmt: skip
    total = view.layer.out_shape[-1]
    what = f"its {count(total, 'number')}" if flat else f"all {total} maps"
    if not flat and len(shown.channels) < total:
        what = f"the {len(shown.channels)} of {total} maps that differ most between these images"
    figures = []
    width = shown.columns * (shown.width + 1) - 1
    for i, (address, word) in enumerate(zip(shown.addresses, words, strict=True)):
        picture = tag("img", src=address, alt=f"{view.name}, image {i + 1}", class_="pixels maps", width=_zoomed(width),
                      data_maps=place, data_image=i)  # fmt: skip
        thumb = tag("span", tag("span", class_="box"), role="img", aria_label=word, class_=f"thumb in{i}")
        figures.append(
            tag(
                "figure",
                tag("figcaption", thumb, tag("span", word, tag("span", class_="told"), class_="word")),
                picture,
            )
        )
    note = tag("p", f"For each image, {what}:")
    return tag("div", note, tag("div", figures, class_="chosen"), class_="maps-of")


def _zoomed(width: int) -> int:
    return width * max(1, min(16, round(440 / width)))


def _numbers(view: RowView) -> Markup:
    """The histogram, and a sentence about units that do nothing."""
    stats = view.stats
    told = [f"Mean {stats.mean:.3g}, deviation {stats.deviation:.3g}."]
    if view.activation == "relu":
        what = "maps" if len(view.layer.out_shape) == 3 else "units"
        told.append(f"{100 * stats.zeros:.0f} % of all numbers are 0.")
        dead = "None" if stats.dead == 0 else f"{100 * stats.dead:.1f} %"
        told.append(
            f"{dead} of its {what} are dead, that is, 0 everywhere in all of these images: such {what} do not learn."
        )
    if view.activation in ("tanh", "scaled_tanh"):
        told.append(f"{100 * view.saturated:.0f} % are saturated: so near the limit that the unit hardly learns.")
    title = f"Histogram of {view.name}: {stats.edges[0]:.3g} to {stats.edges[-1]:.3g}. {' '.join(told)}"
    caption = tag("figcaption", "How often each number occurs (heights are square roots). ", " ".join(told))
    return tag("figure", charts.histogram(stats.counts, stats.edges, title), caption, class_="numbers")
