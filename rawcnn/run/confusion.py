"""The confusion matrix as a picture: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.errors import UsageError
from rawcnn.run.figures import BLUE, INK, VERMILION, StrPath, new_figure, save, short

MOST_NAMES = 25  # beyond it neither names nor counts are legible
MOST_ERRORS = 30


def save_confusion(matrix: NDArray[np.integer], class_names: Sequence[str], path: StrPath, *, title: str) -> Path:
    """Draw a confusion matrix in which the errors stand out.

    The diagonal is blue, deeper where a class is recognised more often; every other cell is vermilion by its count,
    on a scale that ends at the most frequent error, so that the diagonal does not drown them. Up to 25 classes carry
    names, counts, recall (of the images of a class, how many were recognised) and precision (of the answers of a class,
    how many were right); of more classes the most frequent errors are listed. A title says where one class is the
    answer to every image.

    Args:
      matrix: int `[K, K]`, rows true, columns predicted.
      class_names: K names.
      path: the PNG to write.
      title: stands above the picture, with the accuracy.

    Raises:
      UsageError: the matrix is not `[K, K]` for K names.
      RawcnnError: matplotlib is missing, or the file cannot be written (`RunError`).
    """
    return save(confusion_figure(matrix, class_names, title=title), path)


def confusion_figure(matrix: NDArray[np.integer], class_names: Sequence[str], *, title: str) -> Any:
    """The figure of `save_confusion`."""
    matrix, classes = np.asarray(matrix), len(class_names)
    if matrix.shape != (classes, classes) or classes == 0:
        raise UsageError(f"{classes} class names need a confusion matrix [{classes}, {classes}], not {matrix.shape}.")
    total, right = int(matrix.sum()), int(np.trace(matrix))
    share = f"{100 * right / total:.2f} % of {total:,} right" if total else "no images"
    side, aside = (max(6.0, 2.5 + 0.62 * classes), 1.2) if classes <= MOST_NAMES else (11.5, 4.5)
    figure = new_figure(side + aside, side + 0.5, "\n".join([title, share, *_one_answer(matrix, class_names)]))
    axes = figure.subplots()
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    errors = int((matrix * ~np.eye(classes, dtype=bool)).max())
    colours = _confusion_colours(matrix, recall)
    axes.imshow(colours, interpolation="nearest")
    axes.set_xlabel("predicted", fontsize=12)
    key = "blue: right, by recall.   orange: errors, by their number" + (f" (up to {errors:,})." if errors else ".")
    figure.supxlabel(key, fontsize=10, color="#666666")
    axes.set_ylabel("true", fontsize=12)
    if classes <= MOST_NAMES:
        _label_confusion(axes, matrix, recall, [short(name, 18) for name in class_names], colours)
    else:
        _list_errors(axes, matrix, class_names)
    return figure


def _one_answer(matrix: NDArray[np.integer], class_names: Sequence[str]) -> list[str]:
    """A remark if all images of several classes get the same answer."""
    answers, present = np.flatnonzero(matrix.sum(axis=0)), np.flatnonzero(matrix.sum(axis=1))
    if answers.size != 1 or present.size < 2:
        return []
    return [f"The answer to every image is {short(class_names[int(answers[0])], 25)}."]


def _confusion_colours(matrix: NDArray[np.integer], recall: NDArray[np.floating]) -> NDArray[np.floating]:
    """RGB `[K, K, 3]`: white through vermilion by the number of errors, the diagonal white through blue by recall."""
    from matplotlib.colors import to_rgb

    errors = matrix * (1 - np.eye(len(matrix)))
    # The square root lets single errors be seen next to the most frequent one.
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
    precision = np.diag(matrix) / np.maximum(matrix.sum(axis=0), 1)
    small = {"textcoords": "offset points", "color": BLUE, "fontsize": 9.5}
    for i in range(len(names)):
        of_true, of_said = (
            f"{100 * fraction:.1f} %" if counts.any() else "-"
            for fraction, counts in ((recall[i], matrix[i]), (precision[i], matrix[:, i]))
        )
        axes.annotate(of_true, (1, i), (8, 0), xycoords=("axes fraction", "data"), va="center", **small)
        axes.annotate(of_said, (i, 1), (0, 8), xycoords=("data", "axes fraction"), ha="center", **small)
    axes.annotate("recall", (1, 1), (8, 8), xycoords="axes fraction", **small)
    axes.annotate("precision", (0, 1), (-10, 8), xycoords="axes fraction", ha="right", **small)


def _list_errors(axes: Any, matrix: NDArray[np.integer], class_names: Sequence[str]) -> None:
    """Write the most frequent errors to the right of a confusion matrix that has too many classes to name them."""
    errors = (matrix * ~np.eye(len(matrix), dtype=bool)).ravel()
    most = np.argsort(-errors, kind="stable")[:MOST_ERRORS]
    lines = ["most frequent errors"]
    for place in most[errors[most] > 0]:
        true, said = (short(class_names[int(i)], 20) for i in divmod(place, len(matrix)))
        count = str(errors[place]).rjust(len(str(errors.max())), "\u2007")  # a space as wide as a figure
        lines.append(f"{count}  {true} as {said}")
    where = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate("\n".join(lines), (1, 1), (14, 0), va="top", color=INK, linespacing=1.7, parse_math=False, **where)
