"""A process that does nothing but write a run's files, so that strace can kill it at any of its system calls.

    python tests/faults/crash_child.py {begin|go_on|publish} DIRECTORY

It runs rawcnn's own code for files, with a few names in TensorFlow's place: it starts in a fraction of a second, and
hundreds of crash points become affordable. Temporary names are made predictable, as `strace -P` wants paths.
"""

import hashlib
import os
import sys
import types
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# The variables of lenet5_relu with Adam: the net's, and two slots for each.
SHAPES = [(5, 5, 1, 6), (6,), (5, 5, 6, 16), (16,), (5, 5, 16, 120), (120,), (120, 84), (84,), (84, 10), (10,)]
FILE = b"the bytes of a data set" * 5000
TEMPORARY = ".1-1.tmp"
OLD, BEST, LAST, NEW = 2, 1, 3, 4  # steps: `go_on` finds OLD, BEST and LAST, saves NEW and deletes OLD


class Module:
    """In the place of tf.Module."""


class Variable:
    """In the place of tf.Variable: a value."""

    trainable = True

    def __init__(self, value):
        self.value = np.asarray(value)
        self.shape, self.dtype = self.value.shape, self.value.dtype

    def read_value(self):
        return self.value

    def numpy(self):
        return self.value

    def __int__(self):
        return int(self.value)


class State(Module):
    """In the place of TrainState: every number of it is the step's, so that a mixture of two would show."""

    def __init__(self, step):
        self.step = Variable(np.int64(step))
        for group in ("net", "m", "v"):
            setattr(self, group, {f"{k}": Variable(np.full(s, step, np.float32)) for k, s in enumerate(SHAPES)})


class Anything:
    """In the place of all other names of TensorFlow: rawcnn's modules are imported, and none of their ops is run."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return args[0] if args and callable(args[0]) else self  # a decorator gives the function back

    def __or__(self, other):
        return self

    __ror__ = __or__


def use_no_tensorflow():
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.__getattr__ = lambda name: Anything()
    tensorflow.Module, tensorflow.Variable = Module, Variable
    sys.modules["tensorflow"] = tensorflow
    sys.path.insert(0, str(ROOT))
    from rawcnn.files import whole as files

    os.getpid = lambda: 1
    files.threading = types.SimpleNamespace(get_ident=lambda: 1)


def rows(step):
    """The history of a run that has come to `step`."""
    return [{"epoch": epoch} for epoch in range(1, step + 1)]


def save(directory, step, also_keep=()):
    from rawcnn.train import checkpoints

    checkpoints.save(directory, State(step), {"history": rows(step)}, also_keep=also_keep)


def begin(directory):
    """The first moments of a run."""
    from rawcnn.run.directory import RunDir

    with RunDir(directory) as run:
        run.write_flags({"net": "lenet5_relu"})
        save(directory, 0)


def prepare(directory):
    """A run with three checkpoints, for `go_on`: saved without deleting."""
    from rawcnn.run.directory import RunDir
    from rawcnn.train import checkpoints

    with RunDir(directory) as run:
        run.write_flags({"net": "lenet5_relu"})
        for step in (BEST, OLD, LAST):
            run.append_history({"epoch": step})
            checkpoints.save(directory, State(step), {"history": rows(step)}, keep=9)
        run.append_history({"epoch": "of a life that ended before its checkpoint"})


def go_on(directory):
    """What a resumed run writes until its end, in the order of `rawcnn.session`."""
    from rawcnn.nets.weights import save_arrays
    from rawcnn.run.directory import WEIGHTS, RunDir

    with RunDir(directory, resume=True) as run:
        run.write_flags({"net": "lenet5_relu"})
        run.restore_history(rows(LAST))
        run.append_history({"epoch": NEW})
        save(directory, NEW, also_keep=(BEST,))
        save_arrays(directory / WEIGHTS, {"w": np.full((9, 9), NEW, np.float32)})


def publish(directory):
    """The end of a download, all bytes of which have come."""
    from rawcnn.data.sets.download import Remote, download

    remote = Remote("file.bin", ("https://nobody.invalid/file.bin",), len(FILE), hashlib.sha256(FILE).hexdigest())
    download(remote, directory)


def paths(mode, directory):
    """All files that `mode` touches, for `strace -P`."""
    if mode == "publish":
        return [directory, directory / "file.bin", directory / "file.bin.part", directory / ".file.bin.lock"]
    step = 0 if mode == "begin" else NEW
    written = ["flags.txt", "history.jsonl", "weights.npz", f"ckpt-{step:09d}.npz"]
    others = ["run.lock", f"ckpt-{OLD:09d}.npz"]
    names = [*written, *(name + TEMPORARY for name in written), *others]
    return [directory, *(directory / name for name in names)]


if __name__ == "__main__":
    use_no_tensorflow()
    {"prepare": prepare, "begin": begin, "go_on": go_on, "publish": publish}[sys.argv[1]](Path(sys.argv[2]))
