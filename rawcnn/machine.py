"""What the machine offers: processor cores, the instruction set for matrices, GPUs.

What is read from files takes the root of the file system as an argument, so that tests can make one up.
"""

import math
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")

# Threads --------------------------------------------------------------------------------------------------------------


class Cores(NamedTuple):
    """How many processors there are at each step from all to those that compute.

    `logical` processors of the machine, of which the process may use `allowed`, which belong to `physical` cores, of
    which `node` lie on the NUMA node that has the most. `quota` is what a container may use, in processors.
    """

    logical: int
    allowed: int
    physical: int
    node: int
    quota: float | None

    @property
    def threads(self) -> int:
        """One thread a physical core of one node, and no more than the quota, rounded up."""
        return max(1, min(self.node, self.node if self.quota is None else math.ceil(self.quota)))


def cores() -> int:
    """How many threads to compute with: one for each physical core that this process may use (see `Cores`)."""
    return count_cores().threads


def processors() -> int:
    """The logical processors that this process may use: as many threads as TensorFlow takes by itself."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> str:
    """The name of the processor, such as "AMD EPYC 7B13"; where the system does not tell it, its kind, as "x86_64"."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(\S.*)$", _text(ROOT / "proc/cpuinfo"), re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.processor() or platform.machine() or "unknown processor"


def described() -> str:
    """This machine in a line: GPUs, processor, the cores that this process may use, and the system."""
    import tensorflow as tf  # only here, and below: this module serves rooms that know no TensorFlow

    gpus = [tf.config.experimental.get_device_details(one) for one in tf.config.list_physical_devices("GPU")]
    count = cores()
    parts = [*(str(gpu.get("device_name", "GPU")) for gpu in gpus), processor()]
    return ", ".join([*parts, f"{count} core{'s' if count != 1 else ''}", platform.system()])


def count_cores(root: Path = ROOT, allowed: frozenset[int] | None = None) -> Cores:
    """What `/sys` and the affinity of this process (or the processors `allowed`) say of the cores to use."""
    if allowed is None:
        has = hasattr(os, "sched_getaffinity")
        allowed = frozenset(os.sched_getaffinity(0) if has else range(os.cpu_count() or 1))
    first = first_of_cores(root, allowed)
    nodes = [len(first & node) for node in numa_nodes(root)]
    logical = max(len(parse_cpus(_text(root / "sys/devices/system/cpu/present"))), len(allowed))
    return Cores(logical, len(allowed), len(first), max(nodes, default=0) or len(first), cpu_quota(root))


def first_of_cores(root: Path, allowed: frozenset[int]) -> frozenset[int]:
    """Of each physical core one of its logical processors that are `allowed`; all where `/sys` does not say."""
    cpus = root / "sys/devices/system/cpu"
    siblings = {cpu: parse_cpus(_text(cpus / f"cpu{cpu}/topology/thread_siblings_list")) for cpu in allowed}
    return frozenset(min((together & allowed) | {cpu}) for cpu, together in siblings.items())


def numa_nodes(root: Path = ROOT) -> list[frozenset[int]]:
    """The logical processors of each NUMA node that has any."""
    lists = sorted((root / "sys/devices/system/node").glob("node[0-9]*/cpulist"))
    return [cpus for cpus in map(parse_cpus, map(_text, lists)) if cpus]


def cpu_quota(root: Path = ROOT) -> float | None:
    """How many processors the control groups of this process let it use; None: as many as there are.

    The smallest quota on the way up from its own group counts: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1.
    """
    found = _of_groups(root, "cpu", ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return min((quota for quota in (_quota(*words) for words in found) if quota is not None), default=None)


def _of_groups(root: Path, controller: str, v2: tuple[str, ...], v1: tuple[str, ...]) -> list[list[str]]:
    """The words of the files `v2` or `v1` in each control group of this process and those above it that has them."""
    groups, found = root / "sys/fs/cgroup", []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        bases = (groups / controllers, groups / controller) if controllers else (groups, groups / "unified")
        for at in (at for base in bases for at in _upwards(base, path)):
            words = " ".join(_text(at / name) for name in (v1 if controllers else v2)).split()
            found += [words] if words else []
    return found


def _upwards(base: Path, path: str) -> list[Path]:
    """The directories of a control group and of all those above it. A container may see its own as the topmost."""
    own = base / path.strip("/")
    return [own, *(above for above in own.parents if above == base or base in above.parents)]


def _quota(quota: str, period: str = "") -> float | None:
    try:
        return int(quota) / int(period) if int(quota) > 0 else None  # version 1 writes -1 for no quota
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None


def parse_cpus(text: str) -> frozenset[int]:
    """Numbers of processors as Linux writes them; none where the text is no such list.

    >>> sorted(parse_cpus("0-2,8"))
    [0, 1, 2, 8]
    """
    found: set[int] = set()
    try:
        for part in filter(None, text.strip().split(",")):
            low, _, high = part.partition("-")
            found.update(range(int(low), int(high or low) + 1))
    except ValueError:
        return frozenset()
    return frozenset(found)


def memory(root: Path = ROOT) -> tuple[int, int, int | None]:
    """Bytes of memory: all of the machine, free now, and what this process's control groups let it use (None: all)."""
    lines = (line.partition(":") for line in _text(root / "proc/meminfo").splitlines())
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines if rest.split()}
    total, free = (1024 * kilobytes.get(name, 0) for name in ("MemTotal", "MemAvailable"))
    limits = _of_groups(root, "memory", ("memory.max",), ("memory.limit_in_bytes",))
    found = [int(words[0]) for words in limits if words[0].isdigit() and int(words[0]) < total]
    return total, free, min(found, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def shards_of(batch_size: int, threads: int | None = None) -> int:
    """How many equal shards of a batch to compute side by side: a divisor of it, at most `threads` (one a core)."""
    return largest_divisor(batch_size, threads or cores())


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is not over `most`.

    >>> largest_divisor(12, 5)
    4
    """
    return max(divisor for divisor in range(1, min(number, most) + 1) if number % divisor == 0)


def one_thread_per_op(threads: int | None = None) -> None:
    """Let TensorFlow run `threads` ops at once (by default one a core), one thread each: for small nets the faster way.

    To be called before TensorFlow's first op; raises its `RuntimeError` otherwise.
    """
    import tensorflow as tf  # only here, and below: this module serves rooms that know no TensorFlow

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads or cores())


# Instruction sets -----------------------------------------------------------------------------------------------------

SETS = AMX, AVX512_BF16, AVX512, AVX2, OTHER = "AMX", "AVX512_BF16", "AVX512", "AVX2", "other"
"""Instruction sets for convolutions and matrix products, from the fastest on; each has those after it."""
BFLOAT16 = (AMX, AVX512_BF16)
"""Sets that multiply bfloat16."""
_NEEDS = {AMX: "amx_bf16", AVX512_BF16: "avx512_bf16", AVX512: "avx512f", AVX2: "avx2"}  # the flag in /proc/cpuinfo
# What oneDNN may use at most where ONEDNN_MAX_CPU_ISA says so; https://uxlfoundation.github.io/oneDNN names them.
_CAPS = {
    "SSE41": OTHER, "AVX": OTHER, "AVX2": AVX2, "AVX2_VNNI": AVX2, "AVX2_VNNI_2": AVX2, "AVX512_CORE": AVX512,
    "AVX512_CORE_VNNI": AVX512, "AVX512_CORE_BF16": AVX512_BF16, "AVX10_1_512": AVX512_BF16,
    "AVX512_CORE_FP16": AVX512_BF16,
}  # fmt: skip


def instruction_set() -> str:
    """The best of `SETS` that the processor has and oneDNN may use: /proc/cpuinfo, capped by ONEDNN_MAX_CPU_ISA."""
    return _instruction_set(ROOT, isa_cap())


def isa_cap() -> str:
    """What ONEDNN_MAX_CPU_ISA, or its old name, says; "" where it says nothing."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")


@cache
def _instruction_set(root: Path, cap: str) -> str:
    flags = cpu_facts(root).get("flags", "").split()
    has = next((name for name in SETS if _NEEDS.get(name) in flags), OTHER)
    return max(has, _CAPS.get(cap.upper(), has), key=SETS.index)


def cpu_facts(root: Path = ROOT) -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor; empty where there is no such file."""
    first = _text(root / "proc/cpuinfo").strip().split("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def gpus() -> list[str]:
    """The names of the GPUs that TensorFlow sees and may use."""
    import tensorflow as tf

    return [device.name for device in tf.config.get_visible_devices("GPU")]


def matrix_hardware() -> tuple[str, bool]:
    """What multiplies matrices, "the GPU" or the processor's instruction set, and whether it multiplies bfloat16."""
    import tensorflow as tf

    if visible := tf.config.get_visible_devices("GPU"):
        capability = tf.config.experimental.get_device_details(visible[0]).get("compute_capability", (0, 0))
        return "the GPU", bool(capability >= (8, 0))
    found = instruction_set()
    return found, found in BFLOAT16


def has_bfloat16() -> bool:
    """Whether the GPU, or without one the processor, multiplies bfloat16 in hardware."""
    return matrix_hardware()[1]
