"""How training shows itself: a live line on a terminal, and plain lines, made to be searched, anywhere else."""

import os
import sys
import time
from contextlib import suppress
from typing import Any

from rawcnn.run.output import tell
from rawcnn.train.fit import Progress


def duration(seconds: float) -> str:
    """A short human form.

    >>> duration(7.4), duration(72), duration(7500)
    ('7s', '1m12s', '2h05m')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def line(now: Progress) -> str:
    """One line on where training stands."""
    width, steps = len(str(now.epochs)), now.epochs * now.steps_per_epoch
    return (
        f"epoch {now.epoch:{width}}/{now.epochs}  step {now.step:{len(str(steps))}}/{steps}  loss {now.loss:.4f}  "
        f"acc {now.accuracy:6.2%}  {now.images_per_second:,.0f} img/s  data {now.data_share:.0%}  "
        f"eta {duration(now.seconds_left)}"
    )


def _has_screen() -> bool:
    """Whether stderr is a terminal that knows its size: on others tqdm shows nothing."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False


class Display:
    """Shows `Progress` values: on a terminal through tqdm (the `progress` extra), else as plain lines."""

    def __init__(self, every: float = 10.0):
        self.every, self._shown = every, time.monotonic()
        self._bar = self._live_bar() if _has_screen() else None

    @staticmethod
    def _live_bar() -> Any:
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(bar_format="{desc}", file=sys.stderr, leave=False)

    def update(self, now: Progress) -> None:
        """Show `now`, if it is time to."""
        if self._bar is not None:
            with suppress(OSError):  # the terminal is gone
                self._bar.set_description_str(line(now))
        elif now.epoch_ended or time.monotonic() - self._shown > self.every:
            tell(line(now))
            self._shown = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            with self._bar.external_write_mode(file=sys.stdout):
                tell(text)
        else:
            tell(text)

    def close(self) -> None:
        """Remove the live line."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
