"""The film of a run: what is kept of each epoch, how much of it, and after kills and faults."""

import json

import numpy as np
import pytest

import rawcnn as rc
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.run import ending, film
from rawcnn.run.directory import RunDir
from rawcnn.run.film import Frame
from tests.command import history_of


def table():
    return (
        ("c1", rc.row(rc.Conv2D)(3, 5)), ("p1", rc.row(rc.MaxPool)(4)), ("flat", rc.row(rc.Flatten)()),
        ("out", rc.row(rc.Dense)(10)),
    )  # fmt: skip


def trained(path, **more):
    images, labels = drawn_digits(150)
    source = rc.Source(images, labels, tuple("0123456789"))
    told = {"batch_size": 20, "validation": 0.2, "schedule": "constant", "learning_rate": 0.01} | more
    run = rc.Run(path, rc.Chain(table(), input_shape=(28, 28, 1)), source, **told)
    return run.train()


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "_drawn", lambda *groups: [])
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("film") / "whole", epochs=3)


def test_each_epoch_has_its_filters_and_its_confusion(whole):
    frames = film.read_frames(whole.directory, 3)
    assert [frame.epoch for frame in frames] == [0, 1, 2, 3]
    assert frames[0].confusion is None  # of the net before training
    for frame, row in zip(frames[1:], whole.history, strict=True):
        assert np.trace(frame.confusion) / frame.confusion.sum() == pytest.approx(row.val_accuracy)
    last = np.load(whole.directory / "weights.npz")["c1/w"]
    np.testing.assert_array_equal(frames[-1].filters, last.astype(np.float16).astype(np.float32))
    assert not np.array_equal(frames[0].filters, frames[1].filters)
    assert film.resumed_epochs(whole.directory) == []
    assert sum(path.stat().st_size for path in (whole.directory / "film").iterdir()) < 10_000


def test_a_resumed_run_has_the_same_film_and_says_where_it_was_resumed(whole, tmp_path):
    """The mark is not in the history, which is that of the undisturbed run."""
    trained(tmp_path / "run", epochs=2)
    trained(tmp_path / "run", epochs=3, resume=True)
    assert history_of(tmp_path / "run") == history_of(whole.directory)
    for path in (whole.directory / "film").iterdir():
        assert (tmp_path / "run" / "film" / path.name).read_bytes() == path.read_bytes(), path.name
    assert film.resumed_epochs(tmp_path / "run") == [3]
    trained(tmp_path / "run", epochs=3, resume=True)  # nothing is left to train
    assert film.resumed_epochs(tmp_path / "run") == [3]


def test_marks_of_a_part_that_is_repeated_are_dropped(tmp_path):
    for epoch, step in ((2, 12), (4, 30), (3, 25), (3, 25)):
        film.mark_resumed(tmp_path, epoch, step)
    assert film.resumed_epochs(tmp_path) == [2, 3]
    lines = (tmp_path / "film" / "resumed.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [12, 25]


def test_a_long_film_is_thinned_evenly(tmp_path):
    filters = np.ones((1, 1, 1, 1), np.float32)
    for epoch in range(131):
        film.write_frame(tmp_path, Frame(epoch, filters, None))
        if epoch in (60, 61, 120, 121, 130):
            kept = [frame.epoch for frame in film.read_frames(tmp_path, epoch)]
            step = {60: 1, 61: 2, 120: 2}.get(epoch, 4)
            assert kept == sorted({*range(0, epoch, step), epoch}) and len(kept) <= film.MOST_FRAMES + 2


def test_what_is_too_large_is_not_kept():
    net = rc.Chain((("c1", rc.row(rc.Conv2D)(2, 3)), ("flat", rc.row(rc.Flatten)())), input_shape=(4, 4, 1))
    assert film.frame_of(1, net, np.zeros((201, 201), int)).confusion is None
    assert film.frame_of(1, net, np.zeros((200, 200), int)).confusion is not None
    wide = rc.Chain((("c1", rc.row(rc.Conv2D)(600, 7)), ("flat", rc.row(rc.Flatten)())), input_shape=(4, 4, 9))
    assert film.frame_of(1, wide).filters is None
    flat = rc.Chain((("flat", rc.row(rc.Flatten)()), ("out", rc.row(rc.Dense)(2))), input_shape=(4, 4, 1))
    assert film.frame_of(1, flat).filters is None


def test_a_damaged_frame_is_left_out_and_named(tmp_path):
    for epoch in range(5):
        film.write_frame(tmp_path, Frame(epoch, np.ones((3, 3, 1, 2), np.float32), np.eye(2, dtype=int)))
    (tmp_path / "film" / "epoch-0001.npz").write_bytes(b"no archive")
    whole = (tmp_path / "film" / "epoch-0002.npz").read_bytes()
    (tmp_path / "film" / "epoch-0002.npz").write_bytes(whole[: len(whole) // 2])
    with open(tmp_path / "film" / "epoch-0003.npz", "wb") as file:
        np.savez(file, filters=np.full((1, 1, 1, 1), np.nan, np.float16), confusion=np.zeros((2, 3), np.int32))
    (tmp_path / "film" / "resumed.jsonl").write_text("[3]\n")
    said = []
    assert [frame.epoch for frame in film.read_frames(tmp_path, 3, said.append)] == [0]
    assert [line.split(":")[0] for line in said] == [f"the film lacks epoch {epoch}" for epoch in (1, 2, 3)]
    assert film.resumed_epochs(tmp_path) == []


def test_a_full_disk_costs_the_film_and_not_the_run(tmp_path, capsys):
    (tmp_path / "film").write_text("a file, where the folder should be")
    film.write_frame(tmp_path, Frame(1, np.ones((1, 1, 1, 1), np.float32), None))
    film.mark_resumed(tmp_path, 1, 1)
    said = capsys.readouterr().err
    assert "lacks epoch 1" in said and "it is not noted that the run was resumed" in said


def test_overwriting_a_run_deletes_its_film(tmp_path):
    with RunDir(tmp_path / "run"):
        film.write_frame(tmp_path / "run", Frame(7, np.ones((1, 1, 1, 1), np.float32), None))
        film.mark_resumed(tmp_path / "run", 7, 70)
        (tmp_path / "run" / "film" / "epoch-0008.npz.1-2.tmp").write_bytes(b"")
    with RunDir(tmp_path / "run", overwrite=True):
        assert list((tmp_path / "run" / "film").iterdir()) == []
