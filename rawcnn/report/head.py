"""The head of the page: what the run was, and how good its net is. It is the model card."""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import rawcnn
from rawcnn.machine import cores
from rawcnn.report.markup import Content, Markup, count, tag
from rawcnn.report.measures import wilson
from rawcnn.report.opened import OpenRun
from rawcnn.report.tested import Tested

MOST_CLASSES = 40
COLOURS = {1: "grey", 3: "in colour"}


def title(run: OpenRun) -> str:
    """What the page is called."""
    return f"{run.name} on {run.data_name}"


def section(run: OpenRun, tested: Tested | None) -> Markup:
    """The name, the accuracy with its interval, and the facts of the run."""
    return tag("header", tag("h1", title(run)), accuracy(run, tested), facts(run, tested), id="top")


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
    entries = [*_net(run), *_training(run), *_place(run), *_commands(run)]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in entries], class_="facts")


def _net(run: OpenRun) -> list[tuple[str, Content]]:
    net, flags = run.net, run.flags
    height, width, channels = net.input_shape
    adds = sum(layer.multiply_adds() for _, layer in net.rows)
    named = ", ".join(run.class_names[:MOST_CLASSES]) + (", …" if len(run.class_names) > MOST_CLASSES else "")
    sizes = f"{run.data_name}: {count(int(run.meta['data']['training images']), 'training image')}"
    if run.data is not None:
        sizes += f", {len(run.data.validation):,} for validation, {len(run.data.test):,} for the test"
    return [
        ("Net", f"{run.name}: {count(net.num_params(), 'parameter')}, {adds:,} multiply-adds an image"),
        ("Input", f"{height}x{width} pixels, {COLOURS.get(channels, f'{channels} channels')}"),
        ("Data", sizes),
        ("Classes", f"{len(run.class_names)}: {named}"),
        ("Precision", f"{flags['precision']} (weights are float32)"),
    ]  # fmt: skip


def _training(run: OpenRun) -> list[tuple[str, Content]]:
    flags, history = run.flags, run.history
    done = f"{len(history)} of {count(int(flags['epochs']), 'epoch')}"
    best = run.meta.get("best")
    if best:
        done += f"; best validation accuracy {100 * best['val_accuracy']:.2f} % after epoch {best['epoch']}"
    entries: list[tuple[str, Content]] = [
        ("Trained", done),
        ("Recipe", f"{flags['recipe']}: {flags['optimizer']}, learning rate {flags['learning_rate']:g} at the start, "
                   f"{count(int(flags['batch_size']), 'image')} an update"),
        ("Seed", str(flags["seed"])),
    ]  # fmt: skip
    seconds = [float(row["seconds"]) for row in history if isinstance(row.get("seconds"), int | float)]
    if seconds:
        entries.append(("Time", f"{_duration(sum(seconds))} ({_duration(sum(seconds) / len(seconds))} an epoch)"))
    return entries


def _place(run: OpenRun) -> list[tuple[str, Content]]:
    versions: dict[str, Any] = run.meta.get("versions", {})
    entries: list[tuple[str, Content]] = [("Versions", ", ".join(f"{name} {v}" for name, v in versions.items()))]
    machine = run.meta.get("machine")
    threads = run.flags.get("threads") or 0
    if machine or threads:
        entries.append(("Machine", machine or f"{count(int(threads), 'thread')}"))
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    entries.append(("This page", f"made {made} by rawcnn {rawcnn.__version__} on {count(cores(), 'core')}"))
    return entries


def _commands(run: OpenRun) -> Sequence[tuple[str, Content]]:
    more = {"Train it again": run.command(), "Continue it": run.command(resume=True)}
    return [(name, tag("code", command)) for name, command in more.items()]


def _duration(seconds: float) -> str:
    """A time in words.

    >>> _duration(12.34), _duration(754), _duration(7300)
    ('12.3 s', '12 min 34 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
