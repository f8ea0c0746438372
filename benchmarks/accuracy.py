"""Test accuracy of every LeNet on real MNIST, by the example's own commands, several seeds each.

python -m benchmarks.accuracy --data_dir=MNIST --seeds=3 --out=results/lenet.md
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.children import Child, run_child
from benchmarks.harness import machine_line, markdown_table, publish

# name in the table -> (flags, what was published)
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "lenet5": (("--net=lenet5", "--epochs=10"), "99.05 (LeCun et al. 1998, 20 epochs)"),
    "lenet5_relu": (("--net=lenet5_relu", "--epochs=10"), "-"),
    "lenet5_tanh": (("--net=lenet5_tanh", "--epochs=10"), "98.57 (a course, 20,000 steps of 50)"),
    "lenet5, distorted": (("--net=lenet5", "--epochs=30", "--distort"), "99.2 (LeCun et al. 1998)"),
    "lenet5_relu, drawn digits only": (("--net=lenet5_relu", "--epochs=10", "--dataset=drawn"), "-"),
}


def train(flags: tuple[str, ...], args: argparse.Namespace, seed: int, run: str) -> Child:
    """One run of the example; its last line is the test accuracy, on MNIST unless it was trained on drawn digits."""
    data = () if "--dataset=drawn" in flags else ("--dataset=mnist", f"--data_dir={args.data_dir.resolve()}")
    command = [sys.executable, "examples/train_lenet.py", *flags, *data, f"--seed={seed}", f"--run={run}"]
    child = run_child(command, args.timeout)
    if child.status:
        raise SystemExit(f"{shlex.join(command)} ended with status {child.status}:\n{child.stderr[-2000:]}")
    return child


def on_mnist(run: str, data_dir: Path) -> float:
    """Share (in %) of the MNIST test images that the net of `run` reads right."""
    import rawcnn.start  # noqa: F401

    from rawcnn.data.sets.mnist import load_mnist
    from rawcnn.run.classify import load_run

    data = load_mnist(data_dir)
    read = load_run(run).probabilities(data.test_images).argmax(axis=1)
    return float(100 * (read == data.test_labels).mean())


def accuracies(name: str, args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Test accuracy in % and seconds of each seed's run."""
    flags, _ = CASES[name]
    found, seconds = [], []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory(prefix="accuracy-") as directory:
            child = train(flags, args, seed, f"{directory}/run")
            last = child.stdout.splitlines()[-1]
            drawn = "--dataset=drawn" in flags
            found.append(on_mnist(f"{directory}/run", args.data_dir) if drawn else float(last.split()[-1].rstrip("%")))
        seconds.append(child.seconds)
        print(f"{name}, seed {seed}: {found[-1]:.2f} % in {child.seconds:.0f} s", file=sys.stderr, flush=True)
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each case, with seeds 0, 1, ...")
    parser.add_argument("--cases", default=";".join(CASES), help="which cases, with semicolons between them")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one run may take")
    parser.add_argument("--out", type=Path, help="also write the result to this markdown file")
    args = parser.parse_args()
    if args.out:  # now, not when all is done
        args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in args.cases.split(";"):
        flags, published = CASES[name]
        found, seconds = accuracies(name, args)
        each = ", ".join(f"{a:.2f}" for a in found)
        figures = (f"{statistics.mean(found):.2f}", each, str(len(found)), published)
        rows.append((name, f"`{' '.join(flags)}`", *figures, f"{statistics.median(seconds):.0f}"))
    import tensorflow as tf

    header = ("net", "flags", "MNIST test %, mean", "each seed", "n", "published", "seconds a run")
    publish(
        (
            "# LeNet-5 on MNIST",
            f"Command: `python -m {shlex.join(['benchmarks.accuracy', *sys.argv[1:]])}`. Each row runs "
            "`examples/train_lenet.py` with the flags given and its defaults for the rest: 58,000 images to train on, "
            "2,000 to validate, the test images used only once, at the end.",
            f"Machine: {machine_line()}. TensorFlow {tf.__version__}. Date: {datetime.date.today()}.",
            markdown_table(header, rows),
        ),
        args.out,
    )


if __name__ == "__main__":
    main()
