"""Races against Keras to an accuracy, as `benchmarks.time_to_accuracy --out` kept them, and their table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import QUIET, markdown_table

HEADER = ("net", "held out %", "rawcnn, minutes", "epochs", "Keras, minutes", "epochs", "Keras's / rawcnn's")


def read(folder: Path) -> list[dict[str, Any]]:
    """The races whose files are in `folder`, by name."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def cells(race: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table. A side that did not reach the accuracy took more than the minutes that it was given."""
    (ours, more, epochs), (keras, keras_more, keras_epochs) = (_minutes(race, side) for side in ("rawcnn", "keras"))
    more_than = {(False, True): "more than ", (True, False): "less than "}.get((more, keras_more), "")
    return (
        f"`{race['net']}`",
        f"{race['target']:g}",
        _said(ours, more, race["others"]["rawcnn"]),
        epochs,
        _said(keras, keras_more, race["others"]["keras"]),
        keras_epochs,
        "-" if more and keras_more else f"{more_than}{keras / ours:.1f}",
    )


def _minutes(race: dict[str, Any], side: str) -> tuple[float, bool, str]:
    """Minutes of a side, whether it needs more than these, and its epochs."""
    last = race[side][-1]
    return last["seconds"] / 60, last["accuracy"] < race["target"], f"{last['epoch']}"


def _said(minutes: float, more: bool, others: float) -> str:
    return f"{'more than ' if more else ''}{minutes:.1f}{' (shared)' if others > QUIET else ''}"


def section(races: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the page that tell the races; none if there was no race."""
    if not races:
        return []
    return [
        "## Against Keras",
        "",
        "Minutes until so many of the held-out training images are right: the same net, data, optimizer and batch on",
        "one machine, one side after the other. Keras trains as courses do it, with `fit` in float32 at a constant",
        "rate; rawcnn in bfloat16, and its rate falls. One race each.",
        "",
        markdown_table(HEADER, map(cells, races)),
        "",
        *(
            f"* `{race['net']}`: `python -m benchmarks.time_to_accuracy {' '.join(race['flags'])} --data_dir=DIR`.\n"
            f"  {race['machine']}; TensorFlow {race['versions']['tensorflow']}, Keras {race['versions']['keras']}; "
            f"{race['date']}."
            for race in races
        ),
        "",
    ]
