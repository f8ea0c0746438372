"""Pure functions that `tf.nn` lacks or does slowly: each takes tensors and computes in the dtype of its input.

The functions choose by themselves among plain TensorFlow and the faster, equal forms of `rawcnn.ops.fast`.
"""

from rawcnn.ops.activation import gelu, relu, scaled_tanh, tanh
from rawcnn.ops.convolution import (
    add_bias,
    connections,
    conv2d,
    partial_conv2d,
    partial_kernel,
    spatial,
    window_shape,
)
from rawcnn.ops.normalisation import batch_norm, check_lrn_window, lrn, normalise, synchronised_batch_norm
from rawcnn.ops.pooling import average_pool, subsample
from rawcnn.ops.rbf import rbf_distance
from rawcnn.ops.replicas import replica

__all__ = [
    "add_bias",
    "average_pool",
    "batch_norm",
    "check_lrn_window",
    "connections",
    "conv2d",
    "gelu",
    "lrn",
    "normalise",
    "partial_conv2d",
    "partial_kernel",
    "rbf_distance",
    "relu",
    "replica",
    "scaled_tanh",
    "spatial",
    "subsample",
    "synchronised_batch_norm",
    "tanh",
    "window_shape",
]
