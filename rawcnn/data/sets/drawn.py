"""Drawn digits: an endless supply of handwriting-like digits that rawcnn draws itself.

Every digit starts as the control points of one of its styles (`rawcnn.data.sets.strokes`). A hand drawn at random for
it shakes, bends, slants and turns them, an elastic field distorts the pen's path, Pillow inks it, and the ink is fitted
into the image as MNIST's was. Digit `i` of seed `s` depends on `(s, i)` alone, so any part of the supply can be drawn
by itself. `coloured` prints them in colour, for nets that take RGB images.
"""

from __future__ import annotations

import functools
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rawcnn.data.log import Log
from rawcnn.data.sets.strokes import Strokes, styles
from rawcnn.errors import DataError, UsageError
from rawcnn.files.npz import read_npz
from rawcnn.files.whole import whole_file

VERSION = 1
"""Raise it with every change of the pictures: the name of a cache file carries it."""

SIZE, BOX = 28, 20
"""MNIST's image and the box inside it that the ink must fit, in pixels."""

SUPERSAMPLING = 4
"""The ink is first drawn this many times larger, in black and white."""

GRID = 15
"""Points along each side of the elastic field; the page is well inside it."""

CHUNK = 2**19
"""Values of coloured images that are computed at once: few enough to stay in the cache of the processor."""


def draw_digit(seed: int, index: int) -> tuple[np.ndarray, int]:
    """Draw digit `index` of the supply `seed`: a uint8 image [28, 28], ink 255 on 0, and its label 0..9.

    The ink is scaled into a box of 20x20 pixels, its aspect kept, and its centre of mass put at the centre of the image
    (LeCun, Bottou, Bengio and Haffner, 1998, section III.A). Indices 0..9, 10..19 and so on hold each label once.

    Raises `UsageError` if `seed` or `index` is outside 0..2**64-1.

    >>> image, label = draw_digit(seed=0, index=7)
    >>> image.shape, image.dtype.name, 0 <= label <= 9
    ((28, 28), 'uint8', True)
    >>> sorted(draw_digit(0, index)[1] for index in range(10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    _check(seed, index, 1)
    label = _labels(seed, index // 10)[index % 10]
    rng = _generator(seed, index)
    shares, ways = styles(label)
    strokes = ways[int(np.searchsorted(shares, rng.random(), side="right"))]
    hand = draw_hand(rng)
    pen = elastic(rng, write(rng, strokes, hand), hand.elasticity)
    return centre(ink(pen, pen_widths(rng, pen, hand.thickness), strokes.pieces)), label


def drawn_digits(
    count: int,
    *,
    seed: int = 0,
    start: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    log: Log | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits `start` to `start + count - 1` of a supply: uint8 images [count, 28, 28, 1] and int32 labels [count].

    With `cache_dir` they are kept in a file there and read back the next time. A damaged file is drawn anew, and a
    directory that cannot be written is not an error: `log` gets a line about either, and about progress.

    Raises `UsageError` if `count` or `start` is negative or `seed` is outside 0..2**64-1.

    >>> images, labels = drawn_digits(20, seed=3)
    >>> images.shape, labels.dtype.name, np.bincount(labels).tolist()
    ((20, 28, 28, 1), 'int32', [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    _check(seed, start, count)
    say = log or (lambda line: None)
    if cache_dir is None:
        return _draw(count, seed, start, say)
    path = Path(cache_dir) / f"drawn-digits-v{VERSION}-seed{seed}-start{start}-count{count}.npz"
    cached = _load(path, count, say)
    if cached is None:
        cached = _draw(count, seed, start, say)
        _save(path, *cached, say)
    return cached


def coloured(images: np.ndarray, seed: int, size: int = 32) -> np.ndarray:
    """Print each drawn digit in its own ink on its own paper: uint8 [N, 28, 28, 1] to [N, size, size, 3].

    Ink and paper are drawn from all colours, whatever the digit, but differ by 64 to 192 in each of red, green and
    blue. So colour says nothing of the class, and neither does "dark on light". At size 32 the digit keeps its pixels
    and gets a margin of 2; at others, digit and margin are scaled by bilinear interpolation. The colours of image `i`
    depend on (seed, i) alone.

    Raises `UsageError` if the images are another array, `size` is below 16 or `seed` outside 0..2**64-1.

    >>> images, labels = drawn_digits(10)
    >>> coloured(images, seed=0).shape
    (10, 32, 32, 3)
    """
    _check(seed, 0, 0)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 1):
        raise UsageError(f"Drawn digits are uint8 [N, {SIZE}, {SIZE}, 1], not {images.dtype} {list(images.shape)}.")
    if size < 16:
        raise UsageError(f"Coloured digits: size is {size}, but digits of fewer than 16x16 pixels cannot be read.")
    draws = _generator(seed, 0, stream=2).random((len(images), 6), np.float32)
    paper = np.floor(256 * draws[:, :3])
    ink = (paper + 64 + np.floor(129 * draws[:, 3:])) % 256  # modulo, so it is as evenly spread as the paper
    contrast = (ink - paper) / 255
    spread = _scaling(size)
    out = np.empty((len(images), size, size, 3), np.uint8)
    step = max(1, CHUNK // (size * size * 3))
    for part in (slice(start, start + step) for start in range(0, len(images), step)):
        amount = spread @ images[part, ..., 0].astype(np.float32) @ spread.T
        for channel in range(3):
            value = paper[part, channel, None, None] + amount * contrast[part, channel, None, None]
            out[part, ..., channel] = value + 0.5  # rounded, as uint8 cuts off the rest
    return out


class Hand(NamedTuple):
    """How one digit is written; lengths are in heights of the page, angles in radians."""

    shake: float  # standard deviation of every control point
    elasticity: float  # strength of the elastic field
    bow: float  # moves the middle up or down: a small head with a large belly, or the reverse
    taper: float  # widens the foot against the head
    aspect: float  # width over height
    slant: float  # shear to the right
    turn: float  # rotation
    thickness: float  # mean width of the pen, in pixels of the image


def draw_hand(rng: np.random.Generator) -> Hand:
    """Draw a hand at random.

    The spreads were set by eye and against the line widths, grey levels and proportions of MNIST's training images.
    """
    z = np.clip(rng.normal(size=7), -2, 2).tolist()
    loose = math.exp(0.3 * z[0])
    return Hand(
        shake=0.02 * loose,
        elasticity=1.1 * loose,
        bow=0.2 * z[1],
        taper=0.2 * z[2],
        aspect=0.88 * math.exp(0.22 * z[3]),
        slant=0.15 + 0.25 * z[4],
        turn=0.15 * z[5],
        thickness=2.1 * math.exp(0.3 * z[6]),
    )


def write(rng: np.random.Generator, strokes: Strokes, hand: Hand) -> np.ndarray:
    """Return the path [2, S] of the pen (x, y), about the page's centre, that `hand` takes along `strokes`."""
    points = strokes.points + rng.normal(0, hand.shake, strokes.points.shape)
    for end, neighbour in strokes.ends:
        points[end] += rng.normal(0, 0.2) * (points[end] - points[neighbour])
    x, y = (strokes.curve @ points - 0.5).T
    y = y + hand.bow * (0.25 - y * y)
    x = hand.aspect * x * (1 + hand.taper * y) - hand.slant * y
    cos, sin = math.cos(hand.turn), math.sin(hand.turn)
    return np.stack([x * cos - y * sin, x * sin + y * cos])


def elastic(rng: np.random.Generator, pen: np.ndarray, alpha: float, sigma: float = 3.2) -> np.ndarray:
    """Move the path [2, S] by a smooth random field, as Simard, Steinkraus and Platt (2003, section 2) move pixels.

    The field is uniform noise smoothed by a Gaussian of `sigma` grid points and multiplied by `alpha`. To move the pen
    rather than its ink leaves the width of the stroke to the pen.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    field = gaussian_filter(rng.uniform(-1, 1, (2, GRID, GRID)), (0, sigma, sigma), mode="nearest")
    at = (0.8 * pen[::-1] + 0.5) * (GRID - 1)
    return pen + alpha * np.stack([map_coordinates(part, at, order=1, mode="nearest") for part in field])


def pen_widths(rng: np.random.Generator, pen: np.ndarray, thickness: float) -> np.ndarray:
    """Return the width [S] in pixels of the line along the path [2, S]: it follows the hand's pressure, roughly.

    The longer the path, the less room it has in the box, and the thinner is its line.
    """
    samples = pen.shape[1]
    length = np.hypot(*np.diff(pen)).sum()
    pressure = np.interp(np.arange(samples), np.linspace(0, samples - 1, 5), rng.normal(0, 0.15, 5))
    return np.clip(thickness * (2.5 / length) ** 0.3 * np.exp(pressure + rng.normal(0, 0.12, samples)), 1.0, 5.5)


def ink(pen: np.ndarray, widths: np.ndarray, pieces: tuple[slice, ...]) -> np.ndarray:
    """Ink the path [2, S] with lines of `widths` [S] pixels: uint8 [20, 20], the ink's longer side filling the box."""
    from PIL import Image, ImageDraw

    side = BOX * SUPERSAMPLING
    radii = widths * (SUPERSAMPLING / 2)
    low, high = pen.min(axis=1, keepdims=True), pen.max(axis=1, keepdims=True)
    scale = (side - 2 * radii.max()) / (high - low).max()
    xs, ys = ((pen - (low + high) / 2) * scale + side / 2).tolist()
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    for piece in pieces:
        before = None
        for x, y, radius in zip(xs[piece], ys[piece], radii[piece].tolist(), strict=True):
            if before:
                draw.line((*before, x, y), fill=255, width=round(2 * radius))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
            before = (x, y)
    return np.asarray(canvas.resize((BOX, BOX), Image.Resampling.BICUBIC))


def centre(box: np.ndarray) -> np.ndarray:
    """Put ink [20, 20] into an image [28, 28], its centre of mass on pixel (14, 14) as in MNIST's files."""
    places = np.arange(BOX)
    total = box.sum(dtype=np.int64)
    image = np.zeros((SIZE, SIZE), np.uint8)
    top, left = (min(max(round(SIZE // 2 - float(box.sum(axis) @ places / total)), 0), SIZE - BOX) for axis in (1, 0))
    image[top : top + BOX, left : left + BOX] = box
    return image


def _check(seed: int, start: int, count: int) -> None:
    for name, value in (("seed", seed), ("start", start), ("count", count)):
        if not 0 <= value < 2**64:
            raise UsageError(f"Drawn digits: {name} is {value}, but it must be in 0..2**64-1.")


def _scaling(size: int) -> np.ndarray:
    """The matrix [size, 28] that scales 28 values to 7/8 of `size`, linearly between them, and pads them with 0."""
    inner = round(size * SIZE / 32)
    at = np.clip((np.arange(inner) + 0.5) * SIZE / inner - 0.5, 0, SIZE - 1)
    weights = np.maximum(0, 1 - np.abs(at[:, np.newaxis] - np.arange(SIZE)))
    margin = size - inner
    return np.pad(weights, ((margin // 2, margin - margin // 2), (0, 0))).astype(np.float32)


def _generator(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    key = int(index) << 64 | int(seed)  # a NumPy integer would overflow
    return np.random.Generator(np.random.Philox(key=key, counter=stream << 192))


@functools.lru_cache(maxsize=16)
def _labels(seed: int, decade: int) -> tuple[int, ...]:
    """Return the labels of ten consecutive digits, each label once."""
    return tuple(_generator(seed, decade, stream=1).permutation(10).tolist())


def _draw(count: int, seed: int, start: int, log: Log) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.empty((count, SIZE, SIZE, 1), np.uint8), np.empty(count, np.int32)
    said = time.monotonic()
    for k in range(count):
        images[k, ..., 0], labels[k] = draw_digit(seed, start + k)
        if time.monotonic() - said > 3:
            said = time.monotonic()
            log(f"drawing digits: {k + 1:,} of {count:,}")
    return images, labels


def _load(path: Path, count: int, log: Log) -> tuple[np.ndarray, np.ndarray] | None:
    if not path.exists():
        return None
    try:
        file = read_npz(path)
        images, labels = file["images"], file["labels"]
    except (DataError, KeyError) as error:
        log(f"{path} cannot be read ({error}): drawing its digits anew")
        return None
    expected = images.shape == (count, SIZE, SIZE, 1) and images.dtype == np.uint8 and labels.shape == (count,)
    if not expected or labels.dtype != np.int32 or not np.isin(labels, range(10)).all():
        log(f"{path} does not hold {count:,} labelled digits: drawing them anew")
        return None
    return images, labels


def _save(path: Path, images: np.ndarray, labels: np.ndarray, log: Log) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, images=images, labels=labels)
    except OSError as error:
        log(f"drawn digits are not cached in {path.parent} ({error}): they will be drawn again next time")
