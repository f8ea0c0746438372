"""What the benchmarks share: how a contender reports, and how a race between contenders is run and read.

A contender is a command that runs in its own process and prints one JSON line, `report(...)`. A race runs all
contenders in turn (A B C, A B C, ...), so that a slow minute of the machine hits all of them, and compares them round
by round. Only the standard library is imported at the top: a small parent keeps the children's memory readings honest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import resource
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import Child, run_child

OURS = "rawcnn"
NOT_INSTALLED = "not installed: pip install 'rawcnn[bench]'"
ISA_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
# A row is marked if other processes used more than this share of the machine: threads that wait for each other lose far
# more than that share, PyTorch's more than TensorFlow's, so a ratio from a busy machine is not fair.
QUIET = 0.05
MEMORY = 512 << 20  # of the images that a contender trains on


@dataclass(frozen=True)
class Contender:
    """A name for the table and the command that prints the JSON line."""

    name: str
    command: tuple[str, ...]


# What a contender uses ------------------------------------------------------------------------------------------------


def contender_parser(description: str) -> argparse.ArgumentParser:
    """The flags that every contender understands."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--net", default="lenet5_tanh", help="which net")
    parser.add_argument("--batch_size", type=int, default=128, help="images per step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    parser.add_argument("--blocks", type=int, default=3, help="timed blocks of steps, after one that is not timed")
    parser.add_argument("--steps", type=int, default=300, help="steps per timed block; see `plan`")
    parser.add_argument("--images", type=int, default=0, help=f"images at hand, 0: {MEMORY >> 20} MB; not Keras's")
    parser.add_argument("--json", action="store_true", help="print one JSON line and nothing else")
    return parser


@dataclass(frozen=True)
class Plan:
    """A block is `passes` passes over a data set of `images`, `steps` steps in all."""

    images: int
    passes: int
    steps: int


def plan(args: argparse.Namespace, shape: Sequence[int]) -> Plan:
    """How a block of `args.steps` steps is cut into passes: the same rule for all but Keras, whose `fit` is one pass.

    One pass over distinct images if these take at most `MEMORY` as float32, or number at most `args.images` if that is
    given; else equal passes over fewer images. A pass has at least one step, and rounding up may add steps.
    """
    limit = args.images or MEMORY // (4 * math.prod(shape))
    passes = math.ceil(args.steps / max(1, limit // args.batch_size))
    steps_of_a_pass = math.ceil(args.steps / passes)
    return Plan(steps_of_a_pass * args.batch_size, passes, steps_of_a_pass * passes)


def drawn_data(count: int, shape: Sequence[int], classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Images `[count, *shape]`, float32 in [0, 1], and labels `[count]`, int64.

    Every class is one pattern under noise, so that a net can learn it; one label in ten is drawn anew, so that it never
    learns all and the gradients keep a usual size.
    """
    import numpy as np

    rng = np.random.Generator(np.random.Philox(key=seed))
    labels = rng.integers(classes, size=count)
    images = rng.random((count, *shape), dtype=np.float32)
    for label in np.unique(labels):  # a pattern at a time: those of 1000 classes may take more memory than the images
        images[labels == label] *= rng.random(shape, dtype=np.float32)
    return images, np.where(rng.random(count) < 0.1, rng.integers(classes, size=count), labels)


def peak_memory_mb() -> float:
    """The most resident memory that this process has held, in MiB."""
    try:  # getrusage keeps the parent's peak across exec; VmHWM starts anew with the program.
        status = Path("/proc/self/status").read_text()
        return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
    except (OSError, IndexError):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def report(
    contender: str,
    args: argparse.Namespace,
    seconds: Sequence[float],
    steps: int,
    versions: Mapping[str, str],
    **more: Any,
) -> None:
    """Prints the result: `seconds` holds the length of each timed block of `steps` steps."""
    rates = [float(f"{steps * args.batch_size / s:.6g}") for s in seconds]
    line = {
        "contender": contender,
        "net": args.net,
        "batch_size": args.batch_size,
        "precision": args.precision,
        "images_per_second": statistics.median(rates),
        "ms_per_step": round(1000 * statistics.median(seconds) / steps, 4),
        "n": len(rates),
        "spread": [min(rates), max(rates)],
        "rates": rates,
        "peak_memory_mb": peak_memory_mb(),
        "versions": dict(versions),
        **more,
    }
    if args.json:
        print(json.dumps(line))
    else:
        low, high = line["spread"]
        print(
            f"{contender}: {line['images_per_second']:,.0f} images/s ({low:,.0f} to {high:,.0f}, n={line['n']}), "
            f"{line['ms_per_step']:.3f} ms/step, {line['peak_memory_mb']:.0f} MB"
        )


def report_error(contender: str, error: str) -> None:
    """Prints the JSON line of a contender that cannot run; the race shows it as a row."""
    print(json.dumps({"contender": contender, "error": error}))


# Running a race -------------------------------------------------------------------------------------------------------


def read_result(child: Child, name: str) -> dict[str, Any]:
    """The child's JSON line, or a row `{"contender", "error"}` that says what went wrong."""
    for line in reversed(child.stdout.splitlines()):
        if line.startswith("{"):
            try:
                return {**json.loads(line), "contender": name, "others": child.others}
            except ValueError:
                break
    if child.status == -signal.SIGKILL:
        return {"contender": name, "error": f"killed after {child.seconds:.0f} s", "killed": True}
    last = (child.stderr.strip() or "no JSON line on stdout").splitlines()[-1]
    return {"contender": name, "error": f"exit status {child.status}: {last[:200]}"}


def race(
    contenders: Sequence[Contender],
    rounds: int,
    timeout: float,
    progress: Callable[[str], None] = lambda _: None,
    log: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[list[dict[str, Any]]]:
    """Runs all contenders in turn, `rounds` times, and returns each round's results.

    A contender that fails in the first round is not tried again, unless it was merely too slow.
    """
    results: list[list[dict[str, Any]]] = []
    failed: dict[str, dict[str, Any]] = {}
    for k in range(rounds):
        results.append([])
        for contender in contenders:
            result = failed.get(contender.name) or read_result(run_child(contender.command, timeout), contender.name)
            if "error" in result and k == 0 and not result.get("killed"):
                failed[contender.name] = result
            results[-1].append(result)
            log(result)
            outcome = result.get("error") or f"{result['images_per_second']:,.0f} images/s"
            progress(f"round {k + 1}/{rounds}  {contender.name}: {outcome}")
    return results


# Reading a race -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistic:
    """Median, least and greatest of `n` values."""

    median: float
    low: float
    high: float
    n: int


def summarise(values: Iterable[float]) -> Statistic | None:
    """The statistic of the values, or None if there are none."""
    found = list(values)
    return Statistic(statistics.median(found), min(found), max(found), len(found)) if found else None


def ratios_to_fastest(rounds: Sequence[Sequence[Mapping[str, Any]]], ours: str = OURS) -> list[tuple[float, str]]:
    """Per round, our images per second over those of the round's fastest peer, and that peer's name.

    A round counts if we and all peers that can run did run in it: that a fast peer was absent, or killed on a busy
    machine, must not help us.
    """
    all_rates = [{r["contender"]: r["images_per_second"] for r in results if "error" not in r} for results in rounds]
    able = {r["contender"] for results in rounds for r in results if "error" not in r or r.get("killed")}
    ratios = []
    for rates in all_rates:
        peers = set(rates) - {ours}
        if peers and set(rates) == able | {ours}:
            fastest = max(peers, key=lambda name: rates[name])
            ratios.append((rates[ours] / rates[fastest], fastest))
    return ratios


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in markdown, its first `left` columns to the left and the others to the right."""
    lines = [header, ["---"] * left + ["---:"] * (len(header) - left), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def publish(paragraphs: Iterable[str], out: Path | None) -> None:
    """Prints the paragraphs, and writes them to the file `out` if there is one."""
    text = "\n\n".join(paragraphs)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")


def with_section(document: str, text: str, preface: str) -> str:
    """The document with the section in the place of the one of the same heading, all others as they are.

    A new section goes to the end of the chapter that `preface` opens, and a new chapter to the end of the document.
    """
    parts = [part.strip("\n") for part in re.split(r"^(?=##? )", document, flags=re.MULTILINE) if part.strip()]
    heads = [part.partition("\n")[0] for part in parts]
    head, chapter = text.partition("\n")[0], preface.partition("\n")[0]
    if head in heads:
        parts[heads.index(head)] = text.strip("\n")
    elif chapter in heads:
        later = [k for k in range(heads.index(chapter) + 1, len(heads)) if heads[k].startswith("# ")]
        parts.insert(later[0] if later else len(parts), text.strip("\n"))
    else:
        parts += [preface.strip("\n"), text.strip("\n")]
    return "\n\n".join(parts) + "\n"


def put_section(out: Path, text: str, preface: str) -> None:
    """Put the section into the file `out`: see `with_section`."""
    before = out.read_text(encoding="utf-8") if out.exists() else ""
    out.write_text(with_section(before, text, preface), encoding="utf-8")


def speed(rate: float) -> str:
    """Images per second, with four digits or more.

    >>> speed(13.861), speed(14144.4)
    ('13.86', '14,144')
    """
    return f"{rate:,.4g}" if rate < 1000 else f"{rate:,.0f}"


def race_table(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """One row per contender: median and spread over the rounds, time per step, memory, disturbance by others."""
    header = ("contender", "images/s (median)", "spread", "n", "ms/step", "peak memory", "others' CPU use")
    rows = []
    for k, first in enumerate(rounds[0]):
        results = [results[k] for results in rounds]
        good = [r for r in results if "error" not in r]
        rate = summarise(r["images_per_second"] for r in good)
        if rate is None:
            rows.append([first["contender"], str(first["error"]), *[""] * 5])
            continue
        step = statistics.median(r["ms_per_step"] for r in good)
        memory = max(r["peak_memory_mb"] for r in good)
        others = max(r.get("others", 0.0) for r in good)
        spread = f"{speed(rate.low)} to {speed(rate.high)}"
        disturbed = f"{others:.0%}" + (" (!)" if others > QUIET else "")
        rows.append(
            [
                first["contender"],
                speed(rate.median),
                spread,
                str(rate.n),
                f"{step:.3f}",
                f"{memory:,.0f} MB",
                disturbed,
            ]
        )
    return markdown_table(header, rows)


def ratio_line(rounds: Sequence[Sequence[Mapping[str, Any]]], ours: str = OURS) -> str:
    """One sentence: the median of the per-round ratios to the fastest peer, its spread, and which peers those were."""
    ratios = ratios_to_fastest(rounds, ours)
    ratio = summarise(value for value, _ in ratios)
    if ratio is None:
        return "No ratio: no round had both rawcnn and all the peers that can run."
    peers = ", ".join(sorted({name for _, name in ratios}))
    return (
        f"**{ours} / fastest peer of the round: {ratio.median:.2f}** "
        f"(spread {ratio.low:.2f} to {ratio.high:.2f}, n={ratio.n} rounds; fastest peer: {peers})"
    )


def versions_line(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The versions that the contenders named, each package once."""
    found: dict[str, str] = {"python": platform.python_version()}
    for results in rounds:
        for result in results:
            found.update(result.get("versions", {}))
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def kept_lines(path: Path | None) -> list[dict[str, Any]]:
    """The JSON lines of a file where measurements are kept; none if nothing is kept yet."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path and path.is_file() else []


def keep_line(path: Path | None, line: Mapping[str, Any]) -> None:
    """Add a line to that file; nothing if nothing is to be kept."""
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, instruction sets, memory, system, load."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        cpuinfo = ""
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in cpuinfo.splitlines())}
    flags = fields.get("flags", "").split()
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "model": "/".join(fields.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "cores": cores(),
        "isa": [flag for flag in ISA_FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def machine_line() -> str:
    """The machine in one line, with what it did at the start."""
    return f"{which_machine()}, load average {machine()['load_average']} at the start"


def which_machine() -> str:
    """The machine in one line, the same at any time."""
    m = machine()
    return (
        f"{m['cpu']} (family/model/stepping {m['model']}), {m['cores']} cores, {' '.join(m['isa']) or 'no AVX2'}, "
        f"{m['memory_gb']} GB, {m['system']}"
    )
