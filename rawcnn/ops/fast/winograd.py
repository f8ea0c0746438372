"""3x3 convolutions by minimal filtering: 16 products of matrices in the place of 36 for every 2x2 pixels of a result.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1, F(2x2, 3x3), after Winograd 1980.
The input is cut into tiles d of 4x4 pixels, 2 apart. With g the filter and * element by element, a tile's result is

    Y = A' [ (G g G') * (B' d B) ] A        (equation 8; ' transposes)

and summed over channels, which makes of each of the 16 elements a product of matrices: [tiles, C] by [C, K]. The
gradients are the transposed chain: with M = A dY A', that of the filter is G' [ (B' d B) * M ] G, summed over tiles,
and that of the input B [ (G g G') * M ] B', added up where tiles overlap. What stands around the products is one pass
through memory, compiled by XLA. All is done in blocks of images, which bound the memory of tiles.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.machine import AVX2, largest_divisor
from rawcnn.ops.fast.forms import for_xla, in_use
from rawcnn.ops.fast.pointwise import TwoGradients

B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])  # B' of the paper
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])  # A' of the paper
TILE, STEP, SIZE = 4, 2, 3  # pixels of a tile, from one to the next, and of the window
BLOCK = 2**24  # numbers that the tiles of a block of images hold: 64 MB
FEWEST_TILES = 256  # fewer do not pay for the way of the filter there and back
ENOUGH, ENOUGH_AVX2 = 80, 40  # of C K / (C + K), products for each number that is read or written around them


def suits(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """3x3 windows in float32 on many channels; AVX2 multiplies more slowly, and so gains from fewer on."""
    if None in x.shape or w.shape[0] != SIZE or padding != "SAME" or x.dtype != tf.float32 or for_xla():
        return False
    channels, filters = w.shape[2:]
    enough = ENOUGH_AVX2 if in_use() == AVX2 else ENOUGH
    return channels * filters >= enough * (channels + filters) and x.shape[0] * _tiles(x) >= FEWEST_TILES


def conv2d(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d(x, w, 1, "SAME")`."""
    both = tf.constant(np.kron(G, G), w.dtype)  # G g G' of all channels and filters is one product

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        product = tf.matmul(both, tf.reshape(w, (SIZE * SIZE, -1)))
        filters = tf.unstack(tf.reshape(product, (TILE * TILE, *w.shape[2:])))

        def value(x: tf.Tensor) -> tf.Tensor:
            tiles = zip(_of_input(x), filters, strict=True)
            return _result([tf.matmul(tile, u) for tile, u in tiles], *x.shape[:3])

        def gradients(x: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            tiles = _of_gradient(dy)
            dx = [tf.matmul(tile, u, transpose_b=True) for tile, u in zip(tiles, filters, strict=True)]
            dw = [tf.matmul(d, tile, transpose_a=True) for d, tile in zip(_of_input(x), tiles, strict=True)]
            return _overlapped(dx, *x.shape[:3]), tf.reshape(tf.stack(dw), (TILE * TILE, -1))

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx, products = _in_blocks(gradients, [x, dy], w, (x.dtype, x.dtype))
            dw = tf.matmul(both, tf.reduce_sum(products, axis=0), transpose_a=True)
            return tf.reshape(dx, x.shape), tf.reshape(dw, w.shape)

        y = _in_blocks(value, [x], w, x.dtype)
        return tf.reshape(y, (*x.shape[:3], w.shape[3])), gradient

    return convolve(x, w)


def _grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of an image's tiles."""
    return -(-height // STEP), -(-width // STEP)


def _tiles(x: tf.Tensor) -> int:
    """Tiles of an image."""
    return math.prod(_grid(*x.shape[1:3]))


def _images_at_once(x: tf.Tensor, w: tf.Tensor) -> int:
    """The most images of a block: what divides the batch, and whose tiles `BLOCK` has room for."""
    most = BLOCK // (TILE * TILE * _tiles(x) * max(w.shape[2:]))
    return largest_divisor(x.shape[0], max(most, 1))


def _in_blocks(of: Callable[..., Any], batch: list[tf.Tensor], w: tf.Tensor, dtypes: Any) -> Any:
    """`of` some images at a time; the results of `dtypes` have a new first axis, of blocks."""
    at_once = _images_at_once(batch[0], w)
    if at_once == batch[0].shape[0]:
        return tf.nest.map_structure(lambda result: result[None], of(*batch))
    blocks = [tf.reshape(x, (-1, at_once, *x.shape[1:])) for x in batch]
    return tf.map_fn(lambda block: of(*block), blocks, fn_output_signature=dtypes, parallel_iterations=1)


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
    rows, columns = _grid(height, width)
    around = ((0, 0), (1, 1 + STEP * rows - height), (1, 1 + STEP * columns - width), (0, 0))
    x = tf.reshape(tf.pad(x, around), (-1, rows + 1, STEP, columns + 1, STEP, channels))

    def pixel(i: int, j: int) -> tf.Tensor:
        (up, i), (left, j) = divmod(i, STEP), divmod(j, STEP)
        return x[:, up : up + rows, i, left : left + columns, j]

    return [tf.reshape(tile, (-1, channels)) for tile in _both_ways(B, pixel)]


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
    tiles = [tf.reshape(m, (count, *_grid(height, width), -1)) for m in products]
    return _image(_both_ways(A, lambda i, j: tiles[TILE * i + j]))[:, :height, :width]


@tf.function(autograph=False, jit_compile=True)
def _overlapped(products: list[tf.Tensor], count: int, height: int, width: int) -> tf.Tensor:
    """B M B' of all tiles, added up where they overlap: what lies 2 down or right in a tile begins the next one."""
    tiles = [tf.reshape(m, (count, *_grid(height, width), -1)) for m in products]
    tiles = _both_ways(B.T, lambda i, j: tiles[TILE * i + j])

    def pixel(i: int, j: int) -> tf.Tensor:
        parts = [
            tf.pad(
                tiles[TILE * (i + STEP * down) + j + STEP * right],
                ((0, 0), (down, 1 - down), (right, 1 - right), (0, 0)),
            )
            for down in range(STEP)
            for right in range(STEP)
        ]
        return sum(parts[1:], parts[0])

    return _image([pixel(i, j) for i in range(STEP) for j in range(STEP)])[:, 1 : height + 1, 1 : width + 1]


def _image(pixels: list[tf.Tensor]) -> tf.Tensor:
    """The images of which `pixels`, each `[N, rows, columns, C]`, are those of one place in blocks of 2x2."""
    count, rows, columns, channels = pixels[0].shape
    joined = tf.stack([tf.stack(pixels[STEP * i : STEP * (i + 1)], axis=3) for i in range(STEP)], axis=2)
    return tf.reshape(joined, (count, STEP * rows, STEP * columns, channels))
