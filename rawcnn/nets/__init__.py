"""All nets by name: `list_nets`, `create_net`, and `register_net` for a net of your own."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rawcnn.errors import UsageError, did_you_mean
from rawcnn.nets.alexnet import (
    alexnet,
    alexnet_bn,
    alexnet_dogs,
    alexnet_dogs_small,
    alexnet_one_tower,
    alexnet_valid,
)
from rawcnn.nets.chain import Chain
from rawcnn.nets.cifar import cifar_basic, cifar_fast, cifar_wide
from rawcnn.nets.googlenet import googlenet, googlenet_dogs
from rawcnn.nets.lenet import lenet5, lenet5_relu, lenet5_tanh
from rawcnn.nets.precision import FLOAT32, Policy
from rawcnn.nets.vgg import vgg11, vgg13, vgg16, vgg16c, vgg19
from rawcnn.nets.vgg_bn import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn

Build = Callable[..., Chain]
"""`build(input_shape=(H, W, C), num_classes=K, *, seed=0, policy=FLOAT32)` makes a net."""

_ALL: tuple[Build, ...] = (
    lenet5, lenet5_tanh, lenet5_relu,
    alexnet, alexnet_one_tower, alexnet_bn, alexnet_valid, alexnet_dogs, alexnet_dogs_small,
    vgg11, vgg13, vgg16c, vgg16, vgg19, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn,
    googlenet, googlenet_dogs,
    cifar_basic, cifar_wide, cifar_fast,
)  # fmt: skip
NETS: dict[str, Build] = {net.__name__: net for net in _ALL}


def list_nets() -> list[str]:
    """The names of all nets: those of rawcnn, then those that `register_net` added.

    >>> list_nets()[:3]
    ['lenet5', 'lenet5_tanh', 'lenet5_relu']
    """
    return list(NETS)


def create_net(
    name: str,
    num_classes: int | None = None,
    input_shape: Sequence[int] | None = None,
    *,
    seed: int = 0,
    policy: Policy = FLOAT32,
    **more: Any,
) -> Chain:
    """The net called `name`, with new weights that are a function of `seed`.

    `num_classes` and `input_shape` (height, width, channels) are the net's own unless given; `policy` decides what it
    computes in (`rawcnn.nets.precision`); `more` are arguments that only some nets take, such as VGG's `include_top`.
    Raises `UsageError` for an unknown name or argument, and where the input is too small for a row of the net.

    >>> create_net("vgg16", num_classes=10, input_shape=(32, 32, 3)).out_shape
    (10,)
    """
    build = _build(name)
    given = {"num_classes": num_classes, "input_shape": input_shape}
    arguments = {key: value for key, value in given.items() if value is not None} | more
    takes = inspect.signature(build).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        for key in arguments.keys() - takes.keys():
            raise UsageError(f"{name} has no argument {key!r}.{did_you_mean(key, takes)} It takes {', '.join(takes)}.")
    return build(**arguments, seed=seed, policy=policy)


def register_net(name: str, build: Build) -> None:
    """Give a net of your own a name, by which `create_net`, the training command and `load_run` then find it.

    `build` takes the arguments that all nets take, `input_shape` with a default, and returns a `Chain`. Registering one
    function again, as a notebook cell that runs twice does, replaces it. Raises `UsageError` for a name that is taken
    or that is not a Python name, and for a function with other arguments.

    >>> def my_net(input_shape=(28, 28, 1), num_classes=10, *, seed=0, policy=FLOAT32):
    ...     from rawcnn.layers import Dense, Flatten
    ...     from rawcnn.nets.chain import row
    ...     table = (("flat", row(Flatten)()), ("logits", row(Dense)(num_classes)))
    ...     return Chain(table, input_shape=input_shape, seed=seed, policy=policy)
    >>> register_net("my_net", my_net)
    >>> create_net("my_net", num_classes=3).num_params()
    2355
    >>> del NETS["my_net"]  # this example forgets it again
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise UsageError(f"{name!r} cannot name a net: use letters, digits and underscores, as in 'my_net'.")
    if name in NETS and not _same_function(NETS[name], build):
        raise UsageError(f"There is already a net called {name!r}: choose another name.")
    if not callable(build):
        raise UsageError(f"register_net({name!r}, ...) needs a function that builds the net, not {build!r}.")
    takes = inspect.signature(build).parameters
    missing = [key for key in ("input_shape", "num_classes", "seed", "policy") if key not in takes]
    if missing or takes["input_shape"].default is inspect.Parameter.empty:
        what = f"it lacks {', '.join(missing)}" if missing else "its input_shape has no default"
        raise UsageError(
            f"The function of net {name!r} must be like build(input_shape=(28, 28, 1), num_classes=10, *, seed=0, "
            f"policy=FLOAT32), but {what}."
        )
    NETS[name] = build


def _same_function(one: Build, other: object) -> bool:
    """Whether both come from the same `def`: a lambda has no name by which to tell."""
    here, there = ((getattr(f, "__module__", None), getattr(f, "__qualname__", None)) for f in (one, other))
    return one is other or (here == there and here[1] is not None and "<lambda>" not in here[1])


def _build(name: str) -> Build:
    if name in NETS:
        return NETS[name]
    raise no_such_net(name)


def no_such_net(name: str, known: Iterable[str] = NETS) -> UsageError:
    """The error that says so, which net may be meant, and which of the `known` ones can be chosen."""
    return UsageError(f"There is no net {name!r}.{did_you_mean(name, NETS)} Choose one of {', '.join(known)}.")


def input_shape(net: str) -> tuple[int, int, int]:
    """(height, width, channels) that the net of that name takes unless told otherwise.

    >>> input_shape("alexnet")
    (227, 227, 3)
    """
    shape: tuple[int, int, int] = inspect.signature(_build(net)).parameters["input_shape"].default
    return shape
