"""The race to an accuracy: what each side prints, and the table. Nothing here measures a speed."""

import json

import h5py
import numpy as np
import pytest

from benchmarks import time_to_accuracy
from benchmarks.children import Child
from rawcnn.data import datasets
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Source


@pytest.fixture
def few_images(rng, monkeypatch):
    images = rng.integers(0, 256, size=(64, 32, 32, 3), dtype=np.uint8)
    source = Source(images, np.arange(64) % 10, tuple("abcdefghij"))
    monkeypatch.setattr(datasets, "load", lambda *args, **more: DataSet("tiny", source, source, source))


FLAGS = ["--net=cifar_basic", "--data_dir=-", "--precision=float32"]


@pytest.mark.parametrize("side", time_to_accuracy.SIDES)
def test_a_side_says_each_epoch_and_stops_at_the_target(side, few_images, capsys):
    for target, epochs in ((0, 1), (101, 2)):
        time_to_accuracy.main([*FLAGS, "--epochs=2", "--keras_epochs=2", f"--side={side}", f"--target={target}"])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))
        assert all(line["seconds"] > 0 and 0 <= line["accuracy"] <= 100 for line in lines)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2
@pytest.mark.parametrize("side", time_to_accuracy.SIDES)
def test_a_race_that_was_stopped_goes_on(side, few_images, capsys, tmp_path):
    flags = [*FLAGS, f"--side={side}", f"--keep={tmp_path}"]
    time_to_accuracy.main([*flags, "--epochs=1", "--keras_epochs=1", "--target=101"])
    first = capsys.readouterr().out.splitlines()
    time_to_accuracy.main([*flags, "--epochs=2", "--keras_epochs=2", "--target=101"])
    again = capsys.readouterr().out.splitlines()
    assert again[0] == first[0] and [json.loads(line)["epoch"] for line in again] == [1, 2]
    assert json.loads(again[1])["seconds"] > json.loads(again[0])["seconds"]
    # One batch of 64 an epoch: the optimizer counted both, so it went on and did not begin again.
    if side == "keras":
        with h5py.File(tmp_path / side / "2.weights.h5") as file:
            assert file["optimizer/vars/0"][()] == 2
    else:
        assert sorted(path.name for path in (tmp_path / side).glob("*.npz"))[-1] == "ckpt-000000002.npz"
    time_to_accuracy.main([*flags, "--epochs=2", "--keras_epochs=2", "--target=0"])
    assert capsys.readouterr().out.splitlines() == again, "the race was over"


def test_a_race_goes_on_only_where_it_began(tmp_path, monkeypatch):
    time_to_accuracy.check_machine(tmp_path)
    time_to_accuracy.check_machine(tmp_path)
    monkeypatch.setattr(time_to_accuracy, "machine", lambda: {"cpu": "another", "model": "1/2/3", "cores": 64})
    with pytest.raises(SystemExit, match=r"another.*64 cores.*--keep"):
        time_to_accuracy.check_machine(tmp_path)


def test_the_table_says_who_got_there_and_the_file_keeps_every_epoch(monkeypatch, capsys, tmp_path):
    lines = {"rawcnn": [(1, 60.0, 75.0), (2, 120.0, 81.0)], "keras": [(1, 600.0, 40.0), (2, 1200.0, 79.0)]}

    def run_child(command, timeout):
        side = command[-1].removeprefix("--side=")
        said = [json.dumps(dict(zip(("epoch", "seconds", "accuracy"), line, strict=True))) for line in lines[side]]
        return Child(0, "\n".join(["another line", *said]), "", 1.0, 1.0, 0.2 if side == "keras" else 0.01)

    monkeypatch.setattr(time_to_accuracy, "run_child", run_child)
    out = tmp_path / "times.json"
    time_to_accuracy.main(["--data_dir", "-", "--target=80.5", "--epochs=3", f"--keep={tmp_path}", f"--out={out}"])
    table = capsys.readouterr().out.splitlines()[-2:]
    assert table == ["| rawcnn | 2 | 81.00 | 2.0 | 1% |", "| keras | 2 | 79.00 | not in 20.0 | 20% (!) |"]
    race = json.loads(out.read_text())
    assert race["keras"][0] == {"epoch": 1, "seconds": 600.0, "accuracy": 40.0}
    assert race["net"] == "cifar_wide" and race["flags"] == ["--target=80.5", "--epochs=3"]
    assert race["others"] == {"rawcnn": 0.01, "keras": 0.2} and str(tmp_path) not in out.read_text()
    monkeypatch.setattr(time_to_accuracy, "run_child", lambda *_: Child(1, "", "no such file", 1.0, 1.0, 0.0))
    with pytest.raises(SystemExit, match="no such file"):
        time_to_accuracy.main(["--data_dir=-", "--target=80"])
