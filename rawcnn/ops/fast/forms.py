"""Faster, equal forms of TensorFlow's ops, and the switch that turns them off.

rawcnn computes some ops in a form that gives the same numbers (but for rounding) in less time. Each has a name here, a
test that it equals the plain form in value and gradient, and a row in `benchmarks/forms.py` that says what it gains.

>>> with plain("lrn"):
...     fast("lrn"), fast("average_pool")
(False, True)
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rawcnn.errors import UsageError

FORMS = {
    "average_pool": "gradient of average pooling of few channels: each number copied over its window",
    "add_bias": "gradient of a bias of few channels: whole rows of pixels are summed first",
    "conv2d_rows": "filter gradient of a convolution of one channel, bfloat16: as a product of rows of pixels",
    "conv2d_strips": "input gradient of a convolution of few channels, float32: by rows, then by strips of columns",
    "conv2d_products": "filter gradient of large windows on many channels: a matrix product for each of its pixels",
    "conv2d_1x1": "gradients of filters and bias of windows of one pixel in bfloat16: matrix products",
    "conv2d_interleaved": "large windows on small maps of many channels: 16 images interleaved to one wide map",
    "conv2d_abreast": "filter and bias gradients on narrow maps of many channels, bfloat16: of images laid abreast",
    "conv2d_space_to_depth": "a first convolution with a stride: space-to-depth, then without a stride",
    "lrn": "local response normalisation: the window's sum by a band matrix, all else in two passes each way",
    "gelu": "GELU in one pass through memory each way",
    "relu": "gradient of ReLU in bfloat16",
    "inception": "the 1x1 convolutions of an inception module that read its input, as one",
    "tanh": "gradient of tanh in bfloat16",
}

OF_PLAIN_OPS = ("conv2d_space_to_depth", "inception")
"""Those made of TensorFlow's ops alone: the others leave function calls or gradients of their own in graphs."""

_plain: set[str] = set()


def fast(name: str) -> bool:
    """Whether the faster form `name` is in use; asked when a graph is traced."""
    return name not in _plain


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
