"""Faster, equal forms of TensorFlow's ops: where each pays, and the switches that turn them off.

rawcnn computes some ops in a form that gives the same numbers (but for rounding) in less time. Each has a name here, a
test that it equals the plain form in value and gradient, and rows in `benchmarks/forms.py` that say what it gains on
each instruction set. Which are in use is decided when a graph is traced, by the processor alone, never by a clock:

>>> with chosen_for("AVX2"), plain("lrn"):
...     fast("lrn"), fast("conv2d_1x1"), fast("conv2d_winograd")
(False, False, True)

With a GPU visible none is in use: TensorFlow's own ops are cuDNN there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from rawcnn.errors import UsageError
from rawcnn.machine import AMX, AVX2, AVX512, AVX512_BF16, OTHER, SETS, gpus, instruction_set

NONE = "none"
CHOICES = (*SETS[:-1], NONE)
"""For what forms can be chosen: an instruction set, or "none" for TensorFlow's own ops throughout."""


class About(NamedTuple):
    """What a form is, and the instruction sets on which it pays: it wins 3 % or more of some net's training there."""

    what: str
    pays: frozenset[str]


# The sets are those for which docs/performance.md has a measurement. Float32 is computed by the same kernels on all
# sets with AVX512.
_WITH_AMX = frozenset({AMX})
_WITH_AVX512 = frozenset({AMX, AVX512_BF16, AVX512})
_WITH_BFLOAT16 = frozenset({AMX, AVX512_BF16})
_EVERYWHERE = frozenset({AMX, AVX512_BF16, AVX512, AVX2})

FORMS = {
    "average_pool": About(
        "gradient of average pooling of few channels: each number copied over its window", _EVERYWHERE
    ),
    "add_bias": About("gradient of a bias of few channels: whole rows of pixels are summed first", _EVERYWHERE),
    "conv2d_rows": About(
        "filter gradient of a convolution of one channel, bfloat16: as a product of rows of pixels", _WITH_AMX
    ),
    "conv2d_strips": About(
        "input gradient of a convolution of few channels, float32: by rows, then by strips of columns", _EVERYWHERE
    ),
    "conv2d_products": About(
        "filter gradient of large windows on many channels: a matrix product for each of its pixels", _WITH_AVX512
    ),
    "conv2d_1x1": About(
        "gradients of filters and bias of windows of one pixel in bfloat16: matrix products", _WITH_AMX
    ),
    "conv2d_interleaved": About(
        "large windows on small maps of many channels: 16 images interleaved to one wide map", _WITH_AMX
    ),
    "conv2d_abreast": About(
        "filter and bias gradients on narrow maps of many channels, bfloat16: of images laid abreast", _WITH_AMX
    ),
    "conv2d_winograd": About(
        "windows of 3x3 (and on AVX2 4x4, 5x5) on many channels, float32: Winograd's filtering, 36 products for 144",
        _EVERYWHERE,
    ),
    "conv2d_space_to_depth": About(
        "a first convolution with a stride: space-to-depth, then without a stride", _WITH_BFLOAT16
    ),
    "conv2d_blocks": About(
        "a convolution of one image of one channel in what XLA compiles: by blocks of 4 columns", _EVERYWHERE
    ),
    "lrn": About(
        "local response normalisation: the window's sum by a band matrix, all else in two passes each way", _EVERYWHERE
    ),
    "gelu": About("GELU in one pass through memory each way", _WITH_AVX512),
    "relu": About("gradient of ReLU in bfloat16", _WITH_AMX),
    "inception": About("the 1x1 convolutions of an inception module that read its input, as one", _WITH_AMX),
    "tanh": About("gradient of tanh in bfloat16", _WITH_AMX),
}

OF_PLAIN_OPS = ("conv2d_space_to_depth", "conv2d_blocks", "inception")
"""Those made of TensorFlow's ops alone: the others leave function calls or gradients of their own in graphs."""

_plain: set[str] = set()
_chosen: list[str] = []  # for what `chosen_for` chose, the innermost last
_used: list[set[str]] = []  # what `recorded` has seen
_xla: list[bool] = []  # one for each `compiled` block


def here() -> str:
    """For what forms are chosen on this machine: its instruction set, or "none" with a GPU or on other processors."""
    found = instruction_set()
    return NONE if found == OTHER or gpus() else found


def in_use() -> str:
    """For what forms are chosen just now: one of `CHOICES`."""
    return _chosen[-1] if _chosen else here()


def fast(name: str, suits: bool = True) -> bool:
    """Whether the faster form `name` is in use for a case that `suits` it or not; asked when a graph is traced."""
    taken = suits and name not in _plain and in_use() in FORMS[name].pays
    if taken:
        for used in _used:
            used.add(name)
    return taken


def state() -> tuple[str, frozenset[str]]:
    """All that decides `fast` on one machine: a graph that was traced under one state is not used under another."""
    return _chosen[-1] if _chosen else "", frozenset(_plain)


@contextmanager
def chosen_for(name: str) -> Iterator[None]:
    """Within the block forms are those that pay for `name`, one of `CHOICES`, in whatever is traced there.

    A run keeps the forms that it began with, also on another processor: so it keeps its numbers.
    """
    if name not in CHOICES:
        raise UsageError(f"Forms are chosen for {', '.join(CHOICES)}, not {name!r}.")
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


def under(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, called and so traced within `chosen_for(name)`."""

    def called(*args: Any, **kwargs: Any) -> Any:
        with chosen_for(name):
            return function(*args, **kwargs)

    return called


@contextmanager
def compiled() -> Iterator[None]:
    """Within the block XLA compiles what is traced, by kernels of its own, for which other forms are fast."""
    _xla.append(True)
    try:
        yield
    finally:
        _xla.pop()


def for_xla() -> bool:
    """Whether XLA compiles what is being traced."""
    return bool(_xla)


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Gives a set to which each form is added that is used within the block, where graphs are traced for that alone."""
    used: set[str] = set()
    _used.append(used)
    try:
        yield used
    finally:
        _used.remove(used)


def for_record() -> bool:
    """Whether what is being traced will never run: a form that takes long to trace may give TensorFlow's op."""
    return bool(_used)


@contextmanager
def plain(*names: str) -> Iterator[None]:
    """Within the block TensorFlow's own form is used for `names` (or for "all"), in whatever is traced there.

    Raises `UsageError` for a name that is not one of `FORMS`.
    """
    if unknown := set(names) - set(FORMS) - {"all"}:
        raise UsageError(f"No faster form is called {min(unknown)!r}: choose all or {', '.join(FORMS)}.")
    new = set(FORMS if "all" in names else names) - _plain
    _plain.update(new)
    try:
        yield
    finally:
        _plain.difference_update(new)


def plain_ops() -> AbstractContextManager[None]:
    """Within the block only ops that other programs know are traced: converters to ONNX and TFLite refuse the rest."""
    return plain(*(name for name in FORMS if name not in OF_PLAIN_OPS))
