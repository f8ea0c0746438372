"""What a run is going to compute with, and what is said of it before it begins; how to continue it."""

import os
import shlex
import sys
from types import SimpleNamespace

import pytest

from rawcnn import machine
from rawcnn.data.datasets import DataSet
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.layers import Dense, Flatten
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.run import cli
from rawcnn.run.directory import FLAGS
from rawcnn.run.opening import say_start
from rawcnn.run.plan import plan
from rawcnn.run.settings import Settings, Where, resumed
from rawcnn.train import recipes
from rawcnn.train.recipes import recipe_of


@pytest.fixture(scope="module")
def data():
    source = Source(*drawn_digits(60), tuple("0123456789"))
    return DataSet("drawn", source, source, source)


def own(policy=FLOAT32):
    table = (("flat", row(Flatten)()), ("out", row(Dense)(10)))
    return Chain(table, input_shape=(28, 28, 1), policy=policy)


@pytest.mark.parametrize(
    ("cost", "small_ops", "hardware", "words"),
    [
        (-0.1, False, True, "bfloat16 (AMX multiplies it, and it was measured to cost 0 points)"),
        (-0.1, True, True, "float32 (the ops of this net are too small to gain much by bfloat16)"),
        (0.3, False, True, "float32 (bfloat16 was measured to cost 0.3 points of test accuracy)"),
        (0.05, False, False, "float32 (AVX2 does not multiply bfloat16)"),
        (None, False, True, "float32 (what bfloat16 costs in accuracy was not measured for this net)"),
    ],
)
def test_precision_is_chosen_and_said_with_the_reason(data, cost, small_ops, hardware, words, monkeypatch, capsys):
    monkeypatch.setattr(machine, "instruction_set", lambda: "AMX" if hardware else "AVX2")
    recipe = recipes.Recipe(bfloat16_cost=cost, small_ops=small_ops)
    ready = plan(Settings("own", batch_size=20), data, net=own(), recipe=recipe)
    say_start(ready, data)
    assert f"\n{words}\n" in capsys.readouterr().out
    assert ready.settings.precision == ready.net.policy.compute.name == words.split()[0]


@pytest.mark.parametrize(
    ("policy", "asked", "found"),
    [
        (MIXED_BFLOAT16, "auto", MIXED_BFLOAT16),
        (MIXED_BFLOAT16, "float32", FLOAT32),
        (FLOAT32, "bfloat16", MIXED_BFLOAT16),
        (FLOAT32, "auto", FLOAT32),
    ],
)
def test_a_net_of_ones_own_keeps_its_precision_unless_told(data, policy, asked, found):
    ready = plan(Settings("own", batch_size=20, precision=asked), data, net=own(policy))
    assert ready.net.policy == found and ready.settings.precision == found.compute.name


def test_lenet5_computes_in_float32_by_itself(data, monkeypatch):
    monkeypatch.setattr(machine, "instruction_set", lambda: "AMX")
    ready = plan(Settings("lenet5", batch_size=20), data)
    assert ready.net.policy == FLOAT32 and ready.recipe == recipe_of("lenet5")


def test_the_data_are_found_from_another_directory(tmp_path, monkeypatch):
    """Paths are saved whole, and the same path in other words is no change."""
    monkeypatch.chdir(tmp_path)
    saved = Settings(data_dir="digits", class_names="names.txt")
    assert (saved.data_dir, saved.class_names) == (str(tmp_path / "digits"), str(tmp_path / "names.txt"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    told = {"class_names": Settings(class_names="../names.txt").class_names}
    assert resumed(Settings.from_dict(saved.as_dict()), told, "here") == (saved, {})


@pytest.mark.parametrize(
    ("called", "starts"),
    [
        ("examples dir/train_lenet.py", [sys.executable, "{}/examples dir/train_lenet.py"]),
        ("bin/rawcnn", ["{}/bin/rawcnn", "train"]),
    ],
)
def test_the_command_that_continues_can_be_pasted_anywhere(called, starts, tmp_path, monkeypatch):
    """Whatever stands in the names, a shell reads the same words from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [called])
    run = tmp_path / "it's a run; $HOME é"
    run.mkdir()
    (run / FLAGS).write_text("")
    monkeypatch.setattr(cli, "_current", SimpleNamespace(where=Where(os.path.relpath(run))))
    line = cli._how_to_continue().splitlines()[1]
    assert shlex.split(line) == [*(part.format(tmp_path) for part in starts), f"--run={run}", "--resume"]
