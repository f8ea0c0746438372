"""The data of a run: loaded by name, or what a user gives, cut into training, validation and test images."""

from collections.abc import Sequence
from dataclasses import replace

from rawcnn.data import datasets
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Labelled, check_same_classes
from rawcnn.data.splits import cut, limited
from rawcnn.errors import UsageError
from rawcnn.nets import input_shape
from rawcnn.run.output import tell
from rawcnn.run.settings import Settings

Data = DataSet | Labelled | Sequence[Labelled] | None
SPLITS = {1: ("train",), 2: ("train", "test"), 3: ("train", "validation", "test")}
"""What so many sources are."""
SMOKE_IMAGES, SMOKE_LARGE_IMAGES, LARGE = 1000, 100, 64  # the second where the net's own input has more pixels a side


def data_of(given: Data, settings: Settings, shape: tuple[int, ...] | None = None) -> DataSet:
    """`given`, or where nothing is, what the settings name, for a net of input `shape` (or the named net's own)."""
    shape = shape or input_shape(settings.net)
    limit = (SMOKE_IMAGES if shape[0] <= LARGE else SMOKE_LARGE_IMAGES) if settings.smoke else None
    assert settings.validation is not None
    fold = None if settings.fold is None else (settings.fold, settings.folds)
    if fold and (isinstance(given, DataSet) or (isinstance(given, Sequence) and len(given) == 3)):
        raise UsageError("folds cut validation images off the training images: give a Source or (train, test).")
    if given is None:
        return datasets.load(
            settings.dataset,
            settings.data_dir,
            colour=shape[2] == 3,
            validation=settings.validation,
            seed=settings.seed,
            sample=settings.sample,
            test_sample=settings.test_sample,
            limit=limit,
            bad_images=settings.bad_images,
            max_pixels=settings.max_pixels,
            class_names=settings.class_names,
            fold=fold,
            log=tell,
        )
    if isinstance(given, DataSet):
        train = given.train if settings.sample == 1 else given.train.sample(settings.sample, settings.seed)
        test = given.test if settings.test_sample == 1 else given.test.sample(settings.test_sample, settings.seed)
        return replace(given, train=train, test=test)
    sources = [given] if isinstance(given, Labelled) else list(given)
    if len(sources) not in SPLITS or not all(isinstance(source, Labelled) for source in sources):
        raise UsageError(
            "The data of a run are a DataSet, a Source, or (train, validation, test), each a Source. Arrays become one "
            "by rc.Source(images, labels)."
        )
    few = [limited(source, limit, settings.seed) for source in sources]
    splits = dict(zip(SPLITS[len(few)], few, strict=True))
    for split in splits:
        check_same_classes(few[0], splits[split], split)
    found = cut(
        splits,
        validation=settings.validation,
        seed=settings.seed,
        sample=settings.sample,
        test_sample=settings.test_sample,
        fold=fold,
    )
    return DataSet("own", *found)
