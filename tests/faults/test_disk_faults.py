"""Disks that are full, read-only or gone, directories in use, and outputs that fail; with the real systems' errors."""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rawcnn.errors import RunError
from rawcnn.run.directory import HISTORY, RunDir
from rawcnn.run.lock import LOCK
from rawcnn.train import checkpoints
from tests.command import ROOT, TRAIN, history_of, write_digits
from tests.faults.kill_runs import arrays_of
from tests.faults.test_corruption import state_of

resource = pytest.importorskip("resource", reason="needs a POSIX system")

SETTINGS = ("--net=lenet5_relu", "--epochs=3", "--batch_size=20", "--validation=0.1", "--save_every=10")


@contextlib.contextmanager
def no_file_over(size):
    """RLIMIT_FSIZE: writing past `size` bytes fails as on a full disk. (Python ignores the signal that it sends.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_at_any_byte_keeps_what_was_saved(tmp_path):
    before = checkpoints.save(tmp_path, state_of(1), {}).read_bytes()
    size = len(before)
    for limit in [*range(0, size, 53), size - 1]:
        with no_file_over(limit), pytest.raises(RunError, match=rf"cannot be written \({os.strerror(errno.EFBIG)}\)"):
            checkpoints.save(tmp_path, state_of(2), {})
        assert os.listdir(tmp_path) == ["ckpt-000000001.npz"]
    assert checkpoints.path_of(tmp_path, 1).read_bytes() == before
    assert checkpoints.save(tmp_path, state_of(2), {}).exists()  # and there is room again


def test_a_history_that_cannot_grow_is_an_error_and_its_torn_row_is_dropped(tmp_path):
    with RunDir(tmp_path / "run") as run:
        run.write_flags({})
        run.append_history({"epoch": 1})
        with no_file_over((run.path / HISTORY).stat().st_size + 5), pytest.raises(RunError, match=r"history\.jsonl"):
            run.append_history({"epoch": 2})
        run.restore_history([{"epoch": 1}])
        assert (run.path / HISTORY).read_text() == '{"epoch": 1}\n'


def mount(path, options):
    """A file system in memory at `path`, or the test is skipped."""
    path.mkdir(exist_ok=True)
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True).returncode
    ):
        pytest.skip("needs root, and the right to mount")


@contextlib.contextmanager
def mounted(path, options):
    mount(path, options)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """A directory that holds a run and cannot be written: for root a file system mounted read-only."""
    path = tmp_path / "fixed"

    def fill():
        with RunDir(path / "run") as run:
            run.write_flags({"net": "lenet5"})
            checkpoints.save(run.path, state_of(1), {})

    if os.geteuid() == 0:
        with mounted(path, "size=4m"):
            fill()
            remount(path, "ro")
            yield path
    else:
        path.mkdir()
        fill()
        for directory in (path / "run", path):
            directory.chmod(0o555)
        (path / "run" / "run.lock").chmod(0o444)
        yield path
        for directory in (path, path / "run"):
            directory.chmod(0o755)


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}], ids=["begin", "resume", "overwrite"])
def test_a_read_only_directory_is_refused_at_once(read_only, how):
    began = time.monotonic()
    with pytest.raises(RunError, match=r"cannot be written \(.*\): choose another --run"):
        RunDir(read_only / ("run" if how else "new"), **how)
    assert time.monotonic() - began < 1
    assert checkpoints.newest(read_only / "run").step == 1


def test_a_directory_that_goes_away_is_named_by_whoever_writes_next(tmp_path):
    with RunDir(tmp_path / "run") as run:
        run.write_flags({})
        checkpoints.save(run.path, state_of(1), {})
        os.rename(tmp_path / "run", tmp_path / "elsewhere")
        for write in (
            lambda: checkpoints.save(run.path, state_of(2), {}),
            lambda: run.append_history({"epoch": 1}),
        ):
            with pytest.raises(RunError, match=r"run.* cannot be written \(No such file or directory\)"):
                write()
    assert not (tmp_path / "run").exists()  # nothing makes half a run in its place
    assert checkpoints.newest(tmp_path / "elsewhere").step == 1


def test_a_directory_that_another_run_has_now_is_left_to_it(tmp_path):
    run = RunDir(tmp_path / "run")
    os.rename(run.path, tmp_path / "elsewhere")
    run.path.mkdir()
    (run.path / LOCK).write_text("1")  # the number of the other process
    with pytest.raises(RunError, match=r"run is in use by process 1 now: it was moved or deleted"):
        run.append_history({"epoch": 1})
    run.close()
    assert os.listdir(run.path) == [LOCK] and (run.path / LOCK).read_text() == "1"


def test_a_number_left_by_another_process_is_nothing_where_files_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    (tmp_path / "run.lock").write_text("1")
    with RunDir(tmp_path) as run:
        run.append_history({"epoch": 1})
    assert (tmp_path / HISTORY).read_text() == '{"epoch": 1}\n'


# Whole commands


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


def start(run, data, *flags, **streams):
    flags = flags or (f"--data_dir={data}", *SETTINGS)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAWCNN_DATA": str(data.parent / "cache")}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, str(TRAIN), f"--run={run}", *flags]
    return subprocess.Popen(command, text=True, env=environment, stdin=subprocess.DEVNULL, **streams)


def finish(process, status):
    out, err = process.communicate(timeout=240)
    assert process.returncode == status, f"status {process.returncode}\n{out}\n{err}"
    return out, err


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that met no fault."""
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(start(run, data), 0)
    return run


def assert_same_end(run, whole):
    ours, theirs = arrays_of(run / "weights.npz"), arrays_of(whole / "weights.npz")
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert history_of(run) == history_of(whole)


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_loses_nothing(data, whole, tmp_path):
    """Somebody else takes the rest of the disk while the run stands still."""
    with mounted(tmp_path / "small", "size=20m") as small:
        run, filler = small / "run", small / "filler"
        process = start(run, data)
        wait_for(lambda: run.is_dir() and len(list(run.glob("ckpt-*.npz"))) >= 2, process)
        process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        process.send_signal(signal.SIGCONT)
        _, err = finish(process, 2)
        (line,) = err.strip().splitlines()
        assert re.search(r"run/\S+ .*cannot be written \(No space left on device\)", line) and "--resume" in line
        assert not list(run.glob("*.tmp"))
        saved = checkpoints.newest(run, log=pytest.fail)
        assert saved.step >= 10
        filler.unlink()
        out, _ = finish(start(run, data, "--resume"), 0)
        assert f"continuing after step {saved.step}\n" in out
        assert_same_end(run, whole)


@pytest.mark.slow
def test_a_directory_that_goes_away_while_training_is_one_line(data, tmp_path):
    run = tmp_path / "run"
    process = start(run, data, f"--data_dir={data}", *SETTINGS[:1], "--epochs=200", *SETTINGS[2:])
    wait_for(lambda: run.is_dir() and len(list(run.glob("ckpt-*.npz"))) >= 2, process)
    os.rename(run, tmp_path / "elsewhere")
    _, err = finish(process, 2)
    (line,) = err.strip().splitlines()
    assert str(run) in line and "No such file or directory" in line and not run.exists()
    assert checkpoints.newest(tmp_path / "elsewhere", log=pytest.fail).step >= 10


@pytest.mark.slow
def test_a_run_in_the_place_of_one_that_was_moved_is_left_alone(data, whole, tmp_path):
    run = tmp_path / "run"
    first = start(run, data, f"--data_dir={data}", *SETTINGS[:1], "--epochs=200", "--seed=9", *SETTINGS[2:])
    wait_for(lambda: run.is_dir() and len(list(run.glob("ckpt-*.npz"))) >= 2, first)
    first.send_signal(signal.SIGSTOP)  # so that it writes again only after the other has begun
    while any(run.rglob("*.tmp")):  # stopped in the middle of a file
        first.send_signal(signal.SIGCONT)
        time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
    os.rename(run, tmp_path / "elsewhere")
    second = start(run, data)
    wait_for(lambda: run.is_dir() and any(run.glob("ckpt-*.npz")), second)
    second.send_signal(signal.SIGSTOP)
    try:
        files = sorted(path.name for path in run.iterdir())
        first.send_signal(signal.SIGCONT)
        _, err = finish(first, 2)
        assert f"{run} is in use by process {second.pid} now" in err and len(err.strip().splitlines()) == 1
        assert sorted(path.name for path in run.iterdir()) == files
    finally:
        second.send_signal(signal.SIGCONT)
    finish(second, 0)
    assert_same_end(run, whole)
    assert checkpoints.newest(tmp_path / "elsewhere", log=pytest.fail).step >= 10


@pytest.mark.slow
def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(data, whole, tmp_path):
    run = tmp_path / "run"
    first = start(run, data)
    wait_for(lambda: run.is_dir() and any(run.glob("ckpt-*.npz")), first)
    first.send_signal(signal.SIGSTOP)  # so that it cannot end while the others ask
    try:
        files = sorted(path.name for path in run.iterdir())
        for flags in (("--resume",), ("--overwrite", f"--data_dir={data}"), (f"--data_dir={data}",)):
            _, err = finish(start(run, data, *flags), 2)
            assert f"{run} is in use by process {first.pid}" in err and len(err.strip().splitlines()) == 1
        assert sorted(path.name for path in run.iterdir()) == files
    finally:
        first.kill()
        first.communicate()
    finish(start(run, data, "--resume"), 0)
    assert_same_end(run, whole)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
def test_an_output_that_is_full_does_not_stop_training(data, whole, tmp_path, which):
    with open("/dev/full", "w") as full:
        streams = {name: full for name in ("stdout", "stderr") if which in (name, "both")}
        _, err = finish(start(tmp_path / "run", data, **streams), 0)
    assert_same_end(tmp_path / "run", whole)
    if which == "stdout":
        (line,) = err.strip().splitlines()  # said once, where somebody may still see it
        assert "output" in line and "No space left on device" in line


@pytest.mark.slow
def test_a_reader_that_goes_away_does_not_stop_training(data, whole, tmp_path):
    """As in `train_lenet.py | head -3`."""
    with start(tmp_path / "run", data) as process:
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 0, error
    assert_same_end(tmp_path / "run", whole)
    assert "Traceback" not in error and "Exception ignored" not in error
