"""A first convolution on blocks of pixels: one with a stride as one without, and one image's in XLA."""

from typing import NamedTuple

import tensorflow as tf


def suits(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """A first convolution: few channels, and windows that overlap."""
    return 1 < stride < w.shape[0] and w.shape[2] <= 4 and None not in x.shape[1:3]


def conv2d(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` by space-to-depth: each block of stride x stride pixels becomes one pixel of more channels.

    Filters are filled up with zeros to whole blocks. AlexNet's 11 x 11 on 3 channels by 4 is 3 x 3 on 48 channels.
    """
    size, _, channels, filters = w.shape
    blocks = -(-size // stride)
    more = blocks * stride - size
    w = tf.pad(w, [[0, more], [0, more], [0, 0], [0, 0]])
    w = _to_depth(tf.reshape(w, (1, blocks * stride, blocks * stride, channels * filters)), stride)
    w = tf.reshape(w, (blocks, blocks, stride**2 * channels, filters))
    rows, columns = (_span(length, size, stride, padding, blocks) for length in x.shape[1:3])
    x = tf.pad(x[:, : rows.read, : columns.read], [[0, 0], rows.fill, columns.fill, [0, 0]])
    return tf.nn.conv2d(_to_depth(x, stride), w, 1, "VALID")


def _to_depth(x: tf.Tensor, stride: int) -> tf.Tensor:
    """`[N, H, W, C] -> [N, H / stride, W / stride, stride * stride * C]`, as `tf.nn.space_to_depth`, but faster."""
    _, height, width, channels = x.shape
    x = tf.reshape(x, (-1, height // stride, stride, width // stride, stride * channels))
    x = tf.transpose(x, (0, 1, 3, 2, 4))
    return tf.reshape(x, (-1, height // stride, width // stride, stride**2 * channels))


class _Span(NamedTuple):
    read: int  # pixels of the image
    fill: tuple[int, int]  # zeros before and after them


def _span(length: int, size: int, stride: int, padding: str, blocks: int) -> _Span:
    """How `length` pixels become whole blocks of `stride`, the first where the first window begins."""
    out = -(-length // stride) if padding == "SAME" else (length - size) // stride + 1
    before = max(0, (out - 1) * stride + size - length) // 2 if padding == "SAME" else 0
    total = (out - 1 + blocks) * stride
    read = min(length, total - before)
    return _Span(read, (before, total - before - read))


BLOCK = 4
"""Columns that `conv2d_blocks` takes together; 2 and 14 are slower, 7 as fast."""


def suits_blocks(x: tf.Tensor, w: tf.Tensor, stride: int) -> bool:
    """One image of one channel."""
    return stride == 1 and x.shape[0] == 1 and w.shape[2] == 1 and w.shape[0] > 1 and None not in x.shape[1:3]


def conv2d_blocks(x: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` with stride 1: each 4 columns of C channels become one of 4 C, and make one of 4 K maps.

    The filter is there four times, a column further each time. More is multiplied, by zeros, but XLA's convolution
    wants rows of channels: LeNet's first takes a fifth of the time.
    """
    size, _, channels, filters = w.shape
    before, after = ((size - 1) // 2, size // 2) if padding == "SAME" else (0, 0)
    width = x.shape[2] + before + after - size + 1
    out, read = -(-width // BLOCK), -(-(size + BLOCK - 1) // BLOCK)  # blocks, of the result and of a window
    moved = [tf.pad(w, [[0, 0], [by, read * BLOCK - size - by], [0, 0], [0, 0]]) for by in range(BLOCK)]
    w = tf.reshape(tf.stack(moved, axis=3), (size, read, BLOCK * channels, BLOCK * filters))
    columns = (out + read - 1) * BLOCK
    x = tf.pad(x, [[0, 0], [before, after], [before, columns - before - x.shape[2]], [0, 0]])
    x = tf.reshape(x, (-1, x.shape[1], columns // BLOCK, BLOCK * channels))
    y = tf.nn.conv2d(x, w, 1, "VALID")
    return tf.reshape(y, (-1, y.shape[1], out * BLOCK, filters))[:, :, :width]
