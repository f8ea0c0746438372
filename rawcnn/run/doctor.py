"""`rawcnn doctor`: what decides speed and numbers on this machine, and what is wrong with it.

`examine` gathers `Facts`; `report` and `advice` are pure functions of them. What a bug report should contain is
printed, and no path of the user's.
"""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

import rawcnn
from rawcnn import machine, start
from rawcnn.errors import UsageError
from rawcnn.machine import Cores
from rawcnn.nets import NETS
from rawcnn.ops.fast import forms
from rawcnn.run import speed
from rawcnn.run.flags import read_flags
from rawcnn.run.output import tell
from rawcnn.run.progress import columns_of, wrapped
from rawcnn.train.recipes import RECIPES, choose_precision, recipe_of

USAGE = (
    "usage: rawcnn doctor\n"
    "Says what decides speed and numbers here: processor, instruction set, threads, oneDNN, precision, forms of ops.\n"
    "Measures for two seconds, and ends with advice. Put its text into a bug report; it holds no paths of yours."
)
TESTED = (2, 20)
"""The oldest TensorFlow (major, minor) that rawcnn is tested with."""
SLOW_FSYNC, LITTLE_MEMORY = 0.05, 2 << 30  # seconds, bytes
CLEARLY = 0.8  # of a speed: what is slower is so by more than the noise of a measurement
MEASURED = 0.15  # seconds of each measurement


@dataclass(frozen=True)
class Choice:
    """What the recipe of a net gets here: precision and why, and forms of ops."""

    precision: str
    forms: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """All that the doctor knows of machine and process.

    `onednn` is what oneDNN says of itself; "": it is off. `late`: TensorFlow was imported before rawcnn. `memory` are
    bytes: all, free now, and a container's limit if there is one.
    `speeds` are GFLOP/s by dtype: of a convolution and of a product. `fsync` are seconds; None: the current directory
    takes no files. `nets` has the choice of each net by name.
    """

    processor: str
    instruction_set: str
    cap: str
    onednn: str
    late: bool
    cores: Cores
    numa_nodes: int
    gpus: tuple[str, ...]
    matrix_hardware: tuple[str, bool]
    memory: tuple[int, int, int | None]
    load: float
    speeds: Mapping[str, tuple[float, float]]
    fsync: float | None
    versions: Mapping[str, str]
    system: str
    tensorflow: tuple[int, int]
    nets: Mapping[str, Choice] = field(default_factory=dict)


def doctor() -> None:
    """Print the report and the advice; in a notebook too, best as its first cell."""
    tell(wrapped(report(examine()), columns_of(sys.stdout)))


def command(argv: list[str]) -> None:
    """What `rawcnn doctor` does."""
    _, words = read_flags(argv, usage=USAGE)
    if words:
        raise UsageError(f"`rawcnn doctor` takes no words, not {words[0]!r}.")
    os.environ.setdefault("ONEDNN_VERBOSE", "profile_create")  # so that oneDNN says what it is when it begins
    doctor()


# The report -----------------------------------------------------------------------------------------------------------


def report(facts: Facts) -> str:
    """The facts line by line, the nets, and the advice."""
    total, free, limit = facts.memory
    memory = f"{_gb(total)}, {_gb(free)} free" + ("" if limit is None else f"; this container may use {_gb(limit)}")
    disk = "the current directory takes no files" if facts.fsync is None else f"fsync takes {1000 * facts.fsync:.1f} ms"
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    lines = {
        "versions": versions,
        "system": facts.system,
        "processor": facts.processor,
        "instruction set": facts.instruction_set + (f" (ONEDNN_MAX_CPU_ISA={facts.cap})" if facts.cap else ""),
        "oneDNN": facts.onednn or "off",
        "GPU": ", ".join(facts.gpus) or "none",
        "threads": f"{facts.cores.threads}: {_why(facts.cores)}",
        "memory": memory,
        "load": f"{facts.load:.1f} programs at work",
        **{
            f"{dtype}": f"convolution {of_convolution:,.0f} GFLOP/s, product {of_product:,.0f} GFLOP/s"
            for dtype, (of_convolution, of_product) in facts.speeds.items()
        },
        "disk": disk,
    }
    text = [f"{name}: {value}" for name, value in lines.items()]
    text += ["", "What each net gets with its first recipe:", *_nets(facts.nets)]
    found = advice(facts)
    return "\n".join([*text, "", *([f"Advice: {one}" for one in found] or ["Nothing is wrong."])])


def _why(cores: Cores) -> str:
    words = [f"{cores.allowed} of {cores.logical} processors may be used"]
    if cores.physical < cores.allowed:
        words.append(f"they are {cores.physical} cores with {cores.allowed} logical processors")
    if cores.node < cores.physical:
        words.append(f"{cores.node} cores are on one NUMA node")
    words.append("no container's quota" if cores.quota is None else f"a container's quota is {cores.quota:g}")
    return ", ".join(words)


def _nets(nets: Mapping[str, Choice]) -> list[str]:
    """Nets with the same choice share a line."""
    together: dict[Choice, list[str]] = {}
    for name, choice in nets.items():
        together.setdefault(choice, []).append(name)
    return [
        f"{', '.join(names)}: {choice.precision}; forms: {', '.join(choice.forms) or 'none'}"
        for choice, names in together.items()
    ]


def _gb(count: int) -> str:
    return f"{count / 2**30:.1f} GB"


def advice(facts: Facts) -> list[str]:
    """A sentence for each thing that is wrong, with the remedy."""
    cores, quota = facts.cores, facts.cores.quota
    convolution = {dtype: of_convolution for dtype, (of_convolution, _) in facts.speeds.items()}
    wrong = {
        f"TensorFlow {facts.versions.get('tensorflow')} is older than {'.'.join(map(str, TESTED))}, the oldest that "
        "rawcnn is tested with: update it.": facts.tensorflow < TESTED,
        "TensorFlow was imported before rawcnn, which then could not set oneDNN and threads: import rawcnn first.": (
            facts.late
        ),
        "oneDNN is off, so convolutions take 1.4 to 3.2 times as long: unset TF_ENABLE_ONEDNN_OPTS, and import rawcnn "
        "before TensorFlow.": facts.onednn == "" and not facts.gpus,
        f"ONEDNN_MAX_CPU_ISA={facts.cap} holds oneDNN to {facts.instruction_set}: unset it for full speed.": bool(
            facts.cap
        )
        and not facts.gpus,
        f"{facts.matrix_hardware[0]} does not multiply bfloat16, so nets train in float32: leave --precision as it "
        "is.": not facts.matrix_hardware[1],
        "Convolutions are slower in bfloat16 than in float32 here: give --precision=float32 to nets that get "
        "bfloat16.": (not facts.gpus and convolution.get("bfloat16", np.inf) < CLEARLY * convolution["float32"]),
        f"A container's quota of {quota or 0:g} is lower than its {cores.node} cores: raise it (--cpus) for speed.": (
            quota is not None and quota < cores.node
        ),
        f"This process may use {cores.allowed} of {cores.logical} processors: taskset or the container's cpuset says "
        "so.": cores.allowed < cores.logical,
        f"There are {facts.numa_nodes} NUMA nodes, and threads are for one: start with `numactl --cpunodebind=0 "
        "--membind=0`, and train another net on the other.": facts.numa_nodes > 1 and cores.node < cores.physical,
        f"Other programs keep {facts.load:.1f} processors busy: stop them, and measure again.": (
            facts.load > cores.allowed / 2
        ),
        f"Only {_gb(_free(facts))} of memory are free: large nets need a small --batch_size.": (
            _free(facts) < LITTLE_MEMORY
        ),
        "The current directory takes no files, and runs are kept below it: change to another, or give --run.": (
            facts.fsync is None
        ),
        f"The disk takes {1000 * (facts.fsync or 0):.0f} ms to keep a file: put --run on a local disk, or raise "
        "--save_every.": (facts.fsync or 0) > SLOW_FSYNC,
    }
    return [text for text, holds in wrong.items() if holds]


def _free(facts: Facts) -> int:
    _, free, limit = facts.memory
    return free if limit is None else min(free, limit)


# The facts ------------------------------------------------------------------------------------------------------------


def examine(seconds: float = MEASURED) -> Facts:
    """Look at the machine and measure it, `seconds` for each of four speeds."""
    major, minor, *_ = tf.__version__.split(".")
    dtypes = [tf.float32, tf.bfloat16] if machine.has_bfloat16() else [tf.float32]
    with _stdout_caught() as said:  # oneDNN writes there, if it is told to
        speeds = {
            dtype.name: (speed.convolution_peak(dtype, seconds=seconds, batch=8), speed.product_peak(dtype, seconds))
            for dtype in dtypes
        }
    return Facts(
        processor=_processor(),
        instruction_set=machine.instruction_set(),
        cap=machine.isa_cap(),
        onednn=_onednn(said),
        late=start.late,
        cores=machine.count_cores(),
        numa_nodes=len(machine.numa_nodes()) or 1,
        gpus=tuple(machine.gpus()),
        matrix_hardware=machine.matrix_hardware(),
        memory=machine.memory(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        speeds=speeds,
        fsync=_fsync(),
        versions=_versions(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}, {' '.join(platform.libc_ver())}",
        tensorflow=(int(major), int(minor)),
        nets={name: _choice(name) for name in RECIPES if name in NETS},
    )


def _versions() -> dict[str, str]:
    import PIL  # only here: other commands need not wait for them
    import scipy

    packages = {"rawcnn": rawcnn, "tensorflow": tf, "numpy": np, "scipy": scipy, "pillow": PIL}
    return {name: package.__version__ for name, package in packages.items()} | {"python": platform.python_version()}


def _processor() -> str:
    facts = machine.cpu_facts()
    model = "/".join(facts.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return f"{machine.processor()} (family/model/stepping {model})"


def _onednn(said: list[str]) -> str:
    """oneDNN's version and what it uses, from the lines that it wrote; "on" where it wrote none; "": it is off."""
    about = [line.split("info,", 1)[1] for line in said if line.startswith("onednn_verbose") and "info," in line]
    version = next((text.split(" (")[0] for text in about if text.startswith("oneDNN")), None)
    isa = next((text.partition("isa:")[2] for text in about if "isa:" in text), None)
    if version is None:
        told = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower()
        by_itself = machine.instruction_set() in machine.BFLOAT16  # those on which TensorFlow uses it untold
        return "on" if told in ("1", "true") or (not told and by_itself) else ""
    return f"on, {version}" + (f", {isa}" if isa else "")


@contextmanager
def _stdout_caught() -> Iterator[list[str]]:
    """Gives a list that afterwards holds the lines that were written to file 1, by C++ code too."""
    lines: list[str] = []
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        real = os.dup(1)
    except OSError:  # a program without stdout
        yield lines
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 1)
        try:
            yield lines
        finally:
            os.dup2(real, 1)
            os.close(real)
            held.seek(0)
            lines += held.read().decode(errors="replace").splitlines()


def _fsync() -> float | None:
    try:
        return speed.fsync_seconds()
    except OSError:
        return None


def _choice(name: str) -> Choice:
    """What a net gets, from a trace in which its variables are symbols: no weights are drawn."""
    recipe = recipe_of(name)
    policy, why = choose_precision("auto", recipe)

    @tf.function(autograph=False)
    def traced() -> None:
        with tf.variable_creator_scope(_symbol):
            net = NETS[name](policy=policy)
            net(tf.zeros((recipe.batch_size, *net.input_shape)))

    with forms.recorded() as used:
        traced.get_concrete_function()
    precision = policy.compute.name
    return Choice(f"{precision} ({why.partition(': ')[2]})", tuple(form for form in forms.FORMS if form in used))


def _symbol(next_creator: object, initial_value: object = None, **more: object) -> tf.Tensor:
    return tf.convert_to_tensor(initial_value() if callable(initial_value) else initial_value)
