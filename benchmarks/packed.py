"""Packed images against the folder that they come from: images/s, whether the batches are the same, resident memory.

python -m benchmarks.packed --rounds=5                    # speed and equality: JPEG files of 500 x 375 and of 32 x 32
python -m benchmarks.packed --memory                      # memory: 1,000 and 100,000 files of 32 x 32
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from benchmarks.children import run_child
from benchmarks.harness import Contender, machine_line, markdown_table, race, read_result, report, summarise
from benchmarks.input_pipeline import SCALED, SIZE, write_links, write_photos
from benchmarks.memory import resident_mb

KINDS = ("folder", "shards")
SHAPES = {"500x375": (500, 375, SIZE), "32x32": (32, 32, 32)}  # width, height, and the size of a view
MEMORY_FILES = (1000, 100_000)
DISTINCT = 200  # photos that are drawn; all other names are links to them

HOW = """Every row is a process of its own; the rows run in turn, one round after the other. Each goes through all
images once untimed and then in timed passes: read, decoded, a random view cut and scaled, put into batches. Files and
shards are in the system's cache, so this is the cost of opening and finding, not that of a disk."""


def contend(args: argparse.Namespace) -> None:
    """Times passes through all images and prints the JSON line, with the resident memory before and after."""
    import rawcnn.start  # noqa: F401

    import tensorflow as tf

    from rawcnn.data.batches import batches
    from rawcnn.data.datasets import load_dataset
    from rawcnn.data.views import random_crop

    tf.constant(0)
    before, start = resident_mb(), time.perf_counter()
    source = load_dataset(args.data_dir, validation=0.1, log=lambda _: None).train
    opened, seconds_to_open = resident_mb(), time.perf_counter() - start
    steps = len(source) // args.batch_size
    crop = random_crop(SIZE / SCALED, mirror=False)
    endless = iter(batches(source, args.batch_size, seed=0, crop=crop, size=args.size, start=args.start or 0))
    if args.start is not None:
        some = itertools.islice(endless, 2 * steps - args.start)
        print(json.dumps({"steps": steps, "batches": [zlib.crc32(y.numpy(), zlib.crc32(x.numpy())) for x, y in some]}))
        return
    seconds = []
    for _ in range(args.passes + 1):
        start = time.perf_counter()
        for _ in itertools.islice(endless, steps):
            pass
        seconds.append(time.perf_counter() - start)
    memory = {"before_mb": before, "opened_mb": opened, "read_mb": resident_mb(), "seconds_to_open": seconds_to_open}
    args.net, args.precision, args.json = "random views", "uint8", True
    report(args.contender, args, seconds[1:], steps, {"tensorflow": tf.__version__}, **memory)


def write_both(directory: Path, count: int, shape: str) -> dict[str, Path]:
    """A folder of `count` photos and what `rawcnn pack` makes of it."""
    from rawcnn.data.packed.pack import pack

    width, height, _ = SHAPES[shape]
    (directory / "photos").mkdir(parents=True)
    write_photos(directory / "photos", min(count, DISTINCT), width, height)
    write_links(directory / "photos", directory / "folder", count)
    start = time.perf_counter()
    pack(directory / "folder", directory / "shards", shard_megabytes=64, log=lambda _: None)
    seconds = time.perf_counter() - start
    print(f"{count:,} files of {shape} packed: {count / seconds:,.0f} images/s", file=sys.stderr, flush=True)
    return {kind: directory / kind for kind in KINDS}


def row(name: str, kind: str, directory: Path, shape: str, args: argparse.Namespace) -> Contender:
    """A process that reads one of the two."""
    flags = (f"--contender={kind}", f"--data_dir={directory}", f"--size={SHAPES[shape][2]}")
    numbers = (f"--batch_size={args.batch_size}", f"--passes={args.passes}")
    return Contender(name, (sys.executable, "-m", "benchmarks.packed", *flags, *numbers))


def speed(directory: Path, args: argparse.Namespace) -> str:
    """A table of images/s, and the ratio of shards to folder in each round."""
    lines, table = [], []
    for shape in SHAPES:
        both = write_both(directory / shape, args.files, shape)
        rows = [row(f"{kind}, {shape}", kind, both[kind], shape, args) for kind in KINDS]
        rounds = race(rows, args.rounds, args.timeout, lambda text: print(text, file=sys.stderr, flush=True))
        good = [results for results in rounds if not any("error" in result for result in results)]
        if not good:
            raise SystemExit(json.dumps(rounds))
        for k, contender in enumerate(rows):
            rate = summarise(results[k]["images_per_second"] for results in good)
            assert rate is not None
            spread = f"{rate.low:,.0f} to {rate.high:,.0f}, n={rate.n}"
            table.append((contender.name, f"{rate.median:,.0f}", spread))
        ratio = summarise(b["images_per_second"] / a["images_per_second"] for a, b in good)
        assert ratio is not None
        lines.append(f"* shards / folder, {shape}: **{ratio.median:.2f}** ({ratio.low:.2f} to {ratio.high:.2f})")
    return "\n\n".join([HOW, markdown_table(("source", "images/s", "spread"), table), "\n".join(lines)])


def equality(directory: Path, args: argparse.Namespace) -> str:
    """Whether two epochs of batches are the same bit for bit, and a stream that resumes in the middle of an epoch."""

    def checksums(kind: str, shape: str, start: int) -> dict[str, Any]:
        command = (*row(kind, kind, directory / shape / kind, shape, args).command, f"--start={start}")
        result = read_result(run_child(command, args.timeout), kind)
        if "error" in result:
            raise SystemExit(f"{kind}, {shape}: {result['error']}")
        return result

    lines = []
    for shape in SHAPES:
        folder, shards = (checksums(kind, shape, 0) for kind in KINDS)
        start = folder["steps"] * 3 // 2  # in the middle of the second epoch
        resumed = checksums("shards", shape, start)["batches"]
        lines += [
            f"* {len(folder['batches'])} batches of two epochs, folder and shards, {shape}: "
            f"**{same(folder['batches'], shards['batches'])}**",
            f"* the last {len(resumed)} of them, shards opened again at batch {start}, {shape}: "
            f"**{same(folder['batches'][start:], resumed)}**",
        ]
    return "\n".join(lines)


def same(wanted: list[int], got: list[int]) -> str:
    """Whether all checksums are equal, in words.

    >>> same([1, 2], [1, 2]), same([1, 2], [1, 3]), same([1], [1, 3])
    ('all equal, bit for bit', 'batch 1 of them differs', 'not as many')
    """
    if len(wanted) != len(got) or not wanted:
        return "not as many" if wanted or got else "no batches"
    different = [k for k, (one, other) in enumerate(zip(wanted, got, strict=True)) if one != other]
    return f"batch {different[0]} of them differs" if different else "all equal, bit for bit"


def memory(directory: Path, args: argparse.Namespace) -> str:
    """A table: resident memory beyond that of TensorFlow alone, after opening and after one pass."""
    table = []
    args.passes = 1
    for count in args.counts:
        both = write_both(directory / str(count), count, "32x32")
        for kind in KINDS:
            child = run_child(row(kind, kind, both[kind], "32x32", args).command, args.timeout)
            result = read_result(child, kind)
            if "error" in result:
                raise SystemExit(f"{kind} of {count}: {result['error']}")
            grown = [f"{result[name] - result['before_mb']:,.1f} MB" for name in ("opened_mb", "read_mb")]
            table.append((f"{count:,}", kind, *grown, f"{result['seconds_to_open']:.1f} s"))
    return markdown_table(("images", "source", "after opening", "after two passes", "time to open"), table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="photos of each size to read")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row runs")
    parser.add_argument("--passes", type=int, default=3, help="timed passes through all images of each process")
    parser.add_argument("--batch_size", type=int, default=64, help="images in a batch")
    parser.add_argument("--memory", action="store_true", help="resident memory instead of speed")
    parser.add_argument("--counts", type=int, nargs="*", default=MEMORY_FILES, help="how many images, for --memory")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that one process may take")
    parser.add_argument("--size", type=int, default=SIZE, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--data_dir", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        return contend(args)
    command = shlex.join(["python", "-m", "benchmarks.packed", *sys.argv[1:]])
    print(f"Command: `{command}`\n\nMachine: {machine_line()}.\n", flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        if args.memory:
            print(memory(Path(directory), args))
            return
        print(f"{speed(Path(directory), args)}\n", flush=True)
        print(equality(Path(directory), args))


if __name__ == "__main__":
    main()
