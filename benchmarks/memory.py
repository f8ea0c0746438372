"""Resident memory of a training run after every epoch, from its own process.

python -m benchmarks.memory --data_dir=MNIST --net=lenet5_relu --epochs=10
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.harness import machine_line
from benchmarks.step_time import build, trainer  # starts TensorFlow
from rawcnn.data import datasets
from rawcnn.nets import NETS
from rawcnn.train.evaluate import evaluate, make_eval_step
from rawcnn.train.fit import train_epochs
from rawcnn.train.losses import LOSSES
from rawcnn.train.recipes import recipe_of


def resident_mb() -> float:
    """Memory of this process that is in RAM now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--net", choices=sorted(NETS), default="lenet5_relu")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    batch_size = recipe_of(args.net).batch_size
    net, recipe, shards = build(args.net, batch_size)
    state, step = trainer(net, recipe, shards)
    eval_step = make_eval_step(net, LOSSES[recipe.loss], recipe.preprocess, shards=shards)
    data = datasets.load("mnist", args.data_dir, validation=recipe.validation)
    print(f"Machine: {machine_line()}.\nepoch  resident MB")
    for now in train_epochs(state, step, data.train, batch_size=batch_size, epochs=args.epochs, seed=0):
        if now.epoch_ended:
            evaluate(eval_step, data.validation or data.test)
            print(f"{now.epoch:5}  {resident_mb():11.1f}", flush=True)


if __name__ == "__main__":
    main()
