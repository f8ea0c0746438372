"""`rawcnn sweep`: each combination trains once, what was stopped goes on, and validation accuracy alone decides."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout

import numpy as np
import pytest

from rawcnn.errors import RawcnnError, RunError, UsageError
from rawcnn.layers import Dense, Flatten, MaxPool
from rawcnn.nets import NETS, register_net
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32
from rawcnn.run import ending, signals, sweep
from rawcnn.run.command import COMMANDS
from rawcnn.run.lock import LOCK, Lock, check_not_in_use
from rawcnn.run.record import Record
from rawcnn.run.sweep_table import Row, by_setting, groups, save_picture, table
from rawcnn.train import checkpoints, fit
from tests.command import ROOT, environment, heard


def tiny(input_shape=(28, 28, 1), num_classes=10, *, seed=0, policy=FLOAT32):
    """A tiny net."""
    table = (("pool", row(MaxPool)(7)), ("flat", row(Flatten)()), ("out", row(Dense)(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Runs train in this process, without pictures; the words of each are collected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETS, "tiny", None)  # which is forgotten after the test
    del NETS["tiny"]
    register_net("tiny", tiny)
    monkeypatch.setattr(ending, "_drawn", lambda *groups: [])
    calls = []

    def train(words, log):
        calls.append(words[words.index("train") + 1 :])
        with open(log, "a", encoding="utf-8") as file, redirect_stdout(file):
            try:
                COMMANDS["train"].do(["rawcnn train", *calls[-1]])
            except RawcnnError as error:
                print(error)
                return 2
        return 0

    monkeypatch.setattr(sweep, "train", train)
    return calls


SMALL = ("--net=tiny", "--smoke", "--epochs=1", "--sweep=s")


def run(*flags):
    COMMANDS["sweep"].do(["rawcnn sweep", *flags])


def records(path):
    return {one.name: Record.of(checkpoints.newest(one)) for one in path.iterdir() if one.is_dir()}


def test_each_combination_trains_once_and_new_values_are_added(trained, tmp_path, capsys):
    flags = ("--learning_rate", "1e-3,0.1", *SMALL)
    run(*flags, "--seed=0,1")
    out = capsys.readouterr().out
    names = [f"learning_rate={rate},seed={seed}" for rate in ("0.001", "0.1") for seed in (0, 1)]
    assert [re.search(r"--run=s/(\S+)", " ".join(words))[1] for words in trained] == names
    found = records(tmp_path / "s")
    assert {(r.settings.learning_rate, r.settings.seed) for r in found.values()} == {
        (rate, seed) for rate in (0.001, 0.1) for seed in (0, 1)
    }
    accuracy = {name: record.history[-1].val_accuracy for name, record in found.items()}
    for number, name in enumerate(names, 1):
        assert f"{number}/4  {name}  validation accuracy {accuracy[name]:.2%}" in out
    with open("s/sweep.csv", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert [float(one["validation_accuracy"]) for one in kept] == sorted(accuracy.values(), reverse=True)
    assert "best validation accuracy first; test accuracies decide nothing here" in out
    means = {rate: np.mean([a for name, a in accuracy.items() if f"rate={rate}," in name]) for rate in ("0.001", "0.1")}
    best = max(means, key=means.get)
    assert f"best setting: learning_rate={best}." in out and (tmp_path / "s/sweep.png").is_file()
    run(*flags, "--seed=0,1")
    assert len(trained) == 4 and "4 runs, 4 of them finished before" in capsys.readouterr().out
    more, _ = sweep.read(["rawcnn sweep", *flags, "--seed=2,1"])
    assert sweep._continued(more, sweep._read(tmp_path / "s/sweep.json")[0], "s").swept["seed"] == ("0", "1", "2")
    with pytest.raises(RunError, match=r"holds a sweep of --net=tiny .* not of .*only more values"):
        run(*flags, "--seed=0,1", "--batch_size=10")
    assert len(trained) == 4


def test_one_that_was_stopped_goes_on_where_it_was(trained, tmp_path, monkeypatch, capsys):
    """Stopped in the second of three runs, in the middle of an epoch."""
    flags = (*SMALL, "--save_every=1000", "--seed=0,1,2")
    checks = []

    def check():  # after each call of the training step
        checks.append(len(trained))
        if checks.count(2) == 3:
            raise signals.Stopped(2)

    advance = fit._advance
    with monkeypatch.context() as patch:
        patch.setattr(signals, "check", check)
        patch.setattr(fit, "_advance", lambda now, step, data, n: advance(now, step, data, 1))
        with pytest.raises(signals.Stopped):
            run(*flags)
    err = capsys.readouterr().err
    assert "run 2 of 3 is saved. Go on with the sweep:" in err
    assert shlex.split(err.splitlines()[-1])[-2:] == ["sweep", f"--sweep={tmp_path / 's'}"]
    assert int(checkpoints.newest(tmp_path / "s/seed=1").step) == 3
    run("--sweep=s")
    assert [words[0] for words in trained] == [f"--run=s/seed={seed}" for seed in (0, 1, 1, 2)]
    assert trained[2] == ["--run=s/seed=1", "--resume"]
    assert "3/3  seed=2  validation accuracy" in capsys.readouterr().out
    COMMANDS["train"].do(["rawcnn train", *SMALL[:3], "--seed=1", "--run=whole"])
    with np.load("s/seed=1/weights.npz") as one, np.load("whole/weights.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in other.files)


def test_a_run_that_fails_is_last_and_the_others_go_on(trained, capsys):
    run(*SMALL, "--optimizer=sgd", "--learning_rate=1e38,0.01")
    out = capsys.readouterr().out
    assert "1/2  learning_rate=1e+38  failed: " in out and "2/2  learning_rate=0.01  validation accuracy" in out
    assert re.search(r"^0\.01 .*\n1e\+38 +failed$", out, re.MULTILINE)
    with pytest.raises(RunError, match="No run of the sweep came to its end"):
        sweep._compare("s", [Row("a", {"seed": "1"}, failed="no")])


def test_one_that_cannot_begin_ends_the_sweep(trained):
    with pytest.raises(RunError, match=r"Run seed=0 ended with status 2: .*nowhere does not exist"):
        run(*SMALL, "--seed=0,1", "--data_dir=nowhere")
    assert len(trained) == 1


def test_folds_are_runs_of_which_each_image_validates_one(trained, tmp_path, capsys):
    run(*SMALL, "--folds=2")
    out = capsys.readouterr().out
    found = records(tmp_path / "s")
    assert sorted(found) == ["fold=1", "fold=2"]
    assert sum(1000 - record.data.training_images for record in found.values()) == 1000
    accuracies = [record.history[-1].val_accuracy for record in found.values()]
    mean, spread = f"{np.mean(accuracies):.2%}", f"{100 * np.std(accuracies, ddof=1):.2f}"
    assert re.search(rf"^all runs +{re.escape(mean)} +{re.escape(spread)} ", out, re.MULTILINE), out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "Which values"),
        (("--learning_rate=0.1",), "Which values"),
        (("--learning_rate=0.1,-1",), "learning_rate must be 0 or more, not -1"),
        (("--learning_rate=0.1,fast",), "learning_rate must be a number, not 'fast'"),
        (("--learning_rate=0.1,",), "learning_rate must be a number, not ''"),
        (("--seed=1,2", "--epochs=0"), "epochs must be 1 or more"),
        (("--seed=1,1",), "--seed has the value 1 twice"),
        (("--net=lenet5,lenet6",), "There is no net 'lenet6'"),
        (("--optimizer=adam,adagrad",), "optimizer is 'adagrad', but must be one of"),
        (("--distort=true,maybe",), "distort must be True or False"),
        (("--seed=1,2", "--validation=0"), "validation=0 holds no images out"),
        (("--folds=2,3",), "--folds has one value"),
        (("--folds=1",), "folds=1 and fold=1 do not fit"),
        (("--fold=1,2",), "folds=0 and fold=1 do not fit"),
        (("--folds=3", "--fold=2,4"), "folds=3 and fold=4 do not fit"),
        (("--seed=1,2", "--run=x"), "have one directory, and go on by themselves: give --sweep=DIR"),
        (("--seed=1,2", "--lr=3"), "There is no flag --lr"),
        (("--seed=1,2", "x"), "'x' is not a flag"),
    ],
)
def test_mistakes_are_told_before_the_first_run(flags, message, trained, tmp_path):
    with pytest.raises(UsageError, match=message):
        run("--sweep=s", *flags)
    assert not trained and not (tmp_path / "s").exists()


def taken(path):
    """`path` is another process's: locks are those of open files, also within one process."""
    return Lock(path, "run", "--resume", "wait for its end")


def test_directories_that_hold_something_else(trained, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/mine.txt").write_text("")
    with pytest.raises(RunError, match="is not empty and holds no sweep"):
        run("--sweep=s", "--seed=1,2")
    (tmp_path / "s/sweep.json").write_text('{"shared": 3}')
    with pytest.raises(RunError, match=r"sweep.json is damaged"):
        run("--sweep=s")
    (tmp_path / "s/sweep.json").unlink()
    (tmp_path / "s/mine.txt").unlink()
    with taken(tmp_path / "s"), pytest.raises(RunError, match=r"in use by process \d+: wait for its end"):
        run("--sweep=s", "--seed=1,2")
    (tmp_path / "s/seed=1").mkdir()
    sweep._write(tmp_path / "s/sweep.json", sweep.read(["rawcnn sweep", "--seed=1,2"])[0], {})
    again = r"seed=1 is being written by process \d+: wait for its end, or stop it"
    with taken(tmp_path / "s/seed=1"), pytest.raises(RunError, match=again):  # left by a killed sweep
        run("--sweep=s", "--seed=1,2")
    assert not trained


@pytest.mark.parametrize("again", [True, False])
def test_a_sweep_whose_directory_was_moved_ends(again, trained, tmp_path, monkeypatch):
    """While its first run trained; another sweep may have begun in its place."""

    def train(words, log):
        log.write_text("epoch 1")
        os.rename("s", "elsewhere")
        if again:
            os.mkdir("s")
            (tmp_path / "s" / LOCK).write_text("1")  # the number of the other process
        return 2

    monkeypatch.setattr(sweep, "train", train)
    words = "s is in use by process 1 now: it was moved" if again else "s.seed=1.log was moved or deleted"
    with pytest.raises(RunError, match=words):
        run("--sweep=s", "--seed=1,2")
    assert not again or os.listdir("s") == [LOCK]
    assert {"sweep.json", LOCK} <= set(os.listdir("elsewhere"))


def test_commas_in_paths_are_no_lists():
    told, where = sweep.read(["rawcnn sweep", "--data_dir=a,b", "--seed", "1,2", "--nodistort", "--sweep=x,y"])
    assert told.swept == {"seed": ("1", "2")} and where == "x,y"
    assert told.shared == {"data_dir": os.path.abspath("a,b"), "distort": "False"}


def test_mean_and_spread_are_numpys_and_ties_go_to_the_smaller_loss(tmp_path, rng):
    accuracies = rng.uniform(0.5, 1, (3, 4))
    rows = [
        Row(f"{i}-{seed}", {"learning_rate": str(i), "seed": str(seed)}, accuracies[i, seed], 1.0, 3, 2.0)
        for seed in range(4) for i in range(3)
    ]  # fmt: skip
    order = np.argsort(-accuracies.mean(axis=1))
    assert [group.name for group in groups(rows)] == [f"learning_rate={i}" for i in order]
    lines = by_setting(rows).splitlines()[3:]
    for text, i in zip(lines, order, strict=True):
        mean, spread = f"{accuracies[i].mean():.2%}", f"{100 * np.sqrt(accuracies[i].var() * 4 / 3):.2f}"
        low, high = f"{accuracies[i].min():.2%}", f"{accuracies[i].max():.2%}"
        assert text.split() == [f"learning_rate={i}", mean, spread, low, high, "4"]
    failed = Row("x", {"learning_rate": "9", "seed": "0"}, failed="it broke")
    tied = [Row("a", {"seed": "1"}, 0.9, 0.5), Row("b", {"seed": "2"}, 0.9, 0.4), Row("c", {"seed": "3"}, failed="no")]
    assert [text.split()[0] for text in table(tied).splitlines()[3:]] == ["2", "1", "3"]
    assert by_setting([Row("a", {"learning_rate": "1"}, 0.5, 1.0)]) == "" and len(groups([*rows, failed])) == 3
    assert save_picture([*rows, failed], tmp_path / "sweep.png").stat().st_size > 1000


# In processes of their own


@pytest.fixture
def start(home, tmp_path):
    """Starts `rawcnn` without matplotlib, whose pictures take longer than such short runs."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "matplotlib.py").write_text("raise ImportError")
    paths = {"PYTHONPATH": f"{tmp_path / 'without'}{os.pathsep}{ROOT}", "PYTHONUNBUFFERED": "1"}
    started = []

    def popen(*words):
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "rawcnn", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=home,
                env=environment(home) | paths,
                preexec_fn=heard,
            )
        )
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def begin(start, tmp_path, digits):
    """A sweep of two runs, the first of which has trained for a few steps; its flags."""
    flags = ("--net=lenet5_relu", f"--data_dir={digits}", "--epochs=1", "--batch_size=20", "--save_every=5")
    process = start("sweep", *flags, "--learning_rate=0.001,0.003", f"--sweep={tmp_path / 's'}")
    first, until = tmp_path / "s" / "learning_rate=0.001", time.monotonic() + 200
    while not first.is_dir() or max(checkpoints.steps(first), default=0) < 5:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    return process, first, flags


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_saves_the_current_run_and_says_how_to_go_on(start, digits, tmp_path):
    process, first, _ = begin(start, tmp_path, digits)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130 and "run 1 of 2 is saved. Go on with the sweep:" in err, err
    assert shlex.join([sys.executable, "-m", "rawcnn", "sweep", f"--sweep={tmp_path / 's'}"]) in err.splitlines()
    assert "stopped, and everything is saved" in (tmp_path / "s/learning_rate=0.001.log").read_text()
    check_not_in_use(first)  # the run has ended


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_killed_sweep_goes_on_and_ends_as_runs_that_were_not(start, digits, tmp_path):
    """Sweep and run are killed; then the weights are those of `rawcnn train` alone, bit for bit."""
    process, first, flags = begin(start, tmp_path, digits)
    process.kill()
    os.kill(int((first / LOCK).read_text()), signal.SIGKILL)
    process.communicate(timeout=60)
    again = start("sweep", f"--sweep={tmp_path / 's'}")
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, f"{out}\n{err}"
    assert "continuing after step" in (tmp_path / "s" / "learning_rate=0.001.log").read_text()
    finished = json.loads((tmp_path / "s/sweep.json").read_text())["finished"]
    assert set(finished) == {"learning_rate=0.001", "learning_rate=0.003"}
    alone = start("train", *flags, "--learning_rate=0.001", f"--run={tmp_path / 'alone'}")
    assert alone.communicate(timeout=200)[0] and alone.returncode == 0
    with np.load(first / "weights.npz") as one, np.load(tmp_path / "alone" / "weights.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in other.files)
