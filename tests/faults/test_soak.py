"""Memory of a run that goes on: the benchmark itself, in small."""

import json
import subprocess
import sys

import pytest

from benchmarks.soak import growth
from tests.command import ROOT


def test_growth_compares_a_tenth_with_the_end_and_not_with_the_start():
    flat = [(step, 100.0 + (step < 50) * 80) for step in range(0, 1001, 5)]
    assert growth(flat, 1000) == (100.0, 100.0, 0.0)
    leaking = [(step, 100.0 + step / 10) for step in range(0, 1001, 5)]
    early, late, grown = growth(leaking, 1000)
    assert early == pytest.approx(110, abs=1) and late == pytest.approx(199, abs=1) and grown > 0.7
    with pytest.raises(ValueError, match="too short"):
        growth([(500, 1.0)], 1000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_stays_over_twenty_thousand_steps():
    """A tenth of what `benchmarks/soak.py` runs by itself. Its reading at 10 % is early, but after the first epochs."""
    command = [sys.executable, "-m", "benchmarks.soak", "--steps=20000", "--save_every=100", "--batch_size=16"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    print(json.loads(done.stdout))
