"""The Python of how-to pages runs as printed, on a few synthetic images."""

import re
import shutil

import numpy as np
import pytest

import rawcnn as rc
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.run import ending
from tests.command import ROOT

pytestmark = pytest.mark.slow


def programs(page):
    text = (ROOT / "docs/howto" / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    return [compile(program, f"{page}.md", "exec") for program in found]


def run(page, **given):
    for program in programs(page):
        exec(program, given)
    return given


@pytest.fixture
def colour(rng):
    """What the pages call net, train, validation and test: three classes of small colour images."""
    images, labels = rng.integers(0, 256, (120, 16, 16, 3), np.uint8), np.arange(120) % 3
    train, test = rc.Source(images, labels, ("cat", "dog", "lynx")).split(40)
    conv = rc.row(rc.Conv2D)
    table = (("conv1", conv(4, 3)), ("flat", rc.row(rc.Flatten)()), ("logits", rc.row(rc.Dense)(3)))
    return {"net": rc.Chain(table, input_shape=(16, 16, 3)), "train": train, "validation": test, "test": test}


@pytest.fixture
def there(whole, tmp_path, monkeypatch):
    """A directory with a run where the pages have theirs, and images for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole[0], tmp_path / "runs" / "lenet5-mnist-1")
    return drawn_digits(20)


def test_find_settings(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ending, "_drawn", lambda *groups: [])  # pictures take longer than these trainings
    images, labels = drawn_digits(200)
    accuracies = run("find-settings", images=images, labels=labels)["accuracies"]
    assert len(accuracies) == 5 and 0 <= float(capsys.readouterr().out.splitlines()[-1]) <= 1


@pytest.mark.parametrize(("page", "words"), [("imbalance", "epoch 5/5"), ("augment", "(20, 16, 16, 3)")])
def test_pages_about_training(page, words, colour, capsys):
    run(page, **colour)
    assert words in capsys.readouterr().out


def test_classify(there):
    images, labels = there
    given = run("classify", images=images, test=rc.Source(images, labels, tuple("0123456789")))
    assert given["probabilities"].shape == (20, 10) and given["judged"].probabilities.shape == (20, 10)


def test_export(there):
    for module in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(module, reason="the page shows all three formats")
    rc.export("runs/lenet5-mnist-1", "runs/lenet5-mnist-1/saved_model")
    rc.export("runs/lenet5-mnist-1", "digits.tflite", format="tflite")
    given = run("export", images=there[0])
    assert given["class_names"] == list("0123456789") and given["probabilities"].shape == (20, 10)


def test_report(colour, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, train = colour["net"], colour["train"]
    with monkeypatch.context() as patch:
        patch.setattr(ending, "_drawn", lambda *groups: [])
        rc.Run("runs/own-1", net, train, epochs=1, batch_size=20).train()
    images = train.images[:3] / np.float32(255)
    given = run("report", net=net, build=lambda: net, images=images, classes=[0, 1, 2])
    assert (tmp_path / "runs/own-1/report.html").is_file() and (tmp_path / "maps.png").is_file()
    assert given["heat"].shape == (3, 16, 16) and set(given["maps"]) == {"conv1", "flat", "logits"}
