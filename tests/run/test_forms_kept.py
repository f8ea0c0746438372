"""A run keeps the forms of ops that it began with, also where it resumes on another processor."""

import pytest
import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.errors import UsageError
from rawcnn.layers import Conv2D, Dense, Flatten
from rawcnn.machine import AMX, AVX2, OTHER
from rawcnn.nets.chain import Chain, row
from rawcnn.ops.fast import forms
from rawcnn.run import ending, signals
from rawcnn.run.classify import load_run
from rawcnn.run.session import Run
from rawcnn.run.settings import Settings, resumed

SETTINGS = {"epochs": 2, "batch_size": 20, "precision": "bfloat16"}


def build():
    table = (
        ("conv", row(Conv2D, activation=tf.nn.relu)(4, 5, padding="VALID")),
        ("flat", row(Flatten)()),
        ("out", row(Dense)(10)),
    )
    return Chain(table, input_shape=(28, 28, 1))


@pytest.fixture(scope="module")
def source():
    return Source(*drawn_digits(120), tuple("0123456789"))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(ending, "_drawn", lambda *groups: [])


def on(monkeypatch, isa):
    """As if the processor had this instruction set."""
    monkeypatch.setattr(forms, "instruction_set", lambda: isa)


def test_a_run_that_goes_on_elsewhere_keeps_its_forms_and_so_its_bits(source, tmp_path, monkeypatch, capsys):
    on(monkeypatch, AMX)
    with forms.recorded() as used:
        whole = Run(tmp_path / "whole", build(), source, **SETTINGS).train()
    assert used == {"conv2d_rows", "add_bias", "relu"} and "forms of ops: AMX; TensorFlow" in capsys.readouterr().out
    with monkeypatch.context() as stopping:

        def stop():
            raise signals.Stopped(2)

        stopping.setattr(signals, "check", stop)
        with pytest.raises(signals.Stopped):
            Run(tmp_path / "run", build(), source, **SETTINGS).train()
    on(monkeypatch, AVX2)
    capsys.readouterr()
    with forms.recorded() as used:
        Run(tmp_path / "run", build(), source, resume=True).train()
    told = capsys.readouterr().out
    assert told.count("Forms of ops stay those for AMX") == 1 and "a new run would take those for AVX2" in told
    assert used == {"conv2d_rows", "add_bias", "relu"}
    assert (tmp_path / "run" / "weights.npz").read_bytes() == (whole.directory / "weights.npz").read_bytes()
    classifier = load_run(tmp_path / "run", net=build)
    assert classifier.record.settings.forms == AMX
    on(monkeypatch, OTHER)
    with forms.recorded() as used:
        classifier.probabilities(source.images[:5])
    assert used == {"add_bias"}  # it computes in float32


def test_a_run_that_goes_on_where_it_began_says_nothing_of_it(source, tmp_path, monkeypatch, capsys):
    on(monkeypatch, AVX2)
    with forms.recorded() as used:
        Run(tmp_path / "run", build(), source, epochs=1, batch_size=20).train()
    Run(tmp_path / "run", build(), source, resume=True).train()
    assert "Forms of ops stay" not in capsys.readouterr().out and "relu" not in used


def test_forms_are_settled_when_a_run_begins():
    saved = Settings(forms="AMX")
    assert resumed(saved, {"forms": "auto"}, "here") == (saved, {})
    with pytest.raises(UsageError, match="--forms was AMX and is now AVX2"):
        resumed(saved, {"forms": "AVX2"}, "here")
