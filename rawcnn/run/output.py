"""Lines for people who watch. An output that fails (a full disk, a closed pipe) is given up; the work continues."""

import os
import sys
from contextlib import suppress
from typing import TextIO


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a line to stdout or `stream`; the first failure is told on stderr, and what follows goes nowhere.

    Letters that the stream's encoding lacks are escaped. A program without stdout, as windowed ones are, prints
    nothing.
    """
    stream = stream or sys.stdout
    if stream is None:
        return
    try:
        print(encodable(text, stream), file=stream, flush=True)
    except OSError as error:
        _give_up(stream, error)


def encodable(text: str, stream: TextIO) -> str:
    """`text` with what `stream` cannot encode escaped, as in \\u0416."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _give_up(stream: TextIO, error: OSError) -> None:
    if stream is not sys.stderr and sys.stderr is not None:
        with suppress(OSError):
            print(
                f"stdout cannot be written ({error.strerror}): this output ends, the work continues.", file=sys.stderr
            )
    # What is still buffered would fail again, at the latest when Python exits (status 120).
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # a stream that is not a file has no number
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
