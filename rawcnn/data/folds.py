"""k-fold cross-validation: each image validates exactly once, and each fold has its share of every class."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rawcnn.data.source import Labelled
from rawcnn.errors import DataError, UsageError


@dataclass(frozen=True)
class Fold:
    """Fold `number` (from 1): the images to train on, and those held out for validation."""

    number: int
    train: Labelled
    validation: Labelled


def folds(source: Labelled, count: int = 5, *, seed: int = 0) -> Iterator[Fold]:
    """`count` folds of `source`, one after the other; in each the images of one part validate and all others train.

    The parts are disjoint and together hold every image. They are stratified: of each class, and in all, two parts
    differ by one image at most. `seed` draws them; images stay in their old order. Works for images in memory and in
    files. Raises `UsageError` for fewer than 2 folds, and `DataError` naming a class with fewer images than folds.

    >>> from rawcnn.data.source import Source
    >>> source = Source(np.zeros((7, 4, 4)), [0, 0, 0, 1, 1, 1, 1])
    >>> [(fold.number, len(fold.train), len(fold.validation)) for fold in folds(source, 3)]
    [(1, 4, 3), (2, 5, 2), (3, 5, 2)]
    """
    part = parts(source, count, seed)
    return (one_fold(source, part, number) for number in range(1, count + 1))


def one_fold(source: Labelled, part: np.ndarray, number: int) -> Fold:
    """Fold `number` (from 1) of `source`, whose images are in the parts `part`."""
    held_out = part == number - 1
    return Fold(number, source.take(np.flatnonzero(~held_out)), source.take(np.flatnonzero(held_out)))


def parts(source: Labelled, count: int, seed: int) -> np.ndarray:
    """The part 0 ... `count` - 1 of each image, int `[N]`: images in the order of classes are dealt out like cards."""
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2:
        raise UsageError(f"folds are a whole number, 2 or more, not {count!r}.")
    labels = source.labels
    present, of_class = np.unique(labels, return_counts=True)
    if len(present) and of_class.min() < count:
        name, most = source.class_names[present[of_class.argmin()]], of_class.min()
        remedy = f"Choose {most} folds at most, or add images." if most > 1 else "Add images to it."
        raise DataError(
            f"Class {name!r} has {most} image{'s' if most > 1 else ''}, and each of {count} folds needs one. {remedy}"
        )
    drawn = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    by_class = drawn[np.argsort(labels[drawn], kind="stable")]
    part = np.empty(len(labels), np.int64)
    part[by_class] = np.arange(len(labels)) % count
    return part
