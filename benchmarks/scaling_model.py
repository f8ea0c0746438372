"""Training on many workers: what one worker and a ring of two measure here, and what that predicts for more.

python -m benchmarks.scaling_model --nets=alexnet_bn,googlenet --batch_size=32 --gigabits=1,10,100
python -m benchmarks.scaling_model --nets=googlenet --images_per_second=900          # a worker of yours

Each worker computes the gradients of a batch of its own. A ring all-reduce adds them up: of n workers each sends
2 (n - 1) / n times the bytes of the gradients, in 2 (n - 1) messages one after the other. So

    seconds of the all-reduce = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency

Without overlap a step takes the sum of computation and all-reduce. With overlap, at best, the all-reduce hides behind
the way back, about two thirds of the computation: forward + max(backward, all-reduce).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

from benchmarks.children import run_child
from benchmarks.harness import machine_line, markdown_table, read_result

IMAGENET = 1_281_167
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FORWARD = 1 / 3  # of a step's computation: the way back multiplies twice as much
EPOCHS = {
    "alexnet": (90, "Krizhevsky et al. 2012, section 5: roughly 90"),
    "alexnet_bn": (90, "AlexNet's"),
    "vgg16": (74, "Simonyan & Zisserman 2014, section 3.1"),
    "vgg16_bn": (74, "VGG's"),
    "googlenet": (60, "the paper names no number: those of Caffe's quick solver"),
}
RING_SIZES = (4, 1 << 20, 16 << 20, 64 << 20, 240 << 20)  # bytes
HERE = """Each worker has one core of this machine, also the single one. Two workers share its memory, its caches and
perhaps the units of one core, so they compute more slowly than one alone: the middle row shows that, and both
predictions are given. The all-reduce is TensorFlow's ring over gRPC on the loopback interface, of one flat buffer.
What it reaches here also bounds the predictions for a network, unless --images_per_second tells of another worker."""


# The model ------------------------------------------------------------------------------------------------------------


def ring_seconds(workers: int, size: float, bandwidth: float, latency: float) -> float:
    """Seconds of a ring all-reduce of `size` bytes; `bandwidth` in bytes/s each way, `latency` in seconds a message.

    >>> ring_seconds(1, 1e9, 1e9, 0.0), ring_seconds(2, 1e9, 1e9, 0.0), ring_seconds(1000, 1e9, 1e9, 0.0)
    (0.0, 1.0, 1.998)
    """
    return 2 * (workers - 1) / workers * size / bandwidth + 2 * (workers - 1) * latency


def step_seconds(compute: float, all_reduce: float, overlap: bool) -> float:
    """Seconds of a step that computes for `compute` seconds: the all-reduce after it, or hidden as far as it can be.

    >>> [step_seconds(3.0, seconds, overlap=True) for seconds in (1.0, 9.0)], step_seconds(3.0, 1.0, overlap=False)
    ([3.0, 10.0], 4.0)
    """
    if not overlap:
        return compute + all_reduce
    forward = FORWARD * compute
    return forward + max(compute - forward, all_reduce)


class Ring(NamedTuple):
    """What messages between workers take: bytes/s, and seconds a message."""

    bandwidth: float
    latency: float

    @staticmethod
    def fitted(timed: Sequence[tuple[int, float]]) -> Ring:
        """From (bytes, seconds) of a ring of two, smallest first: the first is latency alone, the last tells the rest.

        >>> Ring.fitted([(4, 0.001), (1000, 0.0015), (1_000_004, 1.001)])
        Ring(bandwidth=1000000.0, latency=0.0005)
        """
        (small, first), (large, last) = timed[0], timed[-1]
        return Ring(round((large - small) / (last - first), 3), first / 2)

    def seconds(self, workers: int, size: float) -> float:
        """Seconds of an all-reduce of `size` bytes."""
        return ring_seconds(workers, size, *self)

    def through(self, network: Ring) -> Ring:
        """What of `network` is left to the processes that make this ring: no more bytes/s, and messages take both."""
        return Ring(min(self.bandwidth, network.bandwidth), self.latency + network.latency)


class Worker(NamedTuple):
    """One worker: images of its batch, seconds to compute their gradients, bytes of these."""

    batch_size: int
    compute: float
    size: int

    def images_per_second(self, workers: int, ring: Ring, overlap: bool) -> float:
        """What `workers` of this kind train together."""
        return workers * self.batch_size / step_seconds(self.compute, ring.seconds(workers, self.size), overlap)


def prediction(worker: Worker, ring: Ring, epochs: int | None) -> str:
    """A table for 1 ... 1,024 workers: images/s, what is left of each worker's own speed, hours for ImageNet."""
    alone = worker.batch_size / worker.compute
    rows = []
    for n in WORKERS:
        rates = [worker.images_per_second(n, ring, overlap) for overlap in (False, True)]
        row = [f"{n:,}", f"{n * worker.batch_size:,}"]
        for rate in rates:
            row += [f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}", f"{rate / alone / n:.0%}"]
            row += [f"{epochs * IMAGENET / rate / 3600:,.1f}"] if epochs else []
        rows.append(row)
    hours = ["hours"] if epochs else []
    return markdown_table(
        ["workers", "images a step", "images/s", "efficiency", *hours, "images/s, overlap", "efficiency", *hours], rows
    )


def verdict(name: str, worker: Worker, ring: Ring, network: str) -> str:
    """Whether a second worker pays on this network, in a sentence."""
    alone = worker.batch_size / worker.compute
    plain, hidden = (worker.images_per_second(2, ring, overlap) for overlap in (False, True))
    if hidden <= alone:
        judged = "pointless: two workers train no more images/s than one"
    elif plain <= alone:
        judged = "pointless without overlap: two workers then train no more images/s than one"
    else:
        judged = f"two workers train {plain / alone:.2f} times what one does, with overlap up to {hidden / alone:.2f}"
    return (
        f"{name} on {network}: {worker.size / 1e6:.3g} MB a step take {ring.seconds(2, worker.size):.3g} s, the "
        f"computation of {worker.batch_size} images {worker.compute:.3g} s. {judged[0].upper()}{judged[1:]}."
    )


# What is measured -----------------------------------------------------------------------------------------------------


def child(args: argparse.Namespace) -> None:
    """One worker process: measures the ring, or steps, and prints a JSON line."""
    index, ports = args.child, [int(port) for port in args.ports.split(",") if port]
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})
    if ports:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
    import rawcnn.start  # noqa: F401

    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(4)  # with one, an all-reduce that waits may stop all others
    strategy = None
    if ports:
        ring = tf.distribute.experimental.CommunicationImplementation.RING
        options = tf.distribute.experimental.CommunicationOptions(implementation=ring)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    result = measure_ring(strategy, args.largest) if args.measure == "ring" else measure_step(strategy, args)
    if strategy is not None:  # a worker that leaves earlier would be taken for a dead one
        strategy.run(tf.function(all_reduced, autograph=False), args=(tf.ones(()),))
    print(json.dumps(result))


def all_reduced(x: Any) -> Any:
    """The sum over all workers, by the strategy that runs this."""
    import tensorflow as tf

    here = tf.identity(x)  # on the worker's device, which an argument of a function is not
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


def measure_ring(strategy: Any, largest: int) -> dict[str, Any]:
    """Median seconds of an all-reduce, for each of `RING_SIZES` up to `largest` bytes."""
    import tensorflow as tf

    reduce = tf.function(lambda x: strategy.run(all_reduced, args=(x,)), autograph=False)
    timed = []
    for size in (size for size in RING_SIZES if size <= largest):
        x = tf.ones(size // 4)
        assert float(reduce(x)[0]) == strategy.num_replicas_in_sync
        seconds = []
        for _ in range(20 if size < 1 << 20 else 5):
            began = time.perf_counter()
            reduce(x)
            seconds.append(time.perf_counter() - began)
        timed.append((size, statistics.median(seconds)))
    return {"timed": timed}


def measure_step(strategy: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a step of SGD on drawn images, and the bytes of its gradients.

    With a strategy the gradients are all-reduced, unless `args.measure` is "compute".
    """
    import numpy as np
    import tensorflow as tf

    from rawcnn.layers.variables import named_weights
    from rawcnn.nets import NETS

    net = NETS[args.nets]()
    weights = list(named_weights(net).values())
    rng = np.random.Generator(np.random.Philox(key=0))
    images = tf.constant(rng.random((args.batch_size, *net.input_shape), np.float32))
    labels = tf.constant(rng.integers(0, net.out_shape[0], args.batch_size, np.int32))
    sizes = [w.shape.num_elements() for w in weights]

    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits, ends = net.endpoints(images, training=True)
            outputs = [(1.0, logits), *((0.3, ends[name]) for name, _, _ in net.heads)]
            of_outputs = [k * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y) for k, y in outputs]
            loss = tf.reduce_mean(tf.add_n(of_outputs))
        gradients = tape.gradient(loss, weights)
        if strategy is not None and args.measure == "step":
            flat = all_reduced(tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0))
            gradients = [tf.reshape(g, w.shape) for g, w in zip(tf.split(flat, sizes), weights, strict=True)]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(1e-4 * gradient)
        return loss

    run = step if strategy is None else lambda *batch: strategy.run(step, args=batch)
    compiled = tf.function(run, autograph=False)
    compiled(images, labels)
    seconds = []
    for _ in range(args.steps):
        began = time.perf_counter()
        compiled(images, labels)
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds), "size": 4 * sum(sizes)}


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on just now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def workers(count: int, measure: str, args: argparse.Namespace, net: str = "") -> list[dict[str, Any]]:
    """What `count` workers report that run at the same time. Raises `SystemExit` if one fails; none is left running."""
    ports = ",".join(map(str, free_ports(count))) if count > 1 else ""
    same = [f"--{name}={getattr(args, name)}" for name in ("batch_size", "steps", "largest")]
    same += [f"--nets={net}", f"--measure={measure}"]
    command = [sys.executable, "-m", "benchmarks.scaling_model", *same, f"--ports={ports}"]
    with ThreadPoolExecutor(count) as pool:
        done = list(pool.map(lambda k: run_child([*command, f"--child={k}"], args.timeout), range(count)))
    results = [read_result(one, f"worker {k}") for k, one in enumerate(done)]
    for result in results:
        if "error" in result:
            raise SystemExit(f"{measure} of {net or 'the ring'}, {result['contender']}: {result['error']}")
    return results


def measured(net: str, ring: Ring, args: argparse.Namespace) -> tuple[Worker, str]:
    """A worker of this machine, and a table of one and two of them, predicted and measured."""
    (alone,) = workers(1, "step", args, net)
    beside = max(result["seconds"] for result in workers(2, "compute", args, net))
    pair = max(result["seconds"] for result in workers(2, "step", args, net))
    worker = Worker(args.batch_size, alone["seconds"], alone["size"])
    after = ring.seconds(2, worker.size)
    rows = [
        ("1", worker.compute, [worker.compute]),
        ("2, no all-reduce", beside, [worker.compute]),
        ("2", pair, [worker.compute + after, beside + after]),
    ]
    cells = []
    for name, seconds, predicted in rows:
        rates = [int(name[0]) * args.batch_size / one for one in (seconds, *predicted)]
        told = " or ".join(f"{rate:,.1f}" for rate in rates[1:])
        cells.append([name, f"{seconds:.3f}", f"{rates[0]:,.1f}", told])
    return worker, markdown_table(("workers", "s/step", "images/s, measured", "predicted"), cells)


def on_networks(
    net: str, worker: Worker, loopback: Ring, epochs: int | None, args: argparse.Namespace
) -> Iterator[str]:
    """The paragraphs about each network; a faster one is left out if a core here cannot use it."""
    before, last = None, ""
    for gigabits in map(float, args.gigabits.split(",")):
        name, network = f"{gigabits:g} Gb/s", Ring(gigabits * 1e9 / 8, args.latency_us / 1e6)
        if not args.images_per_second:
            network = loopback.through(network)
        if network == before:
            yield f"On {name} all is as on {last}: a core here does not send faster."
        else:
            yield f"### {name}\n\n{prediction(worker, network, epochs)}"
            yield verdict(net, worker, network, name)
            before, last = network, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="alexnet_bn,alexnet,vgg16,googlenet", help="nets, with commas between them")
    parser.add_argument("--batch_size", type=int, default=16, help="images of each worker's part of a step")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, after one that is not timed")
    parser.add_argument("--gigabits", default="1,10,100", help="speeds of networks, with commas between them")
    parser.add_argument("--latency_us", type=float, default=50.0, help="microseconds of a message on these networks")
    parser.add_argument("--images_per_second", type=float, help="speed of a worker of yours, instead of one core here")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one process may take")
    parser.add_argument("--measure", choices=("ring", "compute", "step"), default="step", help=argparse.SUPPRESS)
    parser.add_argument("--largest", type=int, default=RING_SIZES[-1], help="bytes of the largest all-reduce to time")
    parser.add_argument("--ports", default="", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        return child(args)
    print(f"Command: `{shlex.join(['python', '-m', 'benchmarks.scaling_model', *sys.argv[1:]])}`\n")
    print(f"Machine: {machine_line()}.\n\n{HERE}\n", flush=True)
    timed = workers(2, "ring", args)[0]["timed"]
    loopback = Ring.fitted(timed)
    rows = [
        (f"{size:,}", f"{1000 * seconds:.2f}", f"{1000 * loopback.seconds(2, size):.2f}") for size, seconds in timed
    ]
    print(markdown_table(("bytes, all-reduced by two", "ms", "the model's"), rows))
    print(
        f"\nThe ring here: {loopback.bandwidth / 1e9:.2f} GB/s, {1e6 * loopback.latency:,.0f} us a message.\n",
        flush=True,
    )
    for net in args.nets.split(","):
        worker, table = measured(net, loopback, args)
        print(f"## {net}, {args.batch_size} images a worker, float32\n\n{table}\n", flush=True)
        if args.images_per_second:
            worker = worker._replace(compute=args.batch_size / args.images_per_second)
        epochs, why = EPOCHS.get(net, (None, ""))
        print(f"Hours are those of {epochs} epochs of ImageNet ({why}).\n" if epochs else "")
        for paragraph in on_networks(net, worker, loopback, epochs, args):
            print(f"{paragraph}\n", flush=True)


if __name__ == "__main__":
    main()
