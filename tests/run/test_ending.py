"""What a run says of itself at its end, and later: which weights its test is of, and how long all of it took."""

from dataclasses import replace

import pytest

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import RunError
from rawcnn.run.ending import weights_in_words
from rawcnn.run.record import DataFacts, Epoch, Record, Sums, origin_of
from rawcnn.run.settings import Settings
from rawcnn.train.checkpoints import Checkpoint
from rawcnn.train.inputs import Inputs


def epoch(number, accuracy):
    return Epoch(number, 10 * number, 0.5, 0.8, 0.4, accuracy, 0.01, 2.0, 100.0)


def record(*accuracies, **settings):
    history = tuple(epoch(number, accuracy) for number, accuracy in enumerate(accuracies, 1))
    best = max(history, key=lambda row: row.val_accuracy, default=None)
    inputs = Inputs(28, Preprocess(), 1.0, (28, 28, 1))
    facts = DataFacts("drawn", 100, tuple("01"), 0)
    return Record(Settings(**{"epochs": 3, "average": 0.0} | settings), facts, inputs, (28, 28, 1), 1,
                  history=history, best=best)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "words", "tested"),
    [
        (record(), "the initial weights", None),
        (record(0.5), "the weights of epoch 1, the last so far of 3", 1),
        (record(0.5, 0.9, 0.7), "the weights of epoch 3, the last", 3),
        (record(0.5, 0.9, 0.7, average=0.99), "the averaged weights of epoch 3, the last", 3),
        (record(0.5, 0.9, 0.7, 0.6, epochs=9, patience=2), "the weights of epoch 2, the best", 2),
        (replace(record(0.5), sums=Sums(1.0, 3, 0.4)), "the weights in the middle of epoch 2", 1),
    ],
)
def test_which_weights_are_tested(one, words, tested):
    assert weights_in_words(one) == words
    assert (one.tested and one.tested.epoch) == tested


def test_what_wrote_a_checkpoint_is_read_strictly(tmp_path):
    meta = {"versions": {"rawcnn": "0.1.0"}, "machine": "a machine"}
    assert origin_of(Checkpoint(tmp_path / "c.npz", 0, {}, meta)) == ({"rawcnn": "0.1.0"}, "a machine")
    for wrong in ({}, meta | {"versions": None}, meta | {"machine": 3}):
        with pytest.raises(RunError, match=r"c\.npz holds a damaged record: delete it"):
            origin_of(Checkpoint(tmp_path / "c.npz", 0, {}, wrong))
