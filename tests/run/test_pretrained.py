"""A run that begins with the weights of another, or of Keras: what is loaded, frozen, said, kept, and resumed."""

import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.errors import RunError, UsageError
from rawcnn.files.h5 import write_keras
from rawcnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.foreign import KERAS
from rawcnn.nets.weights import load_weights
from rawcnn.run import ending, signals
from rawcnn.run.classify import load_run
from rawcnn.run.record import Record
from rawcnn.run.session import Run
from rawcnn.run.settings import Settings
from rawcnn.train import checkpoints
from tests.command import TRAIN, call, environment, flags_for

NAMES = tuple("0123456789")
SETTINGS = {"epochs": 2, "batch_size": 20, "learning_rate": 0.01, "precision": "float32"}


def build(classes=10, seed=0, filters=8, size=5):
    table = (
        ("conv", row(Conv2D, activation=tf.nn.relu)(filters, size, stride=2)),
        ("norm", row(BatchNorm)()),
        ("pool", row(MaxPool)(2)),
        ("flat", row(Flatten)()),
        ("fc", row(Dense, activation=tf.nn.relu)(12)),
        ("out", row(Dense)(classes)),
    )
    return Chain(table, input_shape=(28, 28, 1), seed=seed)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than these trainings."""
    monkeypatch.setattr(ending, "_drawn", lambda *groups: [])


@pytest.fixture(scope="module")
def source():
    return Source(*drawn_digits(200), NAMES)


@pytest.fixture(scope="module")
def four(source):
    """Digits below four, under names of their own."""
    few = source.take(np.flatnonzero(source.labels < 4))
    return Source(few.images, few.labels, ("zero", "one", "two", "three"))


@pytest.fixture(scope="module")
def first(source, tmp_path_factory):
    """The directory of a run whose weights others begin with."""
    directory = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "_drawn", lambda *groups: [])
        Run(directory, build(), source, **SETTINGS).train()
    return directory


def arrays_of(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def rows_equal(one, other):
    """The rows that have the same numbers in two files of weights, to the bit."""
    rows = dict.fromkeys(name.partition("/")[0] for name in one)
    same = {name for name in one if one[name].tobytes() == other[name].tobytes()}
    return [row for row in rows if all(name in same for name in one if name.startswith(f"{row}/"))]


@pytest.mark.parametrize("given", ["", "weights.npz", "ckpt-000000016.npz"])
def test_rows_that_fit_are_loaded_and_the_others_named(first, four, tmp_path, capsys, given):
    """The run itself, its weights or its last checkpoint: the same begin. Frozen rows end as they began."""
    run = Run(tmp_path / "run", build(4, seed=7), four, weights=first / given, freeze="conv..pool", **SETTINGS)
    run.train()
    said = " ".join(capsys.readouterr().out.split())
    assert "loaded conv, norm, fc; new: out (out/b is (10,), not (4,); out/w is (12, 10), not (12, 4))" in said
    assert "pixels as these weights expect them: 0 ... 255 become 0 ... 1" in said
    assert "frozen: conv, norm, pool, which compute as in testing; 4,768 of 4,992 parameters train" in said
    one, other = (arrays_of(path / "weights.npz") for path in (first, tmp_path / "run"))
    assert rows_equal(one, other) == ["conv", "norm"]
    assert run.session.record.loaded == ("conv", "norm", "fc")
    slots = {name.split("/")[3] for name in arrays_of(tmp_path / "run" / "ckpt-000000006.npz") if "slots" in name}
    assert slots == {"fc", "out"}  # none for what is never trained


def test_as_many_classes_with_other_names_begin_anew(first, source, tmp_path, capsys):
    """The last row fits, but its outputs mean something else."""
    other = Source(source.images, source.labels, tuple("abcdefghij"))
    for data, names, rows in ((source, "same", 4), (other, "other", 3)):
        run = Run(tmp_path / names, build(seed=7), data, weights=first, **SETTINGS | {"epochs": 1})
        run.train()
        assert len(run.session.record.loaded) == rows
    said = " ".join(capsys.readouterr().out.split())
    assert "loaded 4 rows, conv ... out pixels as" in said and "new: out (its classes there are 0, 1, 2, ...)" in said
    ready = run.session.ready
    assert ready.pretrained.rows == ("conv", "norm", "fc") and load_run(tmp_path / "other", net=build).net is not None


def test_loaded_rows_learn_more_slowly(first, four, tmp_path, capsys):
    """A billionth of the rate leaves them where they were, and the new row learns."""
    settings = SETTINGS | {"optimizer": "sgd", "average": 0.0}
    run = Run(tmp_path / "run", build(4), four, weights=first, loaded_rate_factor=1e-9, **settings)
    run.train()
    one, other = (arrays_of(path / "weights.npz") for path in (first, tmp_path / "run"))
    for name in ("conv/w", "norm/gamma", "fc/w"):
        np.testing.assert_allclose(other[name], one[name], atol=1e-6)
    assert np.abs(other["out/w"] - build(4).out.w).max() > 1e-3
    assert "rows that were loaded learn at 1e-09 times the learning rate" in " ".join(capsys.readouterr().out.split())


def test_a_run_that_is_still_written_gives_its_newest_checkpoint(source, four, tmp_path, monkeypatch, capsys):
    def stop():
        raise signals.Stopped(2)

    monkeypatch.setattr(signals, "check", stop)
    with pytest.raises(signals.Stopped):
        Run(tmp_path / "early", build(), source, **SETTINGS).train()
    monkeypatch.setattr(signals, "check", lambda: None)
    assert not (tmp_path / "early" / "weights.npz").exists()
    Run(tmp_path / "run", build(4), four, weights=tmp_path / "early", **SETTINGS).train()
    said = " ".join(capsys.readouterr().out.split())
    assert f"weights of {tmp_path / 'early'} after 1 updates: loaded conv, norm, fc" in said


LATER = SETTINGS | {"freeze": "conv..norm", "unfreeze_after": 1, "loaded_rate_factor": 0.5, "save_every": 2}


def test_a_stopped_one_resumes_to_the_same_bits_without_the_file(first, four, tmp_path, monkeypatch):
    """Stopped with frozen rows and again after they began to train. What it began with is in its checkpoints."""
    Run(tmp_path / "whole", build(4), four, weights=first, **LATER).train()
    shutil.copytree(first, tmp_path / "copy")
    began = {"weights": tmp_path / "copy", **LATER}
    for step in (2, 4):
        run = Run(tmp_path / "cut", build(4, seed=step - 2), four, **began)

        def stop(run=run, step=step):
            if int(run.session.state.step) >= step:
                raise signals.Stopped(2)

        monkeypatch.setattr(signals, "check", stop)
        with pytest.raises(signals.Stopped):
            run.train()
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        began = {"resume": True}
    monkeypatch.setattr(signals, "check", lambda: None)
    run = Run(tmp_path / "cut", build(4), four, resume=True)
    run.train()
    assert run.session.ready.pretrained.rows == ("conv", "norm", "fc")
    one, other = ((tmp_path / name / "weights.npz").read_bytes() for name in ("whole", "cut"))
    assert one == other


CONV = row(Conv2D, activation=tf.nn.relu)
SMALL_VGG = (
    ("conv1_1", CONV(4, 3)), ("pool1", row(MaxPool)(2)), ("conv2_1", CONV(5, 3)),
    ("pool2", row(MaxPool)(2)), ("flat", row(Flatten)()), ("logits", row(Dense)(3)),
)  # fmt: skip


def test_weights_of_keras_bring_their_pixels(rng, tmp_path, capsys):
    """Blue, green, red less the means: filters are turned, and the run, its record and its classifier follow."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    theirs = Chain(SMALL_VGG, input_shape=(8, 8, 3), seed=5)
    layers = {keras_name: {"kernel": getattr(theirs, name).w.numpy(), "bias": getattr(theirs, name).b.numpy()}
              for keras_name, name in KERAS.items() if name in ("conv1_1", "conv2_1")}  # fmt: skip
    write_keras(tmp_path / "vgg.h5", layers)
    images = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    data = Source(images, np.arange(30) % 3, ("a", "b", "c"))
    ours = Chain(SMALL_VGG, input_shape=(8, 8, 3))
    Run(tmp_path / "run", ours, data, weights=tmp_path / "vgg.h5", freeze="conv1_1..pool2", **SETTINGS).train()
    said = " ".join(capsys.readouterr().out.split())
    assert "loaded conv1_1, conv2_1; new: logits" in said and "conv1_1/w is turned from BGR to RGB" in said
    assert "pixels as these weights expect them: red, green, blue, less 123.7, 116.8, 103.9" in said
    np.testing.assert_array_equal(ours.conv1_1.w, theirs.conv1_1.w.numpy()[:, :, ::-1])
    wanted = keras.applications.vgg16.preprocess_input(images.astype(np.float32))
    classifier = load_run(tmp_path / "run", net=Chain(SMALL_VGG, input_shape=(8, 8, 3)))
    np.testing.assert_allclose(classifier.inputs.preprocess(images)[..., ::-1], wanted, atol=1e-3)
    maps = theirs.endpoints(wanted, until="pool2")[0]  # their filters on their pixels
    np.testing.assert_allclose(ours.endpoints(classifier.inputs.preprocess(images), until="pool2")[0], maps, rtol=1e-3,
                               atol=1e-3)  # fmt: skip
    with_net = Chain(SMALL_VGG, input_shape=(8, 8, 3))
    load_weights(with_net, tmp_path / "vgg.h5", partial=True)
    Run(tmp_path / "loaded before", with_net, data, **SETTINGS | {"epochs": 1}).train()
    record = Record.of(checkpoints.newest(tmp_path / "loaded before"))
    assert record.inputs.preprocess == classifier.inputs.preprocess and record.loaded == ()


def test_a_file_that_does_not_tell_its_pixels_says_so(first, four, tmp_path, capsys):
    """Weights alone, and those of a run whose checkpoints cannot be read."""
    shutil.copy(first / "weights.npz", tmp_path)
    (tmp_path / "ckpt-000000001.npz").write_text("damaged")
    Run(tmp_path / "run", build(4), four, weights=tmp_path / "weights.npz", **SETTINGS | {"epochs": 1}).train()
    said = " ".join(capsys.readouterr().out.split())
    assert "which pixels they expect is not known: they get those of the recipe" in said


def test_mistakes_are_one_sentence_before_work_starts(first, four, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.npz").write_text("<html>")
    for settings, error, message in (
        ({"weights": first.with_name("frist")}, RunError, r"The weights .*frist do not exist. Did you mean 'first'\?"),
        ({"weights": tmp_path / "empty"}, RunError, "holds neither a checkpoint of rawcnn nor weights.npz"),
        ({"weights": tmp_path / "page.npz"}, RunError, "page.npz cannot be read as weights: it is a web page"),
        ({"freeze": "conv..pools"}, UsageError, r"freeze=conv..pools: There is no row 'pools'. Did you mean 'pool'\?"),
        ({"freeze": "conv..out"}, UsageError, r"freeze=conv..out leaves no row to train"),
        ({"unfreeze_after": 1}, UsageError, "unfreeze_after needs freeze: the rows that are trained later"),
        ({"loaded_rate_factor": 0.1}, UsageError, "loaded_rate_factor needs weights"),
        ({"weights": first, "loaded_rate_factor": 10.0}, UsageError, r"loaded_rate_factor must be in 1e-09 ... 1"),
    ):
        with pytest.raises(error, match=message):
            Run(tmp_path / "run", build(4), four, **settings).train()
        assert not (tmp_path / "run").exists()
    with pytest.raises(
        RunError, match=r"of another net: they do not fit its first row, conv \(conv/w is \(5, 5, 1, 8\)"
    ):
        Run(tmp_path / "run", build(4, size=3), four, weights=first).train()
    with pytest.raises(RunError, match=r"does not fit this net: conv/b is \(8,\), not \(9,\).*No row fits"):
        Run(tmp_path / "run", build(4, filters=9), four, weights=first).train()
    with pytest.raises(UsageError, match="--freeze was None and is now conv"):
        Run(shutil.copytree(first, tmp_path / "twin"), build(), four, resume=True, freeze="conv").train()


def test_weights_are_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings(weights="runs/a").weights == str(tmp_path / "runs/a")


@pytest.mark.slow
def test_a_killed_command_resumes_to_the_same_bits(whole, home, digits):
    """SIGKILL while it trains, in the flags' own words."""
    flags = (f"--weights={whole[0]}", "--freeze=c1..s4", "--unfreeze_after=1", "--save_every=5", "--seed=3")
    call(TRAIN, *flags_for(home / "later", digits, *flags), home=home)
    run = home / "killed"
    command = [sys.executable, str(TRAIN), *flags_for(run, digits, *flags)]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(int(path.stem[5:]) >= 65 for path in run.glob("ckpt-*.npz")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    call(TRAIN, f"--run={run}", "--resume", home=home)
    assert (run / "weights.npz").read_bytes() == (home / "later" / "weights.npz").read_bytes()
    assert named_variables(load_run(run).net)["c1/w"].shape == (5, 5, 1, 6)
