"""The runs of a sweep side by side: as lines, as a CSV file and as a picture, sorted by validation accuracy."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rawcnn.files.whole import whole_file
from rawcnn.run.figures import BLUE, GREY, INK, StrPath, new_figure, save, short
from rawcnn.train.fit import duration

TABLE, PICTURE = "sweep.csv", "sweep.png"
REPEATS = ("seed", "fold")
"""Flags whose values repeat a setting; over these a mean is taken."""
HONEST = "best validation accuracy first; test accuracies decide nothing here, so that they stay honest"
MOST_ROWS = 40  # of the picture


@dataclass(frozen=True)
class Row:
    """A run: its swept values, and the validation accuracy (0 ... 1) and loss of the weights that it ended with.

    A run that `failed` while it trained has a reason there, and no accuracy.
    """

    name: str
    values: dict[str, str]
    accuracy: float | None = None
    loss: float = math.nan
    epoch: int = 0
    seconds: float = 0.0
    failed: str = ""

    def rank(self) -> tuple[float, float]:
        """The higher the better: accuracy, and of equal ones the smaller loss."""
        return (-1.0 if self.accuracy is None else self.accuracy, -self.loss)

    def setting(self) -> tuple[tuple[str, str], ...]:
        """The swept values but for those that only repeat a setting."""
        return tuple((name, value) for name, value in self.values.items() if name not in REPEATS)


def line(row: Row) -> str:
    """A run in one line."""
    if row.accuracy is None:
        return f"{row.name}  failed: {row.failed}"
    took = f"{row.epoch} epoch{'s' if row.epoch != 1 else ''}  {duration(row.seconds)}"
    return f"{row.name}  validation accuracy {row.accuracy:.2%}, loss {row.loss:.4f}  {took}"


def table(rows: Sequence[Row]) -> str:
    """All runs, the best first and those that failed last."""
    head = [*rows[0].values, "accuracy", "loss", "epochs", "time"]
    cells = [
        [*row.values.values(), *(
            ["failed", "", "", ""] if row.accuracy is None
            else [f"{row.accuracy:.2%}", f"{row.loss:.4f}", str(row.epoch), duration(row.seconds)]
        )]
        for row in ranked(rows)
    ]  # fmt: skip
    return f"{HONEST}\n\n{_columns(head, cells)}"


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The best first, those that failed last."""
    return sorted([row for row in rows if row.accuracy is not None], key=Row.rank, reverse=True) + [
        row for row in rows if row.accuracy is None
    ]


@dataclass(frozen=True)
class Group:
    """The runs of one setting that came to their end, and their accuracies, float64 `[R]`."""

    name: str
    rows: list[Row]
    accuracies: np.ndarray


def groups(rows: Sequence[Row]) -> list[Group]:
    """The runs of each setting; the highest mean first."""
    found: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in ranked(rows):
        if row.accuracy is not None:
            found.setdefault(row.setting(), []).append(row)
    named = [
        Group(" ".join(f"{name}={value}" for name, value in key) or "all runs", some, _accuracies(some))
        for key, some in found.items()
    ]
    return sorted(named, key=lambda one: -one.accuracies.mean())


def _accuracies(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.accuracy for row in rows], np.float64)


def by_setting(rows: Sequence[Row]) -> str:
    """Mean and spread of each setting over its seeds and folds; nothing where neither is swept."""
    repeated = [name for name in REPEATS if name in rows[0].values]
    found = groups(rows)
    if not repeated or not found:
        return ""
    cells = [
        [group.name, f"{values.mean():.2%}", f"{100 * values.std(ddof=1):.2f}" if len(values) > 1 else "-",
         f"{values.min():.2%}", f"{values.max():.2%}", str(len(values))]
        for group in found for values in [group.accuracies]
    ]  # fmt: skip
    said = f"mean over {' and '.join(repeated)}; spread: standard deviation of a run, in points (n - 1)"
    return f"{said}\n\n{_columns(['setting', 'mean', 'spread', 'lowest', 'highest', 'runs'], cells)}"


def _columns(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = ("  ".join(f"{text:{width}}" for text, width in zip(one, widths, strict=True)) for one in (head, *cells))
    return "\n".join(text.rstrip() for text in lines)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All runs in the order of `table`, for other programs; accuracies are 0 ... 1, those of failed runs empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*rows[0].values, "validation_accuracy", "validation_loss", "epochs", "seconds", "run", "failed"])
    for row in ranked(rows):
        numbers = ["", "", "", ""] if row.accuracy is None else [row.accuracy, row.loss, row.epoch, row.seconds]
        writer.writerow([*row.values.values(), *numbers, row.name, row.failed])
    with whole_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def save_picture(rows: Sequence[Row], path: StrPath) -> Path:
    """Draw each run's validation accuracy as a point, a line for each setting with its mean; the best setting on top.

    Raises `RawcnnError` if matplotlib is missing, or if the file cannot be written.
    """
    shown = groups(rows)[:MOST_ROWS]
    figure = new_figure(8, 1.6 + 0.38 * len(shown), "validation accuracy of each run")
    axes = figure.subplots()
    for place, values in enumerate(group.accuracies for group in shown):
        axes.plot(100 * values, np.full(len(values), place), "o", color=BLUE, markersize=7, alpha=0.7)
        axes.plot(100 * values.mean(), place, "|", color=INK, markersize=18, markeredgewidth=2)
    axes.set_yticks(range(len(shown)), [short(group.name, 48) for group in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.set_xlabel("validation accuracy (%); the upright line is the mean")
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
