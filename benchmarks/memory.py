"""Resident memory of a training run after every epoch, from its own process.

python benchmarks/memory.py --data_dir=MNIST --net=lenet5_relu --epochs=10
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness import machine_line

from rawcnn.quiet import start_tensorflow

start_tensorflow()

from rawcnn.data import datasets  # noqa: E402
from rawcnn.nets import NETS  # noqa: E402
from rawcnn.train import schedules  # noqa: E402
from rawcnn.train.loop import (  # noqa: E402
    TrainState,
    evaluate,
    fit,
    make_eval_step,
    make_train_step,
    one_thread_per_op,
    side_by_side,
    steps_per_epoch,
)
from rawcnn.train.losses import LOSSES  # noqa: E402
from rawcnn.train.optimizers import OPTIMIZERS  # noqa: E402
from rawcnn.train.recipes import recipe_of  # noqa: E402
from rawcnn.weights import named_weights  # noqa: E402


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
    one_thread_per_op()
    recipe, net = recipe_of(args.net), NETS[args.net]()
    parts, loss = side_by_side(recipe.batch_size), LOSSES[recipe.loss]
    data = datasets.load("mnist", args.data_dir, validation=recipe.validation)
    total = args.epochs * steps_per_epoch(data.train, recipe.batch_size)
    optimizer = OPTIMIZERS[recipe.optimizer](named_weights(net), schedules.cosine(recipe.learning_rate, total))
    state = TrainState(net, optimizer)
    step = make_train_step(state, loss, recipe.preprocess, parts=parts)
    eval_step = make_eval_step(net, loss, recipe.preprocess, parts=parts)
    print(f"Machine: {machine_line()}.\nepoch  resident MB")
    for now in fit(state, step, data.train, batch_size=recipe.batch_size, epochs=args.epochs, seed=0):
        if now.epoch_ended:
            evaluate(eval_step, data.validation)
            print(f"{now.epoch:5}  {resident_mb():11.1f}", flush=True)


if __name__ == "__main__":
    main()
