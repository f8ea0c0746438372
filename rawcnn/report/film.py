"""Training as a film: curves with a marker, and the first filters and the confusion of each epoch that was kept."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rawcnn.report import charts, pictures
from rawcnn.report.markup import Content, Markup, tag
from rawcnn.report.opened import OpenRun
from rawcnn.run.film import Frame

FELL = 0.7
"""A learning rate that is this much smaller than the epoch before has fallen in a step."""
MOST_BYTES = 1_500_000
"""Of the filters of all frames in a page; of a longer film every second frame is left out, until it fits."""


class Event(NamedTuple):
    """What happened at the beginning of an epoch, or in it: `kind` is "fell" or "resumed"."""

    epoch: int
    kind: str
    words: str


def section(run: OpenRun, frames: Sequence[Frame]) -> tuple[Markup, dict[str, Any]]:
    """The section, and what its slider needs: the rows of the history, and the frames."""
    history, chance = run.history, 1 / len(run.class_names)
    if not history:
        empty = tag("p", "No epoch has ended yet. Continue the run, then make this page again.")
        return tag("section", tag("h2", "Training"), empty, id="training"), {}
    happened = events(history, run.resumed())
    key = charts.legend(
        ("training", "training, mean over the epoch"),
        ("validation", "validation, after the epoch"),
        *((f"event {kind}", words) for kind, words in
          (("fell", "the learning rate fell"), ("resumed", "the run was resumed"))
          if any(one.kind == kind for one in happened)),
    )  # fmt: skip
    charted = (("loss", None, "The loss: lower is better."), ("accuracy", chance, "The accuracy: higher is better."))
    marks = [(one.epoch, one.kind, one.words) for one in happened]
    both = [
        tag("figure", charts.curves(history, which, at, marks), tag("figcaption", words))
        for which, at, words in charted
    ]
    words = (
        "The training numbers are means while the net was still learning (with dropout on, if it has any), so "
        "validation may lie above them."
    )
    told = tag("p", words, class_="small")
    listed = tag("ul", [tag("li", one.words) for one in happened], class_="events") if happened else None
    parts: list[Content] = [
        tag("h2", "Training, epoch by epoch"), key, tag("div", both, class_="pair"), told, listed,
    ]  # fmt: skip
    shown, reel = _reel(run, frames)
    keys = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
    before = [{"epoch": 0}] if any(frame.epoch == 0 for frame in frames) else []
    rows = [{key: _finite(row.get(key)) for key in keys} for row in (*before, *history)]
    if len(rows) > 1:
        parts.append(_slider(rows))
    parts.append(shown)
    return tag("section", parts, id="training"), {"rows": rows, "frames": reel}


def events(history: Sequence[dict[str, Any]], resumed: Sequence[int]) -> list[Event]:
    """Where the learning rate fell in a step, and where the run was resumed, in order."""
    found = [Event(epoch, "resumed", f"The run was resumed in epoch {epoch}.") for epoch in resumed]
    rates = [row.get("learning_rate") or 0.0 for row in history]
    for earlier, old, new, now in zip([rates[0], *rates], rates, rates[1:], history[1:], strict=False):
        steady = old >= 0.99 * earlier  # else it falls all the time, and no epoch stands out
        if old and new and steady and new < FELL * old:
            words = f"In epoch {now['epoch']} the learning rate fell from {old:.3g} to {new:.3g}."
            found.append(Event(now["epoch"], "fell", words))
    return sorted(found)


def _finite(value: Any) -> Any:
    """A number, or None in the place of one that JSON does not have."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _slider(rows: Sequence[dict[str, Any]]) -> Markup:
    last = len(rows) - 1
    label = tag("label", "Epoch ", tag("output", rows[last]["epoch"], id="epoch-name", for_="epoch"), for_="epoch")
    slider = tag("input", type="range", id="epoch", min=0, max=last, value=last, step=1)
    play = tag("button", "Play", id="play", type="button")
    return tag("div", label, slider, play, tag("p", id="epoch-told", aria_live="polite"), class_="slider js")


def _reel(run: OpenRun, frames: Sequence[Frame]) -> tuple[Markup | None, list[dict[str, Any]]]:
    """The newest frame as it stands in the page, and of every frame what the slider puts in its place."""
    drawn = [(frame, _drawn(frame, frames)) for frame in frames]
    while sum(len(picture or "") for _, (picture, _) in drawn) > MOST_BYTES and len(drawn) > 2:
        drawn = [*drawn[:-1:2], drawn[-1]]
    if not drawn:
        return None, []
    worst = max((_worst(frame) for frame, _ in drawn), default=1)
    reel = []
    for frame, (address, _) in drawn:
        cells = None if frame.confusion is None else charts.confusion_cells(frame.confusion, run.class_names, worst)
        reel.append({"epoch": frame.epoch, "filters": address, "confusion": cells})
    last, (_, picture) = drawn[-1]
    parts: list[Content] = [tag("h3", "After epoch ", tag("span", last.epoch, id="frame-name"))]
    if picture is not None:
        parts.append(picture)
    if last.confusion is not None:
        told = "The validation images after this epoch: rows are the true classes, columns the answers."
        table = charts.confusion(last.confusion, run.class_names, worst)
        parts.append(tag("figure", table, tag("figcaption", told), id="frame-confusion"))
    return tag("div", parts, class_="frame"), reel


def _worst(frame: Frame) -> int:
    """The most frequent mistake of a frame."""
    matrix = frame.confusion
    return 1 if matrix is None else max(1, int(np.where(np.eye(len(matrix), dtype=bool), 0, matrix).max()))


def _drawn(frame: Frame, frames: Sequence[Frame]) -> tuple[str | None, Markup | None]:
    """The filters of a frame as the address of a picture, and as a figure; all frames have one scale."""
    if frame.filters is None:
        return None, None
    largest = max(pictures.scale_of(one.filters) for one in frames if one.filters is not None)
    address, words, width = pictures.drawn_kernel(frame.filters, largest)
    image = pictures.shown_as(address, words, width, id="frame-filters")
    return address, tag("figure", image, tag("figcaption", f"{words}. All epochs have the same scale of colours."))
