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
from rawcnn.run.figures import BLUE, GREY, INK, VERMILION, StrPath, grid, new_figure, percent, save, short, show

MOST_IMAGES = 25  # of a grid
MOST_ROWS = 40  # of save_classified: a taller picture would exceed what viewers open
MOST_BARS = 20
MOST_NAMES = 25  # of save_confusion: beyond it neither names nor counts are legible
MOST_ERRORS = 30


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


def save_curves(history: Sequence[Mapping[str, Any]], path: StrPath, *, title: str) -> Path:
    """Draw loss and accuracy against epochs, for training and validation.

    Args:
      history: the rows of `history.jsonl`: `epoch`, `train_loss`, `val_loss`, and `train_accuracy`, `val_accuracy`
        in 0..1. A value may be missing or NaN.
      path: the PNG to write.
      title: stands above the picture.

    Raises:
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    figure = new_figure(11, 4.6, title)
    epochs = np.array([row.get("epoch", number) for number, row in enumerate(history, 1)], float)
    panels = figure.subplots(1, 2)
    for axes, key, unit, best in zip(panels, ("loss", "accuracy"), (1, 100), (np.nanargmin, np.nanargmax), strict=True):
        notes = []
        for which, colour in (("train", GREY), ("val", BLUE)):
            values = unit * np.array([_number(row.get(f"{which}_{key}")) for row in history], float)
            known = np.isfinite(values)
            if not known.any():
                continue
            label = {"train": "training", "val": "validation"}[which]
            axes.plot(epochs[known], values[known], "o-", color=colour, label=label, markersize=5, linewidth=2)
            at = int(best(np.where(known, values, np.nan)))
            axes.plot(epochs[at], values[at], "o", color=colour, markersize=10, markerfacecolor="white", zorder=4)
            form = "{:.4f}".format if key == "loss" else "{:.2f} %".format
            notes.append(f"{label}: last {form(values[known][-1])}, best {form(values[at])} (epoch {epochs[at]:.0f})")
        axes.set_title("\n".join(notes) or "no values", fontsize=10.5, color=INK, loc="left", linespacing=1.5)
        _decorate_curves(axes, epochs, f"{key} (%)" if key == "accuracy" else key)
    return save(figure, path)


def save_confusion(matrix: NDArray[np.integer], class_names: Sequence[str], path: StrPath, *, title: str) -> Path:
    """Draw a confusion matrix in which the errors stand out.

    The diagonal is blue, deeper where a class is recognised more often; every other cell is vermilion by its count,
    on a scale that ends at the most frequent error, so that the diagonal does not drown them. Up to 25 classes carry
    names, counts and the share of each true class that was recognised (its recall); of more classes the most frequent
    errors are listed.

    Args:
      matrix: int `[K, K]`, rows true, columns predicted.
      class_names: K names.
      path: the PNG to write.
      title: stands above the picture, with the accuracy.

    Raises:
      UsageError: the matrix is not `[K, K]` for K names.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    matrix, classes = np.asarray(matrix), len(class_names)
    if matrix.shape != (classes, classes) or classes == 0:
        raise UsageError(f"{classes} class names need a confusion matrix [{classes}, {classes}], not {matrix.shape}.")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    share = f"{100 * right / total:.2f} % of {total:,} right" if total else "no images"
    side, beside = (max(6.0, 2.5 + 0.62 * classes), 1.2) if classes <= MOST_NAMES else (11.5, 4.5)
    figure = new_figure(side + beside, side, f"{title}\n{share}")
    axes = figure.subplots()
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    colours = _confusion_colours(matrix, recall)
    axes.imshow(colours, interpolation="nearest")
    axes.set_xlabel("predicted", fontsize=12)
    axes.set_ylabel("true", fontsize=12)
    if classes <= MOST_NAMES:
        _label_confusion(axes, matrix, recall, [short(name, 18) for name in class_names], colours)
    else:
        _list_errors(axes, matrix, class_names)
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
        axes.set_xlabel(f"{percent(probabilities[i])} sure, no. {indices[i]}", fontsize=9.5, color="#666666")
    return save(figure, path)


def save_classified(
    rows: Sequence[tuple[str, NDArray[np.uint8], NDArray[np.generic], Sequence[str], NDArray[np.floating]]],
    path: StrPath,
) -> Path:
    """Draw one's own images as classified: the picture, what the net sees of it, and every class's probability.

    Args:
      rows: of each image its file name, the original uint8 `[H, W]` or `[H, W, 3]`, the net's input `[H, W]` or
        `[H, W, C]`, the K class names, and K probabilities 0..1. The first 40 rows are drawn, and of more than 20
        classes the 20 likeliest.
      path: the PNG to write.

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
    for (original, seen, chart), row in zip(panels, drawn, strict=True):
        _classified_row(original, seen, chart, *row)
    if len(rows) > len(drawn):
        figure.supxlabel(f"and {len(rows) - len(drawn)} more, not drawn", fontsize=11)
    return save(figure, path)


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


def _confusion_colours(matrix: NDArray[np.integer], recall: NDArray[np.floating]) -> NDArray[np.floating]:
    """RGB `[K, K, 3]`: white through vermilion by the number of errors, the diagonal white through blue by recall."""
    from matplotlib.colors import to_rgb

    errors = matrix * (1 - np.eye(len(matrix)))
    # The square root lets single errors be seen beside the most frequent one.
    strength = np.sqrt(errors / max(errors.max(), 1))[..., None]
    white = np.ones(3)
    colours = white + strength * (np.array(to_rgb(VERMILION)) - white)
    diagonal = np.arange(len(matrix))
    colours[diagonal, diagonal] = white + recall[:, None] * (np.array(to_rgb(BLUE)) - white)
    return np.asarray(colours)


def _label_confusion(
    axes: Any,
    matrix: NDArray[np.integer],
    recall: NDArray[np.floating],
    names: list[str],
    colours: NDArray[np.floating],
) -> None:
    """Write names, counts and each class's recall on a small confusion matrix."""
    ticks = range(len(names))
    slanted = max(map(len, names)) > 4
    axes.set_xticks(ticks, names, rotation=45 if slanted else 0, ha="right" if slanted else "center", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.tick_params(length=0, labelsize=11)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#E4E4E4", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    luminance = colours @ (0.299, 0.587, 0.114)
    for (true, said), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if luminance[true, said] < 0.55 else INK
            weight = "bold" if true == said else "normal"
            axes.text(said, true, f"{count}", ha="center", va="center", color=colour, fontsize=10, fontweight=weight)
    for true, share in enumerate(recall):
        text = f"{100 * share:.1f} %" if matrix[true].any() else "-"
        axes.annotate(text, (1, true), (8, 0), ("axes fraction", "data"), "offset points", va="center", color=BLUE)
    axes.annotate("recall", (1, 1), (8, 6), "axes fraction", "offset points", color=BLUE)


def _list_errors(axes: Any, matrix: NDArray[np.integer], class_names: Sequence[str]) -> None:
    """Write the most frequent errors beside a confusion matrix of more classes than it can name."""
    errors = (matrix * ~np.eye(len(matrix), dtype=bool)).ravel()
    most = np.argsort(-errors, kind="stable")[:MOST_ERRORS]
    lines = ["most frequent errors"]
    for place in most[errors[most] > 0]:
        true, said = (short(class_names[int(i)], 20) for i in divmod(place, len(matrix)))
        count = str(errors[place]).rjust(len(str(errors.max())), "\u2007")  # a space as wide as a figure
        lines.append(f"{count}  {true} as {said}")
    where = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("\n".join(lines), (1, 1), (14, 0), va="top", color=INK, linespacing=1.7, parse_math=False, **where)


def _classified_row(
    original: Any,
    seen: Any,
    chart: Any,
    name: str,
    picture: NDArray[np.uint8],
    digit: NDArray[np.generic],
    class_names: Sequence[str],
    probabilities: NDArray[np.floating],
) -> None:
    """Fill the three panels of one image."""
    probabilities = np.asarray(probabilities, float)
    likeliest = int(np.argmax(probabilities))
    step = math.ceil(max(picture.shape[:2]) / 1000)
    show(original, picture[::step, ::step])
    original.set_title(short(os.path.basename(name), 28), fontsize=11, color=INK, parse_math=False)
    show(seen, digit)
    seen.set_title("what the net sees", fontsize=11, color="#666666")
    shown = np.arange(len(class_names))
    if shown.size > MOST_BARS:
        shown = np.argsort(-probabilities, kind="stable")[:MOST_BARS]
    places = np.arange(shown.size)
    colours = [BLUE if i == likeliest else GREY for i in shown]
    chart.barh(places, probabilities[shown], color=colours, height=0.72)
    chart.set_yticks(places, [short(class_names[int(i)], 18) for i in shown], parse_math=False)
    for place, i in zip(places, shown, strict=True):
        chart.text(probabilities[i] + 0.02, place, percent(probabilities[i]), va="center", fontsize=9.5, color=INK)
    chart.invert_yaxis()
    chart.set_xlim(0, 1.18)
    chart.set_xticks([])
    chart.tick_params(length=0, labelsize=10.5)
    chart.spines[["top", "right", "bottom"]].set_visible(False)
    answer = f"{short(class_names[likeliest], 22)}   {percent(probabilities[likeliest])}"
    chart.set_title(answer, fontsize=15, fontweight="bold", color=BLUE, loc="left", parse_math=False)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
