"""The table of results, made from logs: what was trained, next to what papers and courses report.

python results/make.py           # write results/README.md, the results section of README.md, and accuracy.png
python results/make.py --check              # fail if they do not say what the logs say
python results/make.py --train=cifar_fast --seeds=5 --data=DIR     # train a row's seeds, and keep their logs

A row's logs are results/logs/<row>/seed<k>/: `flags.txt` and `history.jsonl` of the run, and `result.json`, which says
what the test images gave, with which versions and on which machine. DIR holds `mnist/`, `cifar-10-batches-bin/` and
`dogs-vs-cats/train/`, as far as the row needs them. Targets were set before; the test images are looked at once a run.
A training that was stopped or killed continues when it is called again, and seeds that are done are not trained again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import rawcnn  # noqa: E402
from benchmarks.children import busy_seconds, others_share  # noqa: E402
from benchmarks.finetune import chosen_photos  # noqa: E402
from benchmarks.harness import QUIET, markdown_table, which_machine  # noqa: E402
from results import picture, race  # noqa: E402
from results.rows import DATA, OWED, ROWS, Row  # noqa: E402

LOGS, PAGE, README = ROOT / "results/logs", ROOT / "results/README.md", ROOT / "README.md"
PICTURE, RACES = ROOT / "results/accuracy.png", ROOT / "results/races"
BEGIN, END = "<!-- results: made by results/make.py -->", "<!-- end of results -->"
KEPT = ("flags.txt", "history.jsonl", "curves.png")
ACCURACY = re.compile(r"^test accuracy (\d+\.\d+)%$", re.MULTILINE)


class Seed(NamedTuple):
    """One run: its seed, test accuracies in % by test protocol, seconds of its epochs if known, and its log."""

    seed: int
    accuracy: dict[str, float]
    seconds: float | None
    log: dict[str, Any]

    @property
    def shared(self) -> bool:
        """Whether other programs used the machine too, as far as is known."""
        others = self.log.get("others")
        return others is None or others > QUIET


@dataclass(frozen=True)
class Found:
    """What the logs of a row say."""

    row: Row
    seeds: tuple[Seed, ...]

    def accuracies(self, protocol: str | None = None) -> list[float]:
        return [seed.accuracy[protocol or self.row.crops] for seed in self.seeds]

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies())

    @property
    def reached(self) -> bool:
        """Whether the mean, as it is printed, is the target or above, with as many seeds as were wanted."""
        return len(self.seeds) >= self.row.seeds and round(self.mean, 2) >= self.row.target


def read(row: Row, logs: Path = LOGS) -> Found:
    """The logs of `row`, in the order of seeds. Raises `SystemExit` that names a log that does not fit the row."""
    seeds = []
    for folder in sorted((logs / row.name).glob("seed*"), key=lambda path: int(path.name.removeprefix("seed"))):
        log = json.loads((folder / "result.json").read_text("utf-8"))
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text("utf-8").splitlines()]
        seed = int(folder.name.removeprefix("seed"))
        check_flags(row, seed, folder)
        if history[-1]["epoch"] != row.epochs:
            raise SystemExit(f"{folder}/history.jsonl ends after epoch {history[-1]['epoch']}, not {row.epochs}.")
        times = [epoch.get("seconds") for epoch in history]
        seconds = None if None in times else sum(times)
        seeds.append(Seed(seed, log["test_accuracy"], seconds, log))
    return Found(row, tuple(seeds))


def check_flags(row: Row, seed: int, folder: Path) -> None:
    """Raise `SystemExit` unless the run in `folder`, or whose log it is, had the flags of `row`."""
    given = dict(map(setting, (folder / "flags.txt").read_text("utf-8").splitlines()))
    for name, value in map(setting, (*row.flags, f"--dataset={row.dataset}", f"--seed={seed}")):
        if given.get(name) != value:
            raise SystemExit(f"{folder}/flags.txt is not of row {row.name}: it has no --{name}={value}. Remove it.")


def setting(flag: str) -> tuple[str, Any]:
    """Name and value of a flag, numbers as such.

    >>> setting("--validation=5000") == setting("--validation=5000.0"), setting("--distort")
    (True, ('distort', 'True'))
    """
    name, _, value = flag.removeprefix("--").partition("=")
    try:
        return name, float(value)
    except ValueError:
        return name, value or "True"


def every(logs: Path = LOGS) -> list[Found]:
    """All rows, those without logs too. Raises `SystemExit` for logs that belong to no row."""
    if strangers := {path.name for path in logs.iterdir()} - {row.name for row in ROWS}:
        raise SystemExit(f"{logs / min(strangers)} belongs to no row of results/rows.py.")
    return [read(row, logs) for row in ROWS]


# Writing --------------------------------------------------------------------------------------------------------------


def cells(found: Found) -> tuple[str, ...]:
    """A row of the table."""
    row, seeds = found.row, found.seeds
    target = f"{row.target:g}"
    if not seeds:
        return row.name, row.what, row.reference, target, "not run yet", "", "", ""
    accuracies = found.accuracies()
    spread = f"{statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "-"
    some = f" ({len(seeds)} of {row.seeds} seeds)" if len(seeds) < row.seeds else ""
    mark = "" if found.reached else some or " (not reached)"
    each = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
    return row.name, row.what, row.reference, target, f"**{found.mean:.2f}**{mark}", each, spread, minutes(found)


def minutes(found: Found) -> str:
    """Minutes of a run, the median of its seeds; marked where the machine did other work too."""
    times = [seed.seconds for seed in found.seeds if seed.seconds is not None]
    if len(times) < len(found.seeds):
        return "-"
    shared = " (shared)" if any(seed.shared for seed in found.seeds) else ""
    return f"{statistics.median(times) / 60:.1f}{shared}"


HEADER = ("row", "what", "others report", "target", "test %, mean", "each seed", "sd", "minutes a run")
TEXTS = 3  # columns of text, which stand first


def commands(found: Found) -> str:
    """The command of a row, its protocols, and where and when it ran."""
    row = found.row
    lines = [f"* `{row.name}`: {row.commands} {row.remark}".rstrip()]
    others = [(f"With `--crops={crops}`", crops) for crops in row.also]
    if row.tested_on:
        others.append((f"On the test images of `--dataset={row.dataset}`", row.dataset))
    for where, protocol in others:
        if found.seeds:
            several = found.accuracies(protocol)
            each = ", ".join(f"{accuracy:.2f}" for accuracy in several)
            lines.append(f"  {where} the same nets give {statistics.mean(several):.2f} % ({each}).")
    ran = sorted({(s.log["machine"], s.log["tensorflow"], s.log["date"]) for s in found.seeds})
    lines += [f"  {machine}; TensorFlow {tensorflow}; {date}." for machine, tensorflow, date in ran]
    if found.seeds:
        lines.append(f"  [Logs](logs/{row.name}), [curves of seed 0](logs/{row.name}/seed0/curves.png).")
    return "\n".join(lines)


def page(found: Sequence[Found], races: Sequence[dict[str, Any]]) -> str:
    """The whole of results/README.md."""
    ran, others = [one for one in found if one.seeds], [one for one in found if not one.seeds]
    not_run = ["Not run yet, for want of hours of a quiet machine of two cores:", "", *map(commands, others), ""]
    owed = ["## Still owed", "", "Targets for which there is no row yet:", "", *(f"* {one}" for one in OWED), ""]
    return "\n".join(
        (
            "# Results",
            "",
            "Made by `python results/make.py` from [logs](logs); `python results/make.py --check` runs in the tests.",
            "One command trains a row again: `python results/make.py --train=ROW --seeds=N --data=DIR`.",
            "",
            "Test accuracy in %: the mean over seeds, each seed, and the standard deviation. Hyper-parameters were",
            "chosen on held-out training images; each run looked at the test images once, at its end. Minutes are",
            f"those of the epochs, with validation. *Shared*: other programs used more than {QUIET:.0%} of the machine",
            "meanwhile, so on a quiet one it takes less; a dash: the run did not write its minutes down.",
            "",
            markdown_table(HEADER, [cells(one) for one in found], TEXTS),
            "",
            "## Commands",
            "",
            *map(commands, ran),
            "",
            *(not_run if others else ()),
            *race.section(races),
            *(owed if OWED else ()),
        )
    )


def section(found: Sequence[Found]) -> str:
    """What README.md shows: the rows that ran."""
    header = ("net, data", "others report", "rawcnn, test %", "seeds", "minutes a run")
    rows = []
    for one in found:
        if one.seeds:
            _, what, reference, _, mean, _, _, took = cells(one)
            rows.append((what, reference, mean, str(len(one.seeds)), took))
    return f"{BEGIN}\n\n{markdown_table(header, rows, 2)}\n\n{END}"


def replaced(text: str, new: str) -> str:
    """`text` with its results section replaced. Raises `SystemExit` if it has none."""
    if BEGIN not in text or END not in text:
        raise SystemExit(f"README.md has no place for the results: write {BEGIN} and {END} into it, a line each.")
    before, rest = text.split(BEGIN, 1)
    return before + new + rest.split(END, 1)[1]


def wanted(logs: Path = LOGS, page_path: Path = PAGE, readme: Path = README, races: Path = RACES) -> dict[Path, str]:
    """Each file that is made from the logs and the races, and what it should say."""
    found = every(logs)
    return {page_path: page(found, race.read(races)), readme: replaced(readme.read_text("utf-8"), section(found))}


def differing(files: dict[Path, str]) -> list[Path]:
    return [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]


def curves(logs: Path = LOGS, races: Path = RACES) -> list[picture.Curve]:
    """What the picture shows: seed 0 of each row on CIFAR-10, and Keras in each race to an accuracy."""
    folders = [(row, logs / row.name / "seed0") for row in ROWS if row.dataset == "cifar10"]
    found = [picture.of_log(row.name, folder, row.crops) for row, folder in folders if folder.is_dir()]
    return [curve for curve in found if curve] + list(map(picture.of_race, race.read(races)))


# Training -------------------------------------------------------------------------------------------------------------


def train_seeds(row: Row, count: int, data: Path, runs: Path, logs: Path = LOGS) -> None:
    """Train the seeds 0 ... `count` - 1 of `row` that have no log yet, and keep their logs."""
    for seed in range(count):
        if (logs / row.name / f"seed{seed}").is_dir():
            print(f"{row.name}, seed {seed}: done before", file=sys.stderr)
        else:
            train(row, seed, data, runs, logs)


def train(row: Row, seed: int, data: Path, runs: Path, logs: Path = LOGS) -> None:
    """One run of `row`, continued if it was begun, its tests by the other protocols, and its logs."""
    directory = runs / row.name / f"seed{seed}"
    begun = (directory / "flags.txt").is_file()
    if begun:
        check_flags(row, seed, directory)
    where = data_flags(row.dataset, data, runs)
    flags = ("--resume",) if begun else ("--overwrite", f"--dataset={row.dataset}", *row.flags, f"--seed={seed}")
    said, others = run((row.example, *flags, *where, f"--run={directory}"))
    printed = {row.dataset if row.tested_on else row.crops: said}
    again = ("-m", "rawcnn", "evaluate", f"--run={directory}")
    for crops in row.also:
        printed[crops], _ = run((*again, f"--crops={crops}", *where))
    if row.tested_on:
        printed[row.crops], _ = run((*again, *data_flags(row.tested_on, data, runs)))
    keep(row, seed, directory, printed, None if begun else others, logs)


def data_flags(dataset: str, data: Path, runs: Path) -> tuple[str, ...]:
    """Where a data set is; of the photos the script makes folders of links, train/cat, test/cat and so on."""
    if dataset not in DATA:
        return ()
    directory = data / DATA[dataset]
    if not directory.is_dir():
        raise SystemExit(f"{directory} does not exist: name the folder of the data sets with --data=DIR.")
    if dataset == "folder":
        photos, directory = directory, runs / "photos"
        if not directory.is_dir():
            runs.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix="photos.", dir=runs))  # of one's own: two rows may be begun at once
            chosen_photos(photos, part)
            try:
                part.rename(directory)
            except OSError:
                shutil.rmtree(part)
                if not directory.is_dir():
                    raise
    return (f"--data_dir={directory}",)


def run(command: Sequence[str]) -> tuple[str, float | None]:
    """What a command of this checkout prints, shown as it comes, and the share of the machine that others used."""
    print(" ".join(command), file=sys.stderr, flush=True)
    busy, began, own = busy_seconds(), time.perf_counter(), of_children()
    lines = []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # not a rawcnn that is installed from elsewhere
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with status {process.returncode}. The same command continues the row.")
    return "".join(lines), others_share(busy, of_children() - own, time.perf_counter() - began)


def of_children() -> float:
    """CPU seconds of all children that have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def keep(
    row: Row, seed: int, run: Path, printed: Mapping[str, str], others: float | None = None, logs: Path = LOGS
) -> None:
    """Copy what the table needs from a finished run, all or nothing.

    `printed` is what the tests printed, by protocol; `others` the share of the machine that others used, if known.
    """
    folder = logs / row.name / f"seed{seed}"
    part = run / "kept"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name in KEPT if seed == 0 else KEPT[:2]:
        if (run / name).is_file():
            shutil.copyfile(run / name, part / name)
    text = (part / "flags.txt").read_text("utf-8")
    kept = [line for line in text.splitlines() if not line.startswith("--data_dir=")]  # a path of this machine
    (part / "flags.txt").write_text("\n".join(kept) + "\n", "utf-8")
    result = {
        "test_accuracy": {protocol: float(ACCURACY.findall(text)[-1]) for protocol, text in printed.items()},
        "machine": which_machine(),
        "others": None if others is None else round(others, 3),
        "rawcnn": rawcnn.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("tensorflow", "numpy")},
        "date": str(datetime.date.today()),
    }
    (part / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(part, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs from the logs")
    parser.add_argument("--train", metavar="ROW", choices=[row.name for row in ROWS], help="train the seeds of a row")
    parser.add_argument("--seeds", type=int, default=1, help="how many of them: 0, 1, ...")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the runs, for --resume")
    args = parser.parse_args()
    if args.train:
        row = next(row for row in ROWS if row.name == args.train)
        train_seeds(row, args.seeds, args.data.resolve(), args.runs.resolve())
    files, shown = wanted(), curves()
    drawn = picture.says(PICTURE) == picture.drawn_from(shown)
    if args.check:
        if wrong := [*differing(files), *([] if drawn else [PICTURE])]:
            raise SystemExit(f"{', '.join(map(str, wrong))} does not say what the logs say: run results/make.py.")
        return
    for path in differing(files):
        path.write_text(files[path], "utf-8")
        print(f"{path} is written", file=sys.stderr)
    if not drawn:
        picture.save(shown, PICTURE)
        print(f"{PICTURE} is drawn", file=sys.stderr)


if __name__ == "__main__":
    main()
