"""rawcnn beside Keras 3 and PyTorch: the same nets on the same machine, every contender as it runs fastest.

python -m benchmarks.vs_peers --nets=lenet5_tanh,alexnet_bn --out=benchmarks/RESULTS.md
python -m benchmarks.vs_peers --nets=lenet5_tanh --task=infer --out=benchmarks/RESULTS.md

A net is done in two stages. Scouting: every configuration runs once and shortly, and in training the fastest are then
tried at other batch sizes. Race: rawcnn and the fastest peers, each at its best batch size, run in turn, A B C A B C,
in processes of their own. Only the race makes a claim.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    OURS,
    QUIET,
    Contender,
    machine_line,
    markdown_table,
    race,
    race_table,
    ratio_line,
    ratios_to_fastest,
    summarise,
    versions_line,
)

# What runs ------------------------------------------------------------------------------------------------------------

RAWCNN, KERAS, TORCH = "benchmarks.step_time", "benchmarks.peers_keras", "benchmarks.peers_torch"
FLOAT32, BFLOAT16 = "--precision=float32", "--precision=bfloat16"
MANY = "--steps_per_execution=50"
COMPILE, AUTOTUNE, LAST = "--mode=compile", "--compile_mode=max-autotune", "--channels_last"
FROZEN, STORED, ONE_THREAD = "--freeze", "--store_bfloat16", "--threads=1"
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
INFER: Ways = {
    "rawcnn bfloat16": (RAWCNN, BFLOAT16),
    "rawcnn float32": (RAWCNN, FLOAT32),
    "Keras float32": (KERAS, FLOAT32),
    "Keras float32, XLA": (KERAS, FLOAT32, "--jit"),
    "Keras bfloat16": (KERAS, BFLOAT16),
    "Keras bfloat16, XLA": (KERAS, BFLOAT16, "--jit"),
    "Keras bfloat16 weights": (KERAS, BFLOAT16, STORED),
    "PyTorch float32, channels_last": (TORCH, FLOAT32, LAST),
    "PyTorch float32 compile, channels_last, frozen": (TORCH, FLOAT32, COMPILE, LAST, FROZEN),
    "PyTorch bfloat16, channels_last": (TORCH, BFLOAT16, LAST),
    "PyTorch bfloat16 compile, channels_last": (TORCH, BFLOAT16, COMPILE, LAST),
    "PyTorch bfloat16 weights, channels_last": (TORCH, BFLOAT16, STORED, LAST),
    "PyTorch bfloat16 weights compile, channels_last, frozen": (TORCH, BFLOAT16, STORED, COMPILE, LAST, FROZEN),
}
INFER_MORE: Ways = {
    "PyTorch float32": (TORCH, FLOAT32),
    "PyTorch float32, 1 thread": (TORCH, FLOAT32, ONE_THREAD),
    "PyTorch float32 compile": (TORCH, FLOAT32, COMPILE),
    "PyTorch float32 compile, frozen, 1 thread": (TORCH, FLOAT32, COMPILE, FROZEN, ONE_THREAD),
}


@dataclass(frozen=True)
class Setting:
    """What suits a net: batch sizes to try, images of a timed block, and whether those in `..._MORE` have a chance."""

    batch_sizes: tuple[int, ...]
    images: int
    more: bool = False


SETTINGS = {
    "alexnet_bn": Setting((64, 128, 256), 512),
    "alexnet": Setting((64, 128, 256), 512),
    "googlenet": Setting((64, 128, 256), 256),
    "cifar_wide": Setting((32, 128, 256), 1024),
    "vgg19": Setting((32, 64, 128), 128),
    "lenet5_tanh": Setting((64, 128, 256), 300 * 128, more=True),
}
INFER_BATCH_SIZES = (1, 64)
BLOCKS = 2  # timed ones of a process in a race; a scout has one, of half the images
MOST_STEPS = 2000  # of a block: inference of single images would take long
MOST_PEERS, NEAR = 2, 0.75  # at most so many peers race, none slower in scouting than this part of the fastest

Entry = tuple[str, int]
"""A configuration and a batch size."""
Trials = dict[Entry, dict[str, Any]]
"""What each entry gave in scouting."""
Rounds = list[list[dict[str, Any]]]


def steps_of(images: int, batch_size: int, scouting: bool) -> int:
    """Steps of a block of about this many images; a scout's is half as long. The first steps of all are slower."""
    return min(max(4, math.ceil(images / (2 if scouting else 1) / batch_size)), MOST_STEPS)


def label(entry: Entry) -> str:
    """An entry's name in a table."""
    return f"{entry[0]}, batch {entry[1]}"


@dataclass(frozen=True)
class Bench:
    """One net and one task, and how its contenders are run."""

    net: str
    task: str = "train"
    every: bool = False
    timeout: float = 300
    log: Path | None = None
    only: Sequence[str] = ()

    def ways(self) -> Ways:
        """The configurations that are tried."""
        base, more = (TRAIN, TRAIN_MORE) if self.task == "train" else (INFER, INFER_MORE)
        tried = {**base, **more} if self.every or self.only or SETTINGS[self.net].more else base
        return {name: way for name, way in tried.items() if name in (self.only or tried)}

    def contender(self, entry: Entry, scouting: bool = False) -> Contender:
        """The process that measures an entry."""
        (name, batch_size), images = entry, SETTINGS[self.net].images
        script, *flags = self.ways()[name]
        steps = steps_of(images, batch_size, scouting)
        shared = [f"--net={self.net}", f"--task={self.task}", f"--batch_size={batch_size}", "--json"]
        length = [f"--steps={steps}", f"--blocks={1 if scouting else BLOCKS}"]
        return Contender(label(entry), (sys.executable, "-m", script, *shared, *flags, *length))

    def measure(self, entries: Sequence[Entry], rounds: int, scouting: bool = False) -> Rounds:
        """Runs the entries in turn; every result goes to the log at once."""
        stage = "scouting" if scouting else "race"

        def write(result: Mapping[str, Any]) -> None:
            if self.log:
                with self.log.open("a") as file:
                    print(json.dumps({"stage": stage, "net": self.net, "task": self.task, **result}), file=file)

        def say(text: str) -> None:
            print(f"{self.net} {stage} {text}", file=sys.stderr, flush=True)

        return race([self.contender(entry, scouting) for entry in entries], rounds, self.timeout, say, write)

    def scout(self, entries: Sequence[Entry]) -> Trials:
        """Each entry once, shortly."""
        return dict(zip(entries, self.measure(entries, 1, scouting=True)[0], strict=True)) if entries else {}


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
HOW = {
    "train": f"""# Training speed beside the fastest configurations of Keras and PyTorch

Every number is from a process of its own, which trains one block of steps untimed and then the timed ones: shuffling,
input, loss, gradient and the Adam step are part of the time. Its images/s is the median of its blocks; a race gives the
median, least and greatest over its rounds, and a ratio is taken round by round.
**Scouting** runs every configuration once at one batch size; our faster precision and the fastest peers, at
most {MOST_PEERS} and those within {1 - NEAR:.0%} of the fastest, are tried at the other batch sizes. It chooses
(**bold**) and claims nothing: n = 1. The **race** is between these, each at its best batch size, and Keras's plain
float32 `fit`.
`bfloat16` is `mixed_bfloat16` in Keras and `autocast` in PyTorch; all keep their variables in float32. "many steps":
`steps_per_execution` is 50, or the most below that divide a block. With `--only`, the configurations named are all that
was tried.
{MARK}
""",
    "infer": f"""# Inference speed beside the fastest configurations of Keras and PyTorch

Images in memory to logits, a batch a call, in processes of their own: no dropout, moving statistics, no gradients, no
auxiliary heads. Keras is the model in a `tf.function`, PyTorch is in `inference_mode`. rawcnn's time includes the
preprocessing of its uint8 images; the peers' images are float32 already. "bfloat16": computed in it, as in training;
"bfloat16 weights": these are kept in it too, so that no call casts them; "frozen": constants of the compiled graph.
**Scouting** runs every configuration once and chooses (**bold**) our faster precision and the fastest peers, at
most {MOST_PEERS} and those within {1 - NEAR:.0%} of the fastest. These **race** in turn; a ratio is taken round by
round.
{MARK}
""",
}


def scouting_table(trials: Trials, racing: Iterable[Entry]) -> str:
    """Images per second of every configuration by batch size, one run each; those that race in bold."""
    sizes, chosen = sorted({size for _, size in trials}), set(racing)

    def cell(entry: Entry) -> str:
        if entry not in trials:
            return ""
        result = trials[entry]
        if "error" in result:
            return str(result["error"])
        text = f"{rate(result):,.4g}" if rate(result) < 1000 else f"{rate(result):,.0f}"
        return (f"**{text}**" if entry in chosen else text) + (" (!)" if result.get("others", 0.0) > QUIET else "")

    rows = [(name, *(cell((name, size)) for size in sizes)) for name in dict.fromkeys(name for name, _ in trials)]
    return markdown_table(("scouting, images/s, n=1", *(f"batch {size}" for size in sizes)), rows)


def ratio_to(rounds: Rounds, ours: str, peer: str) -> str:
    """One sentence: the median of the per-round ratios to one peer."""
    ratio = summarise(
        value
        for value, _ in ratios_to_fastest(
            [[r for r in results if r["contender"] in (ours, peer)] for results in rounds], ours
        )
    )
    if ratio is None:
        return f"No ratio to {peer}: no round had both."
    return f"**{ours} / {peer}: {ratio.median:.2f}** (spread {ratio.low:.2f} to {ratio.high:.2f}, n={ratio.n} rounds)"


def training(bench: Bench, batch_sizes: Sequence[int], rounds: int) -> tuple[list[str], Rounds]:
    """Scouting and race of one net: paragraphs, the result first, and all that was measured."""
    trials, racing = race_of_training(bench, batch_sizes)
    results = bench.measure(racing, rounds)
    ours = label(racing[0])
    plain = [label(entry) for entry in racing if entry[0] == PLAIN_KERAS]
    ratios = [ratio_line(results, ours), *(ratio_to(results, ours, peer) for peer in plain)]
    return [*ratios, race_table(results), scouting_table(trials, racing)], [*results, list(trials.values())]


def inference(bench: Bench, batch_sizes: Sequence[int], rounds: int) -> tuple[list[str], Rounds]:
    """The same at each batch size."""
    trials: Trials = {}
    everyone: list[Entry] = []
    all_results: Rounds = []
    told = []
    for size in batch_sizes:
        trials |= bench.scout([(name, size) for name in bench.ways()])
        racing = [(name, size) for name in finalists(trials, size)]
        results = bench.measure(racing, rounds)
        told += [ratio_line(results, label(racing[0])), race_table(results)]
        everyone += racing
        all_results += results
    return [*told, scouting_table(trials, everyone)], [*all_results, list(trials.values())]


TASKS: dict[str, Callable[[Bench, Sequence[int], int], tuple[list[str], Rounds]]] = {
    "train": training,
    "infer": inference,
}


def restriction() -> str:
    """The instruction sets that oneDNN may use, if fewer than there are: it makes a result one of its own."""
    value = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return f"ONEDNN_MAX_CPU_ISA={value}" if value else ""


def heading(net: str, task: str) -> str:
    """What a later run of the same replaces."""
    return "## " + ", ".join(filter(None, (net, "inference" if task == "infer" else "", restriction())))


def command_line(net: str, args: argparse.Namespace) -> str:
    """The command that repeats one net, without the files of this run."""
    flags = [f"--nets={net}", f"--task={args.task}", f"--rounds={args.rounds}", f"--timeout={args.timeout:g}"]
    if args.batch_sizes:
        flags.append("--batch_sizes=" + ",".join(map(str, args.batch_sizes)))
    flags += ["--all"] * args.all + [f"--only={name}" for name in args.only]
    return shlex.join([*filter(None, [restriction()]), "python", "-m", "benchmarks.vs_peers", *flags])


def section(net: str, args: argparse.Namespace) -> str:
    """Measures one net and writes it up."""
    bench = Bench(net, args.task, args.all, args.timeout, args.log, args.only)
    sizes = args.batch_sizes or (SETTINGS[net].batch_sizes if args.task == "train" else INFER_BATCH_SIZES)
    machine = machine_line()  # before we are its load
    paragraphs, results = TASKS[args.task](bench, sizes, args.rounds)
    where = f"Machine: {machine}. Date: {datetime.date.today()}. Versions: {versions_line(results)}."
    return "\n\n".join([heading(net, args.task), *paragraphs, f"Command: `{command_line(net, args)}`", where])


def put_section(document: str, text: str, preface: str) -> str:
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


def sizes(text: str) -> tuple[int, ...]:
    """Batch sizes with commas between them."""
    return tuple(int(size) for size in text.split(","))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(SETTINGS), help="nets, with commas between them")
    parser.add_argument("--task", choices=TASKS, default="train", help="train, or only compute logits")
    parser.add_argument("--batch_sizes", type=sizes, help="instead of the net's own, with commas between them")
    parser.add_argument("--rounds", type=int, default=3, help="how often every contender of a race runs; 3 for a claim")
    parser.add_argument("--all", action="store_true", help="also scout what seldom wins; needed without bfloat16")
    parser.add_argument("--only", action="append", default=[], help="try this configuration and no other; repeatable")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one process may take")
    parser.add_argument("--log", type=Path, help="add every process's result to this file as a JSON line")
    parser.add_argument("--out", type=Path, help="put each net's section into this markdown file")
    args = parser.parse_args(arguments)
    args.nets = args.nets.split(",")
    if unknown := set(args.nets) - set(SETTINGS):
        parser.error(f"no settings for {', '.join(sorted(unknown))}, only for {', '.join(SETTINGS)}")
    known = Bench(args.nets[0], args.task, every=True).ways()
    if unknown := set(args.only) - set(known):
        parser.error(f"no configuration {min(unknown)!r}, only {'; '.join(known)}")
    if args.only and not any(name.startswith(OURS) for name in args.only):
        parser.error(f"--only needs a configuration of {OURS} too")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def main() -> None:
    args = parse()
    for net in args.nets:
        text = section(net, args)
        print(text, end="\n\n", flush=True)
        if args.out:
            before = args.out.read_text() if args.out.exists() else ""
            args.out.write_text(put_section(before, text, HOW[args.task]))


if __name__ == "__main__":
    main()
