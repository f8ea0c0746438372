"""The pictures that a run leaves: samples, learning curves, confusion matrix, mistakes, one's own images as classified.

Every function writes one PNG, complete or not at all, and returns its path. They need matplotlib, the extra `plots`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.errors import UsageError
from rawcnn.run.confusion import save_confusion
from rawcnn.run.figures import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    StrPath,
    grid,
    new_figure,
    percent,
    percents,
    save,
    short,
    show,
)

__all__ = ["save_classified", "save_confusion", "save_curves", "save_mistakes", "save_samples", "worst_mistakes"]
MOST_IMAGES = 25  # of a grid
MOST_ROWS = 40  # of save_classified: a taller picture would exceed what viewers open
MOST_BARS = 20


def save_samples(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.integer],
    class_names: Sequence[str],
    path: StrPath,
    *,
    title: str,
) -> Path:
    """Draw up to 25 images with their classes, to see what a net is given; of more images 25 at even distances.

    Args:
      images: uint8 `[M, H, W, 1]` or `[M, H, W, 3]`, or M such images of different sizes.
      labels: int `[M]`, their classes.
      class_names: K names.
      path: the PNG to write.
      title: stands above the picture.

    Raises:
      UsageError: no images, or not a label for each.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    count = len(images)
    if count == 0 or len(labels) != count:
        raise UsageError(f"save_samples needs at least one image and a label for each: got {count} and {len(labels)}.")
    shown = min(count, MOST_IMAGES)
    chosen = [place * count // shown for place in range(shown)]
    figure, panels = grid([images[i] for i in chosen], title)
    for axes, i in zip(panels, chosen, strict=True):
        axes.set_title(short(class_names[int(labels[i])], 25), fontsize=11, color=INK, parse_math=False)
    return save(figure, path)


def save_curves(
    history: Sequence[Mapping[str, Any]],
    path: StrPath,
    *,
    title: str,
    loss: str = "loss",
    classes: int | None = None,
    harder: Sequence[str] = (),
) -> Path:
    """Draw loss and accuracy against epochs, for training and validation; a ring marks the best epoch of each curve.

    Args:
      history: the rows of `history.jsonl`: `epoch`, `train_loss`, `val_loss`, and `train_accuracy`, `val_accuracy`
        in 0..1. A value may be missing or NaN.
      path: the PNG to write.
      title: stands above the picture.
      loss: the name of the loss, such as "cross entropy".
      classes: the number of classes; with it a line shows the accuracy of answers by chance, 1 / classes.
      harder: what makes training images harder than validation images, such as "dropout"; a note below names it.

    Raises:
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    figure = new_figure(11, 4.9, title)
    epochs = np.array([row.get("epoch", number) for number, row in enumerate(history, 1)], float)
    panels = figure.subplots(1, 2)
    for axes, key, unit, best in zip(panels, ("loss", "accuracy"), (1, 100), (np.nanargmin, np.nanargmax), strict=True):
        notes = []
        for which, colour in (("train", GREY), ("val", BLUE)):
            values = unit * np.array([_number(row.get(f"{which}_{key}")) for row in history], float)
            known = np.isfinite(values)
            if not known.any():
                continue
            label = {"train": "training (mean over the epoch)", "val": "validation (at its end)"}[which]
            axes.plot(epochs[known], values[known], "o-", color=colour, label=label, markersize=5, linewidth=2)
            at = int(best(np.where(known, values, np.nan)))
            axes.plot(epochs[at], values[at], "o", color=colour, markersize=10, markerfacecolor="white", zorder=4)
            label = label.split(" ")[0]
            form = "{:.4f}".format if key == "loss" else "{:.2f} %".format
            notes.append(f"{label}: last {form(values[known][-1])}, best {form(values[at])} (epoch {epochs[at]:.0f})")
        axes.set_title("\n".join(notes) or "no values", fontsize=10.5, color=INK, loc="left", linespacing=1.5)
        if axes.lines:
            axes.plot([], [], "o", color=INK, markersize=9, markerfacecolor="white", label="best epoch")
        if key == "accuracy" and classes and axes.lines:
            _draw_chance(axes, 100 / classes)
        _decorate_curves(axes, epochs, "accuracy (%)" if key == "accuracy" else loss)
    if panels[0].lines:
        figure.supxlabel(_why_validation_may_be_higher(harder), fontsize=9.5, color="#666666")
    return save(figure, path)


def save_mistakes(
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.integer],
    predicted: Sequence[int] | NDArray[np.integer],
    probabilities: Sequence[float] | NDArray[np.floating],
    class_names: Sequence[str],
    path: StrPath,
    *,
    indices: Sequence[int] | NDArray[np.integer],
    title: str,
    files: Sequence[str] | None = None,
) -> Path:
    """Draw the worst mistakes: the up to 25 images that were misread with the greatest confidence.

    Args:
      images: uint8 `[M, H, W, 1]` or `[M, H, W, 3]`; those with `labels == predicted` are left out.
      labels: int `[M]`, the true classes.
      predicted: int `[M]`, the classes that the net said.
      probabilities: float `[M]`, 0..1, that the net gave to what it said.
      class_names: K names.
      path: the PNG to write.
      indices: int `[M]`, each image's number in its data set.
      title: stands above the picture.
      files: M names of files, shown in place of the numbers.

    Raises:
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    labels, predicted, probabilities = (np.asarray(values) for values in (labels, predicted, probabilities))
    wrong = np.flatnonzero(labels != predicted)
    worst = wrong[np.argsort(-probabilities[wrong], kind="stable")][:MOST_IMAGES]
    if worst.size == 0:
        figure = new_figure(7, 2.4, title)
        figure.text(0.5, 0.42, "No mistakes: every image was recognised.", ha="center", va="center", fontsize=14)
        return save(figure, path)
    figure, panels = grid([images[i] for i in worst], title, above=2, below=1)
    for axes, i in zip(panels, worst, strict=True):
        true, said = (short(class_names[int(which[i])], 20) for which in (labels, predicted))
        axes.set_title(f"true {true}\nsaid {said}", fontsize=11, color=INK, linespacing=1.3, parse_math=False)
        name = f"no. {indices[i]}" if files is None else short(files[i], 22)
        below = f"{percent(probabilities[i])} sure, {name}"
        axes.set_xlabel(below, fontsize=9.5, color="#666666", parse_math=False)
    return save(figure, path)


def worst_mistakes(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], most: int = MOST_IMAGES
) -> NDArray[np.integer]:
    """The indices of the images that were misread with the greatest confidence, the worst first.

    Args:
      labels: int `[N]`, the true classes.
      probabilities: float `[N, K]`, 0..1. Where nets are so sure that the greatest are equal, as LeNet-5's, the
        probability of the true class decides.

    >>> worst_mistakes(np.array([0, 1, 0]), np.array([[0.2, 0.8], [0.1, 0.9], [0.0, 1.0]])).tolist()
    [2, 0]
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    said, true = probabilities[wrong, predicted[wrong]], probabilities[wrong, labels[wrong]]
    return wrong[np.lexsort((true, -said))][:most]


def save_classified(
    rows: Sequence[tuple[str, NDArray[np.uint8], NDArray[np.generic], Sequence[str], NDArray[np.floating]]],
    path: StrPath,
    *,
    true: Sequence[str | None] | None = None,
) -> Path:
    """Draw one's own images as classified: the picture, what the net sees of it, and every class's probability.

    Args:
      rows: of each image its file name, the original uint8 `[H, W]` or `[H, W, 3]`, the net's input `[H, W]` or
        `[H, W, C]`, the K class names, and K probabilities 0..1. The first 40 rows are drawn, and of more than 20
        classes the 20 likeliest.
      path: the PNG to write.
      true: of each image its true class, None where it is unknown. A wrong answer is orange and names the true class.

    Raises:
      UsageError: no rows.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    if not rows:
        raise UsageError("save_classified needs at least one image.")
    drawn = rows[:MOST_ROWS]
    bars = [min(len(names), MOST_BARS) for _, _, _, names, _ in drawn]
    heights = [max(2.5, 0.8 + 0.22 * count) for count in bars]
    figure = new_figure(11, sum(heights) + 0.5)
    panels = figure.subplots(len(drawn), 3, squeeze=False, height_ratios=heights, width_ratios=(1, 1, 1.35))
    known = [None] * len(rows) if true is None else list(true)
    for (original, seen, chart), row, truth in zip(panels, drawn, known, strict=False):
        _classified_row(original, seen, chart, *row, truth)
    if len(rows) > len(drawn):
        figure.supxlabel(f"and {len(rows) - len(drawn)} more, not drawn", fontsize=11)
    return save(figure, path)


def _why_validation_may_be_higher(harder: Sequence[str]) -> str:
    """How training values are measured, for readers who wonder at a validation accuracy above them."""
    also = f", and with {' and '.join(harder)} on" if harder else ""
    return (
        f"Training values are means over the epoch, while the net was still learning{also};\n"
        "validation is measured after it, so it may well be the better of the two."
    )


def _draw_chance(axes: Any, chance: float) -> None:
    """A line at the accuracy of answers by chance; only its number where it lies so deep that curves would be flat."""
    low, high = axes.dataLim.intervaly
    style = {"color": VERMILION, "linewidth": 1.2, "linestyle": ":"}
    if chance < low - 4 * (high - low):
        axes.plot([], [], label=f"by chance: {chance:.3g} % (far below)", **style)
    else:
        axes.axhline(chance, label=f"by chance: {chance:.3g} %", **style)


def _decorate_curves(axes: Any, epochs: NDArray[np.floating], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel(label, fontsize=12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if epochs.size == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.1)
    if axes.lines:
        axes.legend(frameon=False, fontsize=11)


def _classified_row(
    original: Any,
    seen: Any,
    chart: Any,
    name: str,
    picture: NDArray[np.uint8],
    digit: NDArray[np.generic],
    class_names: Sequence[str],
    probabilities: NDArray[np.floating],
    truth: str | None,
) -> None:
    """Fill the three panels of one image."""
    probabilities = np.asarray(probabilities, float)
    likeliest = int(np.argmax(probabilities))
    step = math.ceil(max(picture.shape[:2]) / 1000)
    show(original, picture[::step, ::step])
    original.set_title(short(os.path.basename(name), 28), fontsize=11, color=INK, parse_math=False)
    show(seen, digit)
    seen.set_title("what the net sees", fontsize=11, color="#666666")
    colour = VERMILION if truth is not None and class_names[likeliest] != truth else BLUE
    shown = np.arange(len(class_names))
    if shown.size > MOST_BARS:
        shown = np.argsort(-probabilities, kind="stable")[:MOST_BARS]
    places = np.arange(shown.size)
    colours = [colour if i == likeliest else GREY for i in shown]
    texts = percents(probabilities)
    chart.barh(places, probabilities[shown], color=colours, height=0.72)
    chart.set_yticks(places, [short(class_names[int(i)], 18) for i in shown], parse_math=False)
    for place, i in zip(places, shown, strict=True):
        right = class_names[int(i)] == truth
        mark, weight = ("  true", "bold") if right else ("", "normal")
        where = (probabilities[i] + 0.02, place)
        chart.text(*where, texts[i] + mark, va="center", fontsize=9.5, color=INK, fontweight=weight)
    chart.invert_yaxis()
    chart.set_xlim(0, 1.25)
    chart.set_xticks([])
    chart.tick_params(length=0, labelsize=10.5)
    chart.spines[["top", "right", "bottom"]].set_visible(False)
    answer = f"{short(class_names[likeliest], 22)}   {texts[likeliest]}"
    if colour == VERMILION:
        answer += f"\nwrong: it is {short(str(truth), 22)}"
    chart.set_title(answer, fontsize=15, fontweight="bold", color=colour, loc="left", parse_math=False)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
