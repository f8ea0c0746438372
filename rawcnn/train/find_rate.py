"""The learning-rate range test: one short training whose rate rises at each step shows which rates train a net."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rawcnn.data.source import Labelled
from rawcnn.errors import RunError, UsageError
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain
from rawcnn.train.fit import Progress
from rawcnn.train.schedules import exponential
from rawcnn.train.simple import fit

LOWEST, HIGHEST, STEPS, FEWEST = 1e-6, 1.0, 150, 20
EXPLODED = 4.0
"""The test ends when the smoothed loss is so many times its lowest value."""
FELL = 0.95
"""There is a suggestion only if the smoothed loss came below this part of where it began."""
SMOOTHING = 0.9
BEGINNING = 10  # steps
DECIDED = ("learning_rate", "epochs", "validation", "pause_every")
"""Arguments of `fit` that the test decides itself."""


@dataclass(frozen=True)
class RateTest:
    """A range test: `losses[i]` is the loss of the batch that the net was trained on with `rates[i]`, float64 `[S]`.

    `exploded` says whether the test ended because the loss exploded.

    >>> RateTest(np.geomspace(0.001, 0.3, 31), np.linspace(2.0, 1.0, 31), exploded=False).suggestion
    0.03
    """

    rates: np.ndarray
    losses: np.ndarray
    exploded: bool

    @property
    def smoothed(self) -> np.ndarray:
        """The losses' running means, float64 `[S]`: each loss counts 0.9 times as much as the next one."""
        return smooth(self.losses)

    @property
    def at(self) -> int:
        """The step at which the smoothed loss was lowest."""
        return int(self.smoothed.argmin())

    @property
    def suggestion(self) -> float | None:
        """One tenth of the rate at the lowest smoothed loss, in two digits; None if the loss did not fall by 5 %."""
        if not len(self.losses) or self.smoothed[self.at] > FELL * np.median(self.losses[:BEGINNING]):
            return None
        return float(f"{self.rates[self.at] / 10:.1e}")


def smooth(losses: Any) -> np.ndarray:
    """Running means of `losses` `[S]` in which each counts 0.9 times as much as the next; float64 `[S]`.

    >>> smooth([1.0, 1.0, 1.0]).tolist()
    [1.0, 1.0, 1.0]
    """
    means, total, weight = [], 0.0, 0.0
    for loss in losses:
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1.0
        means.append(total / weight)
    return np.array(means, np.float64)


def find_rate(
    net: Chain,
    source: Labelled,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    **training: Any,
) -> RateTest:
    """Train `net` on `source` for `steps` steps with rates that rise from `lowest` to `highest`, by equal factors.

    Smith 2017, "Cyclical learning rates for training neural networks", section 3.3; as most do today, the rates rise
    exponentially, not linearly. It stops when the loss explodes: when it is not finite, or when its running mean is 4
    times the lowest. After it the net's numbers are what they were, bit for bit.

    `training` are arguments of `fit` (batch_size, optimizer, recipe, loss, ...). Raises `UsageError` for those that the
    test decides itself, for rates that do not rise, and as `fit` does.

    >>> from rawcnn.data.source import Source
    >>> from rawcnn.layers import Dense, Flatten
    >>> from rawcnn.nets.chain import row
    >>> net = Chain((("flat", row(Flatten)()), ("logits", row(Dense)(2))), input_shape=(4, 4, 1))
    >>> source = Source(np.repeat([0, 255], 40)[:, None, None] * np.ones((4, 4)), np.repeat([0, 1], 40))
    >>> found = find_rate(net, source, steps=30)
    >>> len(found.rates), found.exploded, found.suggestion is None
    (30, False, False)
    """
    for name in DECIDED:
        if name in training:
            raise UsageError(f"find_rate decides {name} itself: leave it out.")
    if not isinstance(training.get("optimizer"), str | None):
        raise UsageError("find_rate tries rates of its own: name the optimizer, as in optimizer='adam'.")
    rates = rising(lowest, highest, steps)
    with unchanged(net):
        schedule = exponential(lowest, highest, steps)
        return follow(fit(net, source, steps, learning_rate=schedule, pause_every=1, **training), rates)


def rising(lowest: float, highest: float, steps: int) -> np.ndarray:
    """The rates of all steps, float64 `[steps]`. Raises `UsageError` unless they rise from above 0 in enough steps."""
    if not 0 < lowest < highest < float("inf"):
        raise UsageError(f"The rates must rise from above 0, but lowest is {lowest:g} and highest is {highest:g}.")
    if steps < FEWEST:
        raise UsageError(f"A range test takes {FEWEST} steps or more, not {steps}.")
    return np.geomspace(lowest, highest, steps)


def follow(
    training: Iterator[Progress], rates: np.ndarray, watch: Callable[[int, float], None] = lambda step, loss: None
) -> RateTest:
    """Follow a training that yields after each step and whose rates are `rates`, to the last of them or an explosion.

    `watch` is told each step, counted from 0, and the smoothed loss.
    """
    losses: list[float] = []
    before, exploded = 0.0, False
    try:
        for now in training:
            losses.append(now.loss_sum - before)
            before = 0.0 if now.epoch_ended else now.loss_sum
            smoothed = smooth(losses)
            watch(len(losses) - 1, smoothed[-1])
            exploded = bool(smoothed[-1] > EXPLODED * smoothed.min())
            if exploded or len(losses) == len(rates):
                break
    except RunError:  # the loss, or a gradient, is not finite
        exploded = True
    return RateTest(rates[: len(losses)], np.array(losses, np.float64), exploded)


@contextmanager
def unchanged(net: Chain) -> Iterator[None]:
    """After the block the numbers of `net`, its precision and what `fit` noted on it are those before."""
    before = {name: np.array(variable.numpy()) for name, variable in named_variables(net).items()}
    chains = (net, *(head for _, _, head in net.heads))
    policies = [chain.policy for chain in chains]
    noted = {name: getattr(net, name, None) for name in ("_shown", "expects")}
    try:
        yield
    finally:
        for name, variable in named_variables(net).items():
            variable.assign(before[name])
        for chain, policy in zip(chains, policies, strict=True):
            chain.policy = policy
        for name, value in noted.items():
            setattr(net, name, value)
