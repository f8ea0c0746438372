"""How training shows itself: a live line on a terminal, and lines that stay."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from textwrap import wrap
from typing import TextIO

from rawcnn.run.output import encodable, tell
from rawcnn.run.record import Epoch
from rawcnn.train.fit import Progress, duration

EVERY = 10.0  # seconds between lines where there is no terminal
CLEAR = "\r\x1b[K"


def fitted(pieces: Sequence[tuple[int, str]], columns: int | None) -> str:
    """The pieces (rank, text) in their order, two spaces between; the last ranks are left out whole until it fits.

    >>> fitted([(0, "epoch 1/9"), (2, "60,520 img/s"), (1, "loss 0.31")], columns=24)
    'epoch 1/9  loss 0.31'
    """
    kept = list(pieces)
    while columns and len(kept) > 1 and len("  ".join(text for _, text in kept)) > columns:
        kept.remove(max(kept))
    return "  ".join(text for _, text in kept)


def wrapped(text: str, columns: int | None) -> str:
    """`text` with line breaks between words where a line is longer than `columns`.

    >>> wrapped("tested: the weights of epoch 2", columns=24)
    'tested: the weights of\\nepoch 2'
    """
    if columns is None:
        return text
    lines = (wrap(line, columns, break_long_words=False, break_on_hyphens=False) or [""] for line in text.split("\n"))
    return "\n".join("\n".join(parts) for parts in lines)


def narrowed(table: str, columns: int | None) -> str:
    """`table` without the last columns that `columns` letters do not hold; two blanks stand between its columns.

    >>> print(narrowed("row   output   parameters\\nconv  28x28x6         156", columns=20))
    row   output
    conv  28x28x6
    """
    lines = table.split("\n")
    if columns is None or max(map(len, lines)) <= columns:
        return table
    gaps = [at for at in range(1, columns + 1) if not any(line[at : at + 2].strip() for line in lines)]
    return "\n".join(line[: gaps[-1]].rstrip() for line in lines) if gaps else table


def live_line(now: Progress, columns: int | None = None) -> str:
    """Where training stands, in up to `columns` letters."""
    return fitted(now.pieces(), columns)


def epoch_line(row: Epoch, epochs: int, best: Epoch | None, columns: int | None = None) -> str:
    """What stays of an epoch."""
    pieces = [
        (0, f"epoch {row.epoch:{len(str(epochs))}}/{epochs}"),
        (4, f"loss {row.train_loss:.4f}"),
        (2, f"acc {row.train_accuracy:.2%}"),
    ]
    if row.val_loss is not None and row.val_accuracy is not None:
        pieces += [(3, f"val loss {row.val_loss:.4f}"), (1, f"val acc {row.val_accuracy:.2%}")]
        best_text = (
            f"best {best.val_accuracy:.2%} (epoch {best.epoch})" if best and best.val_accuracy else "no best yet"
        )
        pieces += [(5, best_text)]
    pieces += [(6, duration(row.seconds)), (7, f"{row.images_per_second:,.0f} img/s")]
    return fitted(pieces, columns)


def columns_of(stream: TextIO | None) -> int | None:
    """How many letters a line of the terminal at `stream` holds; None where there is no terminal that redraws lines."""
    try:
        if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
            return None
        # One less: many terminals wrap a full line. Terminals that do not know their size have 0 columns, or 0 rows.
        return (os.get_terminal_size(stream.fileno()).columns or 80) - 1
    except (OSError, ValueError):
        return None


class Display:
    """Shows `Progress` values: on a terminal as one line that is redrawn, else as a line now and then."""

    def __init__(self, every: float = EVERY):
        self.every, self._shown, self._live = every, time.monotonic(), False
        self._began: tuple[float, int] | None = None  # when the first call was done, and at which step

    def update(self, now: Progress) -> None:
        """Show `now`, if it is time to."""
        columns, clock = columns_of(sys.stderr), time.monotonic()
        if columns is not None:
            self._draw(live_line(replace(now, seconds_left=self._seconds_left(now)), columns))
        elif not now.epoch_ended and clock - self._shown > self.every:
            tell(live_line(replace(now, seconds_left=self._seconds_left(now))))
            self._shown = clock

    def _seconds_left(self, now: Progress) -> float | None:
        """By the time that steps took since the first call, which is left out: it also made TensorFlow's graph."""
        clock = time.monotonic()
        if self._began is None:
            self._began = clock, now.step
        began, step = self._began
        if now.step == step:
            return None
        return (clock - began) / (now.step - step) * (now.epochs * now.steps_per_epoch - now.step)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        tell(text)
        self._shown = time.monotonic()

    def close(self) -> None:
        """Remove the live line."""
        if self._live:
            self._draw("")
            self._live = False

    def _draw(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            sys.stderr.write(CLEAR + encodable(text, sys.stderr))
            sys.stderr.flush()
            self._live = bool(text)
