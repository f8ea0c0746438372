"""A command that is told to stop, at every stage: its status, its words, and that resuming ends as the whole run."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.command import TRAIN, call, environment, flags_for, heard, history_of
from tests.run.test_signals import BOTH

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def begin(home, *flags, before=""):
    """The example, with `before` run first: it can slow down a stage, so that a signal surely meets it."""
    text = f"import runpy, sys, time\n{before}\nsys.argv = {[str(TRAIN), *map(str, flags)]!r}\n"
    text += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
        env=environment(home) | {"PYTHONUNBUFFERED": "1"}, preexec_fn=heard,
    )  # fmt: skip


def wait_for(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never printed: {process.stderr.read()}")


def resumes_to_the_same_end(run, whole, home):
    done = call(TRAIN, f"--run={run}", "--resume", home=home)
    assert done.stdout.splitlines()[-1] == whole[1].stdout.splitlines()[-1]
    assert history_of(run) == history_of(whole[0])
    with np.load(run / "weights.npz") as one, np.load(whole[0] / "weights.npz") as other:
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


SLOW = """
import rawcnn.start  # noqa: F401
import rawcnn.{0} as m
old = m.{1}
def slow(*a, **k):
    print('STAGE', flush=True)
    time.sleep(1.5)
    return old(*a, **k)
m.{1} = slow
"""


@pytest.mark.parametrize(("number", "status"), BOTH)
@pytest.mark.parametrize(
    ("module", "name"),
    [("run.epochs", "checkpoints.save"), ("train.inputs", "evaluate"), ("train.step", "count_correct")],
    ids=["saving", "evaluating", "tracing"],
)
@pytest.mark.slow
def test_stopped_at_a_stage_it_resumes_bitwise(whole, home, digits, number, status, module, name):
    run = home / f"stopped-{status}-{name}"
    process = begin(home, *flags_for(run, digits, "--save_every=10"), before=SLOW.format(module, name))
    wait_for(process, "run directory" if name == "count_correct" else "epoch 1/3")
    wait_for(process, "STAGE")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert f"\n{sys.executable} {TRAIN} --run={run} --resume\n" in err
    resumes_to_the_same_end(run, whole, home)


@pytest.mark.parametrize("seconds", [0.3, 2.0])
def test_stopped_while_starting(home, digits, seconds):
    run = home / f"early-{seconds}"
    process = begin(home, *flags_for(run, digits))
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    # Before Python has read rawcnn/cli.py there is no handler yet, and the signal itself ends the process.
    assert process.returncode in (143, -signal.SIGTERM) and "Traceback" not in err


@pytest.mark.slow
def test_a_second_signal_ends_it_in_a_save_and_nothing_is_lost(whole, home, digits):
    run = home / "twice"
    slow = SLOW.format("run.epochs", "checkpoints.save").replace("1.5", "30 * (m.checkpoints.steps(a[0]) != [])")
    process = begin(home, *flags_for(run, digits, "--save_every=10"), before=slow)
    wait_for(process, "STAGE")
    wait_for(process, "STAGE")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and time.monotonic() - began < 5
    resumes_to_the_same_end(run, whole, home)


@pytest.mark.slow
def test_changes_on_resume_are_refused_or_said(whole, home):
    for flag in ("--batch_size=10", "--optimizer=sgd", "--precision=bfloat16", "--deterministic"):
        done = call(TRAIN, f"--run={whole[0]}", "--resume", flag, home=home, status=2)
        assert f"{flag.split('=')[0]} was" in done.stderr
    done = call(TRAIN, f"--run={whole[0]}", "--resume", "--save_every=20", home=home)
    assert "--save_every was 10 and is now 20" in done.stdout


@pytest.mark.slow
def test_deterministic_runs_repeat(home, digits):
    for name in ("one", "two"):
        call(TRAIN, *flags_for(home / name, digits, "--deterministic", "--threads=2"), home=home)
    assert (home / "one/weights.npz").read_bytes() == (home / "two/weights.npz").read_bytes()
