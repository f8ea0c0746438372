"""The race to an accuracy: what each side prints, and the table. Nothing here measures a speed."""

import json

import numpy as np
import pytest

from benchmarks import time_to_accuracy
from benchmarks.children import Child
from rawcnn.data import datasets
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Source


@pytest.mark.parametrize("side", time_to_accuracy.SIDES)
def test_a_side_says_each_epoch_and_stops_at_the_target(side, rng, monkeypatch, capsys):
    images = rng.integers(0, 256, size=(64, 32, 32, 3), dtype=np.uint8)
    source = Source(images, np.arange(64) % 10, tuple("abcdefghij"))
    monkeypatch.setattr(datasets, "load", lambda *args, **more: DataSet("tiny", source, source, source))
    flags = ["--net=cifar_basic", "--data_dir=-", "--epochs=2", "--precision=float32", f"--side={side}"]
    for target, epochs in ((0, 1), (101, 2)):
        time_to_accuracy.main([*flags, f"--target={target}"])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["epoch"] for line in lines] == list(range(1, epochs + 1))
        assert all(line["seconds"] > 0 and 0 <= line["accuracy"] <= 100 for line in lines)


def test_the_table_says_who_got_there_and_the_file_keeps_every_epoch(monkeypatch, capsys, tmp_path):
    lines = {"rawcnn": [(1, 60.0, 75.0), (2, 120.0, 81.0)], "keras": [(1, 600.0, 40.0), (2, 1200.0, 79.0)]}

    def run_child(command, timeout):
        side = command[-1].removeprefix("--side=")
        said = [json.dumps(dict(zip(("epoch", "seconds", "accuracy"), line, strict=True))) for line in lines[side]]
        return Child(0, "\n".join(["another line", *said]), "", 1.0, 1.0, 0.2 if side == "keras" else 0.01)

    monkeypatch.setattr(time_to_accuracy, "run_child", run_child)
    out = tmp_path / "times.json"
    time_to_accuracy.main(["--data_dir=-", "--target=80", f"--out={out}"])
    table = capsys.readouterr().out.splitlines()[-2:]
    assert table == ["| rawcnn | 2 | 81.00 | 2.0 | 1% |", "| keras | 2 | 79.00 | not in 20.0 | 20% (!) |"]
    assert json.loads(out.read_text())["keras"][0] == {"epoch": 1, "seconds": 600.0, "accuracy": 40.0}
    monkeypatch.setattr(time_to_accuracy, "run_child", lambda *_: Child(1, "", "no such file", 1.0, 1.0, 0.0))
    with pytest.raises(SystemExit, match="no such file"):
        time_to_accuracy.main(["--data_dir=-", "--target=80"])
