"""What a setting is: its default, its bounds and its help; and how its value is read and checked."""

import math
import os
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from rawcnn.errors import UsageError, did_you_mean

FIRST, DATA, CHANGES, UNEVEN, FINE_TUNING, TRAINING, SAVING, MACHINE = GROUPS = (
    "What everyone needs first", "Data", "Changing and mixing training images", "Classes of unequal size",
    "Fine-tuning", "Training and testing", "Saving and showing", "The machine",
)  # fmt: skip


@dataclass(frozen=True)
class Info:
    """What there is to know of a setting, apart from its name, type and default."""

    group: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    may_change: bool = False  # on resume
    path: bool = False  # a file or directory: ~ is the home directory


def setting(default: Any, group: str, text: str, **more: Any) -> Any:
    """A field of a dataclass of settings; `more` is that of `Info`."""
    return field(default=default, metadata={"info": Info(group, text, **more)})


def check_all(settings: Any) -> None:
    """Give every setting of a frozen dataclass its own type; raises `UsageError` for one that has no such value."""
    for item in fields(settings):
        value = checked(type(settings), item.name, getattr(settings, item.name))
        object.__setattr__(settings, item.name, value)


def kind_of(owner: type, name: str) -> tuple[type, bool]:
    """The type of a setting, and whether it may be None."""
    hint = get_type_hints(owner)[name]
    if isinstance(hint, types.UnionType):
        (kind,) = (one for one in get_args(hint) if one is not types.NoneType)
        return kind, True
    return hint, False


def info_of(owner: type, name: str) -> Info:
    """What there is to know of a setting."""
    (info,) = (item.metadata["info"] for item in fields(owner) if item.name == name)
    return info


WORDS: dict[type, str] = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def parse(owner: type, name: str, text: str) -> Any:
    """The value that `text`, from a flag or a file, gives the setting `name`. Raises `UsageError` if there is none."""
    kind, _ = kind_of(owner, name)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        percent = re.fullmatch(r"(\d+\.?\d*) ?%", text) if kind is float else None
        remedy = f" Give {float(percent[1]) / 100:g}." if percent else ""
        raise UsageError(f"{name} must be {WORDS[kind]}, not {text!r}.{remedy}") from None


def checked(owner: type, name: str, value: Any) -> Any:
    """`value` in the setting's own type. Raises `UsageError` if it has another type or is out of bounds."""
    (kind, optional), info = kind_of(owner, name), info_of(owner, name)
    if value is None and optional:
        return None
    if info.path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind in (int, float) and hasattr(value, "item") and getattr(value, "shape", None) == ():  # a scalar of NumPy's
        value = value.item()
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{name} must be {WORDS[kind]}, not {value!r}.")
    if isinstance(value, str):
        _check_text(name, value, info)
        return os.path.expanduser(value) if info.path else value
    if isinstance(value, int | float) and kind is not bool:
        _check_bounds(name, value, info)
    return value


def _check_text(name: str, value: str, info: Info) -> None:
    if any(ord(letter) < 32 for letter in value):
        raise UsageError(f"{name} is {value!r}, which holds a line break or another control character: rename it.")
    if not value:
        remedy = f"choose {', '.join(info.choices)}" if info.choices else "give it a value"
        raise UsageError(f"{name} is empty: {remedy}, or leave it out.")
    if info.choices and value not in info.choices:
        raise UsageError(
            f"{name} is {value!r}, but must be one of {', '.join(info.choices)}.{did_you_mean(value, info.choices)}"
        )


def _check_bounds(name: str, value: float, info: Info) -> None:
    low, high = (-math.inf if info.low is None else info.low), (math.inf if info.high is None else info.high)
    if math.isfinite(value) and low <= value <= high:
        return
    rule = f"{low:,.10g} or more" if high == math.inf else f"in {low:,.10g} ... {high:,.10g}"
    percent = f" For {value:g} % give {value / 100:g}." if high == 1 and 1 < value <= 100 else ""
    raise UsageError(f"{name} must be {rule}, not {value:g}.{percent}")


OTHER_NAMES = {
    "lr": "learning_rate", "rate": "learning_rate", "batch": "batch_size", "bs": "batch_size", "epoch": "epochs",
    "data": "data_dir", "dir": "data_dir", "model": "net", "network": "net", "out": "run", "output": "run",
    "output_dir": "run", "val": "validation", "val_split": "validation", "validation_split": "validation",
    "size": "input_size", "image_size": "input_size", "dtype": "precision", "opt": "optimizer",
    "pretrained": "weights", "checkpoint": "weights", "frozen": "freeze",
}  # fmt: skip
"""What settings are called elsewhere, and what they are called here."""


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise `UsageError` for the first of `given` that is not `known`."""
    known = tuple(known)
    for name in given:
        if name not in known:
            ours = OTHER_NAMES.get(name)
            meant = f" Did you mean {ours!r}?" if ours in known else did_you_mean(name, known)
            raise UsageError(f"rawcnn has no {what} {name!r}.{meant}")
