"""The splits of a data set: what is missing is held out, fewer images are taken, classes get other names."""

import numpy as np

from rawcnn.data.arrays import check_labels
from rawcnn.data.folds import one_fold, parts
from rawcnn.data.source import Labelled, Source
from rawcnn.errors import DataError

Splits = dict[str, Labelled]


def in_colour(source: Labelled) -> Labelled:
    """Grey images as red, green and blue that are equal; other sources as they are."""
    if not isinstance(source, Source) or source.shape[2] == 3:
        return source
    return Source(np.repeat(source.images, 3, axis=3), source.labels, source.class_names)


def renamed(source: Labelled, names: tuple[str, ...]) -> Labelled:
    """`source` with other class names; raises `DataError` unless there is one for each class."""
    if len(names) != len(source.class_names):
        raise DataError(
            f"There are {len(source.class_names)} classes but {len(names)} class names. Give one name for each class."
        )
    check_labels(source.labels, len(source), names)
    source = source.take(np.arange(len(source)))
    source.class_names = names
    return source


def limited(source: Labelled, limit: int | None, seed: int) -> Labelled:
    """About `limit` images of `source`, or all of it."""
    return source.sample(limit / len(source), seed) if limit and limit < len(source) else source


def cut(
    splits: Splits,
    *,
    validation: float,
    seed: int,
    sample: float = 1.0,
    test_sample: float = 1.0,
    fold: tuple[int, int] | None = None,
) -> tuple[Labelled, Labelled | None, Labelled]:
    """Training, validation and test images: splits that are missing are held out of the training images.

    The arguments are those of `load`. Raises `DataError` if `validation` holds out no image, or leaves none.
    """
    if fold is not None:  # `validation` then says only how many test images to hold out, where there are none
        whole = {**splits, "validation": splits["train"]}
        train, _, test = cut(whole, validation=validation, seed=seed, test_sample=test_sample)
        one = one_fold(train, parts(train, fold[1], seed), fold[0])
        return one.train if sample == 1 else one.train.sample(sample, seed), one.validation, test
    train, held_out = splits["train"], {split: splits[split] for split in splits if split != "train"}
    missing = [split for split in ("test", "validation") if split not in splits]
    if validation == 0 and missing == ["validation"]:
        missing = []
    count = round(validation * len(train)) if validation < 1 else round(validation)
    if missing and (count < 1 or count * len(missing) >= len(train)):
        raise DataError(
            f"{count:,} of {len(train):,} images cannot be held out for {' and '.join(missing)}: choose another "
            f"validation, not {validation:g}."
        )
    for i, split in enumerate(missing):
        train, held_out[split] = train.split(count, seed + i)
    train = train if sample == 1 else train.sample(sample, seed)
    test = held_out["test"] if test_sample == 1 else held_out["test"].sample(test_sample, seed)
    return train, held_out.get("validation"), test
