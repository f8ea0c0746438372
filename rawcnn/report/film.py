"""Training as a film: curves with a marker, and the first filters and the confusion of each epoch that was kept."""

import math
from collections.abc import Sequence
from typing import Any

from rawcnn.report import charts, pictures
from rawcnn.report.markup import Content, Markup, tag
from rawcnn.report.opened import Frame, OpenRun

FELL = 0.7
"""A learning rate that is this much smaller than the epoch before has fallen in a step."""


def section(run: OpenRun, frames: Sequence[Frame]) -> tuple[Markup, dict[str, Any]]:
    """The section, and what its slider needs: the rows of the history, and the epochs that have pictures."""
    history, chance = run.history, 1 / len(run.class_names)
    if not history:
        empty = tag("p", "No epoch has ended yet. Continue the run, then make this page again.")
        return tag("section", tag("h2", "Training"), empty, id="training"), {}
    key = charts.legend(("training", "training, mean over the epoch"), ("validation", "validation, after the epoch"))
    charted = (("loss", None, "The loss: lower is better."), ("accuracy", chance, "The accuracy: higher is better."))
    both = [tag("figure", charts.curves(history, which, at), tag("figcaption", words)) for which, at, words in charted]
    words = (
        "The training numbers are means while the net was still learning (with dropout on, if it has any), so "
        "validation may lie above them."
    )
    told = tag("p", words, class_="small")
    parts: list[Content] = [
        tag("h2", "Training, epoch by epoch"),
        key,
        tag("div", both, class_="pair"),
        told,
        _events(history),
    ]
    if len(history) > 1:
        parts.append(_slider(history))
    parts.append(_frames(run, frames))
    keys = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
    rows = [{key: _finite(row.get(key)) for key in keys} for row in history]
    data = {"rows": rows, "frames": [frame.epoch for frame in frames]}
    return tag("section", parts, id="training"), data


def _finite(value: Any) -> Any:
    """A number, or None in the place of one that JSON does not have."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _slider(history: Sequence[dict[str, Any]]) -> Markup:
    last = len(history) - 1
    label = tag("label", "Epoch ", tag("output", history[last]["epoch"], id="epoch-name", for_="epoch"), for_="epoch")
    slider = tag("input", type="range", id="epoch", min=0, max=last, value=last, step=1)
    return tag("div", label, slider, tag("p", id="epoch-told", aria_live="polite"), class_="slider js")


def _events(history: Sequence[dict[str, Any]]) -> Markup | None:
    """Where the learning rate fell in a step and where the run was resumed, in words."""
    told = []
    rates = [row.get("learning_rate") or 0.0 for row in history]
    for earlier, old, new, now in zip([rates[0], *rates], rates, rates[1:], history[1:], strict=False):
        steady = old >= 0.99 * earlier  # else it falls all the time, and no epoch stands out
        if old and new and steady and new < FELL * old:
            told.append(f"In epoch {now['epoch']} the learning rate fell from {old:.3g} to {new:.3g}.")
    told += [f"The run was resumed in epoch {row['epoch']}." for row in history if row.get("resumed")]
    return tag("ul", [tag("li", one) for one in told], class_="events") if told else None


def _frames(run: OpenRun, frames: Sequence[Frame]) -> Markup | None:
    """The first filters and the confusion of each epoch that is kept."""
    if not frames:
        return None
    shown = []
    for i, frame in enumerate(frames):
        picture, what = pictures.of_kernel(frame.filters)
        parts: list[Content] = [
            tag("h3", f"After epoch {frame.epoch}"),
            tag("figure", picture, tag("figcaption", f"{what}.")),
        ]
        if frame.confusion is not None:
            told = "The validation images after this epoch: rows are the true classes, columns the answers."
            parts.append(tag("figure", charts.confusion(frame.confusion, run.class_names), tag("figcaption", told)))
        shown.append(tag("div", parts, class_="frame", data_frame=i))
    told = f"The first filters of the {'epoch' if len(frames) == 1 else 'epochs'} whose checkpoints were kept:"
    return tag("div", tag("p", told), shown, class_="frames")
