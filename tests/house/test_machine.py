"""What rawcnn takes the machine for, on made-up file systems: cores, quotas, nodes, memory, instruction sets."""

import math

import pytest

from rawcnn import machine
from rawcnn.machine import AMX, AVX2, AVX512, AVX512_BF16, OTHER, Cores, count_cores, cpu_quota


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def siblings(*groups):
    """Files that say which logical processors are one core, as in `siblings("0,4", "1,5")`."""
    return {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{group}\n"
        for group in groups
        for cpu in machine.parse_cpus(group)
    }


PRESENT = "sys/devices/system/cpu/present"
NODES = "sys/devices/system/node/node{}/cpulist"


@pytest.mark.parametrize(
    ("files", "allowed", "wanted"),
    [
        # two cores of one thread each, as on many virtual machines
        (siblings("0", "1") | {PRESENT: "0-1"}, {0, 1}, Cores(2, 2, 2, 2, None)),
        # a laptop: four cores, each seen twice
        (siblings("0,4", "1,5", "2,6", "3,7") | {PRESENT: "0-7"}, set(range(8)), Cores(8, 8, 4, 4, None)),
        (siblings("0-1", "2-3") | {PRESENT: "0-3"}, {0, 1, 2, 3}, Cores(4, 4, 2, 2, None)),  # the other numbering
        # affinity leaves one thread of one core, and both of another
        (siblings("0,4", "1,5", "2,6", "3,7") | {PRESENT: "0-7"}, {4, 1, 5}, Cores(8, 3, 2, 2, None)),
        # a processor with fast cores of two threads and slow ones of one
        (siblings("0-1", "2-3", "4", "5") | {PRESENT: "0-5"}, set(range(6)), Cores(6, 6, 4, 4, None)),
        # two NUMA nodes
        (
            siblings(*map(str, range(8))) | {PRESENT: "0-7", NODES.format(0): "0-3", NODES.format(1): "4-7"},
            set(range(8)),
            Cores(8, 8, 8, 4, None),
        ),
        # two, of which affinity leaves one core of the first and three of the second
        (
            siblings(*map(str, range(8))) | {PRESENT: "0-7", NODES.format(0): "0-3", NODES.format(1): "4-7"},
            {0, 5, 6, 7},
            Cores(8, 4, 4, 3, None),
        ),
        # a node of memory alone
        ({NODES.format(0): "0-1\n", NODES.format(1): "\n", PRESENT: "0-1"}, {0, 1}, Cores(2, 2, 2, 2, None)),
        ({}, {0, 1, 2}, Cores(3, 3, 3, 3, None)),  # no such files
        (siblings("0", "1") | {PRESENT: "garbage"}, {0, 1}, Cores(2, 2, 2, 2, None)),
    ],
)
def test_cores_are_physical_ones_of_one_node(tmp_path, files, allowed, wanted):
    found = count_cores(write(tmp_path, files), frozenset(allowed))
    assert found == wanted and found.threads == wanted.node


V1, V2 = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 1.5),  # docker run --cpus=1.5
        # systemd: the quota lies on a group above the process's own
        (
            {
                "proc/self/cgroup": "0::/user.slice/job.scope\n",
                f"{V2}/user.slice/job.scope/cpu.max": "max 100000\n",
                f"{V2}/user.slice/cpu.max": "400000 100000\n",
            },
            4.0,
        ),
        # the smallest counts
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                f"{V2}/a/b/cpu.max": "300000 100000\n",
                f"{V2}/a/cpu.max": "250000 100000\n",
            },
            2.5,
        ),
        # version 1, with the path as the host sees it and the files as the container does
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/4f\n2:memory:/docker/4f\n",
                f"{V1}/cpu.cfs_quota_us": "50000\n",
                f"{V1}/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/x\n0::/\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/x\n0::/\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/unified/cpu.max": "200000 100000"}, 2.0),  # both versions
        ({"proc/self/cgroup": "nonsense\n0::/\n", f"{V2}/cpu.max": "many 0\n"}, None),
    ],
)
def test_a_quota_of_a_container(tmp_path, files, wanted):
    root = write(tmp_path, files | siblings(*map(str, range(8))) | {PRESENT: "0-7"})
    assert cpu_quota(root) == wanted
    count = count_cores(root, frozenset(range(8))).threads
    assert count == (8 if wanted is None else math.ceil(wanted)) and count >= 1


def test_this_machine_has_a_core():
    found = count_cores()
    assert 1 <= found.threads == machine.cores() <= found.physical <= found.allowed == machine.processors()


def cpuinfo(*flags):
    return {
        "proc/cpuinfo": f"processor\t: 0\nmodel name\t: A B\nflags\t\t: fpu sse4_1 {' '.join(flags)}\n\nprocessor: 1\n"
    }


@pytest.mark.parametrize(
    ("flags", "cap", "wanted"),
    [
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "", AMX),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "AVX512_CORE_BF16", AVX512_BF16),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "AVX512_CORE", AVX512),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "avx2", AVX2),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "SSE41", OTHER),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "DEFAULT", AMX),
        (("avx2", "avx512f", "avx512_bf16", "amx_bf16"), "AVX512_CORE_AMX", AMX),
        (("avx2", "avx512f", "avx512_bf16"), "", AVX512_BF16),  # Zen 5
        (("avx2", "avx512f"), "", AVX512),
        (("avx2", "avx512f"), "AVX512_CORE_BF16", AVX512),  # a cap gives nothing that is not there
        (("avx2", "avx_vnni"), "", AVX2),
        (("avx2",), "AVX512_CORE", AVX2),
        (("avx",), "", OTHER),
    ],
)
def test_the_instruction_set_is_the_processors_held_to_onednns(tmp_path, flags, cap, wanted):
    assert machine._instruction_set(write(tmp_path, cpuinfo(*flags)), cap) == wanted


def test_without_cpuinfo_there_is_no_set(tmp_path):
    assert machine._instruction_set(tmp_path, "") == OTHER and machine.cpu_facts(tmp_path) == {}


def test_environment_variables_hold_it_too(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert machine.instruction_set() == OTHER and not (machine.gpus() or machine.has_bfloat16())
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "SSE41")
    assert machine.instruction_set() == OTHER


def test_memory_and_what_a_container_may_use_of_it(tmp_path):
    info = {"proc/meminfo": "MemTotal:  8000 kB\nMemFree: 10 kB\nMemAvailable:  6000 kB\n"}
    assert machine.memory(write(tmp_path, info)) == (8_192_000, 6_144_000, None)
    write(tmp_path, {"proc/self/cgroup": "0::/a\n", f"{V2}/a/memory.max": "4096000\n", f"{V2}/memory.max": "max\n"})
    assert machine.memory(tmp_path)[2] == 4_096_000
    write(tmp_path, {"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63}\n"})
    assert machine.memory(tmp_path)[2] is None  # version 1 writes a huge number for none
    assert machine.memory(tmp_path / "nothing") == (0, 0, None)


class Threading:
    """What `tf.config.threading` was told."""

    def __init__(self):
        self.told = {}

    def set_intra_op_parallelism_threads(self, count):
        self.told["intra"] = count

    def set_inter_op_parallelism_threads(self, count):
        self.told["inter"] = count


@pytest.mark.parametrize(
    ("count", "environment", "told"),
    [(4, {}, {"intra": 4, "inter": 4}), (8, {}, {}), (4, {"TF_NUM_INTRAOP_THREADS": "6"}, {})],
)
def test_tensorflow_starts_with_one_thread_a_core(monkeypatch, count, environment, told):
    from rawcnn import start

    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machine, "cores", lambda: count)
    monkeypatch.setattr(machine, "processors", lambda: 8)
    threading = Threading()
    start._set_threads(threading)
    assert threading.told == told
