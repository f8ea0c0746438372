"""Two runs in two columns, and the test images on which they differ."""

import math

import numpy as np

from rawcnn.report import charts, errors, film, head, pictures
from rawcnn.report.markup import Content, Markup, count, tag
from rawcnn.report.measures import wilson
from rawcnn.report.opened import OpenRun
from rawcnn.report.tested import Tested
from rawcnn.run import inside
from rawcnn.run.figures import percent


def heading(a: OpenRun, b: OpenRun) -> Markup:
    """The head of the page."""
    both = [tag("p", tag("b", f"{letter}: "), run.title, " ", tag("code", str(run.path)))
            for letter, run in (("A", a), ("B", b))]  # fmt: skip
    return tag("header", tag("h1", "Two runs compared"), both, id="top")


def section(runs: tuple[OpenRun, OpenRun], tested: tuple[Tested | None, Tested | None]) -> list[tuple[str, Markup]]:
    """The sections of a comparison: facts, training, first filters, mistakes and calibration, side by side."""
    names = [f"{letter}: {run.title}" for letter, run in zip("AB", runs, strict=True)]
    columns: list[tuple[str, str, list[Content]]] = [
        ("The runs", "runs", [[head.accuracy(r, t), head.facts(r, t)] for r, t in zip(runs, tested, strict=True)]),
        ("Training", "training", [_training(run) for run in runs]),
        ("First filters", "filters", [_filters(run) for run in runs]),
    ]
    known = [t for t in tested if t is not None]
    if len(known) == 2:
        matrices = [
            charts.confusion(t.confusion(len(r.class_names)), r.class_names) for r, t in zip(runs, known, strict=True)
        ]
        columns.append(("Mistakes", "mistakes", list(matrices)))
        columns.append(("Is it sure when it is right?", "calibration", [errors.reliability(t) for t in known]))
    made = []
    for title, place, contents in columns:
        cells = [tag("div", tag("h3", name), content) for name, content in zip(names, contents, strict=True)]
        agreed = _agreement(runs, known) if place == "runs" and len(known) == 2 else None
        made.append((title, tag("section", tag("h2", title), agreed, tag("div", cells, class_="two"), id=place)))
    return made


def _training(run: OpenRun) -> Content:
    if not run.history:
        return tag("p", "No epoch has ended yet.")
    key = charts.legend(("training", "training"), ("validation", "validation"))
    marks = [(one.epoch, one.kind, one.words) for one in film.events(run.history, run.resumed())]
    chance = 1 / len(run.class_names)
    both = [charts.curves(run.history, "loss", None, marks), charts.curves(run.history, "accuracy", chance, marks)]
    return [key, *both, tag("ul", [tag("li", words) for _, _, words in marks], class_="events") if marks else None]


def _filters(run: OpenRun) -> Content:
    if not inside.convolves(run.net):
        return tag("p", "This net has no convolution.")
    picture, what = pictures.of_kernel(inside.first_filters(run.net))
    return tag("figure", picture, tag("figcaption", f"{what}."))


def _agreement(runs: tuple[OpenRun, OpenRun], tested: list[Tested]) -> Markup:
    """Whether the difference of two accuracies can be chance, image by image where both saw the same."""
    a, b = tested
    difference = b.accuracy - a.accuracy
    better = "B" if difference > 0 else "A"
    told = [
        f"The accuracies differ by {100 * abs(difference):.2f} percentage points"
        + (f"; {better} is higher. " if difference else ". ")
    ]
    same = np.array_equal(a.labels, b.labels) and runs[0].class_names == runs[1].class_names
    if not same:
        told.append(
            "The two runs were tested on different images, so only the intervals can be compared: " + _overlap(a, b)
        )
        return tag("p", told)
    right_a, right_b = a.said == a.labels, b.said == b.labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    told.append(
        f"Both are right on {count(int((right_a & right_b).sum()), 'image')}, only A on {only_a:,}, only B on "
        f"{only_b:,}, neither on {int((~right_a & ~right_b).sum()):,}. "
    )
    p = mcnemar(only_a, only_b)
    verdict = "it is hardly chance" if p < 0.05 else "it may well be chance"
    told.append(
        f"Two equally good nets would differ at least as much in {percent(p)} of all tests (McNemar's test): {verdict}."
    )
    return tag("p", told)


def _overlap(a: Tested, b: Tested) -> str:
    (low_a, high_a), (low_b, high_b) = wilson(a.right, len(a.labels)), wilson(b.right, len(b.labels))
    return "they overlap." if low_a <= high_b and low_b <= high_a else "they do not overlap."


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of McNemar's test: `only_a` and `only_b` images that one of two nets gets right.

    >>> mcnemar(5, 5), round(mcnemar(0, 5), 4)
    (1.0, 0.0625)
    """
    n, few = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(few + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
