"""What a net is made of, row by row: output shape, parameters, multiply-adds and receptive field, all exact."""

from typing import NamedTuple

from rawcnn.nets.chain import Chain


class SummaryRow(NamedTuple):
    """One line of a summary; `multiply_adds` are per image, `receptive_field` is in input pixels a side."""

    name: str
    kind: str
    out_shape: tuple[int, ...]
    params: int
    multiply_adds: int
    receptive_field: int


def summary_rows(net: Chain) -> list[SummaryRow]:
    """One `SummaryRow` per row of `net`, those of heads for training (`aux1/conv`) last.

    A window of `size` over units that see `r` pixels and lie `jump` pixels apart sees `r + (size - 1) * jump` pixels;
    near a padded edge some of them lie outside the image.
    """
    return _rows(net, "", 1, 1)


def _rows(net: Chain, prefix: str, field: int, jump: int) -> list[SummaryRow]:
    rows: list[SummaryRow] = []
    seen = {}
    for name, layer in net.rows:
        size, stride = layer.window
        field, jump = field + (size - 1) * jump, jump * stride
        seen[name] = field, jump
        kind, params = type(layer).__name__, layer.num_params()
        rows.append(SummaryRow(prefix + name, kind, layer.out_shape, params, layer.multiply_adds(), field))
    for name, at, head in net.heads:
        rows += _rows(head, f"{name}/", *seen[at])
    return rows


def summary(net: Chain) -> str:
    """The table that the examples print, with totals; see the docstrings in `rawcnn.nets` for what it looks like.

    Parameters are trainable ones; where batch normalisation keeps statistics besides, a last line counts both.
    """
    rows = summary_rows(net)
    header = ("row", "layer", "output", "parameters", "multiply-adds", "receptive field")
    total = ("total", "", "", f"{sum(r.params for r in rows):,}", f"{sum(r.multiply_adds for r in rows):,}", "")
    body = [
        (
            r.name,
            r.kind,
            "x".join(map(str, r.out_shape)),
            f"{r.params:,}",
            f"{r.multiply_adds:,}",
            str(r.receptive_field),
        )
        for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, total, strict=True)]
    aligned = ["<", "<", "<", ">", ">", ">"]
    lines = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, aligned, widths, strict=True)).rstrip()
        for line in (header, *body, total)
    ]
    if net.num_statistics():
        lines.append(f"with moving averages: {net.num_params() + net.num_statistics():,}")
    return "\n".join(lines)
