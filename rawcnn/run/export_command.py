"""`rawcnn export`: a trained run for other programs, on the command line."""

from dataclasses import dataclass
from pathlib import Path

from rawcnn.run.classify import load_run
from rawcnn.run.directory import EXPORTS
from rawcnn.run.export import FORMATS, export
from rawcnn.run.fields import FIRST, setting
from rawcnn.run.flags import needed, no_words, read_flags
from rawcnn.run.output import tell

USAGE = (
    "usage: rawcnn export --run=DIR [--format=saved_model|onnx|tflite] [--out=PATH]\n"
    "Writes a trained net for other programs: uint8 images in, probabilities out, preprocessing inside.\n"
    "Its answers are compared with the run's before it is kept."
)


@dataclass(frozen=True)
class ExportFlags:
    """What `rawcnn export` is told."""

    run: str | None = setting(None, FIRST, "Directory of the run whose net is exported.", path=True)
    format: str = setting("saved_model", FIRST, "onnx and tflite need the extra of that name.", choices=FORMATS)
    out: str | None = setting(
        None, FIRST, f"What to write. By default {', '.join(EXPORTS.values())} in the run's directory.", path=True
    )  # fmt: skip
    data_dir: str | None = setting(None, FIRST, "Where the run's data are now, for the comparison.", path=True)


def command(argv: list[str]) -> None:
    """Export the run that `argv` names; print how the export compares with the run, and where it is."""
    told, words = read_flags(argv, ExportFlags, usage=USAGE)
    flags = ExportFlags(**told)
    no_words(words, "export")
    run = needed(flags.run)
    if not Path(run).is_dir():
        load_run(run)  # which says what is wrong with it
    path = Path(run, EXPORTS[flags.format]) if flags.out is None else Path(flags.out)
    done = export(run, path, format=flags.format, data_dir=flags.data_dir)
    tell(str(done))
    tell(f"{done.path}: takes uint8 images, gives probabilities")
