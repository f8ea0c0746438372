"""What the page needs to compute rows of a net itself: their weights, shapes and windows."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.layers import RBF, AveragePool, Conv2D, Dense, Flatten, Layer, MaxPool, PartialConv2D, Subsample
from rawcnn.nets.chain import Chain
from rawcnn.report.rows import Field, activation_name

MOST_NUMBERS = 200_000
"""Nets with more weights are too large for a page: they show their first convolution only."""
SHOWN_FILTERS = 12
"""Filters of the first convolution that the page computes of a large net."""
LIVE = (RBF, AveragePool, Conv2D, Dense, Flatten, MaxPool, PartialConv2D, Subsample)
ACTIVATIONS = ("", "relu", "tanh", "scaled_tanh")


def runs_in_page(net: Chain) -> bool:
    """Whether a page can run the whole net: small, for grey images, of rows that `lenet.js` knows."""
    small = net.num_params() <= MOST_NUMBERS and net.input_shape[2] == 1 and len(net.out_shape) == 1
    return small and all(_known(layer) for _, layer in net.rows)


def _known(layer: Layer) -> bool:
    known = isinstance(layer, LIVE) and activation_name(layer) in ACTIVATIONS and getattr(layer, "groups", 1) == 1
    return known and not (isinstance(layer, AveragePool | MaxPool) and layer.padding == "SAME")


def whole_net(net: Chain) -> dict[str, Any]:
    """All rows, for `forward` in lenet.js."""
    return payload(list(net.rows))


def first_rows(net: Chain) -> dict[str, Any] | None:
    """The first convolution alone, with its first filters; None where the net does not begin with one."""
    name, layer = next(iter(net.rows))
    if not isinstance(layer, Conv2D) or layer.groups != 1 or activation_name(layer) not in ACTIVATIONS:
        return None
    return payload([(name, layer)], SHOWN_FILTERS)


def payload(rows: Sequence[tuple[str, Layer]], most_filters: int = 0) -> dict[str, Any]:
    """Rows as JSON, and their numbers as base64 of little-endian float32, one row after the other."""
    numbers: list[NDArray[np.float32]] = []
    described, place, seen = [], 0, Field()
    for name, layer in rows:
        before, seen = seen, seen.after(layer)
        w, b = _weights(layer)
        out = list(layer.out_shape)
        if most_filters and w is not None and w.ndim == 4:
            w, out[-1] = w[..., :most_filters], min(out[-1], most_filters)
            b = None if b is None else b[:most_filters]
        row: dict[str, Any] = {
            "name": name, "kind": type(layer).__name__, "in": list(layer.input_shape), "out": out,
            "activation": activation_name(layer), "field": [seen.start, seen.jump, seen.size],
        }  # fmt: skip
        size, row["stride"] = layer.window
        row["size"] = getattr(layer, "size", size)
        row["before"] = (before.start - seen.start) // before.jump  # pixels of padding
        if isinstance(layer, PartialConv2D):
            row["table"] = layer.table.astype(int).tolist()
        for key, array in (("w", w), ("b", b)):
            if array is not None:
                row[key] = [place, int(array.size)]
                numbers.append(np.asarray(array, "<f4").ravel())
                place += int(array.size)
        described.append(row)
    joined = np.concatenate(numbers) if numbers else np.zeros(0, "<f4")
    return {"rows": described, "numbers": base64.b64encode(joined.astype("<f4").tobytes()).decode()}


def _weights(layer: Layer) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    if isinstance(layer, RBF):
        return np.asarray(layer.centres, np.float32), None
    w, b = (getattr(layer, name).numpy() if hasattr(layer, name) else None for name in ("w", "b"))
    return w, b
