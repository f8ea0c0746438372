"""Lines for whoever watches. An output that fails (a full disk, a closed pipe) is given up and never stops the work."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a line to stdout or `stream`; the first failure is told on stderr, and what follows goes nowhere."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        _give_up(stream, error)


def _give_up(stream: TextIO, error: OSError) -> None:
    if stream is not sys.stderr:
        with suppress(OSError):
            print(f"stdout cannot be written ({error.strerror}): this output ends, the work goes on.", file=sys.stderr)
    # What is still buffered would fail again, at the latest when Python exits (status 120).
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # a stream that is no file has no number
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
