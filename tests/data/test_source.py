"""Sources, preprocessing and batches: exact, stratified, and functions of (source, seed, epoch, k) alone."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.python.autograph.impl import api

from rawcnn.data.batches import batches, in_order, permutation
from rawcnn.data.images.headers import inspect
from rawcnn.data.images.stream import FileSource
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.data.views import protocol, random_crop
from rawcnn.errors import DataError

NAMES = ("a", "b", "c")


@pytest.fixture
def source():
    labels = np.array([0] * 20 + [1] * 30 + [2] * 53, np.int32)
    images = np.arange(103, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 3, 1), np.uint8)
    return Source(images, labels, NAMES)


def drawn(dataset):
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def test_the_batches_are_each_epochs_permutation_cut_up(source):
    got = drawn(batches(source, 10, seed=4).take(20))
    for number, (images, labels) in enumerate(got):
        epoch, k = divmod(number, 10)  # 103 images: 10 whole batches an epoch
        chosen = permutation(103, 4, epoch).numpy()[10 * k : 10 * (k + 1)]
        np.testing.assert_array_equal(images, source.images[chosen])
        np.testing.assert_array_equal(labels, source.labels[chosen])


def test_seed_and_epoch_decide_the_order():
    orders = [tuple(permutation(50, seed, epoch).numpy()) for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(orders)) == 4 and tuple(permutation(50, 1, 2).numpy()) == orders[3]
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_every_place_gets_every_image_alike():
    """Pearson's statistic over 400 permutations of 10: 81 degrees of freedom, so 81 +- 13."""
    orders = np.array([permutation(10, 0, epoch) for epoch in range(400)])
    counts = np.array([np.bincount(place, minlength=10) for place in orders.T])
    assert 81 - 5 * 13 < ((counts - 40) ** 2 / 40).sum() < 81 + 5 * 13


def noise(images, seed):
    return tf.cast(images, tf.float32) + tf.random.stateless_uniform(images.shape, seed)


@pytest.mark.parametrize("augment", [None, noise])
@pytest.mark.parametrize("start", [4, 10, 17])
def test_starting_late_gives_the_same_batches(source, augment, start):
    whole = drawn(batches(source, 10, seed=1, augment=augment).take(25))
    late = drawn(batches(source, 10, seed=1, start=start, augment=augment).take(25 - start))
    for (x, y), (late_x, late_y) in zip(whole[start:], late, strict=True):
        np.testing.assert_array_equal(x, late_x)
        np.testing.assert_array_equal(y, late_y)


def test_augmentation_differs_from_batch_to_batch(source):
    flat = Source(np.zeros_like(source.images), source.labels, NAMES)
    values = {x[0, 0, 0, 0] for x, _ in drawn(batches(flat, 10, seed=0, augment=noise).take(20))}
    assert len(values) == 20


@pytest.mark.parametrize("start", [0, 3, 5])
def test_alternating_epochs_show_each_image_from_both_sides(source, start):
    """In every epoch each image is as it was or mirrored, and in the next one it is the other; about half begin so."""
    wide = Source(np.arange(30 * 4, dtype=np.uint8).reshape(30, 1, 4, 1), np.arange(30) % 3, tuple("abc"))
    seen = [{} for _ in range(4)]
    read = zip(range(start, 12), batches(wide, 10, seed=3, start=start, alternate=True), strict=False)
    for number, (images, _) in read:
        for image in images.numpy()[:, 0, :, 0]:
            seen[number // 3][min(image) // 4] = bool(image[0] > image[1])
    for before, after in itertools.pairwise(seen):
        assert all(mirrored != after[which] for which, mirrored in before.items())
    assert len(seen[3]) == 30 and 5 < sum(seen[3].values()) < 25
    other = next(images for images, _ in batches(wide, 30, seed=4, alternate=True).take(1)).numpy()
    assert {min(i) // 4: bool(i[0] > i[1]) for i in other[:, 0, :, 0]} != seen[3]


def test_a_sample_keeps_the_classes_in_proportion(source):
    sample = source.sample(0.1, seed=0)
    assert np.bincount(sample.labels).tolist() == [2, 3, 5]
    assert (np.diff(sample.images[:, 0, 0, 0].astype(int)) > 0).all()
    assert np.bincount(source.sample(0.001, seed=0).labels).tolist() == [1, 1, 1]


def test_a_split_is_a_partition(source):
    rest, held_out = source.split(21, seed=0)
    assert np.bincount(held_out.labels).tolist() == [4, 6, 11] and len(rest) == 82
    both = np.concatenate([rest.images, held_out.images])[:, 0, 0, 0]
    assert sorted(both) == list(range(103))
    assert not np.array_equal(source.split(21, seed=1)[1].images, held_out.images)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int32), "2 images but labels of shape"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, 3], np.int32), r"Label 3 of image 1 is outside 0 ... 2"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([-1, 0], np.int32), r"Label -1 of image 0 is outside"),
    ],
)
def test_bad_sources_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Source(images, labels, NAMES)


def test_lenet5_pixels_have_the_papers_range(rng):
    """Background -0.1, ink 1.175, and two pixels of background on every side."""
    images = rng.integers(0, 256, size=(2, 28, 28, 1), dtype=np.uint8)
    images[0, 0, :2, 0] = 0, 255
    x = Preprocess(pad=2, low=-0.1, high=1.175)(tf.constant(images)).numpy()
    assert x.shape == (2, 32, 32, 1) and x.dtype == np.float32
    np.testing.assert_allclose(x[0, 2, 2:4, 0], [-0.1, 1.175], rtol=1e-6)
    np.testing.assert_allclose(x[:, 2:-2, 2:-2], images / 255 * 1.275 - 0.1, atol=1e-6)
    for edge in (x[:, :2], x[:, -2:], x[:, :, :2], x[:, :, -2:]):
        np.testing.assert_allclose(edge, -0.1, rtol=1e-6)


def test_preprocess_survives_a_checkpoint():
    preprocess = Preprocess(pad=2, low=-0.1)
    assert Preprocess(**preprocess.as_dict()) == preprocess


def test_a_split_leaves_every_class_on_both_sides():
    labels = np.repeat(np.arange(3, dtype=np.int32), (2, 20, 2))
    source = Source(np.zeros((24, 4, 4, 1), np.uint8), labels, tuple("abc"))
    train, held_out = source.split(12, seed=0)
    assert np.bincount(train.labels).tolist() == [1, 10, 1] and np.bincount(held_out.labels).tolist() == [1, 10, 1]
    train, held_out = source.split(23, seed=0)
    assert np.bincount(train.labels).tolist() == [1, 1, 1]
    with pytest.raises(DataError, match="Class 'a' has one image left"):
        source.take(np.arange(1, 24)).split(5, seed=0)


@pytest.mark.parametrize("of_files", [False, True])
def test_autograph_rewrites_nothing(of_files, source, tmp_path, monkeypatch):
    rewritten = []

    def refuse(*of):
        rewritten.append(of)
        raise NotImplementedError  # AutoGraph then takes the function as it is

    monkeypatch.setattr(api, "_convert_actual", refuse)
    if of_files:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
        paths = [str(tmp_path / "a.png")] * 30
        source = FileSource(paths, np.zeros(30, np.int32), ("a",), map(inspect, paths))
    for _ in batches(source, 10, seed=0, crop=random_crop(), size=2, augment=noise).take(4):
        pass
    for _ in in_order(source, 10, protocol("10"), 2):
        pass
    assert rewritten == []
    for _ in tf.data.Dataset.range(1).map(lambda k: k + 1):  # the test can fail
        pass
    assert len(rewritten) == 1
