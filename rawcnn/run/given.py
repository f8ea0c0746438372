"""The data of a run: loaded by name, or what a user gives, cut into training, validation and test images."""

from collections.abc import Sequence

from rawcnn.data import datasets
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Labelled
from rawcnn.errors import DataError, UsageError
from rawcnn.nets import input_shape
from rawcnn.run.output import tell
from rawcnn.run.settings import Settings

Data = DataSet | Labelled | Sequence[Labelled] | None
SMOKE_IMAGES, SMOKE_LARGE_IMAGES, LARGE = 1000, 100, 64  # the second where the net's own input has more pixels a side


def data_of(given: Data, settings: Settings, shape: tuple[int, ...] | None = None) -> DataSet:
    """`given`, or where nothing is, what the settings name, for a net of input `shape` (or the named net's own)."""
    if given is None:
        return _load(settings, shape or input_shape(settings.net))
    if isinstance(given, DataSet):
        return given
    splits = [given] if isinstance(given, Labelled) else list(given)
    if not (1 <= len(splits) <= 3 and all(isinstance(source, Labelled) for source in splits)):
        raise UsageError("The data of a run are a DataSet, a Source, or (train, validation, test), each a Source.")
    train, *others = splits
    if settings.sample < 1:
        train = train.sample(settings.sample, settings.seed)
    if len(others) == 2:
        return DataSet("own", train, others[0], others[1])
    if len(others) == 1 and settings.validation == 0:
        return DataSet("own", train, None, others[0])
    if len(others) == 1:
        train, validation = train.split(_count(train, settings), settings.seed)
        return DataSet("own", train, validation, others[0])
    count = _count(train, settings)
    train, test = train.split(count, settings.seed)
    train, validation = train.split(count, settings.seed + 1)
    return DataSet("own", train, validation, test)


def _count(train: Labelled, settings: Settings) -> int:
    """How many images to hold out."""
    fraction = settings.validation or 0.0
    count = round(fraction * len(train)) if fraction < 1 else round(fraction)
    if count < 1:
        raise DataError(
            f"validation={fraction:g} holds out none of {len(train):,} images: choose another, or give "
            "(train, validation, test)."
        )
    return count


def _load(settings: Settings, shape: tuple[int, ...]) -> DataSet:
    limit = (SMOKE_IMAGES if shape[0] <= LARGE else SMOKE_LARGE_IMAGES) if settings.smoke else None
    assert settings.validation is not None
    return datasets.load(
        settings.dataset,
        settings.data_dir,
        colour=shape[2] == 3,
        validation=settings.validation,
        seed=settings.seed,
        sample=settings.sample,
        limit=limit,
        bad_images=settings.bad_images,
        max_pixels=settings.max_pixels,
        class_names=settings.class_names,
        log=tell,
    )
