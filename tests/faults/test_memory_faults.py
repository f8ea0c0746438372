"""Memory that runs out, for real: one line that says what to change."""

import os
import subprocess
import sys

import pytest

from tests.command import ROOT

PROGRAM = """
from rawcnn.run import cli
import tensorflow as tf
cli.run(lambda argv: print(tf.zeros((1 << 21, 1 << 21))))
"""


@pytest.mark.slow
def test_out_of_memory_is_one_line_with_a_hint():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "out of memory" in last and "try a smaller --batch_size" in last and "Traceback" not in done.stderr
