"""What `fit`, `evaluate` and `predict` ask of the net and the images that they are given, before work starts."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Labelled
from rawcnn.errors import UsageError, did_you_mean
from rawcnn.nets.chain import Chain
from rawcnn.train.recipes import Recipe

P = ParamSpec("P")
R = TypeVar("R")
OF_KERAS = {
    "validation_split": "Split the source: train, validation = source.split(0.1).",
    "validation_data": "Give validation=rc.Source(images, labels).",
    "verbose": "fit prints nothing: print what it yields.",
    "callbacks": "fit yields after every half second: do what you want in the loop.",
    "x": "Images and labels go together: rc.Source(images, labels).",
    "y": "Images and labels go together: rc.Source(images, labels).",
    "lr": "Did you mean 'learning_rate'?",
}
"""Arguments that Keras takes, and what is written here."""
KINDS = {
    "recipe": (Recipe, "a Recipe, as in recipe=rc.recipe_of('lenet5')"),
    "preprocess": (Preprocess, "a Preprocess, as in preprocess=rc.Preprocess(low=-1.0)"),
}
LEAST = {"epochs": 1, "batch_size": 1, "shards": 1, "accumulate": 1, "pause_every": 1, "seed": 0}


def net_and_source(function: Callable[P, R]) -> Callable[P, R]:
    """`function(net, source, ...)`, with a sentence for what is often given in the place of the two and of others."""
    takes = inspect.signature(function).parameters

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
        for key in kwargs.keys() - takes.keys():
            remedy = f" {OF_KERAS[key]}" if key in OF_KERAS else did_you_mean(key, takes)
            raise UsageError(f"{name} has no argument {key!r}.{remedy}")
        _check_values(dict(zip(takes, args, strict=False)) | kwargs)
        return function(*args, **kwargs)

    return checked


def _check_values(given: Mapping[str, Any]) -> None:
    for key, least in LEAST.items():
        value = given.get(key)
        if value is not None and not (isinstance(value, Integral) and int(value) >= least and value is not True):
            raise UsageError(f"{key} is a whole number from {least} on, not {value!r}.")
    for key, (kind, what) in KINDS.items():
        if given.get(key) is not None and not isinstance(given[key], kind):
            raise UsageError(f"{key} is {what}, not {given[key]!r}.")


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
    check_logits(net)
    check_channels(net, train)
    check_labels(net, train)


def check_logits(net: Chain) -> None:
    """Raise `UsageError` if the last row gives probabilities: the loss would make probabilities of them again."""
    name, last = list(net.rows)[-1]
    if getattr(last, "activation", None) is tf.nn.softmax:
        raise UsageError(
            f"The last row, {name!r}, has activation=tf.nn.softmax: leave it out. The net gives logits, and the loss "
            "applies softmax."
        )


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
