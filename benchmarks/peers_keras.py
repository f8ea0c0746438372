"""Keras 3 on the TensorFlow backend as a contender, with the options that make it fast.

python -m benchmarks.peers_keras --net=lenet5_tanh --batch_size=128 --precision=float32 --steps_per_execution=50 --json
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.blocks import Clock
from benchmarks.harness import NOT_INSTALLED, contender_parser, drawn_data, report, report_error

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HEAD_WEIGHT = 0.3  # of an auxiliary head's loss; Szegedy et al. 2014, section 5


def pipeline(images: Any, labels: Any, batch_size: int) -> Any:
    """Shuffled numbers, then one gather per batch: much faster than slicing the arrays into single images."""
    import tensorflow as tf

    images, labels = tf.nest.map_structure(tf.constant, (images, labels))
    numbers = tf.data.Dataset.range(len(images)).shuffle(len(images)).batch(batch_size, drop_remainder=True)
    gathered = numbers.map(
        lambda k: tf.nest.map_structure(lambda array: tf.gather(array, k), (images, labels)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return gathered.prefetch(tf.data.AUTOTUNE)


def load(args: argparse.Namespace) -> tuple[Any, tuple[int, ...], int]:
    """The net, the shape of an image and the number of classes."""
    import keras

    from tests.oracles.nets_keras import NETS

    keras.utils.set_random_seed(0)
    if args.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    build, shape, classes = NETS[args.net]
    return build(shape, classes), shape, classes


def compile_for_training(model: Any, steps_per_execution: int, jit: bool) -> None:
    """Only the loss is tracked, that of auxiliary heads included."""
    import keras

    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = None
    if isinstance(model.output, dict):
        loss = dict.fromkeys(model.output, loss)
        weights = {name: 1.0 if name == "logits" else HEAD_WEIGHT for name in loss}
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=loss,
        loss_weights=weights,
        steps_per_execution=steps_per_execution,
        jit_compile=jit,
    )


def versions() -> dict[str, str]:
    import keras
    import tensorflow as tf

    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def train(args: argparse.Namespace, name: str) -> None:
    """One epoch of `fit`, whose first block is not timed; the callback after each call of the graph ends the blocks.

    Not one epoch a block: at the end of each, tf.data may take ten seconds to let its iterator go, which in training
    for real comes once in many steps. XLA compiles again in its second call, so that its second block is a warm-up too.
    """
    import keras

    model, shape, classes = load(args)
    many = max(n for n in range(1, args.steps_per_execution + 1) if args.steps % n == 0)
    compile_for_training(model, many, args.jit)
    untimed = 2 if args.jit else 1
    images, labels = drawn_data(args.steps * (untimed + args.blocks) * args.batch_size, shape, classes)
    if isinstance(model.output, dict):
        labels = dict.fromkeys(model.output, labels)
    clock = Clock(args.blocks, untimed)
    losses: list[float] = []

    def end_of_call(batch: int, logs: Mapping[str, Any]) -> None:
        losses.append(float(logs["loss"]))
        if (batch + 1) % args.steps == 0:
            clock.block_ended()

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=end_of_call)
    options: dict[str, Any] = {"verbose": 0, "callbacks": [callback]}
    if args.input == "tfdata":
        model.fit(pipeline(images, labels, args.batch_size), shuffle=False, **options)
    else:
        model.fit(images, labels, batch_size=args.batch_size, **options)
    more = {"parameters": model.count_params(), "loss": [round(losses[0], 4), round(losses[-1], 4)]}
    report(name, args, clock.seconds, args.steps, versions(), steps_per_execution=many, **more)


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument("--steps_per_execution", type=int, default=1, help="of a call; the most that divide a block")
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--input", choices=("numpy", "tfdata"), default="numpy", help="how fit gets its batches")
    args = parser.parse_args()
    name = f"keras-{args.input}-{args.steps_per_execution}" + "-jit" * args.jit
    if any(importlib.util.find_spec(package) is None for package in ("keras", "tensorflow")):
        return report_error(name, NOT_INSTALLED)
    from tests.oracles.nets_keras import NETS  # needs Keras

    if args.net not in NETS:
        return report_error(name, f"no net {args.net!r} here, only {', '.join(NETS)}")
    try:
        train(args, name)
    except Exception as error:
        report_error(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
        sys.exit(1)


if __name__ == "__main__":
    main()
