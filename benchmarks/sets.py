"""Instruction sets that contenders are held to: what lesser processors would run, measured on a better one."""

from __future__ import annotations

from rawcnn.machine import SETS

ONEDNN = {"AVX512_BF16": "AVX512_CORE_BF16", "AVX512": "AVX512_CORE", "AVX2": "AVX2"}
"""Instruction set -> oneDNN's name for it."""
SLOWER = 4
"""About so many times longer an image takes without bfloat16 in hardware: benchmarks take so many times fewer there."""
HELD = """oneDNN, which computes convolutions and products in all three libraries, is switched on for Keras too: with
AVX2 only, TensorFlow leaves it off. To a set below the processor's own are held: oneDNN (`ONEDNN_MAX_CPU_ISA`), XLA
(`--xla_cpu_max_isa`), and PyTorch's own and compiled kernels (`ATEN_CPU_CAPABILITY`)."""


def sets_here(native: str) -> list[str]:
    """The processor's own instruction set, and those below it that a process can be held to."""
    return [isa for isa in SETS[SETS.index(native) :] if isa == native or isa in ONEDNN]


def held_to(isa: str, native: str) -> tuple[str, ...]:
    """What goes before a command to hold it to `isa`, and to give it oneDNN.

    >>> held_to("AVX2", "AMX")[:3], held_to("AMX", "AMX")
    (('env', 'TF_ENABLE_ONEDNN_OPTS=1', 'ONEDNN_MAX_CPU_ISA=AVX2'), ('env', 'TF_ENABLE_ONEDNN_OPTS=1'))
    """
    settings = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # TensorFlow leaves it off on some processors, rawcnn does not
    if isa != native:
        settings |= {
            "ONEDNN_MAX_CPU_ISA": ONEDNN[isa],
            "XLA_FLAGS": f"--xla_cpu_max_isa={isa}",
            "ATEN_CPU_CAPABILITY": isa.partition("_")[0].lower(),
        }
    return ("env", *(f"{name}={value}" for name, value in settings.items()))
