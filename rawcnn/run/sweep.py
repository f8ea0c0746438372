"""`rawcnn sweep`: a run for each combination of settings, and a table of all by their validation accuracy.

Each run is a process of its own, `rawcnn train --run=SWEEP/NAME ...`. TensorFlow takes threads and determinism once a
process, so only there a run's numbers are those that it would have alone, and those with which it resumes; its memory
is given back at its end; and what kills one run leaves the others.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from rawcnn.errors import RawcnnError, RunError, UsageError
from rawcnn.files.whole import whole_file
from rawcnn.run import cli, directory
from rawcnn.run.fields import FIRST, info_of, kind_of, parse, setting
from rawcnn.run.flags import read_flags
from rawcnn.run.lock import LOCK, Lock, check_not_in_use
from rawcnn.run.output import tell
from rawcnn.run.plan import recipe_for, settle
from rawcnn.run.record import Record
from rawcnn.run.settings import NAMES, Settings
from rawcnn.run.sweep_table import PICTURE, TABLE, Row, by_setting, groups, line, save_picture, table, write_csv
from rawcnn.train import checkpoints
from rawcnn.train.strategy import MULTI_WORKER

STATE = "sweep.json"
USAGE = (
    "usage: rawcnn sweep --learning_rate=0.001,0.01 --seed=0,1,2 [--sweep=DIR] [--flag=value ...]\n"
    "Trains a run for each combination of the values that stand with commas between, and compares their validation\n"
    "accuracies. With --folds=5 a run for each fold. Takes the flags of `rawcnn train`, but for --run; a file or\n"
    "directory has one value. The same command, or --sweep=DIR alone, goes on with a sweep that was stopped."
)
DEFAULTS = {"net": "lenet5"}
LISTS = ("freeze",)
"""Flags whose value is a list itself: they have one value, as have those that name a file or directory."""


@dataclass(frozen=True)
class SweepFlags:
    """What `rawcnn sweep` is told besides the settings of its runs."""

    sweep: str | None = setting(
        None, FIRST, "Directory for all runs and their table; by default a new one below runs/.", path=True
    )


@dataclass(frozen=True)
class Sweep:
    """Flags that all runs share, and those of which each run has one of several values; all as text."""

    shared: Mapping[str, str]
    swept: Mapping[str, tuple[str, ...]]

    def runs(self) -> Iterator[dict[str, str]]:
        """The swept flags of each run; the last one changes fastest."""
        for values in product(*self.swept.values()):
            yield dict(zip(self.swept, values, strict=True))

    def __str__(self) -> str:
        lists = {name: ",".join(values) for name, values in self.swept.items()}
        return " ".join(f"--{name}={value}" for name, value in {**self.shared, **lists}.items()) or "no flags"


def command(argv: Sequence[str]) -> None:
    """Train all runs that `argv` tells and that are not finished yet, and compare them."""
    told, where = read(argv)
    path = Path(where) if where else _unused()
    state = path / STATE
    if not told.swept and not state.is_file():
        raise UsageError("Which values? Give a flag several, as in --learning_rate=0.001,0.01, or --folds=5.")
    check(told)
    if state.is_file():
        check(_continued(told, _read(state)[0], path))  # before the directory is touched
    elif path.is_dir() and {one.name for one in path.iterdir()} - {LOCK}:
        raise RunError(f"{path} is not empty and holds no sweep: choose another --sweep.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = Lock(path, "sweep", "--sweep", "wait for its end, or choose another --sweep")
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}): choose another --sweep.") from error
    with lock:
        saved, finished = _read(state) if state.is_file() else (told, {})
        _train_all(lock, _continued(told, saved, path), finished)


# What is told


def read(argv: Sequence[str]) -> tuple[Sweep, str | None]:
    """What a command line tells, and the directory that it names. Raises `UsageError` for flags that do not fit."""
    if any(re.match(r"--?(run|resume)\b", word) for word in argv):
        raise UsageError("The runs of a sweep have one directory, and go on by themselves: give --sweep=DIR.")
    lists, rest = _lists(argv)
    told, words = read_flags(rest, SweepFlags, Settings, usage=USAGE, defaults=DEFAULTS)
    if words:
        raise UsageError(f"{words[0]!r} is not a flag: flags begin with two dashes. See rawcnn sweep --help.")
    where = told.pop("sweep", None)
    if "folds" in lists:
        raise UsageError("--folds has one value in a sweep: each of its folds is a run.")
    if told.get("folds") and "fold" not in {*told, *lists}:
        lists["fold"] = [str(number) for number in range(1, told["folds"] + 1)]
    swept = {name: tuple(str(parse(Settings, name, text)) for text in texts) for name, texts in lists.items()}
    for name, texts in swept.items():
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise UsageError(f"--{name} has the value {twice[0]} twice: give each value once.")
    if MULTI_WORKER in (told.get("strategy"), *swept.get("strategy", ())):
        raise UsageError("A sweep trains on one machine: leave --strategy=multi_worker out.")
    # Paths are made absolute, so that the sweep goes on from any directory. With a fold, since folds need one.
    first = {name: parse(Settings, name, texts[0]) for name, texts in swept.items()}
    known = Settings(**{**DEFAULTS, **told, **first}).texts()
    return Sweep({name: known[name] for name in told if name in known}, swept), where


def _lists(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The flags with several values, and all the rest of the command line.

    A comma in the name of a file or directory belongs to the name.
    """
    lists: dict[str, list[str]] = {}
    rest, words = [], iter(argv)
    for word in words:
        flag = re.fullmatch(r"--?(\w+)(=.*)?", word, re.DOTALL)
        name = flag[1] if flag else ""
        if flag is None or name not in NAMES or name in LISTS or info_of(Settings, name).path:
            rest.append(word)
            continue
        text = flag[2][1:] if flag[2] else "" if kind_of(Settings, name)[0] is bool else next(words, "")
        if "," in text:
            lists[name] = text.split(",")
        else:
            rest += [word] if flag[2] or not text else [f"{word}={text}"]
    return lists, rest


def check(sweep: Sweep) -> None:
    """Raise `UsageError` for the first run whose settings cannot be."""
    for values in sweep.runs():
        texts = {**sweep.shared, **values}
        settings = Settings(**{**DEFAULTS, **{name: parse(Settings, name, text) for name, text in texts.items()}})
        settled = settle(settings, recipe_for(settings))
        if settled.validation == 0 and not settled.folds:
            raise UsageError("A sweep compares validation accuracies, and validation=0 holds no images out.")


def _continued(told: Sweep, saved: Sweep, path: Path) -> Sweep:
    """The sweep of `path`, with the values that are new. Raises `RunError` unless the flags are those it began with."""
    if not told.swept and not told.shared:
        return saved
    if dict(told.shared) != dict(saved.shared) or set(told.swept) != set(saved.swept):
        raise RunError(
            f"{path} holds a sweep of {saved}, not of {told}: only more values may be given to the same flags. Go on "
            "with --sweep alone, or choose another --sweep."
        )
    return Sweep(saved.shared, {name: tuple(dict.fromkeys((*v, *told.swept[name]))) for name, v in saved.swept.items()})


# What is kept


def _read(state: Path) -> tuple[Sweep, dict[str, Row]]:
    """A sweep, and its finished runs by name. Raises `RunError` if the file is damaged."""
    try:
        kept = json.loads(state.read_text(encoding="utf-8"))
        sweep = Sweep(dict(kept["shared"]), {name: tuple(values) for name, values in kept["swept"].items()})
        return sweep, {name: Row(**row) for name, row in kept["finished"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{state} is damaged ({error}). Delete it and give all flags again: finished runs are then tested again."
        ) from None


def _write(state: Path, sweep: Sweep, finished: Mapping[str, Row]) -> None:
    kept = {**asdict(sweep), "finished": {name: asdict(row) for name, row in finished.items()}}
    with whole_file(state) as file:
        file.write((json.dumps(kept, indent=1) + "\n").encode())


def _unused() -> Path:
    number = 1
    while Path("runs", f"sweep-{number}").exists():
        number += 1
    return Path("runs", f"sweep-{number}")


# The runs


def name_of(values: Mapping[str, str]) -> str:
    """The name of the run with these swept values, which is also that of its directory.

    >>> name_of({"learning_rate": "0.001", "seed": "2"})
    'learning_rate=0.001,seed=2'
    """
    return ",".join(f"{name}={re.sub(r'[^0-9A-Za-z_.+-]', '_', value)}" for name, value in values.items())


def _train_all(lock: Lock, sweep: Sweep, finished: dict[str, Row]) -> None:
    path = lock.directory
    runs = {name_of(values): values for values in sweep.runs()}
    _write(path / STATE, sweep, finished)
    done = sum(name in finished for name in runs)
    more = f", {done} of them finished before" if done else ""
    tell(f"sweep directory {path}: {len(runs)} runs{more}. The lines of a run go to NAME.log there.")
    rows = []
    for number, (name, values) in enumerate(runs.items(), 1):
        row = finished.get(name)
        if row is None:
            try:
                row = _one(lock, name, sweep.shared, values)
            except KeyboardInterrupt:
                again = shlex.join([*cli.command(), "sweep", f"--sweep={os.path.abspath(path)}"])
                tell(f"run {number} of {len(runs)} is saved. Go on with the sweep:\n{again}", sys.stderr)
                raise
            if row.accuracy is not None:
                finished[name] = row
                _write(path / STATE, sweep, finished)
            tell(f"{number}/{len(runs)}  {line(row)}")
        rows.append(row)
        write_csv(rows, path / TABLE)
    _compare(path, rows)


def _one(lock: Lock, name: str, shared: Mapping[str, str], values: dict[str, str]) -> Row:
    """Train one run to its end, from wherever it stands; a row without accuracy if it failed while it trained."""
    run, log = lock.directory / name, lock.directory / f"{name}.log"
    check_not_in_use(run)
    begun = (run / directory.FLAGS).is_file()
    flags = ["--resume"] if begun else [f"--{flag}={value}" for flag, value in {**shared, **values}.items()]
    status = train([*cli.command(), "train", f"--run={run}", *flags], log)
    lock.check_held()  # before anything is read or written for a sweep that may be another one now
    if not log.is_file():
        raise RunError(f"{log} was moved or deleted while this sweep went on: give --sweep where it is now.")
    if status == 0:
        return _row(run, name, values)
    why = _last_line(log)
    if status == 2 and run.is_dir() and checkpoints.steps(run):  # such as a rate with which the loss is not finite
        return Row(name, values, failed=why)
    how = f"status {status}" if status > 0 else signal.Signals(-status).name
    raise RunError(f"Run {name} ended with {how}: {why or 'it said nothing'} (All its lines are in {log}.)")


def train(words: Sequence[str], log: Path) -> int:
    """Start `words` as a process, with its lines at the end of `log`; its status. Ctrl-C and SIGTERM stop it too.

    It does not hear the terminal's Ctrl-C: a second signal, on top of the one from here, would end it unsaved.
    """
    with open(log, "ab") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()  # it saves
        raise


def _row(run: Path, name: str, values: dict[str, str]) -> Row:
    """What a finished run came to: of the weights that it ended with, as it was tested."""
    saved = checkpoints.newest(run, tell)
    assert saved is not None
    record = Record.of(saved)
    tested = record.tested
    if tested is None or tested.val_accuracy is None or tested.val_loss is None:
        raise RunError(f"{run} has no validation images, by which runs are compared: give --validation or --folds.")
    seconds = round(sum(row.seconds for row in record.history), 1)
    return Row(name, values, tested.val_accuracy, tested.val_loss, tested.epoch, seconds)


def _last_line(log: Path) -> str:
    lines = log.read_bytes().decode("utf-8", "replace").split("\n")
    return next((text.strip() for text in reversed(lines) if text.strip()), "")


def _compare(path: Path, rows: list[Row]) -> None:
    """Print the tables, draw the picture, and say which run is the best."""
    for text in (table(rows), by_setting(rows)):
        if text:
            tell(f"\n{text}")
    found, made = groups(rows), [Path(path, TABLE)]
    if not found:
        raise RunError("No run of the sweep came to its end: see the reasons above.")
    try:
        made.append(save_picture(rows, path / PICTURE))
    except RawcnnError as error:
        tell(f"no picture: {error}")
    tell(f"\n{' and '.join(map(str, made))} hold the same.")
    if len(found) > 1:
        again = shlex.join(["rawcnn", "evaluate", f"--run={path / found[0].rows[0].name}"])
        tell(f"best setting: {found[0].name}. Only now look at its test accuracy:\n{again}")
