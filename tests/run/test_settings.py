"""What a run is told: bounds, texts and flags, and what may change on resume."""

import os
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from rawcnn.errors import RunError, UsageError
from rawcnn.run.directory import RunDir, read_flags
from rawcnn.run.fields import GROUPS, parse
from rawcnn.run.flags import HelpAsked
from rawcnn.run.flags import read_flags as parse_flags
from rawcnn.run.given import data_of
from rawcnn.run.session import settings_of
from rawcnn.run.settings import ADDED, MAY_CHANGE, NAMES, Settings, Where, resumed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, not 0"),
        ({"epochs": "5"}, "epochs must be a whole number, not '5'"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"epochs": None}, "epochs must be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate must be 0 or more"),
        ({"learning_rate": float("inf")}, "learning_rate must be 0 or more"),
        ({"sample": 10}, "sample must be in 0 ... 1, not 10. For 10 % give 0.1."),
        ({"sample": 0.0}, "sample must be above 0"),
        ({"seed": 2**32}, "seed must be in 0 ... 4,294,967,295"),
        ({"optimizer": "Adamm"}, "optimizer is 'Adamm', but must be one of .* Did you mean 'adam'?"),
        ({"data_dir": ""}, "data_dir is empty"),
        ({"data_dir": "a\nb"}, "data_dir is .* which holds a line break"),
        ({"smoke": 1}, "smoke must be True or False"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(wrong, message):
    with pytest.raises(UsageError, match=message):
        Settings(**wrong)


def test_numbers_of_numpy_and_paths_are_taken(tmp_path):
    made = Settings(epochs=np.int64(3), learning_rate=np.float32(0.5), average=0, data_dir=tmp_path)
    assert (made.epochs, made.learning_rate, made.average, made.data_dir) == (3, 0.5, 0.0, str(tmp_path))
    assert type(made.epochs) is int and type(made.average) is float


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert Settings(data_dir="~/digits").data_dir == "/home/ada/digits"
    assert Where("~/rx").run == "/home/ada/rx"


def test_every_setting_has_a_group_and_a_help_text():
    for owner in (Settings, Where):
        for item in fields(owner):
            info = item.metadata["info"]
            assert info.group in GROUPS and info.help.endswith("."), item.name


ODD = Settings(
    "vgg19", data_dir=os.fsdecode(b"/tmp/caf\xe9 = x"), learning_rate=1e-05, smoke=True, validation=1 / 3,
    schedule="staircase", crops="dense",
)  # fmt: skip


def test_flags_txt_gives_the_same_settings_back(tmp_path):
    """Also for a file name that is no text."""
    with RunDir(tmp_path / "run") as directory:
        directory.write_flags(ODD.texts())
        assert settings_of(read_flags(directory.path), "here") == ODD
    assert b"--data_dir=/tmp/caf\xe9 = x\n" in (tmp_path / "run" / "flags.txt").read_bytes()


def test_the_flags_of_a_command_line_give_the_same_settings():
    argv = ["x", *(f"--{name}={text}" for name, text in ODD.texts().items())]
    assert Settings(**parse_flags(argv, Settings, usage="")[0]) == ODD


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--colour=blue", "rawcnn has no flag '--colour'"),
        ("--epoch=3", "rawcnn has no flag '--epoch'. Did you mean '--epochs'?"),
        ("--epochs=many", "epochs must be a whole number, not 'many'"),
        ("--epochs=-1", "epochs must be 1 or more, not -1"),
        ("--smoke=perhaps", "smoke must be True or False"),
    ],
)
def test_a_flags_txt_that_makes_no_sense_is_one_error(line, message):
    name, text = line.removeprefix("--").split("=")
    texts = Settings().texts() | {name: text}
    with pytest.raises(UsageError, match=f"runs/a/flags.txt: {message}"):
        settings_of(texts, "runs/a/flags.txt")


def test_a_missing_setting_is_named():
    values = Settings().as_dict()
    del values["seed"]
    with pytest.raises(UsageError, match="the setting 'seed' is missing"):
        Settings.from_dict(values)


def test_only_what_may_change_changes_on_resume():
    saved = Settings("lenet5", batch_size=20, learning_rate=0.1, threads=2)
    now, changed = resumed(saved, {"epochs": 20, "batch_size": 20, "learning_rate": 0.1}, "runs/a")
    assert now == replace(saved, epochs=20) and changed == {"epochs": "--epochs was 10 and is now 20"}
    for name in set(NAMES) - set(MAY_CHANGE) - {"sample"}:
        other = {"net": "vgg11", "dataset": "mnist", "precision": "bfloat16", "bad_images": "skip", "recipe": "x",
                 "optimizer": "sgd", "schedule": "constant", "accumulate": 2,
                 "distort_strength": 2.0}.get(name)  # fmt: skip
        value = other if other else not getattr(saved, name) if isinstance(getattr(saved, name), bool) else 1
        with pytest.raises(UsageError, match=f"--{name} was .* and is now {value}"):
            resumed(saved, {name: value}, "runs/a")
    with pytest.raises(UsageError, match="--threads was 2 and is now 1"):
        resumed(replace(saved, deterministic=True), {"threads": 1}, "runs/a")


def test_class_names_of_a_file_reach_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    argv = ["x", "--dataset=drawn", "--class_names=~/names.txt", "--validation=0.1", "--smoke"]
    data = data_of(None, Settings(**parse_flags(argv, Settings, usage="")[0]))
    assert data.train.class_names == data.test.class_names == tuple(names)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--lr=0.1", "There is no flag --lr. Did you mean --learning_rate?"),
        ("--activation=sigmoid", "There is no flag --activation: that is part of a net's table"),
        ("--epoch=3", "There is no flag --epoch. Did you mean --epochs?"),
        ("--zzz", "There is no flag --zzz. See --help."),
        ("--epochs=many", "epochs must be a whole number, not 'many'"),
    ],
)
def test_a_wrong_flag_gets_the_short_sentence_that_helps(flag, message):
    with pytest.raises(UsageError, match=message):
        parse_flags(["x", flag], Where, Settings, usage="")


def test_help_begins_with_what_everyone_needs():
    with pytest.raises(HelpAsked) as asked:
        parse_flags(["x", "--help"], Where, Settings, usage="usage: x", defaults={"epochs": 7})
    text = str(asked.value)
    assert [text.index(f"{group}:") for group in GROUPS] == sorted(text.index(f"{group}:") for group in GROUPS)
    assert "(default: 7)" in text and all(f"]{name} " in text or f"--{name} " in text for name in NAMES)
    assert max(map(len, text.splitlines())) <= 100


def test_a_run_from_before_a_setting_does_what_it_did():
    """An older record lacks the settings that came later."""
    now = Settings(distort=True)
    older = {name: value for name, value in now.as_dict().items() if name not in ADDED}
    assert ADDED and Settings.from_dict(older) == now


@pytest.mark.parametrize(
    ("group", "flags"),
    [
        ("Fine-tuning", "weights freeze unfreeze_after loaded_rate_factor"),
        ("Changing and mixing training images", "distort distort_strength augment augment_epochs erase mixup cutmix"),
        ("Classes of unequal size", "balanced_sampling class_weights"),
    ],
)
def test_flags_of_one_matter_stand_together_in_the_help(group, flags):
    with pytest.raises(HelpAsked) as asked:
        parse_flags(["x", "--help"], Where, Settings, usage="usage: x")
    (part,) = [part for part in str(asked.value).split("\n\n") if part.startswith(f"{group}:")]
    assert re.findall(r"^  --(?:\[no\])?(\w+) ", part, re.MULTILINE) == flags.split()


def test_parsing_says_what_was_expected():
    assert parse(Settings, "smoke", "True") is True and parse(Settings, "average", "0") == 0.0
    with pytest.raises(UsageError, match="average must be a number, not 'x'"):
        parse(Settings, "average", "x")


def test_a_mistyped_run_is_asked_about(tmp_path):
    (tmp_path / "lenet5-mnist-1").mkdir()
    with pytest.raises(RunError, match=r"Did you mean .*lenet5-mnist-1\?"):
        RunDir(tmp_path / "lenet5-mist-1", resume=True)
    assert not (tmp_path / "lenet5-mist-1").exists()


def test_a_run_that_comes_to_nothing_leaves_no_directory(tmp_path):
    with RunDir(tmp_path / "runs" / "deep"):
        assert (tmp_path / "runs" / "deep" / "run.lock").exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    RunDir(tmp_path / "mine").close()
    assert (tmp_path / "mine").is_dir()
