"""Cost as work grows: time per image and peak memory against batch size, each batch size in a process of its own.

python -m benchmarks.scaling --nets=lenet5_tanh,cifar_basic,alexnet_bn --precision=auto
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.children import run_child
from benchmarks.harness import machine_line, markdown_table, read_result

BATCH_SIZES = (16, 32, 64, 128, 256, 512)
IMAGES = {"lenet5_tanh": 20_000, "lenet5_relu": 20_000, "lenet5": 20_000, "cifar_basic": 2_000, "cifar_fast": 2_000}
FEW_IMAGES = 128  # for all other nets; what a timed block takes, or one batch if that is more
HEADER = ("batch", "ms/image (median)", "spread", "n", "images/s", "GFLOP/s", "share of peak", "peak memory", "others")


def command(net: str, batch_size: int, args: argparse.Namespace) -> list[str]:
    """`step_time.py` with as many steps as take a second or a few, whatever the batch."""
    steps = max(1, IMAGES.get(net, FEW_IMAGES) // batch_size)
    flags = {"net": net, "batch_size": batch_size, "precision": args.precision, "steps": steps, "blocks": args.blocks}
    return [
        sys.executable,
        "-m",
        "benchmarks.step_time",
        *(f"--{name}={value}" for name, value in flags.items()),
        "--json",
    ]


def table_row(batch_size: int, result: Mapping[str, Any]) -> list[str]:
    """One batch size, or what went wrong with it."""
    if "error" in result:
        return [str(batch_size), str(result["error"]), *[""] * (len(HEADER) - 2)]
    low, high = (ms / batch_size for ms in result["ms_spread"])
    return [
        str(batch_size),
        f"{result['ms_per_step'] / batch_size:.4g}",
        f"{low:.4g} to {high:.4g}",
        str(result["n"]),
        f"{result['images_per_second']:,.0f}",
        f"{result['gflop_per_second']:,.0f}",
        f"{result['share_of_peak']:.0%}",
        f"{result['peak_memory_mb']:,.0f} MB",
        f"{result.get('others', 0.0):.0%}",
    ]


def section(net: str, args: argparse.Namespace) -> str:
    """One net's table."""
    rows = []
    for batch_size in map(int, args.batch_sizes.split(",")):
        result = read_result(run_child(command(net, batch_size, args), args.timeout), net)
        rows.append(table_row(batch_size, result))
        print(net, *rows[-1], file=sys.stderr, flush=True)
    return f"## {net}, {args.precision}\n\n{markdown_table(HEADER, rows)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="lenet5_tanh,cifar_basic,alexnet_bn", help="nets, with commas between them")
    parser.add_argument("--batch_sizes", default=",".join(map(str, BATCH_SIZES)), help="with commas between them")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "auto"), default="auto", help="of the nets")
    parser.add_argument("--blocks", type=int, default=3, help="timed blocks of steps, after one that is not timed")
    parser.add_argument("--timeout", type=float, default=300, help="seconds that one process may take")
    args = parser.parse_args()
    print("# Cost as work grows: training\n")
    print(f"Command: `{shlex.join(['python', '-m', 'benchmarks.scaling', *sys.argv[1:]])}`\n")
    print(f"Machine: {machine_line()}. Date: {datetime.date.today()}.\n")
    for net in args.nets.split(","):
        print(section(net, args), flush=True)


if __name__ == "__main__":
    main()
