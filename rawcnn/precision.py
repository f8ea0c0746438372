"""Precision as a value: the dtype a net computes in and the dtype of what it returns. Variables are always float32."""

import os
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from rawcnn.errors import UsageError


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

    >>> parse("float32") == FLOAT32
    True
    """
    if name not in NAMES:
        raise UsageError(f"Unknown precision {name!r}: choose one of {', '.join(NAMES)}.")
    bfloat16 = name == "bfloat16" or (name == "auto" and has_bfloat16())
    return MIXED_BFLOAT16 if bfloat16 else FLOAT32


def has_bfloat16() -> bool:
    """Whether the GPU, or without one the processor, multiplies bfloat16 in hardware."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return bool(capability >= (8, 0))
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if isa and isa != "ALL" and not isa.endswith(("AMX", "BF16", "FP16")):  # oneDNN was told not to use it
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
