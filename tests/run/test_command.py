"""The command `rawcnn`, called in this process: its table, its words, and a run that it tests again and asks."""

import re
import sys

import numpy as np
import pytest
from PIL import Image

from rawcnn.run import cli, command
from rawcnn.run.command import COMMANDS, main
from tests.command import TRAIN


def say(monkeypatch, capsys, *words, status=None):
    monkeypatch.setattr(sys, "argv", ["rawcnn", *map(str, words)])
    if status is None:
        main({})
    else:
        with pytest.raises(SystemExit) as end:
            main({})
        assert end.value.code == status
    return capsys.readouterr()


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_table(monkeypatch, capsys, words):
    out = say(monkeypatch, capsys, *words).out
    assert all(re.search(rf"^  {name} ", out, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", ["train", "find_rate", "sweep", "classify", "evaluate", "summary", "nets"])
def test_every_command_has_help(monkeypatch, capsys, name):
    assert f"usage: rawcnn {name}" in say(monkeypatch, capsys, name, "--help").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "There is no command 'trian'. Did you mean 'train'?"),
        (["--epochs=3"], "A command comes first, as in `rawcnn train --epochs=3`"),
        (["summary"], "Which net?"),
        (["summary", "lenet"], "There is no net 'lenet'."),
        (["train", "--net=VGG19"], "There is no net 'VGG19'. Did you mean 'vgg19'?"),
        (["classify", "a.png"], "Which run?"),
        (["classify", "--run=nowhere", "a.png"], "nowhere does not exist."),
        (["classify", "--run=x"], "Which images?"),
        (["classify", "--run=x", "--random=3", "a.png"], "Give either files, or --random or --index."),
        (["evaluate"], "Which run?"),
        (["evaluate", "--run=x", "--crops=11"], "crops is '11', but must be one of 1, "),
        (["export", "--run=x", "--format=onxx"], "format is 'onxx', but must be one of saved_model, onnx, tflite."),
        (
            ["train", "lenet5"],
            "'lenet5' is not a flag: flags begin with two dashes, as in --epochs=10. Did you mean --net=",
        ),
        (["train", "--smoke=maybe"], "smoke must be True or False, not 'maybe'. See --help."),
        (["train", "--epochs"], "Missing value for flag --epochs. See --help."),
        (["train", "--sample=10%"], "sample must be a number, not '10%'. Give 0.1."),
        (["train", "--validation=2.5"], "validation must be a fraction below 1 or a whole number of images, not 2.5."),
        (["train", "--val_split=0.1"], "There is no flag --val_split. Did you mean --validation?"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, capsys, words, message):
    err = say(monkeypatch, capsys, *words, status=2).err
    assert err.startswith("rawcnn: ") and message in err and len(err.strip().splitlines()) == 1


def test_a_net_of_another_script_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(TRAIN), "--net=alexnet"])
    with pytest.raises(SystemExit):
        cli.train(nets=("lenet5",), net="lenet5", epochs=1)
    err = capsys.readouterr().err
    assert "alexnet is not trained by this script, but by train_alexnet.py, or by `rawcnn train --net=alexnet`" in err


def test_nets_and_summary(monkeypatch, capsys):
    assert re.search(r"^lenet5 +32x32x1 ", say(monkeypatch, capsys, "nets").out, re.MULTILINE)
    assert re.search(r"^total +60,000 ", say(monkeypatch, capsys, "summary", "lenet5").out, re.MULTILINE)


@pytest.mark.slow
def test_a_run_is_tested_again_and_asked(whole, monkeypatch, capsys, tmp_path):
    run, done = whole
    out = say(monkeypatch, capsys, "evaluate", f"--run={run}").out
    assert out.splitlines()[-2:] == done.stdout.splitlines()[-2:]
    picture = tmp_path / "x.png"
    out = say(monkeypatch, capsys, "classify", f"--run={run}", "--index=3,14", f"--out={picture}").out
    assert re.findall(r"^test image (\d+): \d \((?:right|wrong: \d)\)$", out, re.MULTILINE) == ["3", "14"]
    with Image.open(picture) as drawn:
        assert re.search(r"^[012] of 2 right$", out, re.MULTILINE) and drawn.size[0] > 100
    one, other = (
        say(monkeypatch, capsys, "classify", f"--run={run}", "--random=4", f"--out={picture}").out for _ in range(2)
    )
    assert one == other and one.count("test image") == 4
    err = say(monkeypatch, capsys, "classify", f"--run={run}", "--index=300", status=2).err
    assert "the test images are 0 ... 299" in err
    Image.fromarray(np.full((50, 50), 255, np.uint8)).save(tmp_path / "blank.png")
    assert "blank.png" in say(monkeypatch, capsys, "classify", f"--run={run}", tmp_path / "blank.png", status=2).err


def test_other_data_need_not_be_of_the_same_kind(digits, tmp_path):
    """A run on drawn digits, which are in no directory, may be tested on MNIST, or on a folder of photos."""
    kinds = [command._kind_in(str(digits), dataset) for dataset in ("mnist", "drawn", "cifar10", "own")]
    assert kinds == ["mnist", "auto", "auto", "auto"]
    assert command._kind_in(str(tmp_path), "folder") == "folder"
