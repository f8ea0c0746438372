"""What all command lines share: one run from flags to pictures, errors as one line, and how to continue."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rawcnn.run import signals

with signals.quitting():  # TensorFlow takes seconds to import: a Ctrl-C then needs no traceback
    import tensorflow as tf

    from rawcnn.errors import RawcnnError, UsageError
    from rawcnn.nets import NETS, no_such_net
    from rawcnn.run.directory import FLAGS
    from rawcnn.run.flags import HelpAsked, read_flags
    from rawcnn.run.output import tell
    from rawcnn.run.session import Run
    from rawcnn.run.settings import Settings, Where

Main = Callable[[list[str]], None]


def train(nets: Sequence[str], *, net: str, epochs: int) -> None:
    """Run a training example: parse the command line, train, and exit with status 0, or 2 after a one-line error."""
    run(lambda argv: train_with(argv, nets, net=net, epochs=epochs))


def run(main: Main, argv: Sequence[str] | None = None) -> None:
    """`main(argv)`, with a mistake as one line on stderr and status 2; Ctrl-C exits 130, SIGTERM 143."""
    global _current
    _current = None
    try:
        with signals.handled():
            main(list(sys.argv if argv is None else argv))
    except HelpAsked as asked:
        tell(str(asked))
    except RawcnnError as error:
        sys.exit(_fail(str(error), 2))
    except KeyboardInterrupt as interrupt:
        status = interrupt.status if isinstance(interrupt, signals.Stopped) else 130
        sys.exit(_fail(f"{str(interrupt) or 'Ctrl-C'}: {_how_to_continue()}", status))
    except OSError as error:
        sys.exit(_fail(f"{error.filename or 'a file'}: {error.strerror}.", 2))
    except tf.errors.ResourceExhaustedError as error:
        sys.exit(_fail(f"out of memory ({error.message.splitlines()[0]}): try a smaller --batch_size.", 2))


def train_with(argv: Sequence[str], nets: Sequence[str], *, net: str, epochs: int) -> None:
    """Train as the flags in `argv` say: one of `nets`, by default `net` for `epochs`."""
    global _current
    defaults = {"net": net, "epochs": epochs}
    called = argv[0] if argv[0].startswith("rawcnn ") else command_name()
    usage = (
        f"{_summary()}usage: {called} [--flag=value ...]\nTrains one of: {', '.join(nets)}. "
        "Flags without a default have a good one for each net."
    )
    told, words = read_flags(argv, Where, Settings, usage=usage, defaults=defaults)
    if words:
        meant = f" Did you mean --net={words[0]}?" if words[0] in NETS else ""
        raise UsageError(
            f"{words[0]!r} is not a flag: flags begin with two dashes, as in --epochs=10.{meant} See --help."
        )
    if "net" in told:
        _check_net(told["net"], nets)
    where = {name: told.pop(name) for name in ("run", "resume", "overwrite") if name in told}
    if not where.get("resume"):
        told = defaults | told
    _current = Run(where.pop("run", None), **where, **told)
    _current.train()


def _check_net(net: str, nets: Sequence[str]) -> None:
    """Raise `UsageError` that says where `net` is trained, or which of `nets` may be meant."""
    if net in nets:
        return
    if net in NETS:
        script = f"train_{NETS[net].__module__.rsplit('.', 1)[-1]}.py"
        known = (Path(sys.argv[0]).parent / script).is_file()
        raise UsageError(
            f"{net} is not trained by this script, but by " + (f"{script}, or by " if known else "")
            + f"`rawcnn train --net={net}`. Here: {', '.join(nets)}."
        )  # fmt: skip
    raise no_such_net(net, nets)


_current: Run | None = None  # the run that this process trains, for the words after Ctrl-C


def _fail(message: str, status: int) -> int:
    tell(f"{command_name()}: {message}", sys.stderr)
    return status


def command() -> list[str]:
    """What starts this program again, from any directory: the interpreter and the script, or rawcnn's command."""
    script = os.path.abspath(sys.argv[0])
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if module is not None and module.name == "rawcnn.__main__":  # python -m rawcnn
        return [sys.executable, "-m", "rawcnn"]
    if os.path.basename(script) in ("rawcnn", "rawcnn.exe"):  # the console script
        return [script]
    return [sys.executable, script]


def command_name() -> str:
    """The name by which this program was called, for messages."""
    name = Path(sys.argv[0]).name
    return "rawcnn" if name == "__main__.py" else name


def _summary() -> str:
    """The first lines of the script's own documentation, where it has some."""
    text = (getattr(sys.modules.get("__main__"), "__doc__", None) or "").strip()
    return f"{text}\n\n" if text and command_name().startswith("train_") else ""


def _how_to_continue() -> str:
    """What to type after a run was stopped."""
    if _current is None:  # nothing was to be trained
        return "stopped."
    where = _current.where
    if where.run and Path(where.run, FLAGS).is_file():
        start = command()
        words = ["train"] if start[-1] == "rawcnn" or Path(start[-1]).stem == "rawcnn" else []
        line = shlex.join([*start, *words, f"--run={os.path.abspath(where.run)}", "--resume"])
        return f"stopped, and everything is saved. Continue with\n{line}\nor add --epochs=N to finish it early."
    return "stopped before training; the same command begins again, and a download continues where it was."
