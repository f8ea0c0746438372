"""Accuracy against minutes on CIFAR-10, from the logs: rawcnn's rows, Keras where it was raced, and courses."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rawcnn.run.figures import BLUE, DPI, GREY, INK, VERMILION, new_figure, png_of

KEY = "rawcnn:curves"
"""The text chunk of the PNG that holds what is drawn, so that a check needs no pixels."""

COLOURS = (BLUE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C510A", "#5E3C99")
COURSES = (  # minutes, accuracy in %, whose
    (5 * 111 / 60, 81.07, "cifar_wide, a course (GPU)"),
    (40 * 72 / 60, 80.62, "alexnet_bn, a course (GPU)"),
)


class Curve(NamedTuple):
    """Held-out accuracies in % after so many minutes, () if no images were held out; `test`: of the test images."""

    name: str
    minutes: tuple[float, ...]
    held_out: tuple[float, ...]
    test: float | None = None


def of_log(name: str, folder: Path, crops: str) -> Curve | None:
    """The curve of a run that is kept in `folder`; None if it did not write its minutes down."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text("utf-8").splitlines()]
    if not all("seconds" in epoch for epoch in history):
        return None
    minutes, so_far = [], 0.0
    for epoch in history:
        so_far += epoch["seconds"] / 60
        minutes.append(round(so_far, 2))
    held_out = [epoch.get("val_accuracy") for epoch in history]
    known = () if None in held_out else tuple(round(100 * accuracy, 2) for accuracy in held_out)
    test = json.loads((folder / "result.json").read_text("utf-8"))["test_accuracy"][crops]
    return Curve(name, tuple(minutes), known, test)


def of_race(race: dict[str, Any]) -> Curve:
    """Keras's curve in a race that `benchmarks.time_to_accuracy --out` kept."""
    minutes = tuple(round(epoch["seconds"] / 60, 2) for epoch in race["keras"])
    return Curve(f"{race['net']}, Keras", minutes, tuple(epoch["accuracy"] for epoch in race["keras"]))


def drawn_from(curves: Iterable[Curve]) -> str:
    """What the picture says, as text."""
    return json.dumps([curve._asdict() for curve in curves] + [list(course) for course in COURSES])


def says(path: Path) -> str | None:
    """What the picture at `path` was drawn from; None if there is none."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return dict(getattr(image, "text", {})).get(KEY)


def save(curves: Iterable[Curve], path: Path) -> None:
    """Draw the picture."""
    curves = list(curves)
    figure = new_figure(10, 5.6, "CIFAR-10 on two cores: accuracy against minutes of training")
    axes = figure.subplots()
    heights = heights_of_names([end_of(curve) for curve in curves])
    looks = itertools.cycle(itertools.product(("o-", "o--"), COLOURS))  # dashed the second time
    for curve, height in zip(curves, heights, strict=True):
        style, colour = ("o-", VERMILION) if curve.name.endswith("Keras") else next(looks)
        _draw(axes, curve, height, colour, style)
    for minutes, accuracy, whose in COURSES:
        axes.plot(minutes, accuracy, "*", color=GREY, markersize=13)
        _write(axes, whose, (minutes, accuracy), (-8, 5), color=GREY, fontsize=9, ha="right")
    axes.set_xscale("log")
    ticks = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    shown = [minutes for curve in curves for minutes in curve.minutes]
    shown += [minutes for minutes, _, _ in COURSES]
    axes.set_xlim(min(shown) / 1.3, 3 * max(shown))  # room for names on the right
    axes.set_xlabel("minutes of training, on a logarithmic scale")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(bottom=40)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([], [], "o-", color=INK, label="held-out images, after each epoch")
    axes.plot([], [], "D", color=INK, label="test images, at the end")
    axes.plot([], [], "*", color=GREY, markersize=11, label="test images, as a course reports")
    axes.legend(loc="lower right", frameon=False)
    info = PngInfo()
    info.add_text(KEY, drawn_from(curves))
    with Image.open(io.BytesIO(png_of(figure))) as image:
        image.save(path, pnginfo=info, dpi=(DPI, DPI))


def end_of(curve: Curve) -> tuple[float, float]:
    """Minutes and accuracy where the curve ends: that of the test images if it is known."""
    return curve.minutes[-1], curve.held_out[-1] if curve.test is None else curve.test


def heights_of_names(ends: Sequence[tuple[float, float]], gap: float = 2.7, near: float = 2.5) -> list[float]:
    """At which accuracy the name of each curve is written, at its end: names stand `gap` points apart at least.

    That holds for ends within a factor of `near` in minutes; names further apart lie side by side. The highest keeps
    its place, and the others move down.

    >>> heights_of_names([(100, 87.0), (1, 86.0), (120, 86.0)])
    [87.0, 86.0, 84.3]
    """
    placed: dict[int, float] = {}
    for i in sorted(range(len(ends)), key=lambda i: -ends[i][1]):
        minutes, height = ends[i]
        for j, other in placed.items():  # from the highest down
            if max(minutes, ends[j][0]) < near * min(minutes, ends[j][0]):
                height = min(height, other - gap)
        placed[i] = height
    return [placed[i] for i in range(len(ends))]


def _draw(axes: Any, curve: Curve, height: float, colour: str, style: str) -> None:
    """The curve, its end, and its name beside the end at `height`."""
    end = end_of(curve)
    if curve.held_out:
        axes.plot(curve.minutes, curve.held_out, style, color=colour, markersize=4)
    if curve.test is not None:
        axes.plot(*end, "D", color=colour, markersize=7)
    _write(axes, curve.name, (end[0], height), (9, 0), color=colour, fontsize=10, va="center")


def _write(axes: Any, text: str, place: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    """`text` at `offset` points from `place`; lines pass behind it."""
    from matplotlib.patheffects import withStroke

    written = axes.annotate(text, place, offset, textcoords="offset points", zorder=4, **style)
    written.set_path_effects([withStroke(linewidth=3, foreground="white")])
