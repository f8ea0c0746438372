"""The command `rawcnn`: a table of subcommands, each a function of its own flags."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

import rawcnn
from rawcnn.data.datasets import KNOWN
from rawcnn.data.source import Labelled
from rawcnn.errors import RawcnnError, UsageError, did_you_mean
from rawcnn.nets import NETS, input_shape, no_such_net
from rawcnn.nets.summary import summary
from rawcnn.ops.fast import forms
from rawcnn.run import cli, doctor, export_command, find_rate, look, pack_command, pictures, sweep
from rawcnn.run.classify import Classifier, load_run
from rawcnn.run.ending import weights_in_words
from rawcnn.run.fields import FIRST, TRAINING, check_all, setting
from rawcnn.run.flags import HelpAsked, needed, no_words, read_flags
from rawcnn.run.given import data_of
from rawcnn.run.output import tell
from rawcnn.run.plan import recipe_for
from rawcnn.train.inputs import CROPS
from rawcnn.train.losses import LOSSES


def main(more: Mapping[str, "Command"]) -> None:
    """Run the subcommand that the command line names: one of `COMMANDS`, or of `more` from rooms above."""
    cli.run(partial(_dispatch, {**COMMANDS, **more}))


def _dispatch(commands: Mapping[str, "Command"], argv: list[str]) -> None:
    name, rest = (argv[1] if len(argv) > 1 else "--help"), argv[2:]
    if name in ("--help", "-h", "--helpfull", "help"):
        raise HelpAsked(_help(commands))
    if name in ("--version", "version"):
        tell(f"rawcnn {rawcnn.__version__}")
    elif name in commands:
        commands[name].do([f"rawcnn {name}", *rest])
    elif name.startswith("-"):
        raise UsageError(f"A command comes first, as in `rawcnn train {name}`: {', '.join(commands)}.")
    else:
        raise UsageError(f"There is no command {name!r}.{did_you_mean(name, commands)} See rawcnn --help.")


def _help(commands: Mapping[str, "Command"]) -> str:
    width = max(map(len, commands)) + 2
    lines = [f"  {name:{width}}{one.help}" for name, one in commands.items()]
    head = "rawcnn: the classic CNNs in raw TensorFlow.\n\nusage: rawcnn COMMAND [--flag=value ...] [words]"
    return "\n".join([head, "", *lines, "", "rawcnn COMMAND --help lists its flags."])


# train, summary, nets


def _train(argv: list[str]) -> None:
    cli.train_with(argv, tuple(NETS), net="lenet5", epochs=10)


def _summary(argv: list[str]) -> None:
    _, words = read_flags(
        argv, usage="usage: rawcnn summary NET\nPrints the table of a net: its rows, shapes and sizes."
    )
    if len(words) != 1:
        raise UsageError("Which net? Name one, as in `rawcnn summary lenet5`. `rawcnn nets` lists them.")
    if words[0] not in NETS:
        raise no_such_net(words[0])
    tell(summary(NETS[words[0]]()))


def _nets(argv: list[str]) -> None:
    _, words = read_flags(argv, usage="usage: rawcnn nets\nLists all nets with the images that they take.")
    if words:
        raise UsageError(f"`rawcnn nets` takes no words, not {words[0]!r}. `rawcnn summary {words[0]}` shows one net.")
    for name, build in NETS.items():
        about = (build.__doc__ or "").strip().split("\n")[0]
        shape = "x".join(map(str, input_shape(name)))
        tell(f"{name:20}{shape:12}{about}")


# classify

LIKELIEST = 10  # classes whose probabilities are printed


@dataclass(frozen=True)
class ClassifyFlags:
    """What `rawcnn classify` is told, apart from the files."""

    run: str | None = setting(None, FIRST, "Directory of the run whose net reads the images.", path=True)
    out: str = setting("classified.png", FIRST, "Where the picture of images and answers goes.", path=True)
    true: str | None = setting(None, FIRST, "The true class of all the files, to count right answers.")
    random: int | None = setting(None, FIRST, "Read so many test images of the run's data, drawn by chance.", low=1)
    index: str | None = setting(None, FIRST, "Read these test images: numbers with commas between, as in 3,14.")
    seed: int = setting(0, FIRST, "Decides which images --random draws.", low=0)
    data_dir: str | None = setting(None, FIRST, "Where the run's data are now, for --random and --index.", path=True)

    def __post_init__(self) -> None:
        check_all(self)


def classify(argv: list[str]) -> None:
    """Read image files, or some of a run's test images; print every class's probability and draw a picture."""
    usage = (
        "usage: rawcnn classify --run=DIR FILE...\n"
        "Reads images of your own with a trained net, or test images with --random=5 or --index=3,14."
    )
    told, paths = read_flags(argv, ClassifyFlags, usage=usage)
    flags = ClassifyFlags(**told)
    run = needed(flags.run)
    if not paths and flags.random is None and flags.index is None:
        raise UsageError("Which images? Name their files after the flags, or give --random=5.")
    if paths and (flags.random is not None or flags.index is not None):
        raise UsageError("Give either files, or --random or --index.")
    classifier = load_run(run)
    names = classifier.class_names
    if flags.true is not None and flags.true not in names:
        raise UsageError(f"This run has no class {flags.true!r} (--true).{did_you_mean(flags.true, names)}")
    rows, right, truths = [], [], []
    for name, image, original, remark, truth in _images(classifier, flags, paths):
        (probabilities,) = classifier.probabilities([image])
        order = probabilities.argsort()[::-1]
        truth = truth or flags.true
        truths.append(truth)
        verdict = "" if truth is None else " (right)" if names[order[0]] == truth else f" (wrong: {truth})"
        right += [] if truth is None else [names[order[0]] == truth]
        tell(f"{name}: {names[order[0]]}{verdict}")
        if remark:
            tell(f"   {remark}")
        more = f"  and {len(order) - LIKELIEST:,} less likely classes" if len(order) > LIKELIEST else ""
        tell("   " + "  ".join(f"{names[k]}: {probabilities[k]:.1%}" for k in order[:LIKELIEST]) + more)
        rows.append((name, original, image, names, probabilities))
    if right:
        tell(f"{sum(right)} of {len(right)} right")
    try:
        tell(f"picture: {pictures.save_classified(rows, flags.out, true=truths)}")
    except RawcnnError as error:
        tell(f"no picture: {error}")


Shown = tuple[str, np.ndarray, np.ndarray, str, str | None]
"""Name, image as the net is shown it, original, remark, and true class where it is known."""


def _images(classifier: Classifier, flags: ClassifyFlags, paths: list[str]) -> list[Shown]:
    if paths:
        seen = [classifier.read(path) for path in paths]  # all, so that a bad file is named before any answer
        return [(path, *one, None) for path, one in zip(paths, seen, strict=True)]
    source = _test_images(classifier, flags.data_dir)
    names = source.class_names
    shown: list[Shown] = []
    for i in _chosen(source, flags):
        some = source.take(np.array([i]))
        image = classifier.inputs.test_images(some)[0]
        image = image[..., 0] if image.shape[-1] == 1 else image
        (file,) = some.file_names(np.array([0])) or [""]
        name = f"test image {i} ({file})" if file else f"test image {i}"
        shown.append((name, image, image, "", names[int(some.labels[0])]))
    return shown


def _chosen(source: Labelled, flags: ClassifyFlags) -> list[int]:
    if flags.index is None:
        order = np.random.Generator(np.random.Philox(key=flags.seed)).permutation(len(source))
        return sorted(order[: flags.random].tolist())
    try:
        chosen = [int(word) for word in flags.index.split(",")]
    except ValueError:
        raise UsageError(f"--index={flags.index} must be numbers with commas between, as in 3,14.") from None
    if outside := [i for i in chosen if not 0 <= i < len(source)]:
        raise UsageError(f"--index={outside[0]}: the test images are 0 ... {len(source) - 1}.")
    return chosen


def _test_images(classifier: Classifier, data_dir: str | None) -> Labelled:
    """The test images of a classifier's run, loaded again."""
    assert classifier.record is not None
    settings = classifier.record.settings
    if data_dir:
        settings = replace(settings, data_dir=data_dir, dataset=_kind_in(data_dir, settings.dataset))
    elif classifier.record.data.name not in KNOWN:
        raise UsageError(
            "The run was given its images in Python, and they are not kept: name others with --data_dir, or test it in "
            "Python with rc.load_run(directory)."
        )
    data = data_of(None, settings, classifier.net.input_shape)
    if tuple(data.test.class_names) != classifier.class_names:
        raise UsageError(
            f"The run learnt {len(classifier.class_names)} classes ({' '.join(classifier.class_names[:5])} ...), but "
            f"this data set has {' '.join(data.test.class_names[:5])} ...: give its own with --data_dir."
        )
    return data.test


def _kind_in(directory: str, dataset: str) -> str:
    """`dataset` if `directory` holds such a one, else "auto": what it holds. A run on drawn digits may read MNIST."""
    return dataset if dataset in KNOWN and KNOWN[dataset].found_in(Path(directory)) else "auto"


# evaluate


@dataclass(frozen=True)
class EvaluateFlags:
    """What `rawcnn evaluate` is told."""

    run: str | None = setting(None, FIRST, "Directory of the run whose net is tested.", path=True)
    data_dir: str | None = setting(None, FIRST, "Other data with the same classes, or where they are now.", path=True)
    crops: str | None = setting(
        None, TRAINING, "Views of each test image whose answers are averaged; by default as the run was tested.",
        choices=CROPS,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_all(self)


def _evaluate(argv: list[str]) -> None:
    usage = "usage: rawcnn evaluate --run=DIR [--crops=10] [--data_dir=DIR]\nTests a trained run again."
    told, words = read_flags(argv, EvaluateFlags, usage=usage)
    flags = EvaluateFlags(**told)
    no_words(words, "evaluate")
    run = needed(flags.run)
    classifier = load_run(run)
    assert classifier.record is not None
    settings = classifier.record.settings
    source = _test_images(classifier, flags.data_dir)
    crops = flags.crops or settings.crops
    loss = LOSSES[recipe_for(settings).loss]
    test = forms.under(settings.forms, classifier.inputs.tester(classifier.net, loss, crops))(source)
    tell(f"{len(source):,} test images, --crops={crops}, {weights_in_words(classifier.record)}")
    tell(f"test loss {test.loss:.4f}")
    tell(f"test accuracy {test.accuracy:.2%}")


@dataclass(frozen=True)
class Command:
    """A subcommand: what `rawcnn --help` says of it, and what it does with its part of the command line."""

    help: str
    do: Callable[[list[str]], None]


COMMANDS: Mapping[str, Command] = {
    "train": Command("train a net; all results go into a run directory", _train),
    "look": Command("show a data set before training: splits, classes, sizes and some images", look.command),
    "find_rate": Command("try learning rates for a few steps, and suggest one", find_rate.command),
    "sweep": Command("train a run for each combination of settings, or each fold, and compare them", sweep.command),
    "classify": Command("read images of your own with a trained run", classify),
    "evaluate": Command("test a trained run again, with other crops or other data", _evaluate),
    "export": Command("write a trained net as SavedModel, ONNX or TFLite", export_command.command),
    "pack": Command("write a folder of images as a few large files", pack_command.command),
    "summary": Command("print the table of a net", _summary),
    "nets": Command("list all nets", _nets),
    "doctor": Command("say what decides speed on this machine, and what is wrong with it", doctor.command),
}
