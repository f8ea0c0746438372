"""Charts as SVG inside the page: their colours come from the style sheet, so that they follow light and dark."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.report.markup import Markup, tag

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 18, 40
MOST_NAMES, LISTED = 25, 20
"""Classes of a confusion matrix that is a table, and mistakes in the list that stands for a larger one."""


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Up to `most` + 1 round numbers between `low` and `high`.

    >>> nice_ticks(0, 1), nice_ticks(0.93, 0.98)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.93, 0.94, 0.95, 0.96, 0.97, 0.98])
    """
    if high <= low:
        return [low]
    rough = (high - low) / most
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 10) for i in range(int((high - first * step) / step + 1e-9) + 1)]


class Axes:
    """A chart of x from `x[0]` to `x[1]` and y from `y[0]` to `y[1]`, filled element by element."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], labels: tuple[str, str], *, percent: str = ""):
        self.x, self.y, self.labels, self.percent = x, y, labels, percent  # which of "x" and "y" are in percent
        self.content: list[Markup] = []
        self.x_ticks: list[float] | None = None

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the drawing."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def line(self, xs: Sequence[float], ys: Sequence[float], class_: str) -> None:
        """A line through points; those that are not finite are left out."""
        points = [self.at(x, y) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]
        self.content.append(tag("polyline", points=" ".join(f"{x},{y}" for x, y in points), class_=f"line {class_}"))
        if len(points) <= 40:
            self.content += [tag("circle", cx=x, cy=y, r=3, class_=f"dot {class_}") for x, y in points]

    def bar(self, x0: float, x1: float, y: float, class_: str, title: str = "") -> None:
        """A bar from the lower edge to `y`."""
        (left, top), (right, bottom) = self.at(x0, y), self.at(x1, self.y[0])
        shape = {"x": left, "y": top, "width": max(0.5, round(right - left - 1, 1)), "height": round(bottom - top, 1)}
        self.content.append(tag("rect", tag("title", title) if title else None, class_=class_, **shape))

    def note(self, x: float, y: float, words: str, class_: str = "note", anchor: str = "start") -> None:
        """A few words at a point."""
        left, top = self.at(x, y)
        self.content.append(tag("text", words, x=left, y=top, class_=class_, text_anchor=anchor))

    def svg(self, title: str, **more: Any) -> Markup:
        """The chart, named `title` for who cannot see it."""
        frame = []
        for y in nice_ticks(*self.y):
            left, top = self.at(self.x[0], y)
            shown = f"{100 * y:g} %" if "y" in self.percent else f"{y:g}"
            frame.append(tag("line", x1=left, x2=WIDTH - RIGHT, y1=top, y2=top, class_="rule"))
            frame.append(tag("text", shown, x=LEFT - 6, y=top + 4, class_="tick", text_anchor="end"))
        for x in self.x_ticks if self.x_ticks is not None else nice_ticks(*self.x):
            left, top = self.at(x, self.y[0])
            shown = f"{100 * x:g} %" if "x" in self.percent else f"{x:g}"
            frame.append(tag("text", shown, x=left, y=top + 16, class_="tick", text_anchor="middle"))
        across, up = self.labels
        frame.append(tag("text", across, x=(WIDTH + LEFT) / 2, y=HEIGHT - 6, class_="axis", text_anchor="middle"))
        middle = (HEIGHT - BOTTOM + TOP) / 2
        turned = {"transform": f"rotate(-90 12 {middle})", "class_": "axis", "text_anchor": "middle"}
        frame.append(tag("text", up, x=12, y=middle, **turned))
        box = f"0 0 {WIDTH} {HEIGHT}"
        return tag("svg", tag("title", title), frame, self.content, viewBox=box, class_="chart", role="img", **more)


def curves(
    history: Sequence[dict[str, Any]], key: str, chance: float | None = None, marks: Sequence[tuple[int, str, str]] = ()
) -> Markup:
    """Loss or accuracy against epochs, for training and validation; a dotted line where guessing would be.

    `marks` are (epoch, class, words): upright lines at the beginning of an epoch.
    """
    epochs = [float(row["epoch"]) for row in history]
    both = {which: [_number(row.get(f"{which}_{key}")) for row in history] for which in ("train", "val")}
    known = [y for ys in both.values() for y in ys if np.isfinite(y)] or [0.0, 1.0]
    if key == "accuracy":
        low, high = min(known), 1.0
        low = min(low, chance) if chance is not None and chance > low - 0.15 else low
        y_range = (max(0.0, low - 0.05 * (high - low)), high)
    else:
        y_range = (0.0, max(known) * 1.05)
    first, last = epochs[0], epochs[-1]
    x_range = (first, last) if last > first else (first - 1, first + 1)
    axes = Axes(x_range, y_range, ("epoch", key), percent="y" if key == "accuracy" else "")
    axes.x_ticks = [x for x in nice_ticks(*x_range) if x == round(x) and first <= x <= last]
    if key == "accuracy" and chance is not None and y_range[0] <= chance:
        axes.line(x_range, (chance, chance), "chance")
        axes.note(x_range[1], chance + 0.015 * (y_range[1] - y_range[0]), "guessing", anchor="end")
    for epoch, class_, words in marks:
        x, _ = axes.at(min(max(x_range[0], epoch - 0.5), x_range[1]), y_range[0])
        line = {"x1": x, "x2": x, "y1": TOP, "y2": HEIGHT - BOTTOM}
        axes.content.append(tag("line", tag("title", words), class_=f"event {class_}", **line))
    for which, class_ in (("train", "training"), ("val", "validation")):
        axes.line(epochs, both[which], class_)
    rows = [f"epoch {e:g}: {t:.4g}, {v:.4g}" for e, t, v in zip(epochs, both["train"], both["val"], strict=True)]
    title = f"{key} of training and validation images, by epoch. {'; '.join(rows[-20:])}"
    (left, _), (right, _) = axes.at(x_range[0], 0), axes.at(x_range[1], 0)
    return axes.svg(title, data_first=x_range[0], data_last=x_range[1], data_left=left, data_right=right)


def reliability(
    counts: NDArray[np.integer], confidence: NDArray[np.floating], accuracy: NDArray[np.floating]
) -> Markup:
    """The reliability diagram: accuracy of the images by how sure the net is; the diagonal is perfect calibration."""
    axes, bins = Axes((0, 1), (0, 1), ("how sure the net is", "how often it is right"), percent="xy"), len(counts)
    told = []
    for i in range(bins):
        if counts[i]:
            words = f"{counts[i]:,} images, {100 * confidence[i]:.1f} % sure, {100 * accuracy[i]:.1f} % right"
            told.append(words)
            axes.bar(i / bins, (i + 1) / bins, float(accuracy[i]), "bar", words)
            x, y = axes.at((i + 0.5) / bins, float(accuracy[i]))
            axes.content.append(
                tag("text", f"{counts[i]:,}", x=x, y=max(y - 4, 14), class_="note", text_anchor="middle")
            )
    axes.line((0, 1), (0, 1), "chance")
    return axes.svg("Reliability diagram: " + "; ".join(told))


def histogram(counts: NDArray[np.integer], edges: NDArray[np.floating], title: str) -> Markup:
    """How often a row gives which number; the bar that holds 0 is marked."""
    highest = max(1.0, float(counts.max()))
    axes = Axes((float(edges[0]), float(edges[-1])), (0.0, float(np.sqrt(highest))), ("value", "how often (root)"))
    for n, low, high in zip(counts, edges, edges[1:], strict=False):
        class_ = "bar zero" if low <= 0 < high else "bar"
        axes.bar(float(low), float(high), float(np.sqrt(n)), class_, f"{low:.3g} to {high:.3g}: {n:,}")
    left, right = axes.at(float(edges[0]), 0), axes.at(float(edges[-1]), 0)
    ticks = [
        tag("text", f"{x:.3g}", x=axes.at(x, 0)[0], y=left[1] + 16, class_="tick", text_anchor="middle")
        for x in nice_ticks(float(edges[0]), float(edges[-1]), 6)
    ]
    base = tag("line", x1=left[0], x2=right[0], y1=left[1], y2=left[1], class_="rule")
    box = f"{LEFT - 20} 0 {WIDTH - LEFT + 20} {HEIGHT - 18}"
    return tag(
        "svg", tag("title", title), base, axes.content, ticks, viewBox=box, class_="chart small", role="img"
    )  # fmt: skip


def confusion(
    matrix: NDArray[np.integer], class_names: Sequence[str], worst: int | None = None, most: int = MOST_NAMES
) -> Markup:
    """The confusion matrix as a table; of more than `most` classes the most frequent mistakes as a list.

    `worst` is the number of mistakes with the deepest colour, by default that of the most frequent mistake.
    """
    classes = len(class_names)
    cells = confusion_cells(matrix, class_names, worst, most)
    if classes > most:
        return tag("ol", [tag("li", item) for item in cells], class_="errors")
    corner = tag("th", tag("span", "true ↓"), " ", tag("span", "said →"), scope="col", class_="corner")
    named = [tag("th", name, scope="col") for name in class_names]
    head = tag("tr", corner, named, tag("th", "found", scope="col"))
    body = []
    for name, (*counts, found) in zip(class_names, cells, strict=True):
        row = [tag("td", words, class_=class_) for words, class_ in (cell.split(" ") for cell in counts)]
        body.append(tag("tr", tag("th", name, scope="row"), row, tag("td", found, class_="recall")))
    table = tag("table", tag("thead", head), tag("tbody", body), class_="confusion")
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="confusion matrix")


def confusion_cells(
    matrix: NDArray[np.integer], class_names: Sequence[str], worst: int | None = None, most: int = MOST_NAMES
) -> list[Any]:
    """What stands in `confusion`: of each row its cells as "12 right3" (text and class) and the recall; or the list."""
    classes = len(class_names)
    errors = np.where(np.eye(classes, dtype=bool), 0, matrix)
    if classes > most:
        flat = errors.ravel()
        order = [int(i) for i in np.argsort(-flat, kind="stable")[:LISTED] if flat[i] > 0]
        return [f"{flat[i]:,} x {class_names[i // classes]}, called {class_names[i % classes]}" for i in order]
    deepest, rows = worst or max(1, int(errors.max())), []
    for true, row in enumerate(matrix):
        recall = row[true] / row.sum() if row.sum() else 0.0
        cells = []
        for said, n in enumerate(row):
            share = recall if said == true else math.sqrt(n / deepest)
            level = math.ceil(5 * min(1.0, share)) if n else 0
            cells.append(f"{int(n) if n else '·'} {'right' if said == true else 'wrong'}{level}")
        rows.append([*cells, f"{100 * recall:.1f} %" if row.sum() else "-"])
    return rows


def legend(*entries: tuple[str, str]) -> Markup:
    """A key: (class, words) each."""
    keys = [tag("span", tag("span", class_=f"key {class_}"), words, class_="entry") for class_, words in entries]
    return tag("p", [[one, " "] for one in keys], class_="legend")


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
