"""Training speed of rawcnn: shuffled batches, input, loss, gradient and update, as `rawcnn.train.loop.fit` runs them.

python benchmarks/step_time.py --net=lenet5_tanh --batch_size=128 --precision=float32 --json
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
from harness import OURS, contender_parser, drawn_data, plan, report

from rawcnn.quiet import start_tensorflow

start_tensorflow()

import tensorflow as tf  # noqa: E402

from rawcnn import precision  # noqa: E402
from rawcnn.data.source import Source  # noqa: E402
from rawcnn.nets import NETS  # noqa: E402
from rawcnn.train.loop import TrainState, fit, make_train_step, one_thread_per_op, side_by_side  # noqa: E402
from rawcnn.train.losses import LOSSES  # noqa: E402
from rawcnn.train.optimizers import OPTIMIZERS  # noqa: E402
from rawcnn.train.recipes import recipe_of  # noqa: E402
from rawcnn.weights import named_weights  # noqa: E402


def run(args: argparse.Namespace) -> None:
    """Train one epoch to warm up, then the timed ones, and report."""
    recipe = recipe_of(args.net)
    parts = args.parts or (side_by_side(args.batch_size) if recipe.small_ops else 1)
    if recipe.small_ops and parts > 1:
        one_thread_per_op()
    net = NETS[args.net](policy=precision.parse(args.precision))
    height, width, channels = net.in_shape
    shape = (height - 2 * recipe.preprocess.pad, width - 2 * recipe.preprocess.pad, channels)
    classes = net.out_shape[0]
    todo = plan(args, shape)
    images, labels = drawn_data(todo.images, shape, classes)
    source = Source((images * 255).astype(np.uint8), labels.astype(np.int32), tuple(map(str, range(classes))))
    state = TrainState(net, OPTIMIZERS["adam"](named_weights(net), 0.001))
    step = make_train_step(state, LOSSES[recipe.loss], recipe.preprocess, parts=parts, head_weights=recipe.head_weights)
    ends, losses, waited = [], [], []
    epochs = todo.passes * (args.blocks + 1)
    for now in fit(state, step, source, batch_size=args.batch_size, epochs=epochs, seed=0):
        waited.append(now.data_share)
        if now.epoch_ended and now.epoch % todo.passes == 0:
            ends.append(time.perf_counter())
            losses.append(round(now.loss, 4))
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    more = {"parts": parts, "loss": losses, "data_share": round(float(np.median(waited)), 3)}
    report(OURS, args, np.diff(ends).tolist(), todo.steps, versions, parameters=net.num_params(), **more)


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument(
        "--parts", type=int, default=0, help="parts of a batch side by side; 0: as the net's recipe says"
    )
    run(parser.parse_args())


if __name__ == "__main__":
    main()
