"""The head of the page: what the run was, and how good its net is. It is the model card."""

from datetime import datetime, timezone

import rawcnn
from rawcnn.report.markup import Content, Markup, count, tag
from rawcnn.report.measures import wilson
from rawcnn.report.opened import OpenRun
from rawcnn.report.tested import Tested
from rawcnn.run.opening import FIT_WORDS

MOST_CLASSES = 40
COLOURS = {1: "grey", 3: "in colour"}


def section(run: OpenRun, tested: Tested | None) -> Markup:
    """The name, the accuracy with its interval, and the facts of the run."""
    return tag("header", tag("h1", run.title), accuracy(run, tested), facts(run, tested), id="top")


def accuracy(run: OpenRun, tested: Tested | None) -> Markup:
    """The test accuracy in large letters, with what it is worth."""
    if tested is None:
        return tag(
            "p",
            tag("strong", "This page has no images. "),
            run.missing or "The run has no test images.",
            class_="warning",
        )
    low, high = wilson(tested.right, len(tested.labels))
    told = (
        f"of {count(len(tested.labels), 'test image')} are recognised. With other test images of the same kind the "
        f"result would differ a little: the 95 % interval is {100 * low:.2f} % to {100 * high:.2f} %."
    )
    return tag("p", tag("strong", f"{100 * tested.accuracy:.2f} %", class_="big"), " ", told, class_="headline")


def facts(run: OpenRun, tested: Tested | None) -> Markup:
    """The model card: a list of names and values."""
    entries = [*_net(run), *_training(run), *_place(run)]
    commands = [("Train such a net", run.command()), ("Continue this run", run.command(resume=True))]
    short = [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries]
    long = [tag("div", tag("dt", name), tag("dd", _command(words)), class_="wide") for name, words in commands]
    return tag("dl", short, long, class_="facts")


def _command(words: str) -> Markup:
    """A command whose lines break between flags, not within them."""
    first, *flags = words.split(" --")
    return tag("code", first, [[" ", tag("span", f"--{flag}")] for flag in flags])


def _net(run: OpenRun) -> list[tuple[str, Content]]:
    net, data = run.net, run.record.data
    height, width, channels = net.input_shape
    adds = sum(layer.multiply_adds() for _, layer in net.rows)
    named = ", ".join(run.class_names[:MOST_CLASSES]) + (", ..." if len(run.class_names) > MOST_CLASSES else "")
    given = f"; images {FIT_WORDS[run.inputs.fit]}" if run.inputs.fit else ""
    sizes = f"{data.name}: {count(data.training_images, 'training image')}"
    if run.data is not None:
        held_out = "none" if run.data.validation is None else f"{len(run.data.validation):,}"
        sizes += f", {held_out} for validation, {len(run.data.test):,} for the test"
    return [
        ("Net", f"{run.settings.net}: {count(net.num_params(), 'parameter')}, {adds:,} multiply-adds an image"),
        ("Input", f"{height}x{width} pixels, {COLOURS.get(channels, f'{channels} channels')}{given}"),
        ("Data", sizes),
        ("Classes", f"{len(run.class_names)}: {named}"),
        ("Precision", f"{run.settings.precision} (weights are float32)"),
    ]


def _training(run: OpenRun) -> list[tuple[str, Content]]:
    now, history, best = run.settings, run.record.history, run.record.best
    done = f"{len(history)} of {count(now.epochs, 'epoch')}"
    if best and best.val_accuracy is not None:
        done += f"; best validation accuracy {100 * best.val_accuracy:.2f} % after epoch {best.epoch}"
    recipe = (
        f"{now.recipe}: {now.optimizer}, learning rate {now.learning_rate or 0:g} at the start ({now.schedule}), "
        f"{count(now.batch_size or 0, 'image')} an update"
    )
    entries: list[tuple[str, Content]] = [("Trained", done), ("Recipe", recipe), ("Seed", str(now.seed))]
    if now.weights:
        entries.append(("First weights", f"{count(len(run.record.loaded), 'row')} from {now.weights}"))
    if now.freeze:
        until = "" if now.unfreeze_after is None else f", for {count(now.unfreeze_after, 'epoch')}"
        entries.append(("Frozen", now.freeze + until))
    seconds = [row.seconds for row in history]
    if seconds:
        entries.append(("Time", f"{_duration(sum(seconds))} ({_duration(sum(seconds) / len(seconds))} an epoch)"))
    return entries


def _place(run: OpenRun) -> list[tuple[str, Content]]:
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return [
        ("Trained on", run.origin.machine),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.origin.versions.items())),
        ("Threads", str(run.settings.threads)),
        ("This page", f"made {made} by rawcnn {rawcnn.__version__}"),
    ]


def _duration(seconds: float) -> str:
    """A time in words.

    >>> _duration(12.34), _duration(754), _duration(7300)
    ('12.3 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
