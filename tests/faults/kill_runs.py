"""Kill real training runs at random moments, resume them, and compare their ends with that of a run left alone.

    python -m tests.faults.kill_runs --kills=200

Each run is the README's command on drawn digits, killed (SIGKILL) up to five times and then left to end. It must end
with the same weights, optimizer slots and history, bit for bit; no kill may damage a checkpoint or lose one that was
there; and a resumed run must say that it goes on after just the newest step that was saved. A fifth of the kills fall
anywhere in start-up, the others while it trains. One run a core, each on a core of its own: what is computed depends on
the number of cores, and so the run left alone has one too. The last line is a JSON object; status 1 after a failure.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.command import ROOT, TRAIN, history_of, write_digits

FLAGS = ("--net=lenet5_relu", "--batch_size=20", "--validation=0.1", "--save_every=10")
KILLS_PER_RUN = 5
IN_START_UP = 0.2  # share of the kills
WINDOW = 3.0  # seconds after "run directory ...", in which the other kills fall: tracing, then training
START_UP = 6.0  # seconds within which the first kind falls; a process past its start is killed all the same
PATIENCE = 300.0  # seconds that one process may take


class Broken(AssertionError):
    """A promise that was not kept."""


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, read to their last byte by NumPy alone: rawcnn is not to judge itself."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint, -1 where there is none; raises `Broken` if any of them is damaged."""
    newest = -1
    for path in run.glob("ckpt-*.npz"):
        try:
            step = int(arrays_of(path)["step"])
        except Exception as error:  # which one depends on the damage
            raise Broken(f"{path} is damaged after a kill: {error!r}") from error
        if step != int(path.stem[5:]):
            raise Broken(f"{path} is of step {step}")
        newest = max(newest, step)
    return newest


def steps_seen(run: Path) -> int:
    """The highest step among the checkpoints' names, without reading them: to be called while the run lives."""
    return max((int(path.stem[5:]) for path in run.glob("ckpt-*.npz")), default=-1)


class Life:
    """One process of a run: begun if there is nothing to resume, else resumed."""

    def __init__(self, run: Path, data: Path, epochs: int):
        self.run, self.log = run, run.with_name(f"{run.name}.log")
        self.before = newest_step(run)
        if (run / "flags.txt").is_file():
            flags = [f"--run={run}", "--resume"]
        else:
            flags = [f"--run={run}", f"--data_dir={data}", f"--epochs={epochs}", *FLAGS]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAWCNN_DATA": str(data.parent / "cache")}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(TRAIN), *flags], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill_at(self, rng: np.random.Generator) -> str | None:
        """Kill it at a random moment; returns in which phase, or None if it ended before that."""
        phase = "start-up" if rng.random() < IN_START_UP else "training"
        deadline = time.monotonic() + (rng.uniform(0, START_UP) if phase == "start-up" else PATIENCE)
        while time.monotonic() < deadline and self.process.poll() is None:
            if phase == "training" and "\nrun directory " in self.text():
                break
            time.sleep(0.02)
        if phase == "training":
            time.sleep(rng.uniform(0, WINDOW))
        seen = steps_seen(self.run)
        self.process.kill()
        if self.process.wait() != -9:
            self.check_end(self.process.returncode)
            return None
        after = newest_step(self.run)
        if after < max(seen, self.before):
            raise Broken(f"{self.run} had a checkpoint of step {max(seen, self.before)}, and after the kill {after}")
        self.check_resumed()
        return phase

    def finish(self) -> None:
        self.check_end(self.process.wait(PATIENCE))

    def check_end(self, status: int) -> None:
        if status != 0:
            raise Broken(f"{self.run} ended with status {status}:\n{self.text()[-3000:]}")
        self.check_resumed()

    def check_resumed(self) -> None:
        """It said that it goes on after the newest step that there was, if it came to say anything."""
        said = re.search(r"continuing after step (\d+)$", self.text(), re.MULTILINE)
        if said and int(said[1]) != self.before:
            raise Broken(f"{self.run} had a checkpoint of step {self.before}, but went on after step {said[1]}")
        if said is None and self.before >= 0 and "\nrun directory " in self.text():
            raise Broken(f"{self.run} had a checkpoint of step {self.before}, but began again")


def compare(run: Path, reference: Path) -> None:
    """Raise `Broken` unless both runs ended with the same numbers, bit for bit, and left the same kinds of files."""
    last = f"ckpt-{newest_step(reference):09d}.npz"
    for name in ("weights.npz", last):
        ours, theirs = arrays_of(run / name), arrays_of(reference / name)
        differ = sorted(ours.keys() ^ theirs.keys())
        differ += [k for k in ours.keys() & theirs.keys() if k != "meta" and ours[k].tobytes() != theirs[k].tobytes()]
        if differ:
            raise Broken(f"{run / name} differs from the run left alone in {', '.join(differ)}")
    if history_of(run) != history_of(reference):
        raise Broken(f"{run / 'history.jsonl'} differs from that of the run left alone")
    if leftovers := [path.name for path in run.glob("*.tmp")]:
        raise Broken(f"{run} holds leftovers: {leftovers}")


class Count:
    """What all workers did together."""

    def __init__(self, kills: int):
        self.left, self.runs, self.torn = kills, 0, 0
        self.phases = {"start-up": 0, "training": 0}
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one of the kills that are left to be made."""
        with self._lock:
            self.left -= 1
            return self.left >= 0

    def give_back(self) -> None:
        with self._lock:
            self.left += 1

    def add(self, phase: str, torn: bool) -> None:
        with self._lock:
            self.phases[phase] += 1
            self.torn += torn

    def end_run(self) -> None:
        with self._lock:
            self.runs += 1


def work(core: int, seed: int, count: Count, work_dir: Path, data: Path, epochs: int) -> None:
    """Kill and end runs on `core` (the affinity is this thread's, and its children inherit it) until none are left."""
    os.sched_setaffinity(0, {core})
    rng = np.random.default_rng([seed, core])
    number = 0
    while count.left > 0:
        run = work_dir / f"run-{core}-{number}"
        number += 1
        for _ in range(KILLS_PER_RUN):
            if not count.take():
                break
            phase = Life(run, data, epochs).kill_at(rng)
            if phase is None:  # it was faster
                count.give_back()
                break
            count.add(phase, torn=any(run.glob("*.tmp")))
        Life(run, data, epochs).finish()
        compare(run, work_dir / "reference")
        count.end_run()
        shutil.rmtree(run)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=60, help="of 63 steps: long enough for several kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, as far as a clock can be seeded")
    parser.add_argument("--work", type=Path, help="directory to keep; by default a temporary one")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    work_dir = args.work or Path(tempfile.mkdtemp(prefix="kill-runs-"))
    data, cores = write_digits(work_dir / "digits"), sorted(os.sched_getaffinity(0))
    began = time.monotonic()

    def reference() -> None:
        os.sched_setaffinity(0, {cores[0]})
        Life(work_dir / "reference", data, args.epochs).finish()

    with ThreadPoolExecutor(1) as pool:  # a thread, whose affinity ends with it
        pool.submit(reference).result()
    print(f"the run left alone took {time.monotonic() - began:.1f} s", flush=True)
    count = Count(args.kills)
    with ThreadPoolExecutor(len(cores)) as pool:
        workers = [pool.submit(work, core, args.seed, count, work_dir, data, args.epochs) for core in cores]
    failures = [str(worker.exception()) for worker in workers if worker.exception()]
    result = {
        "kills": sum(count.phases.values()),
        **count.phases,
        "in the middle of a write": count.torn,
        "runs ended bitwise equal": count.runs,
        "seconds": round(time.monotonic() - began),
        "failures": failures,
    }
    print(json.dumps(result))
    if failures:
        print(f"see {work_dir}", file=sys.stderr)
    elif args.work is None:
        shutil.rmtree(work_dir)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
