"""A fuzzer of every reader: sound files are damaged in many ways, and each must be read or refused, nothing else.

    python -m tests.faults.fuzz --cases=100000

prints a table: for each reader, how many files were read, how many were refused with the reader's own error, and how
many were faults: another exception, a crash, more than 5 s of CPU time, more than 1 GiB, or a file that Python opened
to write, made, renamed or deleted. Case `k` of a reader is a function of (seed, reader, k), so `--reader=npz --first=k
--cases=1 --keep=DIR` writes one file again to look at.

Damage: flipped bits, cuts, pieces moved, repeated or taken from another file, fields of length and digits replaced.
Half of it is done inside the outer packing (gzip, ZIP, a PNG's checksums), where checksums would else hide the rest.
"""

import argparse
import functools
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from tests.faults import damage
from tests.faults.damage import Content, damaged

SECONDS = 5.0  # CPU time for one case, generous because machines are shared
MEMORY = 2**30  # address space beyond what the worker has when it begins
GRACE = 60.0  # for a worker that is in C code and hears no signal
START = 600.0  # for a worker that imports TensorFlow on a busy machine


@dataclass(frozen=True)
class Reader:
    """What is fuzzed: sound contents, the file's name, how to read it, its error, and how to pack damaged insides."""

    seeds: Callable[[], list[Content]]
    name: str
    read: Callable[[Path], object]
    error: type[Exception]
    pack: Callable[[Content], Content] | None = None
    around: Callable[[Path], None] | None = None
    seconds: float = SECONDS


Source = Callable[[], dict[str, Reader]]
Job = tuple[str, int]


class TooSlow(BaseException):
    """Not an Exception, so that no reader takes it for a fault of the file."""


CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
changed: list[str] = []
"""Paths that the readers of this process touched otherwise than to read; see `sys.addaudithook`."""


def watch(event: str, args: tuple[object, ...]) -> None:
    opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if opened or event in CHANGES:
        changed.append(str(args[0]))


# One case -----------------------------------------------------------------------------------------------------------


def content_of(name: str, reader: Reader, seed: int, case: int, seeds: list[Content]) -> Content:
    """The file of a case: a function of its arguments alone."""
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode()) >> 1 << 32 | case]))
    content = seeds[int(rng.integers(len(seeds)))]
    if reader.pack is None:
        return damaged(content, seeds, rng)
    if rng.random() < 0.5:
        return reader.pack(damaged(content, seeds, rng))
    return damaged(reader.pack(content), [reader.pack(other) for other in seeds], rng)


def outcome_of(reader: Reader, path: Path) -> str:
    """ "read", "refused", or what went wrong."""
    changed.clear()
    told = told_by(reader, path)
    return f"changed {', '.join(changed)}"[:200] if changed else told


def told_by(reader: Reader, path: Path) -> str:
    """As `outcome_of`, whatever files were changed."""

    def too_slow(number: int, frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, reader.seconds)
    try:
        reader.read(path)
        return "read"
    except TooSlow:
        return f"more than {reader.seconds:g} s"
    except reader.error as error:
        return "refused" if os.fspath(path.parent) in str(error) else f"names no file: {error}"[:200]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def work(source: Source, names: list[str], seed: int, jobs: list[Job], memory: int, pipe: Connection) -> None:
    """In a process of its own: do the `jobs` (reader, case) in turn, and tell each outcome."""
    os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")  # stacks take address space
    every = source()
    sys.addaudithook(watch)
    known = {name: (every[name], every[name].seeds()) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for name, (reader, seeds) in known.items():  # sound files first, so that all libraries are loaded
            path = place(Path(folder, name), reader)
            for content in seeds:
                path.write_bytes(reader.pack(content) if reader.pack else content)
                if (told := told_by(reader, path)) != "read":
                    raise AssertionError(f"{name}: a sound file is not read: {told}")
        if memory:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        pipe.send("ready")
        for name, case in jobs:
            reader, seeds = known[name]
            path = place(Path(folder, name), reader)
            path.write_bytes(content_of(name, reader, seed, case, seeds))
            pipe.send(outcome_of(reader, path))


def place(folder: Path, reader: Reader) -> Path:
    """Where the file goes; the first time, with whatever else the reader wants around it."""
    if not folder.exists():
        folder.mkdir()
        if reader.around:
            reader.around(folder)
    return folder / reader.name


@functools.cache
def readers() -> dict[str, Reader]:
    """All of them by name; imports TensorFlow."""
    import rawcnn.start  # noqa: F401

    from rawcnn.data.images.decode import read_rgb
    from rawcnn.data.images.digit_photo import read_grey
    from rawcnn.data.packed.index import INDEX
    from rawcnn.data.packed.source import open_packed
    from rawcnn.data.sets.cifar import REMOTE, load_cifar10
    from rawcnn.errors import DataError, RunError
    from rawcnn.files.h5 import read_h5
    from rawcnn.files.idx import read_idx
    from rawcnn.files.npz import read_npz
    from rawcnn.files.safetensors import read_safetensors
    from rawcnn.nets.weights import load_arrays
    from rawcnn.train.checkpoints import read as read_checkpoint

    def in_folder(path: Path) -> object:
        return load_cifar10(path.parent, download=False)

    def unpacked(path: Path) -> None:
        for source in open_packed(path.parent)[0].values():
            source.check()

    forms = {"PNG": ("RGB", "RGBA", "L", "P"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P", "moving"), "BMP": ("RGB",),
             "WEBP": ("RGB", "RGBA"), "TIFF": ("RGB", "L"), "PPM": ("RGB", "L")}  # fmt: skip
    pictures = {}
    for form, modes in forms.items():
        repair = damage.png_checksums if form == "PNG" else None
        for kind, read in (("", read_rgb), (" own", read_grey)):
            pictures[form.lower() + kind] = Reader(damage.images(form, *modes), "picture", read, DataError, repair)
    state = {"step": np.int64(7), "meta": np.frombuffer(b'{"best": {"step": 3}, "rows": 2}', np.uint8)}
    return {
        "idx": Reader(damage.idx, "a-ubyte", read_idx, DataError),
        "idx.gz": Reader(damage.idx, "a-ubyte.gz", read_idx, DataError, damage.gzipped),
        "cifar": Reader(damage.cifar, "data_batch_1.bin", in_folder, DataError, around=damage.cifar_folder),
        "tar.gz": Reader(damage.tar, REMOTE.name, in_folder, DataError, damage.gzipped),
        **pictures,
        "shard": Reader(
            damage.packed("train-00000.tfrecord"),
            "train-00000.tfrecord",
            unpacked,
            DataError,
            around=damage.packed_around,
        ),
        "index": Reader(
            damage.packed(INDEX), INDEX, unpacked, DataError, damage.index_checksum, around=damage.packed_around
        ),
        "checkpoint": Reader(damage.npz(np.savez, **state), "ckpt-000000007.npz", read_checkpoint, RunError),
        "npz": Reader(damage.npz(np.savez), "w.npz", load_arrays, RunError),
        "zip": Reader(damage.npz(np.savez_compressed), "w.npz", read_npz, DataError),
        "npy": Reader(damage.npy, "w.npz", read_npz, DataError, damage.zipped),
        "safetensors": Reader(damage.safetensors, "w.safetensors", read_safetensors, DataError),
        "h5": Reader(damage.h5, "w.h5", read_h5, DataError),
    }


# Many cases ---------------------------------------------------------------------------------------------------------


class Worker:
    """A process, what it has still to answer, and since when it is silent."""

    def __init__(self, source: Source, names: list[str], seed: int, jobs: list[Job], memory: int):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=work, args=(source, names, seed, jobs, memory, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.left: list[Job] = [("", -1), *jobs]  # the first answer is "ready"
        self.since = time.monotonic()

    def answer(self, waiting: bool) -> tuple[str, bool] | None:
        """(the next answer, whether the process is at its end), or None while there is none."""
        if waiting:
            try:
                self.since = time.monotonic()
                return self.pipe.recv(), False
            except (EOFError, OSError):
                self.process.join()
                return f"the process died ({self.process.exitcode})", True
        seconds = GRACE if self.left[0][0] else START
        if time.monotonic() - self.since > seconds:
            self.process.kill()  # this one, by its handle
            self.process.join()
            return f"no answer in {seconds:g} s", True
        return None


def run(
    names: list[str], cases: range, seed: int, workers: int, memory: int = MEMORY, source: Source = readers
) -> dict[str, Counter[str]]:
    """Outcomes by reader; each case in one of `workers` processes, and in a new one after a process died."""
    jobs = [(name, case) for case in cases for name in names]
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    active = [Worker(source, names, seed, jobs[k::workers], memory) for k in range(workers) if jobs[k::workers]]
    while active:
        waiting = wait([worker.pipe for worker in active], timeout=1.0)
        for worker in list(active):
            answer = worker.answer(worker.pipe in waiting)
            if answer is None:
                continue
            told, ended = answer
            name, case = worker.left.pop(0)
            if name:
                found[name][told if told in ("read", "refused") else f"case {case}: {told}"] += 1
            elif told != "ready":
                raise RuntimeError(f"A worker did not begin: {told}.")
            if ended or not worker.left:
                active.remove(worker)
                worker.process.join()
                if worker.left:
                    active.append(Worker(source, names, seed, worker.left, memory))
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """Markdown: a row for each reader, then the faults."""
    lines = ["| reader | cases | read | refused | faults |", "|---|---:|---:|---:|---:|"]
    faults = []
    for name, counts in found.items():
        total, wrong = sum(counts.values()), [what for what in counts if what not in ("read", "refused")]
        row = (name, f"{total:,}", f"{counts['read']:,}", f"{counts['refused']:,}", f"{len(wrong):,}")
        lines.append(f"| {' | '.join(row)} |")
        faults += [f"* {name}, {what}" for what in wrong]
    return "\n".join(lines + ([""] + faults if faults else []))


def main() -> int:
    known = readers()
    parser = argparse.ArgumentParser(description="Damage sound files in many ways; each must be read or refused.")
    parser.add_argument("--cases", type=int, default=10_000, help="of all readers together")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reader", action="append", choices=sorted(known), help="only this one; may be repeated")
    parser.add_argument("--keep", type=Path, help="write the files of the cases there, read nothing")
    args = parser.parse_args()
    names = args.reader or list(known)
    cases = range(args.first, args.first + max(1, args.cases // len(names)))
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        for name in names:
            seeds = known[name].seeds()
            for case in cases:
                content = content_of(name, known[name], args.seed, case, seeds)
                (args.keep / f"{name.replace(' ', '-')}-{case}-{known[name].name}").write_bytes(content)
        return 0
    began = time.monotonic()
    found = run(names, cases, args.seed, args.workers)
    print(table(found))
    print(f"\nseed {args.seed}, cases {cases.start} to {cases.stop - 1} of each, {time.monotonic() - began:.0f} s")
    return int(any(what not in ("read", "refused") for counts in found.values() for what in counts))


if __name__ == "__main__":
    sys.exit(main())
