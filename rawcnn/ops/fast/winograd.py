"""Convolutions by minimal filtering: fewer products of matrices for the same pixels of a result.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4, F(m x m, r x r), after Winograd
1980: for m x m pixels of a result and a window of r x r, (m + r - 1)^2 products in the place of (m r)^2. These are 36
for 144 with windows of 3x3, 49 for 256 with 4x4 (m = 4) and 49 for 225 with 5x5 (m = 3). The input is cut into tiles d
of m + r - 1 pixels each way, m apart. With g the filter and * element by element, a tile's result is

    Y = A' [ (G g G') * (B' d B) ] A        (equation 8; ' transposes)

and summed over channels, which makes of each element of a tile a product of matrices: [tiles, C] by [C, K]. The
gradient of the input is that of `dy` under turned filters. That of the filter is G' [ (B' d B) * (A dY A') ] G, summed
over tiles. What stands around the products are two passes through memory, compiled by XLA. All is done in blocks of
images, which bound the memory of tiles.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.polynomial import polynomial

from rawcnn.machine import AVX2, largest_divisor
from rawcnn.ops.fast.forms import for_record, for_xla, in_use
from rawcnn.ops.fast.pointwise import TwoGradients

Matrix = np.ndarray


class Filtering(NamedTuple):
    """m, the pixels of the result that a tile gives each way, and m + r - 2 points (see `matrices`)."""

    step: int
    points: tuple[float, ...]


_SIX = (0.3125, -0.3125, 0.875, -0.875, 1.75, -1.75)
FILTERINGS = {3: Filtering(4, (0, 0.625, -0.625, 1.5, -1.5)), 4: Filtering(4, _SIX), 5: Filtering(3, _SIX)}
"""By size of the window. Pairs a, -a that spread around 1 round least: 0, 1, -1, 2, -2 round four times as much."""

BLOCK = 2**24  # numbers that the tiles of a block of images hold: 64 MB
FEWEST_TILES = 64  # fewer do not pay for the way of the filter there and back

# From where it pays, of C K / (C + K): the products for each number that is read or written around them. AVX2
# multiplies more slowly, and so gains from fewer on. TensorFlow's gradients of filters take twice the time of the rest.
ENOUGH, ENOUGH_AVX2 = {3: 80}, {3: 40, 4: 64, 5: 64}
ENOUGH_FOR_FILTERS_AVX2 = 28


class Matrices(NamedTuple):
    """B' `[m + r - 1, m + r - 1]`, G `[m + r - 1, r]` and A' `[m, m + r - 1]`."""

    of_input: Matrix
    of_filter: Matrix
    of_product: Matrix


@cache
def matrices(size: int) -> Matrices:
    """B', G and A' for windows of r = `size` pixels.

    By Toom and Cook: a window moves over pixels as polynomials multiply, and a product of polynomials is known by its
    values at as many points as it has coefficients. The last point is infinity: its value is the highest coefficient.

    >>> [matrix.shape for matrix in matrices(3)]
    [(6, 6), (6, 3), (4, 6)]
    """
    step, points = FILTERINGS[size]
    others = [[b for b in points if b != a] for a in points]
    scales = [math.prod(a - b for b in rest) for a, rest in zip(points, others, strict=True)]
    b = [*(np.append(polynomial.polyfromroots(rest), 0) for rest in others), polynomial.polyfromroots(points)]
    g = _values(points, size) / np.array([*scales, 1])[:, None]
    return Matrices(np.array(b), g, _values(points, step).T)


def _values(points: Sequence[float], count: int) -> Matrix:
    """The powers 0 ... `count` - 1 of each point, and of infinity: `[points + 1, count]`."""
    return np.concatenate([np.vander(np.array(points, float), count, increasing=True), np.eye(count)[-1:]])


class Grid(NamedTuple):
    """How an image is cut into tiles: by the window, the result's height and width, and the zeros before the input."""

    size: int
    height: int
    width: int
    before: int

    @classmethod
    def of(cls, x: tf.Tensor, size: int, padding: str) -> "Grid":
        _, height, width, _ = x.shape
        if padding == "SAME":
            return cls(size, height, width, (size - 1) // 2)
        return cls(size, height - size + 1, width - size + 1, 0)

    @property
    def step(self) -> int:
        return FILTERINGS[self.size].step

    @property
    def tile(self) -> int:
        """Pixels of a tile each way."""
        return self.step + self.size - 1

    @property
    def rows(self) -> int:
        return -(-self.height // self.step)

    @property
    def columns(self) -> int:
        return -(-self.width // self.step)


def suits(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """Windows in float32 on many channels: the convolution and both gradients."""
    enough = ENOUGH_AVX2 if in_use() == AVX2 else ENOUGH
    return _possible(x, w, padding) and w.shape[0] in enough and _products_per_number(w) >= enough[w.shape[0]]


def suits_filters(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """On AVX2 the gradient of filters alone from fewer channels on; elsewhere it was not measured."""
    if in_use() != AVX2 or not _possible(x, w, padding):
        return False
    grid = Grid.of(x, w.shape[0], padding)
    filled = grid.height * grid.width / (grid.rows * grid.columns * grid.step**2)  # the rest of the tiles hangs over
    return filled * _products_per_number(w) >= ENOUGH_FOR_FILTERS_AVX2


def _possible(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    if None in x.shape or w.shape[0] not in FILTERINGS or x.dtype != tf.float32 or for_xla():
        return False
    grid = Grid.of(x, w.shape[0], padding)
    return min(grid.height, grid.width) > 0 and x.shape[0] * grid.rows * grid.columns >= FEWEST_TILES


def _products_per_number(w: tf.Tensor) -> float:
    """C K / (C + K)."""
    channels, filters = w.shape[2:]
    return channels * filters / (channels + filters)


def conv2d(x: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """`tf.nn.conv2d(x, w, 1, padding)`."""
    if for_record():
        return tf.nn.conv2d(x, w, 1, padding)
    grid = Grid.of(x, w.shape[0], padding)

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            around = Grid(grid.size, x.shape[1], x.shape[2], grid.size - 1 - grid.before)
            return _filtered(dy, w, around, turned=True), filter_gradient(x, dy, w, padding)

        return _filtered(x, w, grid), gradient

    return convolve(x, w)


def filter_gradient(x: tf.Tensor, dy: tf.Tensor, w: tf.Tensor, padding: str) -> tf.Tensor:
    """The gradient of `w`, given `dy`, that of `conv2d(x, w, padding)`."""
    grid = Grid.of(x, w.shape[0], padding)

    def products(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        tiles = zip(_of_input(x, grid), _of_gradient(dy, grid), strict=True)
        return tf.stack([tf.matmul(d, tile, transpose_a=True) for d, tile in tiles])

    summed = tf.reduce_sum(_in_blocks(products, [x, dy], w, grid), axis=0)
    back = _filter_matrix(grid, w.dtype)
    return tf.reshape(tf.matmul(back, tf.reshape(summed, (grid.tile**2, -1)), transpose_a=True), w.shape)


def _filtered(x: tf.Tensor, w: tf.Tensor, grid: Grid, turned: bool = False) -> tf.Tensor:
    """`x` under the windows of `w`; `turned` by half a circle, and from filters to channels."""
    size, _, channels, filters = w.shape
    product = tf.matmul(_filter_matrix(grid, w.dtype, turned), tf.reshape(w, (size * size, -1)))
    windows = tf.unstack(tf.reshape(product, (grid.tile**2, channels, filters)))

    def value(x: tf.Tensor) -> tf.Tensor:
        tiles = zip(_of_input(x, grid), windows, strict=True)
        return _result([tf.matmul(tile, u, transpose_b=turned) for tile, u in tiles], grid)

    y = _in_blocks(value, [x], w, grid)
    return tf.reshape(y, (x.shape[0], grid.height, grid.width, channels if turned else filters))


def _filter_matrix(grid: Grid, dtype: tf.DType, turned: bool = False) -> tf.Tensor:
    """G g G' of all channels and filters is one product with this, `[(m + r - 1)^2, r^2]`."""
    g = matrices(grid.size).of_filter[:, :: -1 if turned else 1]
    return tf.constant(np.kron(g, g), dtype)


def _images_at_once(x: tf.Tensor, w: tf.Tensor, grid: Grid) -> int:
    """The most images of a block: what divides the batch, and whose tiles `BLOCK` has room for."""
    most = BLOCK // (grid.tile**2 * grid.rows * grid.columns * max(w.shape[2:]))
    return largest_divisor(x.shape[0], max(most, 1))


def _in_blocks(of: Callable[..., tf.Tensor], batch: list[tf.Tensor], w: tf.Tensor, grid: Grid) -> tf.Tensor:
    """`of` some images at a time; the result has a new first axis, of blocks."""
    at_once = _images_at_once(batch[0], w, grid)
    if at_once == batch[0].shape[0]:
        return of(*batch)[None]
    blocks = [tf.reshape(x, (-1, at_once, *x.shape[1:])) for x in batch]
    each = tf.autograph.experimental.do_not_convert(lambda block: of(*block))
    return tf.map_fn(each, blocks, fn_output_signature=w.dtype, parallel_iterations=1)


def _each_combined(matrix: Matrix, parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """For each row of `matrix` the sum of `parts` by its numbers, some of which are 0 and 1."""
    numbers = {number: tf.constant(number, parts[0].dtype) for number in set(matrix.flat)}  # once each: for the trace
    sums = []
    for row in matrix:
        terms = [part if n == 1 else numbers[n] * part for n, part in zip(row, parts, strict=True) if n]
        sums.append(tf.add_n(terms))  # one op: a `sum` takes twice as long to trace
    return sums


def _in_passes(rows: Callable[..., Any], columns: Callable[..., Any]) -> Callable[[Any, Grid], Any]:
    """`columns` of `rows` of something and its grid, each by XLA in one pass through memory.

    Both in one would take no less time, for each number has so many terms, and four times as long to compile.
    """
    first, second = (tf.function(each, autograph=False, jit_compile=True) for each in (rows, columns))
    return lambda given, grid: _called(second, _called(first, given, grid), grid)


def _called(function: Any, given: Any, grid: Grid) -> Any:
    """`function(given, grid)`, traced for any number of images and channels: its hundreds of ops take a second."""
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:-1], None), x.dtype), given)
    return function.get_concrete_function(specs, grid)(given, grid)


def _input_rows(x: tf.Tensor, grid: Grid) -> list[tf.Tensor]:
    """B' d for all rows of tiles: `[N, rows, columns of pixels, C]` for each row of B'."""
    beyond = -(-(grid.size - 1) // grid.step)  # steps that the last tile reaches beyond its first pixels
    down, right = (grid.step * (count + beyond) for count in (grid.rows, grid.columns))
    around = [(grid.before, down - grid.before - x.shape[1]), (grid.before, right - grid.before - x.shape[2])]
    x = tf.reshape(tf.pad(x, ((0, 0), *around, (0, 0))), (-1, grid.rows + beyond, grid.step, right, tf.shape(x)[3]))
    places = [divmod(i, grid.step) for i in range(grid.tile)]
    return _each_combined(matrices(grid.size).of_input, [x[:, tile : tile + grid.rows, i] for tile, i in places])


def _input_columns(rows: list[tf.Tensor], grid: Grid) -> list[tf.Tensor]:
    """Of these (B' d) B, each element `[tiles, C]`."""
    channels, b = tf.shape(rows[0])[3], matrices(grid.size).of_input
    places = [divmod(j, grid.step) for j in range(grid.tile)]
    tiles = []
    for row in rows:
        row = tf.reshape(row, (-1, grid.rows, row.shape[2] // grid.step, grid.step, channels))
        tiles += _each_combined(b, [row[:, :, at : at + grid.columns, j] for at, j in places])
    return [tf.reshape(tile, (-1, channels)) for tile in tiles]


def _gradient_rows(dy: tf.Tensor, grid: Grid) -> list[tf.Tensor]:
    """A dY for all rows of tiles: `[N, rows, columns of pixels, K]` for each row of A."""
    dy = tf.pad(dy, ((0, 0), (0, -grid.height % grid.step), (0, -grid.width % grid.step), (0, 0)))
    return _each_combined(matrices(grid.size).of_product.T, [dy[:, i :: grid.step] for i in range(grid.step)])


def _gradient_columns(rows: list[tf.Tensor], grid: Grid) -> list[tf.Tensor]:
    """Of these (A dY) A', each element `[tiles, K]`."""
    a = matrices(grid.size).of_product.T
    tiles = [tile for row in rows for tile in _each_combined(a, [row[:, :, j :: grid.step] for j in range(grid.step)])]
    return [tf.reshape(tile, (-1, tf.shape(rows[0])[3])) for tile in tiles]


def _product_rows(products: list[tf.Tensor], grid: Grid) -> list[list[tf.Tensor]]:
    """A' M: for each row of A', and each column of a tile, `[tiles, K]`."""
    columns = [_each_combined(matrices(grid.size).of_product, products[j :: grid.tile]) for j in range(grid.tile)]
    return [list(row) for row in zip(*columns, strict=True)]


def _product_columns(rows: list[list[tf.Tensor]], grid: Grid) -> tf.Tensor:
    """Of these (A' M) A, joined to images."""
    step, filters = grid.step, tf.shape(rows[0][0])[1]
    pixels = [_each_combined(matrices(grid.size).of_product, row) for row in rows]
    pixels = [[tf.reshape(one, (-1, grid.rows, grid.columns, filters)) for one in row] for row in pixels]
    image = tf.stack([tf.stack(row, axis=3) for row in pixels], axis=2)
    image = tf.reshape(image, (-1, step * grid.rows, step * grid.columns, filters))
    return image[:, : grid.height, : grid.width]


_of_input = _in_passes(_input_rows, _input_columns)  # B' d B
_of_gradient = _in_passes(_gradient_rows, _gradient_columns)  # A dY A'
_result = _in_passes(_product_rows, _product_columns)  # A' M A
