"""What a frozen row costs: the time of a training step with all rows trained, and with the first ones frozen.

python -m benchmarks.frozen --net=vgg11 --input_size=32 --batch_size=64 --freeze=conv1_1..pool5

`--freeze` may be given several times; all ways take turns, and the first round is not counted.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.harness import drawn_data, machine_line, markdown_table
from benchmarks.step_time import tf  # starts TensorFlow
from rawcnn.data.batches import batches
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.nets import NETS, create_net, input_shape, precision
from rawcnn.nets.chain import Chain
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.optimizers import Adam
from rawcnn.train.simple import HEAD_WEIGHT
from rawcnn.train.step import TrainState, frozen_rows, make_train_step, unfrozen_weights

ALL = "nothing"


def source_for(net: Chain, count: int) -> Source:
    """Drawn images of the size of the net's input."""
    images, labels = drawn_data(count, net.input_shape, net.out_shape[0])
    return Source((images * 255).astype(np.uint8), labels.astype(np.int32), tuple(map(str, range(net.out_shape[0]))))


def stepper(net: Chain, freeze: str, batch_size: int) -> Callable[[int], float]:
    """`seconds(n)` of one step, measured over n of them."""
    frozen = frozen_rows(net, freeze)
    state = TrainState(net, Adam(unfrozen_weights(net, frozen), 1e-4), freeze=frozen)
    heads = {name: HEAD_WEIGHT for name, _, _ in net.heads}
    step = make_train_step(state, softmax_cross_entropy, Preprocess(), head_weights=heads)
    data = iter(batches(source_for(net, 4 * batch_size), batch_size, seed=0))

    def seconds(count: int) -> float:
        began = time.perf_counter()
        step(data, tf.constant(count)).loss.numpy()
        return (time.perf_counter() - began) / count

    return seconds


def measured(args: argparse.Namespace, ways: Sequence[str]) -> list[list[float]]:
    """Milliseconds a step of each way, round by round."""
    height, width, channels = input_shape(args.net)
    shape = (args.input_size or height, args.input_size or width, channels)
    policy = precision.parse(args.precision)
    nets = [create_net(args.net, args.classes, shape, policy=policy) for _ in ways]
    calls = [stepper(net, "" if way == ALL else way, args.batch_size) for net, way in zip(nets, ways, strict=True)]
    for call in calls:
        call(1)  # traced here
    rounds = [[1000 * call(args.steps) for call in calls] for _ in range(args.rounds + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def table(ways: Sequence[str], times: Sequence[Sequence[float]]) -> str:
    """One row a way: median, spread, and its part of the step that trains all rows."""
    header = ("frozen", "ms a step (median)", "least", "most", "n", "of the step that trains all")
    rows = [
        [way, *(f"{value:,.1f}" for value in (statistics.median(ms), min(ms), max(ms))), str(len(ms)),
         f"{statistics.median(one / all_of_it for one, all_of_it in zip(ms, times[0], strict=True)):.2f}"]
        for way, ms in zip(ways, times, strict=True)
    ]  # fmt: skip
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=sorted(NETS), default="vgg11")
    parser.add_argument("--input_size", type=int, help="pixels a side; by default the net's own")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--freeze", action="append", required=True, help="rows, as `rawcnn train --freeze` takes them")
    parser.add_argument("--precision", choices=precision.NAMES, default="float32")
    parser.add_argument("--steps", type=int, default=5, help="in one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    ways = [ALL, *args.freeze]
    print(f"Command: `python -m benchmarks.frozen {' '.join(arguments or sys.argv[1:])}`\n")
    print(f"Machine: {machine_line()}. TensorFlow {tf.__version__}. Date: {datetime.date.today()}.\n")
    print(table(ways, measured(args, ways)))


if __name__ == "__main__":
    main()
