"""`--strategy=multi_worker`: two processes on this machine, of which one is told to stop, or killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.command import TRAIN, call, environment, flags_for, heard, history_of
from tests.run.test_stopping import wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
WITHIN = 60
"""Seconds in which a worker ends after another one died."""


def free_ports(count):
    tried = [socket.socket() for _ in range(count)]
    for one in tried:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in tried]
    for one in tried:
        one.close()
    return ports


@pytest.fixture
def begin(home):
    """`begin(*flags)` starts two workers, the chief first; none is left behind."""
    begun = []

    def begin(*flags):
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
        for index in range(2):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            process = subprocess.Popen(
                [sys.executable, TRAIN, *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, env=environment(home) | {"PYTHONUNBUFFERED": "1", "TF_CONFIG": config}, cwd=home,
                preexec_fn=heard,
            )  # fmt: skip
            begun.append(process)
        return begun[-2:]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def end(process, status):
    """What it wrote, once it ended with `status`."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == status, f"status {process.returncode}\n{out}\n{err}"
    return out, err


@pytest.mark.slow
def test_stopped_killed_and_resumed_two_workers_end_as_two_undisturbed_ones(home, digits, begin):
    whole, run = home / "workers", home / "workers-disturbed"
    flags = flags_for(run, digits, "--epochs=12", "--strategy=multi_worker", "--save_every=10")
    undisturbed = begin(f"--run={whole}", *flags[1:])
    (said, _), (of_worker, _) = (end(process, 0) for process in undisturbed)
    assert "2 replicas, worker 0 of 2" in said and "test accuracy" in said
    assert of_worker.splitlines()[1:] == ["2 replicas, worker 1 of 2: computes with the chief, which prints and writes"]

    chief, worker = begin(*flags)
    wait_for(chief, "epoch  1/12")
    worker.send_signal(signal.SIGTERM)
    for process in (chief, worker):
        assert "SIGTERM: stopped, and everything is saved" in end(process, 143)[1]

    chief, worker = begin(f"--run={run}", "--resume")
    wait_for(chief, "epoch  4/12")
    began = time.monotonic()
    worker.kill()
    _, err = end(chief, 2)
    assert time.monotonic() - began < WITHIN
    assert " is gone. All that was saved is still there" in err and "--resume" in err
    worker.communicate()

    for process in begin(f"--run={run}", "--resume"):
        end(process, 0)
    assert history_of(run) == history_of(whole)
    with np.load(run / "weights.npz") as one, np.load(whole / "weights.npz") as other:
        assert one.files and all(one[name].tobytes() == other[name].tobytes() for name in one.files)
    alone = call(TRAIN, f"--run={run}", "--resume", "--strategy=none", "--epochs=13", home=home).stdout
    assert "was computed by 2 replicas, and now there are 1" in alone
