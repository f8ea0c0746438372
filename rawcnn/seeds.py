"""Seeds by name: every random draw is a pure function of (seed, path)."""

import zlib


def fold(seed: int, name: str) -> int:
    """The seed of `name` below `seed`, in 0 ... 2**32 - 1.

    Folding step by step equals folding the whole path at once.

    >>> fold(fold(7, "c1"), "w") == fold(7, "c1/w")
    True
    """
    return zlib.crc32(f"/{name}".encode(), seed)
