"""The examples in processes of their own, as a user runs them."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAIN, CLASSIFY = ROOT / "examples" / "train_lenet.py", ROOT / "examples" / "classify.py"


def of_module(command):
    """The module that a command runs by `python -m`, and its flags."""
    return command[command.index("-m") + 1 :]


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


def write_digits(directory):
    """A data set of drawn digits in MNIST's four files."""
    from rawcnn.data.sets.drawn import drawn_digits

    directory.mkdir()
    for part, count, start in (("train", 1400, 0), ("t10k", 300, 5000)):
        images, labels = drawn_digits(count, start=start)
        write_idx(directory / f"{part}-images-idx3-ubyte.gz", images[..., 0])
        write_idx(directory / f"{part}-labels-idx1-ubyte.gz", labels.astype("uint8"))
    return directory


def environment(home):
    return os.environ | {"PYTHONPATH": str(ROOT), "RAWCNN_DATA": str(home / "data")}


def of_program(program, **more):
    """A Python program in a process in which nobody has set TensorFlow's variables but `more`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run([sys.executable, "-c", program], env=clean | more, capture_output=True, text=True, cwd=ROOT)


def call(script, *flags, home, cwd=None, status=0):
    command = [sys.executable, script, *map(str, flags)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment(home),
        cwd=cwd or home,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def flags_for(run, digits, *more):
    return (
        f"--run={run}",
        f"--data_dir={digits}",
        "--net=lenet5_relu",
        "--epochs=3",
        "--batch_size=20",
        "--validation=0.1",
        *more,
    )


def history_of(run):
    """The rows of a run's history without what a clock decides."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    timed = {"seconds", "images_per_second"}
    assert all(timed <= row.keys() and row["seconds"] > 0 for row in rows)
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def heard():
    """A shell's background jobs ignore Ctrl-C, and so would their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
