"""Keras 3 as a contender: `fit` on the TensorFlow backend over arrays in memory, with the options that make it fast.

python benchmarks/peers_keras.py --net=lenet5_tanh --batch_size=128 --precision=float32 --steps_per_execution=50 --json
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import NOT_INSTALLED, contender_parser, drawn_data, report, report_error

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _lenet5(activation: str, padding: str, **init: Any) -> list[Any]:
    from keras import layers

    return [
        layers.Conv2D(6, 5, padding=padding, activation=activation, **init),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation=activation, **init),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation=activation, **init),
        layers.Dense(84, activation=activation, **init),
        layers.Dense(10, dtype="float32", **init),
    ]


def lenet5_tanh() -> list[Any]:
    """The lab's net: truncated normal 0.1, biases 0.1."""
    from keras import initializers

    weights = initializers.TruncatedNormal(stddev=0.1)
    return _lenet5("tanh", "same", kernel_initializer=weights, bias_initializer=initializers.Constant(0.1))


def lenet5_relu() -> list[Any]:
    """Input padded to 32 x 32 before the data reach the net."""
    return _lenet5("relu", "valid")


# name -> (layers, input shape [H, W, C], classes)
NETS: dict[str, tuple[Callable[[], list[Any]], tuple[int, int, int], int]] = {
    "lenet5_tanh": (lenet5_tanh, (28, 28, 1), 10),
    "lenet5_relu": (lenet5_relu, (32, 32, 1), 10),
}


def pipeline(images: Any, labels: Any, batch_size: int) -> Any:
    """Shuffled numbers, then one gather per batch: much faster than slicing the arrays into single images."""
    import tensorflow as tf

    images, labels = tf.constant(images), tf.constant(labels)
    numbers = tf.data.Dataset.range(len(images)).shuffle(len(images)).batch(batch_size, drop_remainder=True)
    gathered = numbers.map(lambda k: (tf.gather(images, k), tf.gather(labels, k)), num_parallel_calls=tf.data.AUTOTUNE)
    return gathered.prefetch(tf.data.AUTOTUNE)


def make_model(args: argparse.Namespace) -> Any:
    """The net, compiled; only the loss is tracked."""
    import keras

    keras.utils.set_random_seed(0)
    if args.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    layers, shape, _ = NETS[args.net]
    model = keras.Sequential([keras.Input(shape), *layers()])
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=args.steps_per_execution,
        jit_compile=args.jit,
    )
    return model


def run(args: argparse.Namespace, name: str) -> None:
    """One call of `fit`; the ends of its epochs after the first one bound the timed blocks."""
    import keras
    import tensorflow as tf

    _, shape, classes = NETS[args.net]
    model = make_model(args)
    images, labels = drawn_data(args.steps * args.batch_size, shape, classes)
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    options: dict[str, Any] = {"epochs": 1 + args.blocks, "verbose": 0, "callbacks": [clock]}
    if args.input == "tfdata":
        history = model.fit(pipeline(images, labels, args.batch_size), shuffle=False, **options)
    else:
        history = model.fit(images, labels, batch_size=args.batch_size, **options)
    seconds = [end - start for start, end in itertools.pairwise(ends)]
    losses = history.history["loss"]
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__}
    loss = [round(losses[0], 4), round(losses[-1], 4)]
    report(name, args, seconds, args.steps, versions, parameters=model.count_params(), loss=loss)


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument("--steps_per_execution", type=int, default=1, help="steps that one call of the graph runs")
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--input", choices=("numpy", "tfdata"), default="numpy", help="how fit gets its batches")
    args = parser.parse_args()
    name = f"keras-{args.input}-{args.steps_per_execution}" + "-jit" * args.jit
    if any(importlib.util.find_spec(package) is None for package in ("keras", "tensorflow")):
        return report_error(name, NOT_INSTALLED)
    if args.net not in NETS:
        return report_error(name, f"no net {args.net!r} here, only {', '.join(NETS)}")
    try:
        run(args, name)
    except Exception as error:
        report_error(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
        sys.exit(1)


if __name__ == "__main__":
    main()
