"""Data sets by name: what is taken where MNIST is to be had, where it is not, and how it is cut."""

import numpy as np
import pytest

from rawcnn.data import datasets
from rawcnn.data.mnist import MnistArrays
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
