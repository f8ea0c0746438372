"""Disks that are full: before the run, while saving, and with what numbers that is said."""

import os
import shutil
from collections import namedtuple

import pytest

from rawcnn.errors import RunError
from rawcnn.train import checkpoints
from tests.train.test_checkpoints import new_state

Usage = namedtuple("Usage", "total used free")
ONE = 8 + 4 * (6 + 3) * 2 + 4  # step; weights and their slots; the factor of the learning rate


@pytest.mark.parametrize(("there", "needed"), [(0, 4), (1, 3), (3, 1), (5, 1)])
def test_room_is_asked_for_before_the_run(tmp_path, monkeypatch, there, needed):
    for step in range(there):
        checkpoints.save(tmp_path, new_state(step), {}, keep=9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, needed * ONE))
    checkpoints.check_room(tmp_path, new_state())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, needed * ONE - 1))
    words = rf"has {needed * ONE - 1:,} bytes free, and the run needs {needed * ONE:,} more"
    with pytest.raises(RunError, match=words):
        checkpoints.check_room(tmp_path, new_state())


@pytest.mark.skipif(os.name != "posix", reason="needs file size limits")
def test_a_full_disk_names_both_numbers_and_leaves_no_part(tmp_path):
    import resource
    import signal

    checkpoints.save(tmp_path, new_state(1), {})
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        with pytest.raises(checkpoints.SaveError, match=r"it takes \d+ bytes, and [\d,]+ are free"):
            checkpoints.save(tmp_path, new_state(2), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt-000000001.npz"]
    assert checkpoints.newest(tmp_path).step == 1
