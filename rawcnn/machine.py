"""What the machine offers."""

import functools
import os
import platform
import re
from pathlib import Path


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def processor() -> str:
    """The name of the processor, such as "AMD EPYC 7B13"; where the system does not tell it, its kind, as "x86_64"."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    found = re.search(r"^(?:model name|Model)\s*:\s*(\S.*)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.processor() or platform.machine() or "unknown processor"


def described() -> str:
    """This machine in a line: GPUs, processor, the cores that this process may use, and the system."""
    import tensorflow as tf  # as in `has_bfloat16`

    gpus = [tf.config.experimental.get_device_details(one) for one in tf.config.list_physical_devices("GPU")]
    count = cores()
    parts = [*(str(gpu.get("device_name", "GPU")) for gpu in gpus), processor()]
    return ", ".join([*parts, f"{count} core{'s' if count != 1 else ''}", platform.system()])


def has_bfloat16() -> bool:
    """Whether the GPU, or without one the processor, multiplies bfloat16 in hardware."""
    import tensorflow as tf  # only here: this module serves rooms that know no TensorFlow

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


def shards_of(batch_size: int, threads: int | None = None) -> int:
    """How many equal shards of a batch to compute side by side: a divisor of it, at most `threads` (one a core)."""
    return max(shards for shards in range(1, (threads or cores()) + 1) if batch_size % shards == 0)


def one_thread_per_op(threads: int | None = None) -> None:
    """Let TensorFlow run `threads` ops at once (by default one a core), one thread each: for small nets the faster way.

    To be called before TensorFlow's first op; raises its `RuntimeError` otherwise.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads or cores())
