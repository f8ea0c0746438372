"""Settings as flags of a command line. The only module that knows absl, and it leaves absl's global flags alone."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from textwrap import fill
from typing import Any

from absl import flags

from rawcnn.errors import UsageError, did_you_mean
from rawcnn.run.fields import GROUPS, OTHER_NAMES, WORDS, checked, kind_of, parse

HINTS = {name: f"--{ours}" for name, ours in OTHER_NAMES.items()} | {
    "finetune": "--weights and --freeze",
    "gpu": "no flag: TensorFlow takes the GPUs that it finds; CUDA_VISIBLE_DEVICES hides them",
}
OF_THE_NET = ("activation", "padding", "dropout", "kernel_size", "filters", "pooling", "num_classes", "initializer")
WIDTH = 100


class HelpAsked(Exception):
    """--help was among the flags; its text is the message."""


def read_flags(
    argv: Sequence[str], *owners: type, usage: str, defaults: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """What `argv` (a program's name, flags and words) tells of the settings of `owners`: (values by name, words).

    Only flags that are there have a value. Raises `UsageError` for a flag that is unknown or has no such value, and
    `HelpAsked` with the text to print.
    """
    items = {item.name: (owner, item) for owner in owners for item in fields(owner)}
    found = flags.FlagValues()
    flags.DEFINE_boolean("help", False, "", flag_values=found, short_name="h")
    for name, (owner, item) in items.items():
        define = flags.DEFINE_boolean if kind_of(owner, name)[0] is bool else flags.DEFINE_string
        define(name, None, item.metadata["info"].help, flag_values=found)
    try:
        words = found(list(argv))[1:]
    except flags.UnrecognizedFlagError as error:
        raise UsageError(_unknown(error.flagname, tuple(items))) from None
    except flags.Error as error:
        text = str(error).strip().rstrip(".")
        if match := re.match(r"flag --(\w+)=(.*): \('Non-boolean", text, re.DOTALL):
            text = f"{match[1]} must be {WORDS[bool]}, not {match[2]!r}"
        raise UsageError(f"{text}. See --help.") from None
    if found["help"].value:
        raise HelpAsked(help_text(usage, items, defaults or {}))
    values = {}
    for name, (owner, _) in items.items():
        if found[name].present:
            value = found[name].value
            values[name] = checked(owner, name, value if isinstance(value, bool) else parse(owner, name, value))
    return values, words


def no_words(words: Sequence[str], command: str) -> None:
    """Raise `UsageError` for the first of `words`, which `rawcnn COMMAND` does not take."""
    if words:
        raise UsageError(f"{words[0]!r} is not a flag. See rawcnn {command} --help.")


def needed(run: str | None) -> str:
    """The directory of --run. Raises `UsageError` if it was not given."""
    if run is None:
        raise UsageError("Which run? Name its directory with --run=DIR.")
    return run


def _unknown(name: str, known: tuple[str, ...]) -> str:
    if name in OF_THE_NET:
        return (
            f"There is no flag --{name}: that is part of a net's table. Choose another --net, or write your own table "
            "(see examples/train_own_net.py)."
        )
    if name in HINTS:
        return f"There is no flag --{name}. Did you mean {HINTS[name]}?"
    return f"There is no flag --{name}.{did_you_mean(f'--{name}', [f'--{one}' for one in known])} See --help."


def help_text(usage: str, items: Mapping[str, tuple[type, Field[Any]]], defaults: Mapping[str, Any]) -> str:
    """All flags, in groups, what everyone needs first."""
    parts = [usage.strip()]
    for group in GROUPS:
        lines = [
            _help_line(owner, item, defaults.get(item.name, item.default))
            for owner, item in items.values()
            if item.metadata["info"].group == group
        ]
        if lines:
            parts.append("\n".join([f"{group}:", *lines]))
    return "\n\n".join(parts)


def _help_line(owner: type, item: "Field[Any]", default: Any) -> str:
    info, (kind, _) = item.metadata["info"], kind_of(owner, item.name)
    flag = f"--[no]{item.name}" if kind is bool else f"--{item.name}"
    choices = f" One of: {', '.join(info.choices)}." if info.choices else ""
    shown = f" (default: {default})" if default is not None and kind is not bool else ""
    text = f"{info.help}{choices}{shown}"
    return fill(text, WIDTH, initial_indent=f"  {flag:22} ", subsequent_indent=" " * 25, break_long_words=False)


def program() -> str:
    """The name by which this process was called."""
    return (sys.argv[0] if sys.argv else "") or "rawcnn"
