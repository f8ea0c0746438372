"""Precision as a value: the dtype a net computes in and the dtype of what it returns. Variables are always float32."""

from dataclasses import dataclass

import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.machine import has_bfloat16


@dataclass(frozen=True)
class Policy:
    """`compute`: what the first row of a net casts its input to. `output`: what the last row returns."""

    compute: tf.DType
    output: tf.DType


FLOAT32 = Policy(tf.float32, tf.float32)
MIXED_BFLOAT16 = Policy(tf.bfloat16, tf.float32)
NAMES = ("float32", "bfloat16", "auto")


def parse(name: str) -> Policy:
    """The policy called `name`: "float32", "bfloat16", or "auto" (bfloat16 where the hardware has it).

    Raises `UsageError` for another name.

    >>> parse("float32") == FLOAT32
    True
    """
    if name not in NAMES:
        raise UsageError(f"Unknown precision {name!r}: choose one of {', '.join(NAMES)}.")
    bfloat16 = name == "bfloat16" or (name == "auto" and has_bfloat16())
    return MIXED_BFLOAT16 if bfloat16 else FLOAT32
