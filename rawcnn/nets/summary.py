"""What a net is made of, row by row: output shape, parameters, multiply-adds and receptive field, all exact."""

from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple, Protocol

from rawcnn.errors import UsageError
from rawcnn.layers import Layer


class Net(Protocol):
    """What a summary asks of a net; a `Chain` has it."""

    @property
    def rows(self) -> Iterator[tuple[str, Layer]]: ...
    @property
    def heads(self) -> Iterator[tuple[str, str, Any]]: ...
    def num_params(self) -> int: ...
    def num_statistics(self) -> int: ...


class SummaryRow(NamedTuple):
    """One line of a summary; `multiply_adds` are per image, `receptive_field` is in input pixels a side."""

    name: str
    kind: str
    out_shape: tuple[int, ...]
    params: int
    multiply_adds: int
    receptive_field: int


HEADER = ("row", "layer", "output", "parameters", "multiply-adds", "receptive field")
ALIGNED = ("<", "<", "<", ">", ">", ">")


def summary_rows(net: Net) -> list[SummaryRow]:
    """One `SummaryRow` per row of `net`, those of heads for training (`aux1/conv`) last.

    A window of `size` over units that see `r` pixels and lie `jump` pixels apart sees `r + (size - 1) * jump` pixels;
    near a padded edge some of them lie outside the image.
    """
    return _rows(net, "", 1, 1)


def _rows(net: Net, prefix: str, field: int, jump: int) -> list[SummaryRow]:
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


def summary(net: Net) -> str:
    """The table that `print(net)` shows, with totals; see the docstrings in `rawcnn.nets` for what it looks like.

    Parameters are trainable ones; a last line counts other numbers too, such as moving averages, if there are any.
    """
    lines, note = _cells(net)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(line, ALIGNED, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*text, note] if note else text)


def summary_html(net: Net) -> str:
    """The same table for notebooks."""
    lines, note = _cells(net)
    header, *body, total = (
        "".join(
            f'<{tag} style="text-align: {"left" if align == "<" else "right"}">{escape(cell)}</{tag}>'
            for cell, align in zip(line, ALIGNED, strict=True)
        )
        for line, tag in zip(lines, ("th", *["td"] * (len(lines) - 2), "th"), strict=True)
    )
    rows = "".join(f"<tr>{line}</tr>" for line in body)
    caption = f'<caption style="caption-side: bottom">{escape(note)}</caption>' if note else ""
    return (
        f"<table>{caption}<thead><tr>{header}</tr></thead><tbody>{rows}</tbody><tfoot><tr>{total}</tr></tfoot></table>"
    )


def _cells(net: Net) -> tuple[list[tuple[str, ...]], str]:
    """The header, a line for each row, and the totals; and a note about numbers that are not trained, or ""."""
    if isinstance(net, str):
        raise UsageError(f"summary takes a net, not its name: write summary(create_net({net!r})).")
    rows = summary_rows(net)
    body = [
        (
            r.name,
            r.kind,
            "x".join(map(str, r.out_shape)),
            f"{r.params:,}",
            f"{r.multiply_adds:,}",
            f"{r.receptive_field}",
        )
        for r in rows
    ]
    total = ("total", "", "", f"{sum(r.params for r in rows):,}", f"{sum(r.multiply_adds for r in rows):,}", "")
    untrained = net.num_statistics()
    note = f"with numbers that are not trained: {net.num_params() + untrained:,}" if untrained else ""
    return [HEADER, *body, total], note
