"""3x3 convolutions by minimal filtering: 16 products of matrices in the place of 36 for every 2x2 pixels of a result.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1, F(2x2, 3x3), after Winograd 1980.
The input is cut into tiles d of 4x4 pixels, 2 apart. With g the filter and * element by element, a tile's result is

    Y = A' [ (G g G') * (B' d B) ] A        (equation 8; ' transposes)

and summed over channels, which makes of each of the 16 elements a product of matrices: [tiles, C] by [C, K]. The
gradient of the filter is the transposed chain, G' [ (B' d B) * (A dY A') ] G, summed over tiles. What stands around the
products is one pass through memory, compiled by XLA. All is done in blocks of images, which bound the memory of tiles.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from rawcnn.machine import AVX2
from rawcnn.ops.fast.forms import for_xla, in_use
from rawcnn.ops.fast.pointwise import TwoGradients

B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])  # B' of the paper
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])  # A' of the paper
TILE, STEP, SIZE = 4, 2, 3  # pixels of a tile, from one to the next, and of the window
TURNED = np.array([3, 1, 2, 0])  # the rows of G for a filter that is turned by half a turn
BLOCK = 2**25  # numbers that the tiles of a block of images hold: 128 MB
FEWEST_TILES = 256  # fewer do not pay for the way of the filter there and back
ENOUGH, ENOUGH_AVX2 = 80, 32  # of C K / (C + K), products for each number that is read or written around them


def suits(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """3x3 windows in float32 on many channels; AVX2 multiplies more slowly, and so gains from fewer on."""
    if None in x.shape or w.shape[0] != SIZE or padding != "SAME" or x.dtype != tf.float32 or for_xla():
        return False
    channels, filters = w.shape[2:]
    enough = ENOUGH_AVX2 if in_use() == AVX2 else ENOUGH
    return channels * filters >= enough * (channels + filters) and x.shape[0] * _tiles(x) >= FEWEST_TILES


def conv2d(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d(x, w, 1, "SAME")`."""

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        filters = _of_filter(w)

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            order = [TILE * i + j for i in TURNED for j in TURNED]
            return _convolve(dy, [filters[i] for i in order], transposed=True), _filter_gradient(x, dy, w.shape[2:])

        return _convolve(x, filters), gradient

    return convolve(x, w)


def _convolve(x: tf.Tensor, filters: list[tf.Tensor], transposed: bool = False) -> tf.Tensor:
    """By filters `[C, K]` of each element of a tile, or `[K, C]` if they are `transposed`."""

    def of(x: tf.Tensor) -> tf.Tensor:
        tiles = zip(_of_input(x), filters, strict=True)
        return _result([tf.matmul(tile, u, transpose_b=transposed) for tile, u in tiles], *x.shape[:3])

    at_once = _images_at_once(x, filters[0].shape)
    if at_once == x.shape[0]:
        return of(x)
    y = tf.map_fn(of, _blocks(x, at_once), parallel_iterations=1)
    return tf.reshape(y, (-1, *y.shape[2:]))


def _filter_gradient(x: tf.Tensor, dy: tf.Tensor, channels: tf.TensorShape) -> tf.Tensor:
    """The sum over the tiles of all images, back through G: `[3, 3, C, K]`."""

    def of(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        tiles = zip(_of_input(x), _of_gradient(dy), strict=True)
        return tf.stack([tf.matmul(tile, d, transpose_a=True) for tile, d in tiles])

    at_once = _images_at_once(x, channels)
    if at_once == x.shape[0]:
        return _to_filter(of(x, dy))
    first, others = zip(*((t[0], t[1:]) for t in (_blocks(x, at_once), _blocks(dy, at_once))), strict=True)
    return _to_filter(tf.foldl(lambda total, block: total + of(*block), others, of(*first), parallel_iterations=1))


def _tiles(x: tf.Tensor) -> int:
    """Tiles of an image."""
    return -(-x.shape[1] // STEP) * -(-x.shape[2] // STEP)


def _images_at_once(x: tf.Tensor, channels: Sequence[int]) -> int:
    """The most images of a block: what divides the batch, and whose tiles `BLOCK` has room for."""
    most = BLOCK // (TILE * TILE * _tiles(x) * max(channels))
    return max(size for size in range(1, x.shape[0] + 1) if x.shape[0] % size == 0 and size <= max(most, 1))


def _blocks(x: tf.Tensor, at_once: int) -> tf.Tensor:
    return tf.reshape(x, (-1, at_once, *x.shape[1:]))


def _combined(factors: Sequence[float], parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of `parts` by `factors`, most of which are 1, 0 and -1."""
    terms = [part if factor == 1 else factor * part for factor, part in zip(factors, parts, strict=True) if factor]
    return sum(terms[1:], terms[0])


def _both_ways(matrix: np.ndarray, pixel: Callable[[int, int], tf.Tensor]) -> list[tf.Tensor]:
    """`matrix` d `matrix`', its elements in reading order; `pixel` gives those of d."""
    there = range(matrix.shape[1])
    columns = [[_combined(row, [pixel(i, j) for i in there]) for j in there] for row in matrix]
    return [_combined(row, column) for column in columns for row in matrix]


@tf.function(autograph=False, jit_compile=True)
def _of_input(x: tf.Tensor) -> list[tf.Tensor]:
    """B' d B of all tiles: 16 times `[tiles, C]`."""
    _, height, width, channels = x.shape
    rows, columns = STEP * -(-height // STEP), STEP * -(-width // STEP)
    x = tf.pad(x, ((0, 0), (1, 1 + rows - height), (1, 1 + columns - width), (0, 0)))
    tiles = _both_ways(B, lambda i, j: x[:, i : i + rows : STEP, j : j + columns : STEP])
    return [tf.reshape(tile, (-1, channels)) for tile in tiles]


@tf.function(autograph=False, jit_compile=True)
def _of_gradient(dy: tf.Tensor) -> list[tf.Tensor]:
    """A dY A' of all tiles: 16 times `[tiles, K]`."""
    _, height, width, filters = dy.shape
    dy = tf.pad(dy, ((0, 0), (0, height % STEP), (0, width % STEP), (0, 0)))
    tiles = _both_ways(A.T, lambda i, j: dy[:, i::STEP, j::STEP])
    return [tf.reshape(tile, (-1, filters)) for tile in tiles]


@tf.function(autograph=False, jit_compile=True)
def _result(products: list[tf.Tensor], count: int, height: int, width: int) -> tf.Tensor:
    """A' M A of all tiles, joined to images."""
    rows, columns = -(-height // STEP), -(-width // STEP)
    tiles = [tf.reshape(m, (count, rows, columns, -1)) for m in products]
    pixels = _both_ways(A, lambda i, j: tiles[TILE * i + j])
    joined = tf.stack([tf.stack(pixels[STEP * i : STEP * (i + 1)], axis=3) for i in range(STEP)], axis=2)
    return tf.reshape(joined, (count, STEP * rows, STEP * columns, -1))[:, :height, :width]


@tf.function(autograph=False, jit_compile=True)
def _of_filter(w: tf.Tensor) -> list[tf.Tensor]:
    """G g G': 16 times `[C, K]`."""
    return _both_ways(G, lambda i, j: w[i, j])


@tf.function(autograph=False, jit_compile=True)
def _to_filter(products: tf.Tensor) -> tf.Tensor:
    """G' M G of `[16, C, K]`: `[3, 3, C, K]`."""
    pixels = _both_ways(G.T, lambda i, j: products[TILE * i + j])
    return tf.reshape(tf.stack(pixels), (SIZE, SIZE, *products.shape[1:]))
