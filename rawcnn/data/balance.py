"""Classes of unequal size: a weight for each class in the loss."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rawcnn.data.source import Labelled
from rawcnn.errors import UsageError, did_you_mean

BALANCED = "balanced"
Weights = str | Sequence[float] | Mapping[str, float]
"""`BALANCED`, the path of a file, a number for each class, or numbers by the names of the classes."""


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """n / (K n_k) for each class k of K, with n_k of the n images: float64 `[K]`. Their mean over the images is 1.

    The weights of scikit-learn's `class_weight="balanced"` (King & Zeng 2001). Every class must have an image.

    >>> balanced_weights(np.array([0, 0, 0, 1]), 2)
    array([0.66666667, 2.        ])
    """
    return np.asarray(len(labels) / (num_classes * np.bincount(labels, minlength=num_classes)))


def class_weights(given: Weights, source: Labelled) -> tuple[float, ...]:
    """The weight of each class of `source`, in the order of its `class_names`.

    A file holds the name of a class and a number in each line, or a number in each line, in the order of the classes.

    Raises `UsageError` for classes that are missing or unknown, for weights that are negative or no numbers, and for
    weights that are all 0.
    """
    names = source.class_names
    if isinstance(given, str) and given == BALANCED:
        check_all_there(source, "Balanced weights")
        return tuple(balanced_weights(source.labels, len(names)).tolist())
    if isinstance(given, str):
        return _checked(_read(given), names, given)
    found = {str(name): w for name, w in given.items()} if isinstance(given, Mapping) else list(given)
    return _checked(found, names, "class_weights")


def check_all_there(source: Labelled, what: str) -> None:
    """Raise `UsageError` unless each class of `source` has an image; `what` needs that."""
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    if empty := [name for name, count in zip(source.class_names, counts, strict=True) if not count]:
        raise UsageError(
            f"{what} need an image of each class, and there is no training image of {_listed(empty)}: add some, or "
            "leave the class out."
        )


def _read(path: str) -> dict[str, float] | list[float]:
    """Weights by name, or in order."""
    try:
        lines = Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(
            f"class_weights: {path} cannot be read ({reason}): give {BALANCED!r}, or a text file with the name of a "
            "class and its weight in each line."
        ) from None
    rows = [(number, line.rsplit(maxsplit=1)) for number, line in enumerate(lines, 1) if line.strip()]
    if all(len(words) == 1 for _, words in rows):
        return [_number(words[0], path, number) for number, words in rows]
    found: dict[str, float] = {}
    for number, words in rows:
        if len(words) == 1 or words[0].strip() in found:
            why = "has no name" if len(words) == 1 else f"names {words[0].strip()!r} again"
            raise UsageError(
                f"Line {number} of {path} {why}: write the name of a class and its weight, each class once."
            )
        found[words[0].strip()] = _number(words[1], path, number)
    return found


def _number(word: str, path: str, line: int) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(
            f"Line {line} of {path} ends in {word!r}, which is not a number: write the name of a class and its weight."
        ) from None


def _checked(found: dict[str, float] | list[float], names: tuple[str, ...], where: str) -> tuple[float, ...]:
    if isinstance(found, list):
        if len(found) != len(names):
            raise UsageError(
                f"{where} has {len(found)} weights, but there are {len(names)} classes: give one for each, in the "
                f"order {_listed(names)}."
            )
        found = dict(zip(names, found, strict=True))
    if unknown := [name for name in found if name not in names]:
        raise UsageError(
            f"{where} has a weight for {unknown[0]!r}, which is not a class.{did_you_mean(unknown[0], names)} Classes: "
            f"{_listed(names)}."
        )
    if missing := [name for name in names if name not in found]:
        raise UsageError(f"{where} has no weight for {_listed(missing)}: give one for each class.")
    for name in names:
        weight = found[name]
        if isinstance(weight, str) or not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"{where} gives {name!r} the weight {weight!r}: weights are numbers, 0 or more.")
    if not sum(found.values()):
        raise UsageError(f"{where} gives every class the weight 0, so there is nothing to learn: raise some of them.")
    return tuple(float(found[name]) for name in names)


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
