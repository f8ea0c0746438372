"""What a run begins with: weights of another run or from a file, and the pixels that these expect."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import RunError, did_you_mean
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain
from rawcnn.nets.weights import Loaded, in_words, load_weights, some, take_arrays
from rawcnn.run.directory import WEIGHTS
from rawcnn.run.record import Record, tested
from rawcnn.train import checkpoints
from rawcnn.train.checkpoints import Checkpoint


@dataclass(frozen=True)
class Pretrained:
    """The rows that were loaded, what their weights expect of the pixels (None: nobody knows), and all of it in words.

    A row within a row has both names: `inception_3a/conv1x1`.
    """

    rows: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    said: str = ""


def check_there(weights: str) -> None:
    """Raise `RunError` unless `weights` is a file, or a directory that holds some: asked before any data are loaded."""
    path = Path(weights)
    if not path.exists() and not Path(f"{path}.index").is_file():
        there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise RunError(f"The weights {path} do not exist.{did_you_mean(path.name, there)}")
    if path.is_dir() and not checkpoints.steps(path) and not (path / WEIGHTS).is_file():
        raise RunError(
            f"{path} holds neither a checkpoint of rawcnn nor {WEIGHTS}, so there are no weights to begin with: give "
            "the directory of a run that has trained, or a file of weights."
        )


def load(net: Chain, weights: str, class_names: Sequence[str]) -> Pretrained:
    """Load `weights`, a run's directory or a file, into the rows of `net` that they fit; the others stay as they are.

    Of a run the weights are those that its test is of; of one that still trains, those of its newest checkpoint. Where
    a run learnt other classes than `class_names`, the last row begins anew even if it fits. Raises `RunError` if the
    weights cannot be read or are those of another net: its first row does not fit.
    """
    path = Path(weights)
    saved, record = _run_of(path)
    last, where = _last_rows(net), f"weights of {path}"
    begun = {name: v.numpy() for name, v in named_variables(net).items() if name.rpartition("/")[0] in last}
    if saved is None:
        loaded = load_weights(net, path / WEIGHTS if (path / WEIGHTS).is_file() else path, partial=True)
    else:
        loaded = take_arrays(net, saved.net_arrays(), str(saved.path), partial=True)
        where += f" after {saved.step:,} updates"
    first = _first_row(net)
    if first not in loaded.rows:
        raise RunError(
            f"{path} holds weights of another net: they do not fit its first row, {first} ({some(loaded.left_out)})."
        )
    if record is not None and record.data.class_names != tuple(class_names):
        loaded = _begin_again(net, begun, loaded, last, record.data.class_names)
    preprocess = loaded.preprocess if record is None else replace(record.inputs.preprocess, resize=0)
    fresh = f"; new: {in_words(loaded.kept)}" if loaded.kept else ""
    why = f" ({some(loaded.left_out)})" if loaded.left_out else ""
    remark = f"; {loaded.note}" if loaded.note else ""
    pixels = "which pixels they expect is not known: they get those of the recipe"
    if preprocess is not None:
        pixels = f"pixels as these weights expect them: {pixels_in_words(preprocess)}"
    said = f"{where}: loaded {in_words(loaded.rows)}{fresh}{why}{remark}\n{pixels}"
    return Pretrained(loaded.rows, preprocess, said)


def of_record(record: Record) -> Pretrained:
    """What a run that is resumed began with; its pixels stay as they were."""
    said = f"weights of {record.settings.weights} were loaded when the run began" if record.loaded else ""
    return Pretrained(record.loaded, record.inputs.preprocess, said)


def pixels_in_words(preprocess: Preprocess) -> str:
    """
    >>> pixels_in_words(Preprocess.standardised((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)))
    'red, green, blue, less 123.7, 116.8, 103.9'
    >>> pixels_in_words(Preprocess(low=-1.0))
    '0 ... 255 become -1 ... 1'
    """
    low, high = np.broadcast_arrays(preprocess.low, preprocess.high)
    if low.ndim == 0:
        return f"0 ... 255 become {low:g} ... {high:g}"
    scale = (high - low) / 255
    less, by = (", ".join(f"{value:.4g}" for value in values) for values in (-low / scale, 1 / scale))
    colours = "red, green, blue, " if len(low) == 3 else ""
    return f"{colours}less {less}" + ("" if np.allclose(scale, 1) else f", divided by {by}")


def _run_of(path: Path) -> tuple[Checkpoint | None, Record | None]:
    """The checkpoint that `path`, a run's directory or a checkpoint itself, stands for, and its run's record.

    Of a run's `weights.npz` the record alone.
    """
    if checkpoints.NAME.fullmatch(path.name) and path.is_file():
        saved = checkpoints.read(path)
        return saved, Record.of(saved)
    if path.name == WEIGHTS and path.is_file():
        try:
            found = tested(path.parent)
        except RunError:  # damaged, or of another version of rawcnn: then nothing but the weights is known
            found = None
        return None, None if found is None else found[1]
    return tested(path) or (None, None)


def _first_row(net: Chain) -> str:
    """The first row with numbers that training or its data decide."""
    return next(name.rpartition("/")[0] for name, v in named_variables(net).items() if v.dtype.is_floating)


def _last_rows(net: Chain) -> list[str]:
    """The last row of the net and of each head."""
    ends = [("", net), *((f"{name}/", head) for name, _, head in net.heads)]
    return [prefix + list(chain.rows)[-1][0] for prefix, chain in ends]


def _begin_again(
    net: Chain, begun: dict[str, np.ndarray], loaded: Loaded, last: Sequence[str], classes: Sequence[str]
) -> Loaded:
    """`loaded` without the rows `last`, whose outputs are other classes; these get back the weights they began with."""
    again = [row for row in last if row in loaded.rows]
    for name, variable in named_variables(net).items():
        if name in begun:
            variable.assign(begun[name])
    if not again:
        return loaded
    named = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return replace(
        loaded,
        rows=tuple(row for row in loaded.rows if row not in again),
        kept=(*loaded.kept, *again),
        left_out=(*loaded.left_out, f"its classes there are {named}"),
    )
