"""What `fit`, `evaluate` and `predict` ask of the net and the images that they are given, before work starts."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from rawcnn.data.source import Labelled
from rawcnn.errors import UsageError
from rawcnn.nets.chain import Chain

P = ParamSpec("P")
R = TypeVar("R")


def net_and_source(function: Callable[P, R]) -> Callable[P, R]:
    """`function(net, source, ...)`, with a sentence for what is often given in the place of the two."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        name = function.__name__
        for net in args[:1]:
            check_chain(net, name)
        for source in [
            *args[1:2],
            *(kwargs[key] for key in ("train", "source", "validation") if kwargs.get(key) is not None),
        ]:
            if not isinstance(source, Labelled):
                splits = " Give one of its splits, as in data.train." if hasattr(source, "train") else ""
                raise UsageError(
                    f"{name} takes images and their labels together, in a Source, not a {type(source).__name__}: write "
                    f"rc.{name}(net, rc.Source(images, labels), ...).{splits}"
                )
        return function(*args, **kwargs)

    return checked


def check_chain(net: object, name: str) -> None:
    """Raise `UsageError` unless `net`, the first argument of the function `name`, is a net of images."""
    if not isinstance(net, Chain):
        raise UsageError(f"{name}'s first argument is the net, a Chain, not a {type(net).__name__}.")
    check_takes_images(net)


def check_takes_images(net: Chain) -> None:
    """Raise `UsageError` unless the net's input is an image with channels."""
    if len(net.input_shape) != 3:
        raise UsageError(
            f"The net's input is {net.input_shape}, but images are (height, width, channels): make the net with "
            "input_shape=(28, 28, 1), say, and where it needs flat numbers begin its table with a Flatten row."
        )


def check_fit(net: Chain, train: Labelled) -> None:
    """Raise `UsageError` unless `net` can learn the classes of `train` from its images."""
    if len(net.out_shape) != 1:
        raise UsageError(f"The last row gives {net.out_shape} an image, not one number a class: end in Flatten, Dense.")
    check_channels(net, train)
    check_labels(net, train)


def check_labels(net: Chain, source: Labelled) -> None:
    """Raise `UsageError` unless `net` has an output for each class of `source`."""
    classes = net.out_shape[-1]
    if len(source.labels) and (largest := int(source.labels.max())) >= classes:
        raise UsageError(
            f"There are labels up to {largest}, but the net knows {classes} classes, 0 ... {classes - 1}: "
            f"give its last row {largest + 1} outputs."
        )


def check_channels(net: Chain, source: Labelled) -> None:
    """Raise `UsageError` unless `net` takes images of as many channels as those of `source` have."""
    channels = net.input_shape[2]
    if source.shape[2] != channels:
        raise UsageError(
            f"The net takes images of {channels} channel{'s' if channels > 1 else ''}, but these are "
            f"{'x'.join(map(str, source.shape))}: make the net with another input_shape, or convert the images."
        )
