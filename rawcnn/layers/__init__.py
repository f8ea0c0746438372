"""Layers: small `tf.Module`s that own their variables; most call one raw op.

A layer is complete when its constructor returns: it is told the shape it follows, `input_shape`, without the batch
axis. Its whole contract is `.out_shape` (static), `.num_params()`, `.multiply_adds()` (per image), `.window` (size and
stride, for the receptive field) and `layer(x, *, training=False)`. Images are `[N, H, W, C]`; the result has the
dtype of `x`.

>>> import tensorflow as tf
>>> conv = Conv2D(6, 5, input_shape=(28, 28, 1), activation=tf.nn.relu)
>>> conv.out_shape, conv.num_params(), conv(tf.zeros((2, 28, 28, 1))).shape
((28, 28, 6), 156, TensorShape([2, 28, 28, 6]))
"""

from rawcnn.layers.base import Activation, Layer, activate
from rawcnn.layers.convolution import Conv2D, PartialConv2D
from rawcnn.layers.dense import RBF, Dense, Dropout, Flatten
from rawcnn.layers.inception import Inception
from rawcnn.layers.normalisation import LRN, BatchNorm
from rawcnn.layers.pooling import AveragePool, MaxPool, Subsample
from rawcnn.layers.whitening import Whitening

__all__ = [
    "LRN",
    "RBF",
    "Activation",
    "AveragePool",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Inception",
    "Layer",
    "MaxPool",
    "PartialConv2D",
    "Subsample",
    "Whitening",
    "activate",
]
