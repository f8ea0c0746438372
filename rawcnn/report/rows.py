"""What each row of a net does to some images: its filters, maps, histogram, dead units, time, receptive field."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from rawcnn import ops
from rawcnn.layers import Conv2D, Inception, Layer, PartialConv2D
from rawcnn.nets.chain import Chain
from rawcnn.nets.summary import SummaryRow, summary_rows
from rawcnn.run import inside

REPEATS = 3
"""Each row is timed so often, and the shortest time taken."""


@dataclass(frozen=True)
class Field:
    """What a unit at pixel p sees of the input along one axis: `[start + p * jump, start + p * jump + size)`."""

    start: int = 0
    jump: int = 1
    size: int = 1

    def after(self, layer: Layer) -> "Field":
        """What a unit of the next row sees."""
        size, stride = layer.window
        before = getattr(layer, "margin", 0)
        same = isinstance(layer, Inception) or getattr(layer, "padding", "VALID") == "SAME"
        if same and len(layer.input_shape) == 3:
            before = max(0, (layer.out_shape[0] - 1) * stride + size - layer.input_shape[0]) // 2
        return Field(self.start - before * self.jump, self.jump * stride, self.size + (size - 1) * self.jump)


@dataclass(frozen=True)
class RowView:
    """One row, or one convolution of an Inception row.

    `maps` are those of the first images, float32 `[M, H, W, C]` or `[M, D]`; `stats` are over all of them.
    """

    layer: Layer
    name: str
    line: SummaryRow | None
    field: Field
    maps: NDArray[np.float32]
    stats: inside.Activations
    saturated: float
    seconds: float
    parts: Sequence["RowView"] = ()

    @property
    def activation(self) -> str:
        """The activation by name: "relu", "tanh", "scaled_tanh", "sigmoid", "other", or "" where there is none."""
        return activation_name(self.layer)


def activation_name(layer: Layer) -> str:
    """A layer's activation by name, "" where there is none and "other" where it is unknown."""
    known: dict[Any, str] = {tf.nn.relu: "relu", tf.sigmoid: "sigmoid", tf.tanh: "tanh"}
    known |= {ops.relu: "relu", ops.tanh: "tanh", ops.scaled_tanh: "scaled_tanh"}
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "relu" if isinstance(layer, Inception) else ""
    return known.get(activation, "other")


def look(net: Chain, images: NDArray[np.float32], kept: int) -> Iterator[RowView]:
    """Walk down the rows of `net` with preprocessed images `[N, H, W, C]`; of maps, only those of `kept` images stay.

    One row's output is in memory at a time.
    """
    x = tf.cast(tf.constant(images), net.policy.compute)
    seen, lines = Field(), {line.name: line for line in summary_rows(net)}
    for name, layer in net.rows:
        parts = list(_parts(name, layer, x, seen, kept)) if isinstance(layer, Inception) else []
        y, seconds = _timed(layer, x)
        seen = seen.after(layer)
        yield _view(layer, name, lines[name], seen, y, kept, seconds, parts)
        x = y


def _parts(name: str, row: Inception, x: tf.Tensor, seen: Field, kept: int) -> Iterator[RowView]:
    """The six convolutions of an Inception row."""
    inputs = {"conv3x3": "conv3x3_reduce", "conv5x5": "conv5x5_reduce"}
    made: dict[str, tf.Tensor] = {}
    for part in inside.INCEPTION_PARTS:
        layer, at = getattr(row, part), seen
        source = x
        if part in inputs:
            source = made[inputs[part]]
        elif part == "pool_proj":
            source, at = row.pool(x), seen.after(row.pool)
        y, seconds = _timed(layer, source)
        made[part] = y
        yield _view(layer, part, None, at.after(layer), y, kept, seconds, [])


def _view(
    layer: Layer, name: str, line: SummaryRow | None, seen: Field, y: tf.Tensor, kept: int, seconds: float,
    parts: Sequence[RowView],
) -> RowView:  # fmt: skip
    values = np.asarray(tf.cast(y, tf.float32).numpy())
    limit = {"tanh": 0.97, "scaled_tanh": 1.7159 * 0.97}.get(activation_name(layer))
    saturated = float(np.mean(np.abs(values) > limit)) if limit else 0.0
    return RowView(layer, name, line, seen, values[:kept], inside.activations(values), saturated, seconds, parts)


def _timed(layer: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tuple[tf.Tensor, float]:
    """A layer's output, and the seconds it takes."""
    y, best = layer(x), float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        y = layer(x)
        y[:1].numpy()  # waits for it
        best = min(best, time.perf_counter() - began)
    return y, best


def is_convolution(layer: Layer) -> bool:
    """Whether a layer has filters to show."""
    return isinstance(layer, Conv2D | PartialConv2D)
