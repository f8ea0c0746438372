"""Exports: what other programs read gives the run's probabilities, and what is wrong is said before work starts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import RunError, UsageError
from rawcnn.nets import NETS, input_shape
from rawcnn.nets.inference import frozen
from rawcnn.run import export as exporting
from rawcnn.run.classify import Classifier, load_run
from rawcnn.run.directory import RunDir
from rawcnn.run.export import export
from rawcnn.run.export_command import command
from rawcnn.train.inputs import Inputs
from tests.command import ROOT, environment
from tests.nets.test_export import SMALL

CLASSES = ("고양이", 'a "b"', *"cdefghij")


def classifier(name, *, data=None, side=None, **inputs):
    """A new net, asked about images of `data` (H, W)."""
    channels = input_shape(name)[2]
    side = side or SMALL.get(name, 32)
    net = NETS[name]((side, side, channels), len(CLASSES), seed=3)
    pad = 2 if name == "lenet5" else 0
    data = data or (side - 2 * pad,) * 2
    inputs = {"central_fraction": 1.0, "preprocess": Preprocess(pad=pad, low=-1.0, high=1.0)} | inputs
    return Classifier(net, Inputs(side - 2 * pad, data_shape=(*data, channels), **inputs), CLASSES)


TINY = {
    "padded": lambda: classifier("lenet5"),
    "whitening and batch norm": lambda: classifier("cifar_fast"),
    "a central view": lambda: classifier("cifar_basic", data=(40, 48), central_fraction=0.875),
    "scaled": lambda: classifier("cifar_basic", data=(24, 24), preprocess=Preprocess(resize=32)),
    "image files": lambda: classifier("cifar_basic", data=(None, None), central_fraction=0.875),
}


def saved_model(path):
    with open(path / "assets.extra" / "metadata.json", encoding="utf-8") as file:
        about = json.load(file)
    ask = tf.saved_model.load(path).signatures["serving_default"]
    return about["class_names"], lambda images: ask(images=tf.constant(images))["probabilities"].numpy()


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    return names, lambda images: session.run(["probabilities"], {"images": images})[0]


def tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    with open(f"{path}.json", encoding="utf-8") as file:
        about = json.load(file)
    run = Interpreter(str(path)).get_signature_runner()
    return about["class_names"], lambda images: run(images=images)["probabilities"]


READERS = {"saved_model": saved_model, "onnx": onnx, "tflite": tflite}
NEEDS = {"saved_model": (), "onnx": ("tf2onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}


@pytest.fixture(params=READERS)
def format(request):
    for module in NEEDS[request.param]:
        pytest.importorskip(module, reason=f'{module} is in the extra "{request.param}"')
    return request.param


def assert_exported(one, format, path, rng):
    done = export(one, path, format=format)
    assert done.path == path and done.largest_difference <= 1e-5 and done.agreeing == done.images
    names, ask = READERS[format](path)
    assert tuple(names) == CLASSES
    for count in (1, 7):
        images = rng.integers(0, 256, (count, *one.image_shape), np.uint8)
        np.testing.assert_allclose(ask(images), one.probabilities(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", TINY)
def test_an_export_gives_the_runs_probabilities(kind, format, rng, tmp_path):
    assert_exported(TINY[kind](), format, tmp_path / "net", rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_net_is_exported(name, format, rng, tmp_path):
    assert_exported(classifier(name), format, tmp_path / "net", rng)


def test_nothing_is_left_where_answers_differ(format, tmp_path, monkeypatch):
    one = TINY["padded"]()
    monkeypatch.setattr(exporting, "fold_batch_norm", lambda net: NETS["lenet5"](seed=4))
    with pytest.raises(RunError, match=r"answers are not those of the run: checked on .* largest difference"):
        export(one, tmp_path / "net", format=format)
    assert os.listdir(tmp_path) == []


def test_nothing_is_left_where_a_net_cannot_be_converted(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason='ai_edge_litert is in the extra "tflite"')
    one = TINY["padded"]()
    stranger = frozen(one.net)
    object.__setattr__(stranger, "endpoints", lambda x, training: (tf.linalg.svd(x[..., 0])[0][:, 0, :10], {}))
    monkeypatch.setattr(exporting, "fold_batch_norm", lambda net: stranger)
    with pytest.raises(RunError, match="cannot be exported as tflite"):
        export(one, tmp_path / "net", format="tflite")
    assert os.listdir(tmp_path) == []


def test_given_images_are_checked_on(rng, tmp_path):
    done = export(TINY["padded"](), tmp_path / "net", images=rng.integers(0, 256, (5, 28, 28), np.uint8))
    assert str(done).startswith("checked on 5 given images: largest difference of probabilities ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "onxx"}, "no format 'onxx'. Did you mean 'onnx'"),
        ({"path": "there"}, "there exists already: choose another --out"),
        ({"path": "no/such/net"}, "no/such is not a directory"),
        ({"run": "nothing"}, "nothing does not exist"),
        ({"run": "."}, "holds no checkpoint of rawcnn"),
    ],
)
def test_what_is_wrong_is_said_first(wrong, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    given = {"run": "run", "path": "net", "format": "saved_model"} | wrong
    with pytest.raises((UsageError, RunError), match=message):
        export(given.pop("run"), given.pop("path"), **given)
    assert (tmp_path / "there").read_text() == "mine"


def test_a_run_that_is_being_written_is_refused(tmp_path):
    with RunDir(tmp_path / "run"), pytest.raises(RunError, match=f"written by process {os.getpid()}: wait for its end"):
        export(tmp_path / "run", tmp_path / "net")


def test_a_run_that_has_no_checkpoint_yet_is_not_called_empty(tmp_path):
    """Its process is still loading the data. Files with a similar name are not runs."""
    (tmp_path / "run.log").write_text("")
    with RunDir(tmp_path / "run"):
        for work in (lambda: load_run(tmp_path / "run"), lambda: RunDir(tmp_path / "run", resume=True)):
            with pytest.raises(RunError, match=f"written by process {os.getpid()}: wait for its end"):
                work()
    with pytest.raises(RunError, match=r"run does not exist\. Train a net"):
        load_run(tmp_path / "run")


def test_the_command_names_a_run_that_does_not_exist(tmp_path):
    with pytest.raises(RunError, match="nowhere does not exist"):
        command(["rawcnn export", f"--run={tmp_path / 'nowhere'}"])


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    for format, module in (("onnx", "tf2onnx"), ("tflite", "ai_edge_litert.interpreter")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=rf'pip install "rawcnn\[{format}\]"'):
            export(TINY["padded"](), tmp_path / "net", format=format)


def test_the_command_exports_a_run(whole, home):
    run, _ = whole
    line = [sys.executable, "-m", "rawcnn", "export", f"--run={run}", f"--out={home / 'exported'}"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(home), cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "checked on 200 test images: largest difference of probabilities" in done.stdout
    assert "answers agree on 200 of 200" in done.stdout
    names, _ = saved_model(home / "exported")
    assert names == list("0123456789")
    again = subprocess.run(line, capture_output=True, text=True, env=environment(home), cwd=ROOT, timeout=240)
    assert again.returncode == 2 and "exists already" in again.stderr


def test_overwriting_a_run_deletes_its_exports_and_nothing_of_others(tmp_path):
    run, made = tmp_path / "run", tmp_path / "run" / "saved_model"
    with RunDir(run):
        (run / "history.jsonl").write_text("{}\n")
    tf.saved_model.save(tf.train.Checkpoint(v=tf.Variable(1.0)), made)
    (made / "assets.extra").mkdir()
    (made / "assets.extra" / "metadata.json").write_text("{}")
    (run / "mine").mkdir()
    exports = ("model.onnx", "model.tflite", "model.tflite.json")
    for name in (*exports, "mine/model.onnx", "mine.onnx"):
        (run / name).write_bytes(b"x")
    with RunDir(run, overwrite=True):
        assert {path.name for path in run.iterdir()} == {"mine", "mine.onnx", "run.lock"}
        assert (run / "mine/model.onnx").exists()
    made.mkdir()
    (made / "notes.txt").write_text("mine")
    (run / "history.jsonl").write_text("{}\n")
    with RunDir(run, overwrite=True):
        assert (made / "notes.txt").exists()
