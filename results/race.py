"""Races against Keras to an accuracy, as `benchmarks.time_to_accuracy --out` kept them, and their table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import QUIET, markdown_table

HEADER = ("net", "held out %", "rawcnn, minutes", "epochs", "Keras, minutes", "epochs", "Keras's / rawcnn's")


def read(folder: Path) -> list[dict[str, Any]]:
    """The races whose files are in `folder`, by name."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def cells(race: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    ours, keras = _side(race, "rawcnn"), _side(race, "keras")
    told = [cell for side in (ours, keras) for cell in (side.said(), f"{side.epochs}")]
    return f"`{race['net']}`", f"{race['target']:g}", *told, ratio(ours, keras)


class Side(NamedTuple):
    """How long a side trained. One that did not reach the accuracy needs more than these minutes."""

    minutes: float
    reached: bool
    epochs: int
    shared: bool

    def said(self) -> str:
        return f"{'' if self.reached else 'more than '}{self.minutes:.1f}{' (shared)' if self.shared else ''}"


def _side(race: dict[str, Any], name: str) -> Side:
    last = race[name][-1]
    return Side(last["seconds"] / 60, last["accuracy"] >= race["target"], last["epoch"], race["others"][name] > QUIET)


def ratio(ours: Side, keras: Side) -> str:
    """Keras's minutes over ours: a bound if one side did not get there, and a dash if neither did."""
    if not (ours.reached or keras.reached):
        return "-"
    bound = "" if ours.reached and keras.reached else "more than " if ours.reached else "less than "
    return f"{bound}{keras.minutes / ours.minutes:.1f}"


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
