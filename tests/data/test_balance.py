"""Weights of classes by scikit-learn's formula, files of them, and epochs in which classes occur equally often."""

import numpy as np
import pytest

from rawcnn.data.balance import balanced_weights, class_weights
from rawcnn.data.batches import balanced_permutation, batch_indices, batches
from rawcnn.data.source import Source
from rawcnn.errors import UsageError

COUNTS = (40, 7, 3)


@pytest.fixture
def source():
    """50 images that carry their own number; three classes of 40, 7 and 3, not in order."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(3), COUNTS))
    images = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    return Source(images, labels, ("common", "rare bird", "rarest"))


def test_balanced_weights_are_scikit_learns(source):
    """n_samples / (n_classes * np.bincount(y)), written out; every class then weighs the same in all."""
    expected = [50 / (3 * (source.labels == k).sum()) for k in range(3)]
    got = balanced_weights(source.labels, 3)
    np.testing.assert_allclose(got, expected)
    np.testing.assert_allclose(got * COUNTS, 50 / 3)
    assert class_weights("balanced", source) == tuple(got.tolist())


@pytest.mark.parametrize(
    "text",
    ["1\n2.5\n0\n", "rarest 0\ncommon\t1\n\nrare bird  2.5\n"],
    ids=["in order", "by name"],
)
def test_files_of_weights(source, text, tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text(text)
    assert class_weights(str(path), source) == (1.0, 2.5, 0.0)


def test_sequences_arrays_and_mappings(source):
    for given in ((1, 2.5, 0), np.array([1, 2.5, 0]), {"rarest": 0, "common": 1, "rare bird": 2.5}):
        assert class_weights(given, source) == (1.0, 2.5, 0.0)
    digits = Source(np.zeros((2, 2, 2, 1)), [0, 1])
    assert class_weights({0: 1, 1: 50}, digits) == (1.0, 50.0)  # as Keras is given them


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "has 2 weights, but there are 3 classes: give one for each, in the order common, rare bird, rarest"),
        ("common 1\nrare brid 2\nrarest 3", "weight for 'rare brid', which is not a class. Did you mean 'rare bird'?"),
        ("common 1\nrarest 3", "has no weight for rare bird: give one"),
        ("common 1\ncommon 2\nrarest 3", "Line 2 of .* names 'common' again"),
        ("common 1\n2\nrarest 3", "Line 2 of .* has no name"),
        ("common 1\nrare bird x\nrarest 3", "Line 2 of .* ends in 'x', which is not a number"),
        ("1\n-2\n3", "gives 'rare bird' the weight -2.0: weights are numbers, 0 or more"),
        ("1\nnan\n3", "gives 'rare bird' the weight nan"),
        ("0\n0\n0", "gives every class the weight 0"),
        ("", "has 0 weights"),
    ],
)
def test_bad_files_get_one_sentence(source, text, message, tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        class_weights(str(path), source)


def test_files_that_cannot_be_read_and_classes_without_images(source, tmp_path):
    with pytest.raises(UsageError, match=r"none.txt cannot be read \(No such file or directory\): give 'balanced', or"):
        class_weights(str(tmp_path / "none.txt"), source)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not text in UTF-8"):
        class_weights(str(tmp_path / "bytes"), source)
    with pytest.raises(UsageError, match="there is no training image of rarest: add some"):
        class_weights("balanced", source.take(np.flatnonzero(source.labels != 2)))
    with pytest.raises(UsageError, match="the weight 'x': weights are numbers"):
        class_weights({"common": 1, "rare bird": "x", "rarest": 1}, source)


def test_in_a_balanced_epoch_every_class_occurs_equally_often(source):
    labels, used = source.labels, 48
    orders = [balanced_permutation(labels, used, seed=4, epoch=e).numpy() for e in range(4)]
    for order in orders:
        assert order.dtype == np.int32
        np.testing.assert_array_equal(np.bincount(labels[order]), [16, 16, 16])
        times = np.bincount(order, minlength=50)
        for k, count in enumerate(COUNTS):  # within a class no image occurs twice more often than another
            assert set(times[labels == k]) <= {16 // count, -(-16 // count)}
    assert len({order.tobytes() for order in orders}) == 4
    assert len(set(np.concatenate(orders)[np.isin(np.concatenate(orders), np.flatnonzero(labels == 0))])) > 30
    uneven = np.concatenate([balanced_permutation(labels, 50, seed=4, epoch=e).numpy() for e in range(3)])
    np.testing.assert_array_equal(np.bincount(labels[uneven]), [50, 50, 50])  # 16 or 17 in each epoch


def test_balanced_batches_are_functions_of_their_number(source):
    def numbers(batch):
        return batch[0].numpy()[:, 0, 0, 0].tolist()

    whole = [numbers(b) for b, _ in zip(batches(source, 8, seed=2, balanced=True), range(13), strict=False)]
    for start in (1, 6, 7, 12):  # 6 batches an epoch
        assert numbers(next(iter(batches(source, 8, seed=2, balanced=True, start=start)))) == whole[start]
        assert batch_indices(source, 8, seed=2, number=start, balanced=True).tolist() == whole[start]
    first = np.concatenate(whole[:6])
    np.testing.assert_array_equal(np.bincount(source.labels[first]), [16, 16, 16])
    assert whole != [numbers(b) for b, _ in zip(batches(source, 8, seed=3, balanced=True), range(13), strict=False)]
