"""Gradients accumulated over pieces of a batch: memory, time, and the difference from the whole batch.

python -m benchmarks.accumulate --net=alexnet --batch_size=128 --pieces=1,4,16 --steps=3

Each row is a process of its own, so its peak memory is its own. Dropout is left out, since it draws for each piece.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.children import ROOT
from benchmarks.harness import machine_line, peak_memory_mb


def child(net_name: str, batch_size: int, pieces: int, steps: int, out: str) -> None:
    """Train some steps of SGD, keep what they changed in `out`, and print memory and seconds a step."""
    import rawcnn.start  # noqa: F401

    import tensorflow as tf

    from rawcnn.layers import Dropout
    from rawcnn.layers.variables import named_weights
    from rawcnn.nets import NETS
    from rawcnn.train.losses import softmax_cross_entropy
    from rawcnn.train.optimizers import SGD
    from rawcnn.train.recipes import recipe_of
    from rawcnn.train.step import TrainState, make_train_step

    net = NETS[net_name]()
    for chain in (net, *(head for _, _, head in net.heads)):
        for _, layer in chain.rows:
            if isinstance(layer, Dropout):
                layer.rate = 0.0
    begun = {name: weight.numpy() for name, weight in named_weights(net).items()}
    rng = np.random.Generator(np.random.Philox(key=0))
    height, width, channels = net.input_shape
    pad = 2 * recipe_of(net_name).preprocess.pad
    images = rng.integers(0, 256, (batch_size, height - pad, width - pad, channels), np.uint8)
    labels = rng.integers(0, net.out_shape[0], batch_size, np.int32)
    state = TrainState(net, SGD(named_weights(net), 0.001))
    heads = {name: 0.3 for name, _, _ in net.heads}
    preprocess = recipe_of(net_name).preprocess
    step = make_train_step(state, softmax_cross_entropy, preprocess, accumulate=pieces, head_weights=heads)
    data = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    step(data, tf.constant(1))
    began = time.perf_counter()
    loss = step(data, tf.constant(steps)).loss.numpy()[-1]
    seconds = (time.perf_counter() - began) / steps
    with open(out, "wb") as file:
        np.savez(file, **{name: weight.numpy() - begun[name] for name, weight in named_weights(net).items()})
    print(json.dumps({"memory": peak_memory_mb(), "seconds": seconds, "loss": float(loss)}))


def relative(one: Path, whole: Path) -> float:
    """The norm of the difference of two changes of all weights, relative to the norm of the second."""
    with np.load(one, allow_pickle=False) as a, np.load(whole, allow_pickle=False) as b:
        difference = sum(float(np.square(a[name] - b[name], dtype=np.float64).sum()) for name in b.files)
        return float(np.sqrt(difference / sum(float(np.square(b[name], dtype=np.float64).sum()) for name in b.files)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="alexnet", help="a net without batch normalisation")
    parser.add_argument("--batch_size", type=int, default=128, help="images of an update")
    parser.add_argument("--pieces", default="1,4,16", help="values of --accumulate; the first is compared with")
    parser.add_argument("--steps", type=int, default=3, help="timed updates, after one that is not timed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.net, args.batch_size, int(args.pieces), args.steps, args.child)
        return
    print(f"Machine: {machine_line()}.\n{args.net}, batches of {args.batch_size}, {args.steps + 1} updates of SGD\n")
    print("accumulate  peak memory  s/update  difference of the updates, relative to them")
    with tempfile.TemporaryDirectory() as folder:
        counts = [int(word) for word in args.pieces.split(",")]
        for pieces in counts:
            out = Path(folder, f"{pieces}.npz")
            same = [f"--net={args.net}", f"--batch_size={args.batch_size}", f"--steps={args.steps}"]
            command = [sys.executable, "-m", "benchmarks.accumulate", *same, f"--pieces={pieces}", f"--child={out}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            found = json.loads(done.stdout.splitlines()[-1])
            difference = "" if pieces == counts[0] else f"{relative(out, Path(folder, f'{counts[0]}.npz')):.1e}"
            print(f"{pieces:10}  {found['memory']:8,.0f} MB  {found['seconds']:8.2f}  {difference}", flush=True)


if __name__ == "__main__":
    main()
