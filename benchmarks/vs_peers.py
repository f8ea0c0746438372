"""Training speed of rawcnn beside Keras 3 and PyTorch: the same nets, the same machine, in turn, in one run.

python benchmarks/vs_peers.py --nets=lenet5_tanh --rounds=5 --out=benchmarks/RESULTS.md
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from pathlib import Path

from harness import (
    OURS,
    QUIET,
    Contender,
    machine_line,
    race,
    race_table,
    ratio_line,
    versions_line,
)

HERE = Path(__file__).resolve().parent

# name -> (script, its own flags). Every way of running the peers that has a chance of being their fastest.
PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Keras fit": ("peers_keras.py", ("--steps_per_execution=1",)),
    "Keras fit, 50 steps per execution": ("peers_keras.py", ("--steps_per_execution=50",)),
    "Keras fit, 50 steps, tf.data": ("peers_keras.py", ("--steps_per_execution=50", "--input=tfdata")),
    "Keras fit, 50 steps, XLA": ("peers_keras.py", ("--steps_per_execution=50", "--jit")),
    "PyTorch eager": ("peers_torch.py", ("--mode=eager",)),
    "PyTorch eager, channels_last": ("peers_torch.py", ("--mode=eager", "--channels_last")),
    "PyTorch compile": ("peers_torch.py", ("--mode=compile",)),
    "PyTorch compile, channels_last": ("peers_torch.py", ("--mode=compile", "--channels_last")),
    "PyTorch compile, channels_last, 1 thread": (
        "peers_torch.py",
        ("--mode=compile", "--channels_last", "--threads=1"),
    ),
    "PyTorch compile, max-autotune": ("peers_torch.py", ("--mode=compile", "--compile_mode=max-autotune")),
}

HOW = f"""Every row is a process of its own; all processes run in turn, one round after the other. images/s is the
median over the rounds of each process's median over its timed epochs; the spread is their least and greatest.
Shuffling, input, loss, gradient and the Adam step are part of the time. Other processes' CPU use is the greatest of the
rounds; where it is above {QUIET:.0%} the row is marked (!), and the run should be repeated on a quiet machine."""


def contenders(net: str, batch_size: int, precision: str) -> list[Contender]:
    """rawcnn first, then the peers, all with the same net, batch and precision."""
    shared = (f"--net={net}", f"--batch_size={batch_size}", f"--precision={precision}", "--json")
    scripts = {OURS: ("step_time.py", ()), **PEERS}
    return [
        Contender(name, (sys.executable, str(HERE / script), *shared, *own)) for name, (script, own) in scripts.items()
    ]


def section(net: str, args: argparse.Namespace) -> str:
    """Runs the race for one net and writes it up."""
    entries = contenders(net, args.batch_size, args.precision)
    rounds = race(entries, args.rounds, args.timeout, lambda text: print(text, file=sys.stderr, flush=True))
    return "\n\n".join(
        (
            f"## {net}, batch {args.batch_size}, {args.precision}",
            race_table(rounds),
            ratio_line(rounds),
            f"Versions: {versions_line(rounds)}.",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="lenet5_tanh", help="nets, with commas between them")
    parser.add_argument("--rounds", type=int, default=5, help="how often every contender runs")
    parser.add_argument("--batch_size", type=int, default=128, help="images per step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that one process may take")
    parser.add_argument("--out", type=Path, help="also write the result to this markdown file")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    heading = "\n\n".join(
        (
            "# Training speed beside Keras and PyTorch",
            f"Command: `{shlex.join(['python', 'benchmarks/vs_peers.py', *sys.argv[1:]])}`",
            f"Machine: {machine_line()}. Date: {datetime.date.today()}.",
            HOW,
        )
    )
    text = "\n\n".join([heading, *(section(net, args) for net in args.nets.split(","))]) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
