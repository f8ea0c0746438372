"""Runs that are killed at random moments end as if they had not been; see `kill_runs.py`."""

import json
import os
import subprocess
import sys

import pytest

from tests.command import ROOT

KILLS = int(os.environ.get("RAWCNN_KILLS", "200"))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux: each run has a core of its own")
def test_killed_runs_end_as_if_they_had_not_been(tmp_path):
    command = [sys.executable, "-m", "tests.faults.kill_runs", f"--kills={KILLS}", f"--work={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and result["failures"] == [], f"{result}\n{done.stderr}"
    assert result["kills"] >= KILLS and result["runs ended bitwise equal"] >= KILLS // 5
    assert KILLS < 100 or min(result["start-up"], result["in the middle of a write"]) > 0
    print(result)
