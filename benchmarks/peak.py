"""How much arithmetic a net asks for. How much this process can do at best, `rawcnn/run/speed.py` measures."""

from __future__ import annotations

from rawcnn.nets.chain import Chain
from rawcnn.nets.summary import summary_rows


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
