"""Checkpoints and run directories: what was saved stays, and what is damaged or in use is said."""

import multiprocessing
import os

import numpy as np
import pytest

from rawcnn.errors import RunError
from rawcnn.layers import Dense
from rawcnn.layers.variables import named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.run import directory as rundir
from rawcnn.run.directory import RunDir
from rawcnn.train import checkpoints
from rawcnn.train.optimizers import Momentum
from rawcnn.train.step import TrainState


def new_state(step=0, fill=None):
    net = Chain((("logits", row(Dense)(3)),), input_shape=(2,))
    state = TrainState(net, Momentum(named_weights(net), 0.1))
    state.step.assign(step)
    if fill is not None:
        net.logits.w.assign(np.full((2, 3), fill, np.float32))
    return state


def test_a_checkpoint_holds_everything(tmp_path):
    state = new_state(step=7, fill=1.5)
    state.optimizer.slots["v"]["logits/b"].assign([1, 2, 3])
    path = checkpoints.save(tmp_path, state, {"best": {"step": 3}, "sums": {"loss_sum": 0.1 + 0.2}})
    other = new_state()
    saved = checkpoints.newest(tmp_path)
    saved.restore(other)
    assert (path.name, saved.step, int(other.step)) == ("ckpt-000000007.npz", 7, 7)
    assert saved.meta == {"best": {"step": 3}, "sums": {"loss_sum": 0.30000000000000004}}
    np.testing.assert_array_equal(other.net.logits.w, state.net.logits.w)
    np.testing.assert_array_equal(other.optimizer.slots["v"]["logits/b"], [1, 2, 3])


def test_old_ones_go_but_never_the_best(tmp_path):
    for step in range(1, 7):
        checkpoints.save(tmp_path, new_state(step), {}, also_keep=(2,))
    assert sorted(checkpoints.steps(tmp_path)) == [2, 5, 6]


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[:300] + b"\0" * 40 + b[340:]])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(tmp_path, damage):
    for step in (1, 2):
        last = checkpoints.save(tmp_path, new_state(step, fill=step), {})
    last.write_bytes(damage(last.read_bytes()))
    said = []
    assert checkpoints.newest(tmp_path, said.append).step == 1
    assert len(said) == 1 and str(last) in said[0]


def test_only_damaged_ones_are_an_error(tmp_path):
    checkpoints.save(tmp_path, new_state(1), {}).write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"No checkpoint in .* is sound"):
        checkpoints.newest(tmp_path, lambda line: None)


def test_there_may_be_none(tmp_path):
    assert checkpoints.newest(tmp_path) is None


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "ckpt-000000003.npz", a=np.ones(3))
    with pytest.raises(RunError, match="is not a checkpoint of rawcnn"):
        checkpoints.read(tmp_path / "ckpt-000000003.npz")


def test_another_net_does_not_take_it(tmp_path):
    checkpoints.save(tmp_path, new_state(1), {})
    net = Chain((("logits", row(Dense)(4)),), input_shape=(2,))
    with pytest.raises(RunError, match=r"net/logits/w is \(2, 3\), not \(2, 4\)"):
        checkpoints.newest(tmp_path).restore(TrainState(net, Momentum(named_weights(net), 0.1)))


def test_a_directory_that_cannot_be_written_keeps_what_it_has(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, new_state(1), {})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        checkpoints.save(tmp_path, new_state(2), {})
    monkeypatch.undo()
    assert checkpoints.newest(tmp_path).step == 1


def used(path):
    with RunDir(path) as run:
        run.write_flags({"net": "lenet5", "epochs": 3, "data_dir": None})
        run.append_history({"epoch": 1})
        run.append_history({"epoch": 2})
        (path / "notes.txt").write_text("mine")
        (path / "ckpt-000000001.npz.7-7.tmp").write_bytes(b"part")
    return path


def test_a_used_directory_is_refused(tmp_path):
    path = used(tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already: continue with --resume, or delete it with --overwrite"):
        RunDir(path)


def test_resume_keeps_all_but_leftovers(tmp_path):
    path = used(tmp_path / "run")
    with RunDir(path, resume=True) as run:
        run.restore_history([{"epoch": 1}])
        run.append_history({"epoch": 3})
        assert run.history() == [{"epoch": 1}, {"epoch": 3}]
        assert (path / "history.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 3}\n'
    assert not list(path.glob("*.tmp")) and (path / "notes.txt").exists()
    assert rundir.read_flags(path) == {"net": "lenet5", "epochs": "3"}


def test_overwrite_deletes_the_run_and_nothing_else(tmp_path):
    path = used(tmp_path / "run")
    with RunDir(path, overwrite=True) as run:
        assert run.history() == []
    assert {p.name for p in path.iterdir()} == {"notes.txt", "run.lock"}


def test_resuming_nothing_and_strangers_directories_are_refused(tmp_path):
    with pytest.raises(RunError, match="holds no run to resume"):
        RunDir(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no run of rawcnn"):
        RunDir(tmp_path)


def test_a_path_that_cannot_be_a_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        RunDir(tmp_path / "file")


def hold(path, ready, done):
    with RunDir(path):
        ready.set()
        done.wait(30)


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "run", ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RunError, match=f"is in use by process {other.pid}"):
        RunDir(tmp_path / "run")
    other.kill()
    other.join()
    RunDir(tmp_path / "run").close()  # a killed process leaves no lock behind


def test_new_runs_get_new_names(tmp_path):
    assert rundir.unused_name("lenet5", "mnist", tmp_path).name == "lenet5-mnist-1"
    (tmp_path / "lenet5-mnist-1").mkdir()
    assert rundir.unused_name("lenet5", "mnist", tmp_path).name == "lenet5-mnist-2"
