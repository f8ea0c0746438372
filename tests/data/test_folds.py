"""k folds: every image validates once, classes are dealt evenly, and folders of photos can be cut too."""

import numpy as np
import pytest
from PIL import Image

import rawcnn as rc
from rawcnn.data.datasets import load
from rawcnn.errors import DataError, UsageError
from rawcnn.run.given import data_of
from rawcnn.run.settings import Settings


def silent(_):
    pass


def numbered(labels):
    """Images whose pixels say which they are."""
    count = len(labels)
    return rc.Source(np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8), labels)


def numbers(source):
    return source.images[:, 0, 0, 0].astype(int)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_each_image_validates_once_and_classes_are_dealt_evenly(count, classes, rng):
    """The properties of scikit-learn's StratifiedKFold: of each class and in all, folds differ by one image at most."""
    labels = np.concatenate([np.repeat(np.arange(classes), count), rng.integers(0, classes, 137)])
    rng.shuffle(labels)
    source = numbered(labels)
    found = list(rc.folds(source, count, seed=3))
    assert [fold.number for fold in found] == list(range(1, count + 1))
    validated = np.concatenate([numbers(fold.validation) for fold in found])
    np.testing.assert_array_equal(np.sort(validated), np.arange(len(labels)))
    per_class = np.array([np.bincount(fold.validation.labels, minlength=classes) for fold in found])
    assert np.ptp(per_class, axis=0).max() <= 1 and np.ptp(per_class.sum(axis=1)) <= 1
    for fold in found:
        own = numbers(fold.validation)
        np.testing.assert_array_equal(np.sort(np.concatenate([own, numbers(fold.train)])), np.arange(len(labels)))
        np.testing.assert_array_equal(fold.validation.labels, labels[own])
        np.testing.assert_array_equal(fold.train.labels, labels[numbers(fold.train)])


def test_the_seed_draws_them():
    source = numbered(np.arange(60) % 3)
    one, again, other = ([numbers(f.validation).tolist() for f in rc.folds(source, 4, seed=s)] for s in (0, 0, 1))
    assert one == again != other
    assert one[0] != list(range(0, 60, 4)) and one[0] == sorted(one[0])  # drawn, and in the old order


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (1, UsageError, "2 or more, not 1"),
        (2.0, UsageError, "2 or more, not 2.0"),
        (True, UsageError, "2 or more, not True"),
        (4, DataError, r"Class '1' has 3 images, and each of 4 folds needs one. Choose 3 folds at most, or add images"),
    ],
)
def test_mistakes_are_told_before_the_first_fold(count, error, message):
    with pytest.raises(error, match=message):
        rc.folds(numbered([0, 1, 0, 1, 0, 1, 0]), count)
    with pytest.raises(DataError, match=r"Class '1' has 1 image, .* Add images to it"):
        rc.folds(numbered([0, 1, 0]), 2)


@pytest.fixture
def photos(tmp_path, rng):
    """40 photos of two classes, without test images."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_folders_of_photos(photos):
    train = rc.load_dataset(photos, validation=0.1, log=silent).train
    found = list(rc.folds(train, 4))
    assert sorted(path for fold in found for path in fold.validation.paths) == sorted(train.paths)
    assert all(set(fold.train.paths).isdisjoint(fold.validation.paths) for fold in found)


def test_a_loaded_data_set_is_cut_into_folds(photos):
    """Test images are cut off once, the same for all folds; all others validate once."""
    found = [load("folder", photos, colour=True, validation=0.2, fold=(k, 4), log=silent) for k in (1, 2, 3, 4)]
    test = found[0].test.paths
    assert len(test) == 8 and all(data.test.paths == test for data in found)
    validated = [path for data in found for path in data.validation.paths]
    assert len(validated) == len(set(validated)) == 32 and not set(validated) & set(test)
    for data in found:
        assert sorted([*data.train.paths, *data.validation.paths]) == sorted(validated)
    drawn = [load("drawn", limit=60, fold=(k, 3), log=silent) for k in (1, 2, 3)]
    assert [len(data.validation) + len(data.train) for data in drawn] == [60, 60, 60]
    np.testing.assert_array_equal(drawn[0].test.images, drawn[1].test.images)


def test_a_run_on_ones_own_images_takes_a_fold():
    source, settled = numbered(np.arange(60) % 3), Settings(folds=4, fold=2, validation=0.1)
    data = data_of((source, source.take(np.arange(6))), settled)
    wanted = list(rc.folds(source, 4))[1]
    np.testing.assert_array_equal(numbers(data.validation), numbers(wanted.validation))
    np.testing.assert_array_equal(numbers(data.train), numbers(wanted.train))
    assert len(data.test) == 6
    alone = data_of(source, settled)
    assert (len(alone.test), len(alone.train) + len(alone.validation)) == (6, 54)
    for given in (data, (source, source, source)):
        with pytest.raises(UsageError, match="folds cut validation images off the training images"):
            data_of(given, settled)
