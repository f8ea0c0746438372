"""The arguments of a layer, checked before the layer is built: one sentence with the remedy for what people type."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from rawcnn.errors import UsageError, did_you_mean

OTHER_NAMES = {
    "kernel_size": "size", "pool_size": "size", "strides": "stride", "use_bias": "bias", "kernel_initializer": "w_init",
    "bias_initializer": "b_init", "p": "rate", "out_channels": "filters", "out_features": "units",
    "shape": "input_shape", "batch_input_shape": "input_shape", "in_channels": "input_shape", "eps": "epsilon",
}  # fmt: skip
"""What Keras and PyTorch call arguments, and what they are called here."""
WHOLE = frozenset({
    "filters", "units", "size", "stride", "groups", "n",
    "conv1x1", "conv3x3_reduce", "conv3x3", "conv5x5_reduce", "conv5x5", "pool_proj",
})  # fmt: skip
NUMBERS = frozenset({"rate", "momentum", "epsilon", "k", "alpha", "beta"})
FUNCTIONS = {"activation": "tf.nn.relu", "w_init": "he_normal", "b_init": "0.1"}
"""Arguments that Keras takes by name, with an example of what is given here."""
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "elu", "selu", "leaky_relu", "silu", "softplus")


def check_call(what: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless a call of `what` has all its arguments, no others, and sound numbers.

    >>> from rawcnn.layers import Conv2D
    >>> check_call("Conv2D", inspect.signature(Conv2D), (32,), {"kernel_size": 3, "input_shape": (28, 28, 1)})
    Traceback (most recent call last):
    rawcnn.errors.UsageError: Conv2D has no argument 'kernel_size'. It is called 'size' here.
    """
    takes = signature.parameters
    if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        for key in kwargs.keys() - takes.keys():
            ours = OTHER_NAMES.get(key)
            remedy = f" It is called {ours!r} here." if ours in takes else did_you_mean(key, takes)
            remedy = " Give rate, which is 1 - keep_prob." if key == "keep_prob" else remedy
            raise UsageError(f"{what} has no argument {key!r}.{remedy}")
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:  # such as too many of them, or one of them twice
        remedy = f"It takes {', '.join(takes)}; write all but the first ones as name=value."
        raise UsageError(f"{what}: {error}. {remedy}") from error
    for key, value in given.items():
        if not (value is None and takes[key].default is None):
            _check_value(key, value)
    named = (p for p in takes.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    if missing := [p.name for p in named if p.default is p.empty and p.name not in given]:
        raise UsageError(f"{what} lacks {', '.join(missing)}.{_REMEDY if 'input_shape' in missing else ''}")


_REMEDY = (
    " Give the shape of one image, as in input_shape=(28, 28, 1); in a table write row(Layer)(...), which gets it from "
    "the row above."
)


def _check_value(key: str, value: Any) -> None:
    if key in FUNCTIONS and not callable(value) and not (key == "b_init" and _is_number(value)):
        what = "a number or a function" if key == "b_init" else "a function"
        write = f"write {key}={FUNCTIONS[key]}"
        if key == "activation" and value in ACTIVATIONS:
            write = f"write activation=tf.nn.{value}"
        if key == "activation" and value == "softmax":
            write = "leave it out; a net gives logits, and the loss applies softmax"
        raise UsageError(f"{key} is {what}, not {value!r}: {write}.")
    if key in WHOLE:
        if isinstance(value, tuple | list):
            example = value[0] if value else 3
            raise UsageError(f"{key} is one number for both directions, not {value}: write {key}={example}.")
        if not _is_whole(value) or value < 1:
            raise UsageError(f"{key} is a whole number from 1 on, not {value!r}.")
    if key in NUMBERS and not _is_number(value):
        raise UsageError(f"{key} is a number, not {value!r}.")
    if key == "padding" and not isinstance(value, str) and not (_is_whole(value) and value >= 0):
        raise UsageError(f"padding is 'SAME', 'VALID' or, for Conv2D, a number of pixels from 0 on, not {value!r}.")
    if key == "input_shape":
        check_shape(value)


def check_shape(shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple; raises `UsageError` unless it is the shape of one image or of one flat input.

    >>> check_shape([28, 28, 1])
    (28, 28, 1)
    """
    rule = "input_shape is that of one image, (height, width, channels), or of a flat input, (784,)"
    try:
        lengths = tuple(shape)
    except (TypeError, ValueError) as error:  # a number; a `TensorShape` of unknown rank
        raise UsageError(f"{rule}, not {shape!r}.") from error
    if len(lengths) > 3 or (lengths and lengths[0] is None):
        raise UsageError(f"{rule}, not {lengths}: leave the batch axis out.")
    if not lengths or not all(_is_whole(length) and length >= 1 for length in lengths):
        raise UsageError(f"{rule}, in whole numbers from 1 on, not {shape!r}.")
    return tuple(int(length) for length in lengths)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """A layer's `__init__` that checks its arguments first."""
    signature = inspect.signature(init)
    takes = signature.replace(parameters=list(signature.parameters.values())[1:])  # without `self`

    @functools.wraps(init)
    def checking(self: Any, *args: Any, **kwargs: Any) -> None:
        check_call(type(self).__name__, takes, args, kwargs)
        init(self, *args, **kwargs)

    return checking
