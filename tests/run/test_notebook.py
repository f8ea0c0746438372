"""The example inside a process that lives on, as in a notebook: run twice, and after TensorFlow has computed."""

import subprocess
import sys

from tests.command import TRAIN, environment

CELLS = """
import runpy, sys
import tensorflow as tf

print("computed", float(tf.reduce_sum(tf.ones([4]))))
for number in (1, 2):
    sys.argv = [{script!r}, "--smoke", "--net=lenet5_relu", "--epochs=1", "--run=" + {runs!r} + str(number)]
    runpy.run_path(sys.argv[0], run_name="__main__")  # what %run does
print("alive")
"""


def test_the_example_runs_twice_and_after_tensorflow_computed(tmp_path):
    text = CELLS.format(script=str(TRAIN), runs=f"{tmp_path}/run-")
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path),
        timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "computed 4.0" and lines[-1] == "alive"
    assert sum(line.startswith("test accuracy ") for line in lines) == 2
    assert sum("so its threads stay as they are" in line for line in lines) == 2  # said, and no RuntimeError
    one, two = ((tmp_path / f"run-{number}" / "weights.npz").read_bytes() for number in (1, 2))
    assert one == two
