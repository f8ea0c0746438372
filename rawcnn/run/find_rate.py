"""`rawcnn find_rate`: the learning-rate range test on the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rawcnn.errors import RawcnnError, UsageError
from rawcnn.run import opening
from rawcnn.run.fields import FIRST, check_all, setting
from rawcnn.run.figures import BLUE, GREY, INK, VERMILION, StrPath, new_figure, save
from rawcnn.run.flags import read_flags
from rawcnn.run.given import data_of
from rawcnn.run.output import tell
from rawcnn.run.plan import plan, recipe_for, settle
from rawcnn.run.settings import Settings
from rawcnn.train.find_rate import FEWEST, HIGHEST, LOWEST, STEPS, RateTest, follow, rising
from rawcnn.train.schedules import exponential
from rawcnn.train.strategy import MULTI_WORKER

USAGE = (
    "usage: rawcnn find_rate [--flag=value ...]\n"
    "Trains for a few steps with learning rates that rise from --lowest to --highest, until the loss explodes, and\n"
    "suggests a rate. Takes the flags of `rawcnn train`. Writes one picture and keeps nothing else."
)
LINES = 13  # of the table


@dataclass(frozen=True)
class RateFlags:
    """What `rawcnn find_rate` is told besides the settings of a run."""

    lowest: float = setting(LOWEST, FIRST, "Learning rate of the first step.", low=0.0)
    highest: float = setting(HIGHEST, FIRST, "Learning rate of the last step.", low=0.0)
    steps: int = setting(STEPS, FIRST, "Updates, each with a higher rate than the one before.", low=FEWEST)
    out: str = setting("rates.png", FIRST, "Where the picture goes.", path=True)

    def __post_init__(self) -> None:
        check_all(self)


def command(argv: Sequence[str]) -> None:
    """Test the rates as the flags in `argv` say; print a table and a suggestion, and draw the picture."""
    told, words = read_flags(argv, RateFlags, Settings, usage=USAGE, defaults={"net": "lenet5"})
    if words:
        raise UsageError(f"{words[0]!r} is not a flag: flags begin with two dashes. See rawcnn find_rate --help.")
    for name in ("learning_rate", "schedule"):
        if name in told:
            raise UsageError(f"find_rate tries learning rates of its own: leave --{name} out.")
    if told.get("strategy") == MULTI_WORKER:
        raise UsageError("find_rate trains on one machine: leave --strategy=multi_worker out.")
    flags = RateFlags(**{name: told.pop(name) for name in vars(RateFlags()) if name in told})
    settings = Settings(**told)
    found, title = try_rates(settings, flags)
    for line in verdict(found):
        tell(line)
    try:
        tell(f"picture: {save_rates(found, flags.out, title=title)}. Nothing else was kept.")
    except RawcnnError as error:
        tell(f"no picture: {error}")


def try_rates(settings: Settings, flags: RateFlags) -> tuple[RateTest, str]:
    """Train a new net with rising rates; print a line now and then. Also returns what was trained, in words."""
    rates = rising(flags.lowest, flags.highest, flags.steps)
    recipe = recipe_for(settings)
    settings = settle(settings, recipe)
    opening.use_threads(settings, recipe)
    data = data_of(None, settings)
    ready = plan(replace(settings, learning_rate=flags.lowest), data, recipe=recipe)
    ready.inputs.prepare(ready.net, data.train)
    ready.state.optimizer.learning_rate = exponential(flags.lowest, flags.highest, flags.steps)
    title = f"{settings.net} on {data.name}, {settings.optimizer}, batches of {settings.batch_size}"
    tell(f"{title}\n\n{'learning rate':>13}  {'loss, smoothed':>14}")
    told = set(np.linspace(0, flags.steps - 1, LINES).round().astype(int).tolist())

    def watch(step: int, loss: float) -> None:
        if step in told:
            tell(f"{rates[step]:13.1e}  {loss:14.4f}")

    return follow(ready.train(data.train, epochs=flags.steps, pause_every=1), rates, watch), title


def verdict(found: RateTest) -> list[str]:
    """What the test says, in lines: how it ended, the suggestion, its rule, and what to do next."""
    rates, suggestion = found.rates, found.suggestion
    if not len(rates):
        return ["", "the loss is not finite at the first step: give a smaller --lowest, or check the images"]
    end = f"the loss exploded at {rates[-1]:.1e}" if found.exploded else f"the loss did not explode up to {rates[-1]:g}"
    if suggestion is None:
        return ["", end, "no suggestion: the loss did not fall. Try a higher --highest, or another optimizer or net."]
    where = f"one tenth of {rates[found.at]:.1e}, where the smoothed loss was lowest ({found.smoothed.min():.4f})"
    lines = ["", end, f"suggestion: --learning_rate={suggestion:g}", f"rule: {where}"]
    if not found.exploded and found.at == len(rates) - 1:
        lines.append(f"the loss still fell at the highest rate: try --highest={10 * rates[-1]:g}")
    around = ",".join(f"{float(f'{suggestion * factor:.1e}'):g}" for factor in (1 / 3, 1, 3))
    return [*lines, "It is a suggestion from few steps. Compare rates by their validation accuracy:",
            f"rawcnn sweep --learning_rate={around} ..."]  # fmt: skip


def save_rates(found: RateTest, path: StrPath, *, title: str) -> Path:
    """Draw the losses against the rates, which have a logarithmic axis; lines mark the lowest loss and the suggestion.

    Raises `RawcnnError` if there is nothing to draw, if matplotlib is missing, or if the file cannot be written.
    """
    if not len(found.rates):
        raise RawcnnError("there is no finite loss to draw.")
    figure = new_figure(8, 4.9, title)
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, ".", color=GREY, label="loss of each batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    if found.suggestion is not None:
        axes.axvline(found.rates[found.at], color=INK, linestyle=":", label="lowest smoothed loss")
        axes.axvline(found.suggestion, color=VERMILION, linestyle="--", label=f"suggestion: {found.suggestion:g}")
    axes.set_xscale("log")
    # An explosion would press all the rest flat.
    axes.set_ylim(0, min(1.1 * float(found.losses.max()), 2 * float(np.median(found.losses[:10]))) or 1)
    axes.set_xlabel("learning rate of the step")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
