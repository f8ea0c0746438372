"""Errors that a user can act on: each message names what, where, the rule and the remedy."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


class RawcnnError(Exception):
    """Base of every error that rawcnn raises for a user's mistake; the examples print it as one line."""


class DataError(RawcnnError, ValueError):
    """A file, image, label or data set that cannot be used as it is."""


class DownloadError(RawcnnError, OSError):
    """A data set that no mirror would give."""


class RunError(RawcnnError):
    """A run directory or a checkpoint that cannot be used as it is."""


class UsageError(RawcnnError, ValueError):
    """An argument or flag outside what the function accepts."""


def not_callable(package: str, instead: str) -> None:
    """Let a package that is called like a function, as in `rc.train(net)`, say what to call `instead`."""

    class Room(ModuleType):
        def __call__(self, *args: object, **kwargs: object) -> None:
            raise UsageError(f"{package} is a package and not a function: {instead}")

    sys.modules[package].__class__ = Room


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A question to append to an error about an unknown name, or "" where no known name is close to it.

    Capitals, dashes and underscores do not count.

    >>> did_you_mean("VGG-19", ["vgg16", "vgg19", "lenet5"]), did_you_mean("resnet50", ["vgg16", "lenet5"])
    (" Did you mean 'vgg19'?", '')
    """
    plain = {_plain(name): name for name in known}
    close = difflib.get_close_matches(_plain(str(given)), plain, n=1, cutoff=0.75)
    return f" Did you mean {plain[close[0]]!r}?" if close else ""


def similar_path(path: Path, *, folder: bool = False) -> str:
    """A question to append to an error about a `path` that does not exist, or "" where no neighbour has such a name.

    With `folder` only folders are meant.
    """
    try:
        names = [one.name for one in path.parent.iterdir() if one.name != path.name and (not folder or one.is_dir())]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / close[0]}?" if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
