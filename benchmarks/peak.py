"""How much arithmetic a net asks for, and how fast this process can do arithmetic at best."""

from __future__ import annotations

import time

import tensorflow as tf

from rawcnn.nets.chain import Chain
from rawcnn.nets.summary import summary_rows

BATCH, SIDE, MAPS = 32, 32, 256  # of the convolution that stands for the best this processor can do


def training_flops(net: Chain) -> int:
    """Floating-point operations of one image's training step: a multiplication and an addition per multiply-add.

    A row computes its output, the gradient of its weights if it has any, and the gradient of its input: as much work
    three times. The rows up to the first one with weights have no use for the gradient of their input, which is the
    image. Heads count as all rows. Biases, activations, pools, normalisation and the update are not counted, nor what
    a faster form computes besides.
    """
    flops, weights_below = 0, False
    for row in summary_rows(net):
        flops += 2 * row.multiply_adds * (1 + (row.params > 0) + weights_below)
        weights_below = weights_below or row.params > 0
    return flops


def inference_flops(net: Chain) -> int:
    """Floating-point operations of one image on its way through the net, without heads."""
    return 2 * sum(layer.multiply_adds() for _, layer in net.rows)


def convolution_peak(dtype: tf.DType, shards: int = 1, seconds: float = 1.0) -> float:
    """GFLOP/s of a 3x3 convolution, `[32, 32, 32, 256]` to 256 maps, forward: the best of all calls in `seconds`.

    With `shards` > 1 it runs as so many convolutions of a part of the batch side by side, as nets of small ops do.
    """
    count = max(1, BATCH // shards)
    x = tf.cast(tf.random.stateless_uniform((count, SIDE, SIDE, MAPS), (0, 0)), dtype)
    w = tf.cast(tf.random.stateless_uniform((3, 3, MAPS, MAPS), (0, 1)), dtype)
    convolve = tf.function(lambda images, w: [tf.nn.conv2d(part, w, 1, "SAME") for part in images], autograph=False)
    convolve([x] * shards, w)  # traces
    best, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        convolve([x] * shards, w)
        best = min(best, time.perf_counter() - start)
    return 2 * shards * count * SIDE**2 * 9 * MAPS**2 / best / 1e9
