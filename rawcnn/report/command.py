"""`rawcnn report`: from a run's directory to a page, on the command line."""

from dataclasses import dataclass

from rawcnn.errors import UsageError
from rawcnn.report.write import write_report
from rawcnn.run.fields import FIRST, setting
from rawcnn.run.flags import needed, no_words, read_flags
from rawcnn.run.output import tell

USAGE = (
    "usage: rawcnn report --run=DIR\n"
    "Makes report.html in the run's directory: one file that opens its net in a browser, without network or server.\n"
    "With a second --run=DIR, the page compares the two runs."
)


@dataclass(frozen=True)
class ReportFlags:
    """What `rawcnn report` is told."""

    run: str | None = setting(None, FIRST, "Directory of the run. Given twice: two runs to compare.", path=True)
    out: str | None = setting(None, FIRST, "The file to write. By default report.html in the run.", path=True)
    data_dir: str | None = setting(None, FIRST, "Where the run's data are now, if they have moved.", path=True)


def report(argv: list[str]) -> None:
    """Make the page that `argv` asks for, and say where it is."""
    first, rest = _first_of_two(argv)
    told, words = read_flags(rest, ReportFlags, usage=USAGE)
    flags = ReportFlags(**told)
    no_words(words, "report")
    last = needed(flags.run)
    run, other = (last, None) if first is None else (first, last)
    path = write_report(run, flags.out, compare_with=other, data_dir=flags.data_dir, log=tell)
    tell(f"{path} ({path.stat().st_size:,} bytes): open it in a browser")


def _first_of_two(argv: list[str]) -> tuple[str | None, list[str]]:
    """Of two --run=DIR the first one's directory, and `argv` without it."""
    words = iter(argv)
    argv = [f"--run={next(words, '')}" if word in ("--run", "-run") else word for word in words]
    runs = [i for i, word in enumerate(argv) if word.startswith(("--run=", "-run="))]
    if len(runs) > 2:
        raise UsageError(f"A page compares two runs, not {len(runs)}: give --run twice.")
    if len(runs) < 2:
        return None, argv
    return argv[runs[0]].split("=", 1)[1], argv[: runs[0]] + argv[runs[0] + 1 :]
