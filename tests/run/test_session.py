"""A run in Python: nets and data of one's own, resumed and read again; what a checkpoint remembers of it."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.errors import DataError, RunError, UsageError
from rawcnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS, register_net
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32
from rawcnn.run import ending, signals
from rawcnn.run.classify import load_run
from rawcnn.run.command import COMMANDS
from rawcnn.run.record import Record
from rawcnn.run.session import Run
from rawcnn.train import checkpoints
from rawcnn.train.recipes import recipe_of

NAMES = tuple("0123456789")


def build(seed=0, classes=10):
    conv = row(Conv2D, activation=tf.nn.relu)
    table = (("conv", conv(8, 5)), ("pool", row(MaxPool)(4)), ("flat", row(Flatten)()), ("out", row(Dense)(classes)))
    return Chain(table, input_shape=(28, 28, 1), seed=seed)


@pytest.fixture(scope="module")
def source():
    images, labels = drawn_digits(400)
    return Source(images, labels, NAMES)


@pytest.fixture(autouse=True)
def few_pictures(request, monkeypatch):
    """Pictures take longer than these trainings: they are drawn where the test is about them."""
    if not any(word in request.node.name for word in ("leaves", "stopped", "names", "pictures")):
        monkeypatch.setattr(ending, "_drawn", lambda *groups: [])


SETTINGS = {"epochs": 3, "batch_size": 20, "learning_rate": 0.01, "save_every": 5, "precision": "float32"}


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("runs") / "whole", build(), source, **SETTINGS)
    return run, run.train()


def test_it_leaves_and_returns_what_the_command_does(whole):
    run, result = whole
    names = {path.name for path in result.directory.iterdir()}
    assert {"history.jsonl", "flags.txt", "weights.npz", "curves.png", "confusion.png", "mistakes.png"} <= names
    rows = [json.loads(line) for line in (result.directory / "history.jsonl").read_text().splitlines()]
    assert rows == [dataclasses.asdict(row) for row in result.history] and len(rows) == 3
    assert rows[-1]["train_accuracy"] > rows[0]["train_accuracy"] and result.tested == result.history[-1]
    assert result.test.accuracy > 0.5 and f"{result.test.accuracy:.2%}" in repr(result)
    assert run.history == result.history


def test_it_shows_as_a_table_without_strangers_markup(whole):
    run, result = whole
    shown = run._repr_html_()
    assert shown.count("<tr>") > 25 and "<th>epochs</th><td>3</td>" in shown
    run.where = dataclasses.replace(run.where, run="<script>")
    assert "<script>" not in run._repr_html_() and "validation loss" in result._repr_html_()


def test_it_is_read_again_with_its_net(whole, source):
    result = whole[1]
    with pytest.raises(RunError, match=r"trained a net of your own \(own\): give it, as in load_run\(.*, net=build\)"):
        load_run(result.directory)
    with pytest.raises(RunError, match=r"trained a net from \(28, 28, 1\) to 10 classes, but this one goes from"):
        load_run(result.directory, net=build(classes=3))
    for net in (build, build(seed=7)):
        classifier = load_run(result.directory, net=net)
        with np.load(result.directory / "weights.npz") as saved:
            for name, variable in named_variables(classifier.net).items():
                np.testing.assert_array_equal(variable, saved[name])
    wanted = tf.nn.softmax(classifier.net(source.images / np.float32(255))).numpy()
    np.testing.assert_allclose(classifier.probabilities(source.images), wanted, rtol=1e-5, atol=1e-7)


def test_a_stopped_one_resumes_to_the_same_bits(whole, source, tmp_path, monkeypatch, capsys):
    """Stopped in the middle of the second epoch, as by a signal; pictures of what there is are left."""
    steps = []

    def stop():
        steps.append(1)
        if len(steps) == 7:
            raise signals.Stopped(2)

    monkeypatch.setattr(signals, "check", stop)
    with pytest.raises(signals.Stopped):
        Run(tmp_path / "run", build(), source, **SETTINGS).train()
    monkeypatch.undo()
    assert not (tmp_path / "run" / "weights.npz").exists() and "samples.png" in capsys.readouterr().out
    result = Run(tmp_path / "run", build(seed=5), source, resume=True).train()
    assert "continuing after step" in capsys.readouterr().out
    assert (tmp_path / "run" / "weights.npz").read_bytes() == (whole[1].directory / "weights.npz").read_bytes()
    assert [(row.train_loss, row.val_loss) for row in result.history] == [
        (row.train_loss, row.val_loss) for row in whole[1].history
    ]


def test_resuming_needs_the_same_data_and_settings(whole, source):
    directory = whole[1].directory
    with pytest.raises(UsageError, match="--batch_size was 20 and is now 30"):
        Run(directory, build(), source, resume=True, batch_size=30).train()
    with pytest.raises(RunError, match=r"was trained on own, .* images of 10 classes .*, but the data set is now"):
        Run(directory, build(), source.take(np.arange(300)), resume=True).train()
    with pytest.raises(UsageError, match=r"trains a net of your own \(own\), which is not saved with it"):
        Run(directory, resume=True).train()
    with pytest.raises(RunError, match="holds a run already"):
        Run(directory, build(), source).train()


def test_more_epochs_are_one_setting(source, tmp_path):
    Run(tmp_path, build(), source, **SETTINGS | {"epochs": 1}).train()
    result = Run(tmp_path, build(), source, resume=True, epochs=2).train()
    assert [row.epoch for row in result.history] == [1, 2]
    assert "--epochs=2" in (tmp_path / "flags.txt").read_text().split()
    assert Record.of(checkpoints.newest(tmp_path)).settings.epochs == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("settings"), "settings is missing"),
        (lambda d: d.update(mine=1), "mine is unknown"),
        (lambda d: d["settings"].update(epochs="3"), "epochs must be a whole number"),
        (lambda d: d["settings"].pop("net"), "the setting 'net' is missing"),
        (lambda d: d.update(shards=0), "its shapes make no sense"),
        (lambda d: d["sums"].update(correct=1.5), "correct is 1.5"),
        (lambda d: d["history"].append({"epoch": 4}), "missing"),
        (lambda d: d["inputs"].update(size=0), "its sizes make no sense"),
        (lambda d: d["inputs"].update(preprocess=[]), "holds a damaged record"),
    ],
)
def test_a_damaged_record_is_one_sentence(whole, change, message):
    saved = checkpoints.newest(whole[1].directory)
    document = json.loads(json.dumps(saved.meta))
    change(document)
    with pytest.raises(RunError, match=message):
        Record.of(dataclasses.replace(saved, meta=document))


def test_a_record_is_what_json_gives_back(whole):
    saved = checkpoints.newest(whole[1].directory)
    record = Record.of(saved)
    document = json.loads(json.dumps(record.as_dict()))
    assert Record.of(dataclasses.replace(saved, meta=document)) == record and document == saved.meta


@pytest.mark.parametrize("meta", [{}, {"flags": {}, "data": {}}, {"version": 99}])
def test_a_checkpoint_of_another_version_is_refused(whole, meta):
    saved = dataclasses.replace(checkpoints.newest(whole[1].directory), meta=meta)
    with pytest.raises(RunError, match="was written by another version of rawcnn"):
        Record.of(saved)


def test_three_sources_two_and_none_to_validate_on(source, tmp_path):
    parts = [source.take(np.arange(start, start + 100)) for start in (0, 100, 200)]
    result = Run(tmp_path / "three", build(), parts, epochs=1, batch_size=20).train()
    assert result.history[0].step == 5 and result.best == result.history[0]
    result = Run(tmp_path / "two", build(), [parts[0], parts[1]], epochs=2, batch_size=20, validation=0,
                 schedule="plateau").train()  # fmt: skip
    assert result.best is None and result.history[1].val_accuracy is None and result.tested.epoch == 2
    with pytest.raises(UsageError, match="patience compares validation accuracies"):
        Run(tmp_path / "no", build(), source, validation=0, patience=3).train()
    with pytest.raises(DataError, match="0 of 400 images cannot be held out for test and validation"):
        Run(tmp_path / "no", build(), source, validation=0).train()
    with pytest.raises(DataError, match=r"Class 1 of the test images is 'x', which is called '1' in training"):
        other = Source(parts[1].images, parts[1].labels, ("0", "x", *NAMES[2:]))
        Run(tmp_path / "no", build(), [parts[0], other]).train()
    with pytest.raises(UsageError, match="The data of a run are"):
        Run(tmp_path / "no", build(), [source.images]).train()
    assert not (tmp_path / "no").exists()


def test_net_and_data_must_fit(source, tmp_path):
    with pytest.raises(UsageError, match=r"gives 3 numbers an image .* but the data have 10 classes"):
        Run(tmp_path / "run", build(classes=3), source).train()
    with pytest.raises(UsageError, match=r"rawcnn has no setting 'epoch'. Did you mean 'epochs'\?"):
        Run(tmp_path / "run", build(), source, epoch=3)
    assert not (tmp_path / "run").exists()


def test_a_registered_net_needs_no_net_to_be_read_again(source, tmp_path, monkeypatch):
    monkeypatch.setattr("rawcnn.nets.NETS", NETS)

    def small(input_shape=(28, 28, 1), num_classes=10, *, seed=0, policy=None):
        return build(seed, num_classes)

    register_net("small_net", small)
    try:
        result = Run(tmp_path / "run", "small_net", source, epochs=1, batch_size=20).train()
        assert load_run(result.directory).probabilities(source.images[:3]).shape == (3, 10)
        with pytest.raises(UsageError, match="The run was given its images in Python, and they are not kept"):
            COMMANDS["evaluate"].do(["rawcnn evaluate", f"--run={result.directory}"])
    finally:
        del NETS["small_net"]
    with pytest.raises(RunError, match=r"Or register it before, as in rc.register_net\('small_net', build\)"):
        load_run(result.directory)
    with pytest.raises(UsageError, match="register it before"):
        Run(tmp_path / "run", data=source, resume=True).train()


def with_a_head(input_shape=(28, 28, 1), num_classes=10, *, seed=0, policy=FLOAT32):
    """A tiny net."""
    flat, dense = row(Flatten), row(Dense)
    table = (("pool", row(MaxPool)(7)), ("flat", flat()), ("out", dense(num_classes)))
    head = (("flat", flat()), ("out", dense(num_classes)))
    return Chain(table, input_shape=input_shape, heads={"aux": ("pool", head)}, seed=seed, policy=policy)


def test_the_command_trains_and_reads_a_registered_net(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETS, "tiny", None)  # which is forgotten after the test
    del NETS["tiny"]
    register_net("tiny", with_a_head)
    for name, *flags in (
        ("train", "--net=tiny", "--smoke", "--run=r", "--epochs=1", "--precision=float32"),
        ("classify", "--run=r", "--random=2"),
        ("evaluate", "--run=r"),
        ("nets",),
        ("summary", "tiny"),
    ):
        COMMANDS[name].do([f"rawcnn {name}", *flags])
    told = capsys.readouterr().out
    assert "picture: classified.png" in told and told.count("test accuracy") >= 2 and "A tiny net." in told
    assert load_run("r").net.out_shape == (10,) and load_run("r").record.settings.recipe == "own"
    COMMANDS["train"].do(["rawcnn train", "--run=r", "--resume"])  # it is whole
    with pytest.raises(UsageError, match="tiny has no recipe 'paper': leave recipe out"):
        COMMANDS["train"].do(["rawcnn train", "--net=tiny", "--recipe=paper", "--run=s", "--smoke"])
    with pytest.raises(UsageError, match="There is no recipe for 'tiny'"):
        recipe_of("tiny")


def test_one_answer_to_everything_is_explained(source, tmp_path, capsys):
    table = (("norm", row(BatchNorm)()), ("flat", row(Flatten)()), ("out", row(Dense)(10)))
    net = Chain(table, input_shape=(28, 28, 1))
    net.out.b.assign([1e6] + [0] * 9)
    Run(tmp_path / "run", net, source, epochs=1, batch_size=20, learning_rate=0).train()
    assert "every answer is '0': after 16 updates the averages of its batch normalisation" in capsys.readouterr().out


def test_the_weights_that_are_tested_are_named(source, tmp_path, capsys):
    """A rate so large that later epochs are worse: the run stops early, and tests its best epoch."""
    run = Run(tmp_path / "run", build(), source, epochs=30, batch_size=20, optimizer="sgd", learning_rate=1.5,
              schedule="constant", patience=2)  # fmt: skip
    result = run.train()
    out = capsys.readouterr().out
    assert result.tested == result.best and len(result.history) == result.best.epoch + 2
    assert f"tested: the weights of epoch {result.best.epoch}, the best" in out
    for which, epoch in (("last", result.history[-1]), ("best", result.best)):
        assert f"{which} epoch {epoch.epoch}: validation loss {epoch.val_loss:.4f}, accuracy" in out


def test_names_that_are_no_text_reach_the_pictures(source, tmp_path):
    names = (os.fsdecode(b"caf\xe9"), "Жук", *NAMES[2:])
    odd = Source(source.images, source.labels, names)
    result = Run(tmp_path / os.fsdecode(b"caf\xe9"), build(), odd, epochs=1, batch_size=20).train()
    assert Record.of(checkpoints.newest(result.directory)).data.class_names == names
    assert {"samples.png", "confusion.png", "mistakes.png"} <= set(os.listdir(result.directory))


def test_pictures_that_cannot_be_drawn_do_not_end_a_run(source, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise RunError("no matplotlib")

    monkeypatch.setattr(ending.pictures, "save_samples", fail)
    result = Run(tmp_path / "run", build(), source, epochs=1, batch_size=20).train()
    assert result.test.accuracy > 0 and "no pictures: no matplotlib" in capsys.readouterr().out
