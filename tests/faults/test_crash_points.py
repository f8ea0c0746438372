"""SIGKILL at every system call that touches a file of a run, and the order in which bytes reach the disk.

strace delivers the signal on entry to the k-th call of each kind, so the call itself does not happen: together with the
whole process, that is every state in which the files can be left. `crash_child.py` is the process.
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rawcnn.nets.weights import load_arrays
from rawcnn.run.directory import FLAGS, WEIGHTS, RunDir, read_flags
from rawcnn.train import checkpoints
from tests.faults import crash_child

CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")
# One thread, the same calls in every process, nothing written but the run.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


def child(mode, directory, *strace):
    # -I would drop PYTHONHASHSEED; -s: no site directory of the user
    command = [*strace, sys.executable, "-s", crash_child.__file__, mode, str(directory)]
    return subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=120)


def can_trace():
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


needs_strace = pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to trace")


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """What each mode finds: nothing, a run with checkpoints, a complete .part."""
    home = tmp_path_factory.mktemp("templates")
    for mode in ("begin", "go_on", "publish"):
        (home / mode).mkdir()
    done = child("prepare", home / "go_on")
    assert done.returncode == 0, done.stderr
    (home / "publish" / "file.bin.part").write_bytes(crash_child.FILE)
    return home


def trace(mode, directory, *options):
    """strace's lines about the files of `mode`, of a process that runs to its end."""
    log = directory.with_suffix(".log")
    selected = [option for path in crash_child.paths(mode, directory) for option in ("-P", str(path))]
    done = child(mode, directory, "strace", "-o", str(log), *options, *selected)
    assert done.returncode == 0, done.stderr
    return [line for line in log.read_text(errors="replace").splitlines() if CALL.match(line)]


def kill_at(mode, directory, call, k):
    """Run `mode` until its k-th `call` on one of its files; returns whether it was killed there."""
    selected = [option for path in crash_child.paths(mode, directory) for option in ("-P", str(path))]
    inject = f"inject={call}:signal=SIGKILL:when={k}"
    done = child(mode, directory, "strace", "-o", os.devnull, "-e", f"trace={call}", "-e", inject, *selected)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return done.returncode != 0


def check_checkpoint(path, step):
    saved = checkpoints.read(path)
    assert (saved.step, saved.meta) == (step, {"history": crash_child.rows(step)})
    assert len(saved.arrays) == 1 + 3 * len(crash_child.SHAPES)
    for name, array in saved.arrays.items():
        assert (array == step).all(), f"{path}: {name} is of another step"


def check_begin(directory):
    resumable = (directory / FLAGS).is_file()
    with RunDir(directory, resume=resumable):  # one of the two must be possible, without --overwrite
        said = []
        found = checkpoints.newest(directory, said.append)
    assert said == [] and (found is None or found.step == 0)
    assert not list(directory.glob("*.tmp"))


def check_go_on(directory):
    said = []
    found = checkpoints.newest(directory, said.append)
    assert found is not None and found.step in (crash_child.LAST, crash_child.NEW) and said == []
    for path in directory.glob("ckpt-*.npz"):
        check_checkpoint(path, int(path.stem[5:]))
    assert {crash_child.BEST, crash_child.LAST} <= set(checkpoints.steps(directory))
    assert read_flags(directory) == {"net": "lenet5_relu"}
    if (directory / WEIGHTS).exists():
        np.testing.assert_array_equal(load_arrays(directory / WEIGHTS)["w"], np.full((9, 9), crash_child.NEW))
    with RunDir(directory, resume=True) as run:
        run.restore_history(found.meta["history"])
        assert run.history() == crash_child.rows(found.step)
    assert not list(directory.glob("*.tmp"))


def check_publish(directory):
    final = directory / "file.bin"
    assert not final.exists() or final.read_bytes() == crash_child.FILE
    assert final.exists() or (directory / "file.bin.part").read_bytes() == crash_child.FILE
    crash_child.publish(directory)  # a later call ends it, without the network
    assert final.read_bytes() == crash_child.FILE


CHECKS = {"begin": check_begin, "go_on": check_go_on, "publish": check_publish}
LEAST = {"begin": 60, "go_on": 150, "publish": 8}  # fewer calls would mean that the trace misses some


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", CHECKS)
def test_a_kill_at_any_system_call(mode, templates, tmp_path):
    shutil.copytree(templates / mode, tmp_path / "whole")
    counts = collections.Counter(CALL.match(line)[1] for line in trace(mode, tmp_path / "whole"))
    points = [(call, k) for call, count in counts.items() for k in range(1, count + 1)]
    assert len(points) >= LEAST[mode], counts

    def crash(number):
        call, k = points[number]
        directory = tmp_path / f"{number}-{call}-{k}"
        shutil.copytree(templates / mode, directory)
        assert kill_at(mode, directory, call, k), f"{call} number {k} was not reached"
        try:
            CHECKS[mode](directory)
        except Exception as error:
            raise AssertionError(f"killed at {call} number {k} of {counts[call]}: {error!r}, {directory}") from error
        shutil.rmtree(directory)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert len(list(pool.map(crash, range(len(points))))) == len(points)
    print(f"{mode}: {len(points)} crash points: {dict(counts)}")


def place(lines, pattern, last=False):
    """Number of the first (or last) line that `pattern` is found in."""
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    assert found, f"no {pattern} in\n" + "\n".join(lines)
    return found[-1 if last else 0]


@needs_strace
def test_bytes_reach_the_disk_before_their_name_and_the_name_before_anything_is_deleted(templates, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(templates / "go_on", directory)
    lines = trace("go_on", directory, "-y")
    here, new = re.escape(str(directory)), f"ckpt-{crash_child.NEW:09d}.npz"
    temporary = re.escape(f"/{new}{crash_child.TEMPORARY}")
    renamed = place(lines, rf'^rename\w*\(.*{temporary}".*/{new}"')
    order = [
        place(lines, r"^fsync\(\d+<.*/history\.jsonl>", last=True),  # the row that the checkpoint counts
        place(lines, rf"^p?write\w*\(\d+<.*{temporary}>", last=True),
        place(lines, rf"^fsync\(\d+<.*{temporary}>"),
        renamed,
        renamed + place(lines[renamed:], rf"^fsync\(\d+<{here}>\)"),
        place(lines, rf"^unlink\w*\(.*/ckpt-{crash_child.OLD:09d}\.npz"),
    ]
    assert order == sorted(order) and len(set(order)) == len(order), "\n".join(lines[k] for k in order)
    assert not [line for line in lines[order[0] : order[-1] + 1] if " = -1 " in line and line.startswith("fsync")]


@needs_strace
def test_a_download_reaches_the_disk_before_its_name(templates, tmp_path):
    directory = tmp_path / "data"
    shutil.copytree(templates / "publish", directory)
    lines = trace("publish", directory, "-y")
    synced = place(lines, r"^fsync\(\d+<.*/file\.bin\.part>")
    renamed = place(lines, r'^rename\w*\(.*/file\.bin\.part".*/file\.bin"')
    assert synced < renamed and place(lines[renamed:], rf"^fsync\(\d+<{re.escape(str(directory))}>\)")
