"""rawcnn beside Keras 3 and PyTorch: the same nets on the same machine, every contender as it runs fastest.

python -m benchmarks.vs_peers --nets=lenet5_tanh,alexnet_bn --out=benchmarks/RESULTS.md
python -m benchmarks.vs_peers --nets=googlenet --set=AVX2            # as on a processor with AVX2 only

A net is done in two stages. Scouting: every configuration runs once and shortly, and the fastest are then tried at
other batch sizes. Race: rawcnn and the fastest peers, each at its best batch size, in processes of their own which stay
in memory and make short blocks in turn, A B C C B A; where they do not all fit, one process runs after the other. Only
the race makes a claim. For inference see `benchmarks/inference.py`.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import math
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    OURS,
    QUIET,
    Contender,
    keep_line,
    machine,
    machine_line,
    markdown_table,
    put_section,
    race,
    race_table,
    speed,
    summarise,
    versions_line,
)
from benchmarks.sets import HELD, SLOWER, held_to, sets_here
from benchmarks.turns import race_by_turns, ratio_to, ratio_to_fastest
from rawcnn.machine import BFLOAT16 as WITH_BFLOAT16
from rawcnn.machine import instruction_set

# What runs ------------------------------------------------------------------------------------------------------------

RAWCNN, KERAS, TORCH = "benchmarks.step_time", "benchmarks.peers_keras", "benchmarks.peers_torch"
FLOAT32, BFLOAT16 = "--precision=float32", "--precision=bfloat16"
MANY = "--steps_per_execution=50"
COMPILE, AUTOTUNE, LAST = "--mode=compile", "--compile_mode=max-autotune", "--channels_last"
ONE_THREAD = "--threads=1"
PLAIN_KERAS = "Keras fit float32"  # what most people run; it is in every race of training

Ways = dict[str, tuple[str, ...]]
"""The name of a configuration -> its script and the flags that make it this configuration."""

TRAIN: Ways = {
    "rawcnn bfloat16": (RAWCNN, BFLOAT16),
    PLAIN_KERAS: (KERAS, FLOAT32),
    "Keras fit bfloat16": (KERAS, BFLOAT16),
    "Keras fit bfloat16, many steps": (KERAS, BFLOAT16, MANY),
    "Keras fit bfloat16, many steps, XLA": (KERAS, BFLOAT16, MANY, "--jit"),
    "PyTorch bfloat16": (TORCH, BFLOAT16),
    "PyTorch bfloat16, channels_last": (TORCH, BFLOAT16, LAST),
    "PyTorch bfloat16 compile, channels_last": (TORCH, BFLOAT16, COMPILE, LAST),
}
TRAIN_MORE: Ways = {  # fast on small nets or on processors without bfloat16 only
    "rawcnn float32": (RAWCNN, FLOAT32),
    "Keras fit bfloat16, many steps, tf.data": (KERAS, BFLOAT16, MANY, "--input=tfdata"),
    "PyTorch bfloat16 compile": (TORCH, BFLOAT16, COMPILE),
    "PyTorch float32, channels_last": (TORCH, FLOAT32, LAST),
    "Keras fit float32, many steps": (KERAS, FLOAT32, MANY),
    "Keras fit float32, many steps, tf.data": (KERAS, FLOAT32, MANY, "--input=tfdata"),
    "Keras fit float32, many steps, XLA": (KERAS, FLOAT32, MANY, "--jit"),
    "PyTorch float32": (TORCH, FLOAT32),
    "PyTorch float32 compile": (TORCH, FLOAT32, COMPILE),
    "PyTorch float32 compile, channels_last": (TORCH, FLOAT32, COMPILE, LAST),
    "PyTorch float32 compile, channels_last, 1 thread": (TORCH, FLOAT32, COMPILE, LAST, ONE_THREAD),
    "PyTorch float32 compile, max-autotune": (TORCH, FLOAT32, COMPILE, AUTOTUNE),
    "PyTorch bfloat16 compile, max-autotune": (TORCH, BFLOAT16, COMPILE, AUTOTUNE),
}


@dataclass(frozen=True)
class Setting:
    """What suits a net: batch sizes to try, images of a timed block, and whether those in `..._MORE` have a chance."""

    batch_sizes: tuple[int, ...]
    images: int
    more: bool = False


SETTINGS = {
    "alexnet_bn": Setting((64, 128, 256), 128),
    "alexnet": Setting((64, 128, 256), 128),
    "googlenet": Setting((64, 128, 256), 64),
    "cifar_wide": Setting((32, 128, 256), 256),
    "vgg19": Setting((16, 32, 64), 32),
    "lenet5_tanh": Setting((64, 128, 256), 128 * 128, more=True),
}
BLOCKS = 2  # timed ones of a process that runs alone; a scout has one
LONGER = 4  # times as many images has the block of a process that runs alone
ROOM = 0.8  # of the memory: what contenders that race by turns may take together
MOST_PEERS, NEAR = 2, 0.75  # at most so many peers race, none slower in scouting than this part of the fastest

Entry = tuple[str, int]
"""A configuration and a batch size."""
Trials = dict[Entry, dict[str, Any]]
"""What each entry gave in scouting."""
Rounds = list[list[dict[str, Any]]]
SCOUTING, BY_TURNS, ALONE = "scouting", "race by turns", "race, one after the other"


def steps_of(images: int, batch_size: int, least: int) -> int:
    """Steps of a block of about this many images. The first steps of all are slower, so a process alone has some."""
    return max(least, math.ceil(images / batch_size))


def label(entry: Entry) -> str:
    """An entry's name in a table."""
    return f"{entry[0]}, batch {entry[1]}"


@dataclass(frozen=True)
class Bench:
    """One net, and how its contenders are run."""

    net: str
    every: bool = False
    timeout: float = 300
    log: Path | None = None
    only: Sequence[str] = ()
    isa: str = field(default_factory=lambda: instruction_set())

    def ways(self) -> Ways:
        """The configurations that are tried: without bfloat16 in hardware, those of float32."""
        fits = self.isa in WITH_BFLOAT16
        more = self.every or self.only or SETTINGS[self.net].more or not fits
        tried = {**TRAIN, **TRAIN_MORE} if more else TRAIN
        known = {name: way for name, way in tried.items() if fits or BFLOAT16 not in way}
        return {name: way for name, way in known.items() if name in (self.only or known)}

    def contender(self, entry: Entry, blocks: int, *, by_turns: bool = False) -> Contender:
        """The process that measures an entry."""
        name, batch_size = entry
        images = SETTINGS[self.net].images // (1 if self.isa in WITH_BFLOAT16 else SLOWER)
        script, *flags = self.ways()[name]
        steps = steps_of(images, batch_size, 1) if by_turns else steps_of(LONGER * images, batch_size, 4)
        shared = [f"--net={self.net}", f"--batch_size={batch_size}", "--json", f"--steps={steps}", f"--blocks={blocks}"]
        return Contender(
            label(entry), (*held_to(self.isa, instruction_set()), sys.executable, "-m", script, *shared, *flags)
        )

    def measure(self, stage: str, entries: Sequence[Entry], turns: int) -> Rounds:
        """The entries' results in each turn: of a scout's only block, or of a race."""

        def say(text: str) -> None:
            print(f"{self.net} {stage} {text}", file=sys.stderr, flush=True)

        if stage == BY_TURNS:
            some = [self.contender(entry, turns, by_turns=True) for entry in entries]
            results = race_by_turns(some, turns, self.timeout * len(entries), say)
            for result in itertools.chain(*results):
                self.note(stage, result)
            return results
        some = [self.contender(entry, 1 if stage == SCOUTING else BLOCKS) for entry in entries]
        return race(some, turns, self.timeout, say, partial(self.note, stage))

    def note(self, stage: str, result: dict[str, Any]) -> None:
        """Put a result into the log, if there is one: what was measured outlives a race that is ended."""
        keep_line(self.log, {"stage": stage, "net": self.net, **result})

    def scout(self, entries: Sequence[Entry]) -> Trials:
        """Each entry once, shortly."""
        return dict(zip(entries, self.measure(SCOUTING, entries, 1)[0], strict=True)) if entries else {}


def stage_of(trials: Trials, racing: Sequence[Entry]) -> str:
    """Whether these race by turns or one after the other: by the memory that each took in scouting."""
    memory = sum(trials[entry].get("peak_memory_mb", 0.0) for entry in racing)
    return BY_TURNS if memory < ROOM * 1024 * machine()["memory_gb"] else ALONE


# Who races ------------------------------------------------------------------------------------------------------------


def rate(result: Mapping[str, Any]) -> float:
    """Images per second; 0 of a contender that gave none."""
    return 0.0 if "error" in result else result["images_per_second"]


def finalists(trials: Trials, batch_size: int) -> list[str]:
    """Our fastest configuration at this batch size, and the few fastest of the peers."""
    rates = {name: rate(result) for (name, size), result in trials.items() if size == batch_size}
    by_rate = sorted(rates, key=rates.__getitem__, reverse=True)
    ours = [name for name in by_rate if name.startswith(OURS)]
    peers = [name for name in by_rate if name not in ours and rates[name] > 0]
    return ours[:1] + [name for name in peers[:MOST_PEERS] if rates[name] >= NEAR * rates[peers[0]]]


def best_batch(trials: Trials, name: str) -> int:
    """The batch size at which this configuration was fastest in scouting."""
    return max((size for other, size in trials if other == name), key=lambda size: rate(trials[name, size]))


def race_of_training(bench: Bench, batch_sizes: Sequence[int]) -> tuple[Trials, list[Entry]]:
    """All configurations at the middle batch size, the fastest at the others too; and who races at which."""
    middle = batch_sizes[len(batch_sizes) // 2]
    trials = bench.scout([(name, middle) for name in bench.ways()])
    chosen = finalists(trials, middle)
    trials |= bench.scout([(name, size) for name in chosen for size in batch_sizes if size != middle])
    racing = [*chosen, PLAIN_KERAS] if PLAIN_KERAS in bench.ways() else chosen
    return trials, [(name, best_batch(trials, name)) for name in dict.fromkeys(racing)]


# How it is told -------------------------------------------------------------------------------------------------------

MARK = f"Where other processes used over {QUIET:.0%} of the machine, a row is marked (!) and should be run again."
HOW = f"""# Training speed beside the fastest configurations of Keras and PyTorch

Every number is from a process of its own, which trains one block of steps untimed and then the timed ones: shuffling,
input, loss, gradient and the Adam step are part of the time. In a race the processes stay in memory and make one short
block in turn; where they do not fit together, they run whole, one after the other. A race gives the median, least and
greatest over its turns; a ratio is taken turn by turn, to the peer with the greatest median.
**Scouting** runs every configuration once at one batch size; our faster precision and the fastest peers, at
most {MOST_PEERS} and those within {1 - NEAR:.0%} of the fastest, are tried at the other batch sizes. It chooses
(**bold**) and claims nothing: n = 1. The **race** is between these, each at its best batch size, and Keras's plain
float32 `fit`.
`bfloat16` is `mixed_bfloat16` in Keras and `autocast` in PyTorch; all keep their variables in float32. "many steps":
`steps_per_execution` is 50, or the most below that divide a block. With `--only`, the configurations named are all that
was tried. The share of a peak counts the arithmetic of plain convolutions, also where rawcnn needs less
(`conv2d_winograd`).
{MARK}

{HELD}
"""


def scouting_table(trials: Trials, racing: Iterable[Entry]) -> str:
    """Images per second of every configuration by batch size, one run each; those that race in bold."""
    sizes, chosen = sorted({size for _, size in trials}), set(racing)

    def cell(entry: Entry) -> str:
        if entry not in trials:
            return ""
        result = trials[entry]
        if "error" in result:
            return str(result["error"])
        text = speed(rate(result))
        return (f"**{text}**" if entry in chosen else text) + (" (!)" if result.get("others", 0.0) > QUIET else "")

    rows = [(name, *(cell((name, size)) for size in sizes)) for name in dict.fromkeys(name for name, _ in trials)]
    return markdown_table(("scouting, images/s, n=1", *(f"batch {size}" for size in sizes)), rows)


def training(bench: Bench, batch_sizes: Sequence[int], turns: int) -> tuple[list[str], Rounds]:
    """Scouting and race of one net: paragraphs, the result first, and all that was measured."""
    trials, racing = race_of_training(bench, batch_sizes)
    results = bench.measure(stage_of(trials, racing), racing, turns)
    ours = label(racing[0])
    plain = [label(entry) for entry in racing if entry[0] == PLAIN_KERAS]
    ratios = [ratio_to_fastest(results, ours), *(ratio_to(results, ours, peer) for peer in plain)]
    shares = [share_of_peak(results, ours)]
    return [*ratios, *shares, race_table(results), scouting_table(trials, racing)], [*results, list(trials.values())]


def share_of_peak(rounds: Rounds, ours: str) -> str:
    """One sentence: how much of what the fastest convolution reaches the net does."""
    found = [result for results in rounds for result in results if result["contender"] == ours]
    share = summarise(result["share_of_peak"] for result in found if "share_of_peak" in result)
    if share is None:
        return ""
    peak = statistics.median(result["peak_gflop_per_second"] for result in found)
    return f"{ours}: {share.median:.0%} of the {peak:,.0f} GFLOP/s that a 3x3 convolution reaches in the same process."


def command_line(net: str, args: argparse.Namespace) -> str:
    """The command that repeats one net, without the files of this run."""
    flags = [f"--nets={net}", f"--set={args.set}", f"--turns={args.turns}", f"--timeout={args.timeout:g}"]
    if args.batch_sizes:
        flags.append("--batch_sizes=" + ",".join(map(str, args.batch_sizes)))
    flags += ["--all"] * args.all + [f"--only={name}" for name in args.only]
    return shlex.join(["python", "-m", "benchmarks.vs_peers", *flags])


def section(net: str, args: argparse.Namespace) -> str:
    """Measures one net and writes it up."""
    bench = Bench(net, args.all, args.timeout, args.log, args.only, args.set)
    machine = machine_line()  # before we are its load
    paragraphs, results = training(bench, args.batch_sizes or SETTINGS[net].batch_sizes, args.turns)
    where = f"Machine: {machine}. Date: {datetime.date.today()}. Versions: {versions_line(results)}."
    return "\n\n".join(
        [f"## {net}, {args.set}", *filter(None, paragraphs), f"Command: `{command_line(net, args)}`", where]
    )


def sizes(text: str) -> tuple[int, ...]:
    """Batch sizes with commas between them."""
    return tuple(int(size) for size in text.split(","))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(SETTINGS), help="nets, with commas between them")
    parser.add_argument("--batch_sizes", type=sizes, help="instead of the net's own, with commas between them")
    parser.add_argument("--turns", type=int, default=9, help="blocks of every contender in a race")
    here = sets_here(instruction_set())
    parser.add_argument("--set", choices=here, default=here[0], help="instruction set that all are held to")
    parser.add_argument("--all", action="store_true", help="also scout what seldom wins")
    parser.add_argument("--only", action="append", default=[], help="try this configuration and no other; repeatable")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one process may take")
    parser.add_argument("--log", type=Path, help="add every process's result to this file as a JSON line")
    parser.add_argument("--out", type=Path, help="put each net's section into this markdown file")
    args = parser.parse_args(arguments)
    args.nets = args.nets.split(",")
    if unknown := set(args.nets) - set(SETTINGS):
        parser.error(f"no settings for {', '.join(sorted(unknown))}, only for {', '.join(SETTINGS)}")
    known = Bench(args.nets[0], every=True, isa=args.set).ways()
    if unknown := set(args.only) - set(known):
        parser.error(f"no configuration {min(unknown)!r}, only {'; '.join(known)}")
    if args.only and not any(name.startswith(OURS) for name in args.only):
        parser.error(f"--only needs a configuration of {OURS} too")
    if args.turns < 1:
        parser.error("--turns must be at least 1")
    return args


def main() -> None:
    args = parse()
    for net in args.nets:
        text = section(net, args)
        print(text, end="\n\n", flush=True)
        if args.out:
            put_section(args.out, text, HOW)


if __name__ == "__main__":
    main()
