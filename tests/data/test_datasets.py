"""Data sets by name: what is taken where MNIST is to be had, where it is not, and how it is cut."""

import numpy as np
import pytest
from PIL import Image

from rawcnn.data import datasets
from rawcnn.data.sets.cifar import CLASS_NAMES
from rawcnn.data.sets.mnist import MnistArrays
from rawcnn.errors import DataError, DownloadError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAWCNN_DATA", str(tmp_path))


def no_network(data_dir, log):
    raise DownloadError("no mirror answers. Put the files there.")


def some_mnist(data_dir, log):
    labels = np.arange(400, dtype=np.int32) % 10
    return MnistArrays(
        np.zeros((400, 28, 28, 1), np.uint8), labels, np.zeros((50, 28, 28, 1), np.uint8), labels[:50], ""
    )


def test_auto_goes_on_with_drawn_digits_and_says_why_in_one_line(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", no_network)
    said = []
    data = datasets.load("auto", limit=200, log=said.append)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("drawn", 180, 20, 200)
    assert len(said) == 1 and "no mirror gave it: going on with digits that rawcnn draws itself" in said[0]


def test_mnist_does_not(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", no_network)
    with pytest.raises(DownloadError, match="no mirror answers"):
        datasets.load("mnist")


def test_damaged_files_are_never_replaced_by_drawn_digits(tmp_path):
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        datasets.load("auto", tmp_path / "nowhere")


def test_auto_takes_mnist(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("auto")
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("mnist", 360, 40, 50)
    assert "360 training, 40 validation and 50 test images of 28x28x1" in data.describe()


def test_a_sample_shrinks_the_training_images_alone(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("auto", sample=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 40, 50)
    assert np.bincount(data.train.labels).tolist() == [9] * 10


def test_drawn_test_digits_are_the_same_for_every_seed():
    one, other = (datasets.load("drawn", seed=seed, limit=30) for seed in (0, 1))
    np.testing.assert_array_equal(one.test.images, other.test.images)
    assert not np.array_equal(one.train.images, other.train.images)


@pytest.mark.parametrize(
    ("name", "sample", "message"), [("svhn", 1.0, "choose one of auto"), ("drawn", 0.0, "a share above 0")]
)
def test_mistakes_are_named(name, sample, message):
    with pytest.raises(UsageError, match=message):
        datasets.load(name, sample=sample)


@pytest.fixture
def cifar_dir(tmp_path, rng):
    """CIFAR-10 in miniature: 40 records a batch, in the binary version's files."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, size=(40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(folder / name)
    return folder


def make_images(folder, rng, count):
    folder.mkdir(parents=True)
    for k in range(count):
        Image.fromarray(rng.integers(0, 256, size=(12, 9, 3), dtype=np.uint8)).save(folder / f"{k}.png")


def test_auto_takes_the_cifar_10_that_is_there(cifar_dir):
    data = datasets.load("auto", cifar_dir, colour=True, validation=0.2)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("cifar10", 160, 40, 40)
    assert data.train.class_names == CLASS_NAMES and data.train.shape == (32, 32, 3)
    assert np.bincount(data.validation.labels).tolist() == [4] * 10


def test_a_count_is_held_out_exactly(cifar_dir):
    assert len(datasets.load("cifar10", cifar_dir, validation=50).validation) == 50


@pytest.mark.parametrize("validation", [0.0, 0.001, 200])
def test_nothing_and_everything_cannot_be_held_out(cifar_dir, validation):
    with pytest.raises(DataError, match=r"of 200 images cannot be held out for validation"):
        datasets.load("cifar10", cifar_dir, validation=validation)


def test_without_cifar_10_a_colour_net_gets_digits_in_colour(monkeypatch):
    monkeypatch.setattr(datasets, "load_cifar10", no_network)
    said = []
    data = datasets.load("auto", colour=True, limit=100, log=said.append)
    assert (data.name, data.train.shape, len(data.train)) == ("drawn", (32, 32, 3), 90)
    assert "CIFAR-10 is not in" in said[0]


def test_a_folder_is_cut_into_three_and_is_the_same_every_time(tmp_path, rng):
    for name in ("ant", "bee"):
        make_images(tmp_path / "pictures" / name, rng, 20)
    once, again = (datasets.load("auto", tmp_path / "pictures", colour=True, seed=3) for _ in range(2))
    assert (once.name, len(once.train), len(once.validation), len(once.test)) == ("folder", 32, 4, 4)
    parts = [set(part.paths) for part in (once.train, once.validation, once.test)]
    assert len(set.union(*parts)) == 40
    assert once.test.paths == again.test.paths and once.train.paths == again.train.paths
    assert "in files, each of its own size" in once.describe() and "2 classes: ant bee" in once.describe()


def test_a_folders_own_validation_images_are_kept(tmp_path, rng):
    for part, count in (("train", 10), ("val", 3)):
        for name in ("ant", "bee"):
            make_images(tmp_path / "pictures" / part / name, rng, count)
    data = datasets.load("folder", tmp_path / "pictures", validation=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 6, 4)


def test_a_folder_needs_a_name():
    with pytest.raises(UsageError, match="Name it with --data_dir"):
        datasets.load("folder")


def test_a_colour_net_gets_grey_images_three_times(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("mnist", colour=True)
    assert data.train.shape == (28, 28, 3) and data.test.shape == (28, 28, 3)


def test_nothing_is_held_out_where_nothing_is_missing(tmp_path, rng):
    for part in ("train", "val", "test"):
        for name in ("ant", "bee"):
            make_images(tmp_path / "pictures" / part / name, rng, 3)
    data = datasets.load("folder", tmp_path / "pictures", validation=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 6, 6)
