"""Every file of a run, damaged in every way that comes to mind: noticed, named, and never taken for something else."""

import os
import time
from datetime import datetime, timezone

import numpy as np
import pytest

from rawcnn.errors import RunError
from rawcnn.layers import Dense
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.run.directory import FLAGS, HISTORY, RunDir, read_flags
from rawcnn.train import checkpoints
from rawcnn.train.optimizers import Momentum
from rawcnn.train.step import TrainState


def state_of(step):
    """A state whose every number is its step."""
    net = Chain((("logits", row(Dense)(3)),), input_shape=(2,))
    state = TrainState(net, Momentum(named_weights(net), 0.1))
    for variable in named_variables(state).values():
        variable.assign(np.full(variable.shape, step, variable.dtype.as_numpy_dtype))
    return state


@pytest.fixture
def two(tmp_path):
    """A directory with the checkpoints of steps 1 and 2; the path of the second."""
    for step in (1, 2):
        path = checkpoints.save(tmp_path, state_of(step), {"history": [step], "best": None})
    return path


def expected():
    """Shape and type of every array that a checkpoint must have."""
    return {name: (tuple(v.shape), v.dtype.as_numpy_dtype) for name, v in named_variables(state_of(0)).items()}


def judged(path, wanted):
    """The step of the checkpoint that is taken, once it is certain that all of it is that step's and no other's."""
    said = []
    saved = checkpoints.newest(path.parent, said.append)
    assert saved.step in (1, 2) and saved.meta == {"history": [saved.step], "best": None}
    assert {name: (array.shape, array.dtype) for name, array in saved.arrays.items()} == wanted
    for name, array in saved.arrays.items():
        assert (array == saved.step).all(), name
    assert [str(path) in line for line in said] == [True] * (saved.step == 1)
    return saved.step


def zeros_from(data, at, count):
    return data[:at] + bytes(min(count, len(data) - at)) + data[at + count :]


WHOLESALE = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "without its directory": lambda data: data[: data.rindex(b"PK\x01\x02")],
    "all zeros": lambda data: bytes(len(data)),
    "zeros at the start": lambda data: zeros_from(data, 0, 512),
    "zeros in the middle": lambda data: zeros_from(data, len(data) // 2, 512),
    "zeros at the end": lambda data: zeros_from(data, len(data) - 512, 512),
    "a web page": lambda data: b"<!DOCTYPE html><html><body>404</body></html>",
    "a pickle": lambda data: b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.",
    "an array": lambda data: b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n1234",
    "without its first byte": lambda data: data[1:],
    "half of it twice": lambda data: data[: len(data) // 2] * 2,
}


@pytest.mark.parametrize("damage", WHOLESALE.values(), ids=WHOLESALE)
def test_a_newest_checkpoint_that_is_damaged_gives_way_to_the_one_before(two, damage):
    two.write_bytes(damage(two.read_bytes()))
    assert judged(two, expected()) == 1


def test_a_checkpoint_that_is_a_directory_or_may_not_be_read(two):
    two.unlink()
    two.mkdir()
    assert judged(two, expected()) == 1


def test_a_link_to_nothing(two):
    two.unlink()
    two.symlink_to(two.parent / "nothing")
    assert judged(two, expected()) == 1


@pytest.mark.parametrize("name", sorted(WHOLESALE))
def test_when_all_are_damaged_a_run_does_not_begin_again(two, name):
    for path in two.parent.glob("ckpt-*.npz"):
        path.write_bytes(WHOLESALE[name](path.read_bytes()))
    said = []
    with pytest.raises(RunError, match=r"No checkpoint in .* is sound.*--overwrite"):
        checkpoints.newest(two.parent, said.append)
    assert len(said) == 2


def flips(data, bits):
    for at in range(len(data)):
        for bit in bits(at):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def count_taken(path, bits):
    """Damage `path` bit by bit; returns how many were refused and how many passed with every value unharmed."""
    data, wanted, taken = path.read_bytes(), expected(), {1: 0, 2: 0}
    for damaged in flips(data, bits):
        path.write_bytes(damaged)
        taken[judged(path, wanted)] += 1
    return taken[1], taken[2]


def test_one_flipped_bit_in_each_byte_changes_no_value_unnoticed(two):
    refused, harmless = count_taken(two, lambda at: (at % 8,))
    assert refused > harmless  # harmless: dates, attributes and the like in the archive's own bookkeeping


@pytest.mark.slow
def test_every_single_flipped_bit_changes_no_value_unnoticed(two):
    refused, harmless = count_taken(two, lambda at: range(8))
    assert refused > harmless
    print(f"{refused} flips refused, {harmless} harmless")


def test_a_shape_that_a_flipped_bit_makes_smaller(two):
    """All of an array's bytes must be read, or its checksum is never compared: (3,) and (1,) differ by one bit."""
    data = two.read_bytes()
    at = data.index(b"'shape': (3,)") + len(b"'shape': (")
    two.write_bytes(data[:at] + b"1" + data[at + 1 :])
    assert judged(two, expected()) == 1


@pytest.mark.parametrize("first", range(4))
def test_every_truncation_is_noticed(two, first):
    data = two.read_bytes()
    """A third of all lengths, which end differently within every field."""
    for length in range(first, len(data), 12):
        two.write_bytes(data[:length])
        assert judged(two, expected()) == 1


def test_after_two_damaged_ones_the_next_save_stays(tmp_path):
    """The damaged ones are newer by name; what is saved now must not be deleted as the older."""
    for step in (10, 20, 30):
        checkpoints.save(tmp_path, state_of(step), {}, keep=3)
    for step in (20, 30):
        checkpoints.path_of(tmp_path, step).write_bytes(b"")
    assert checkpoints.newest(tmp_path, lambda line: None).step == 10
    checkpoints.save(tmp_path, state_of(15), {}, keep=2)
    assert checkpoints.newest(tmp_path, lambda line: None).step == 15
    assert checkpoints.path_of(tmp_path, 10).exists()


def test_names_that_are_nearly_checkpoints_are_left_alone(two):
    others = ["ckpt-000000009.npz.bak", "ckpt-9.npz", "ckpt-000000003.npz~", "ckpt-00000009.npz.part", "000000009.npz"]
    for name in others:
        (two.parent / name).write_bytes(b"mine")
    assert judged(two, expected()) == 2
    checkpoints.save(two.parent, state_of(3), {})
    assert all((two.parent / name).read_bytes() == b"mine" for name in others)


# Clocks


def test_steps_and_not_times_decide_which_is_newest(two):
    for k, path in enumerate(sorted(two.parent.glob("ckpt-*.npz"))):
        os.utime(path, (10**9 - 10**6 * k, 10**9 - 10**6 * k))
    assert judged(two, expected()) == 2
    for path in two.parent.glob("ckpt-*.npz"):
        os.utime(path, (0, 0))
    assert judged(two, expected()) == 2
    future = datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp()
    os.utime(checkpoints.path_of(two.parent, 1), (future, future))
    assert judged(two, expected()) == 2
    checkpoints.save(two.parent, state_of(3), {})
    assert sorted(checkpoints.steps(two.parent)) == [2, 3]  # the oldest by step went, not by time


@pytest.mark.parametrize("now", [0.0, 3e9])
def test_a_wrong_clock_changes_no_byte_of_a_checkpoint(tmp_path, monkeypatch, now):
    """1970 is before the first year that an archive can name. (The system's clock is not ours to set in a test.)"""
    wanted = checkpoints.save(tmp_path, state_of(1), {}).read_bytes()
    real = time.localtime
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "localtime", lambda seconds=None: real(now if seconds is None else seconds))
    assert checkpoints.save(tmp_path, state_of(1), {}).read_bytes() == wanted


# The other files of a run


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe{", b"\x00" * 99, b"<html>\n" * 6, b'{"epoch": 1}\n{"epo'])
def test_a_damaged_history_is_written_anew_from_the_checkpoint(tmp_path, content):
    with RunDir(tmp_path / "run") as run:
        run.write_flags({"net": "lenet5"})
        if content is not None:
            (run.path / HISTORY).write_bytes(content)
    with RunDir(tmp_path / "run", resume=True) as run:
        run.restore_history([{"epoch": 1}, {"epoch": 2}])
        run.append_history({"epoch": 3})
        assert [row["epoch"] for row in run.history()] == [1, 2, 3]
        assert (run.path / HISTORY).read_text() == '{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n'


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 50, b"<html>", b"--net\n"])
def test_flags_that_cannot_be_read_are_an_error_of_the_run(tmp_path, content):
    (tmp_path / FLAGS).write_bytes(content)
    with pytest.raises(RunError, match=r"flags\.txt is damaged"):
        read_flags(tmp_path)
