"""Recomputation of maps on the way back: memory, time, and the difference from keeping them.

python -m benchmarks.recompute --net=vgg16_bn --batch_sizes=16,32 --size=224

Each row is a process of its own, so its peaks are its own. "In tensors" is what all tensors took at the same time, by
the statistics of TensorFlow's allocator; "process" is the resident memory, with TensorFlow itself and what the
allocator holds back between tensors. The first row, of one image, shows what weights and gradients take.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.accumulate import relative
from benchmarks.children import Child, run_child
from benchmarks.harness import machine_line, markdown_table, peak_memory_mb, read_result

HEADER = ("batch", "maps", "peak in tensors", "process", "s/update", "difference of the updates, relative to them")


def changes(
    net_name: str, batch_size: int, *, recompute: bool, steps: int, size: int, classes: int, out: str = ""
) -> dict[str, Any]:
    """Train some steps of SGD, keep what they changed in the file `out`; MiB, seconds a step and the last loss."""
    import rawcnn.start  # noqa: F401

    import numpy as np
    import tensorflow as tf

    from rawcnn.data.preprocess import Preprocess
    from rawcnn.layers.variables import named_weights
    from rawcnn.nets import NETS
    from rawcnn.train.losses import softmax_cross_entropy
    from rawcnn.train.optimizers import SGD
    from rawcnn.train.step import TrainState, make_train_step

    net = NETS[net_name]((size, size, 3), classes)
    begun = {name: weight.numpy() for name, weight in named_weights(net).items()} if out else {}
    rng = np.random.Generator(np.random.Philox(key=0))
    images = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    labels = rng.integers(0, classes, batch_size, np.int32)
    state = TrainState(net, SGD(named_weights(net), 0.001))
    heads = {name: 0.3 for name, _, _ in net.heads}
    step = make_train_step(state, softmax_cross_entropy, Preprocess(), recompute=recompute, head_weights=heads)
    data = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    step(data, tf.constant(1))
    began = time.perf_counter()
    loss = step(data, tf.constant(steps)).loss.numpy()[-1]
    seconds = (time.perf_counter() - began) / steps
    memory = peak_memory_mb()  # before the weights are copied
    tensors = tf.config.experimental.get_memory_info("CPU:0")["peak"] / 2**20
    if out:
        with open(out, "wb") as file:
            np.savez(file, **{name: weight.numpy() - begun[name] for name, weight in named_weights(net).items()})
    return {"memory": memory, "tensors": tensors, "seconds": seconds, "loss": float(loss)}


def measured(batch_size: int, recompute: bool, args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One row, in a process of its own; raises `SystemExit` with what went wrong."""
    same = [f"--{name}={getattr(args, name)}" for name in ("net", "steps", "size", "classes")]
    own = [f"--batch_sizes={batch_size}", f"--child={out}", *(["--recompute"] if recompute else [])]
    child: Child = run_child([sys.executable, "-m", "benchmarks.recompute", *same, *own], args.timeout)
    result = read_result(child, "recompute")
    if "error" in result:
        raise SystemExit(f"Batch of {batch_size}, recompute={recompute}: {result['error']}")
    return result


def memory(found: dict[str, Any]) -> list[str]:
    """The two peaks, as cells of the table."""
    return [f"{found[name]:,.0f} MB" for name in ("tensors", "memory")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="vgg16_bn", help="which net")
    parser.add_argument("--batch_sizes", default="8,32", help="images of an update, with commas between them")
    parser.add_argument("--size", type=int, default=224, help="pixels a side of the images")
    parser.add_argument("--classes", type=int, default=1000, help="how many the last row knows")
    parser.add_argument("--steps", type=int, default=2, help="timed updates, after one that is not timed")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one process may take")
    parser.add_argument("--recompute", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = [int(word) for word in args.batch_sizes.split(",")]
    if args.child:
        more = {"steps": args.steps, "size": args.size, "classes": args.classes, "out": args.child}
        print(json.dumps(changes(args.net, sizes[0], recompute=args.recompute, **more)))
        return
    print(f"Command: `{shlex.join(['python', '-m', 'benchmarks.recompute', *sys.argv[1:]])}`\n")
    print(f"Machine: {machine_line()}.\n{args.net}, {args.size} x {args.size} pixels, float32, SGD\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kept, again = Path(folder, "kept.npz"), Path(folder, "again.npz")
        rows.append(["1", "kept", *memory(measured(1, False, args, kept)), "", ""])
        for batch_size in sizes:
            for recompute, out in ((False, kept), (True, again)):
                found = measured(batch_size, recompute, args, out)
                difference = f"{relative(again, kept):.1e}" if recompute else ""
                cells = ["computed again" if recompute else "kept", *memory(found)]
                rows.append([str(batch_size), *cells, f"{found['seconds']:.2f}", difference])
                print(*rows[-1], file=sys.stderr, flush=True)
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
