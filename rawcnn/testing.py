"""For tests of your own recipes: does a run that was cut and resumed end as one that was not?"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from rawcnn.layers.variables import named_variables
from rawcnn.nets.weights import assign, load_arrays, save_arrays

Train = Callable[[], tuple[tf.Module, Callable[[int], object]]]
"""`train_fn() -> (state, train_to)`: everything made anew, and a function that trains from wherever `state` stands."""


def assert_resume_exact(train_fn: Train, steps: int, cut: int) -> None:
    """Assert that `steps` steps in one go give the same bits as `cut` of them, a file, and the rest.

    `train_fn()` makes everything anew and returns (`state`, `train_to`). `state` is a `tf.Module` whose variables (see
    `rawcnn.named_variables`) are all that a checkpoint holds; `train_to(n)` trains until n steps are made in all,
    counted by `state`. What fails here is a state that is not a variable: an iterator, a Python counter, a random
    generator. Raises `ValueError` unless 0 < cut < steps, and `AssertionError` that names the variables that differ.

    >>> class Count(tf.Module):
    ...     def __init__(self):
    ...         self.step = tf.Variable(0)
    >>> def train_fn():
    ...     state = Count()
    ...     return state, lambda n: [state.step.assign_add(1) for _ in range(int(state.step), n)]
    >>> assert_resume_exact(train_fn, steps=5, cut=2)
    """
    if not 0 < cut < steps:
        raise ValueError(f"A run of {steps} steps can be cut after 1 ... {steps - 1} of them, not after {cut}.")
    state, train_to = train_fn()
    begun = _values(state)
    train_to(steps)
    whole = _values(state)
    if not _differences(begun, whole):
        raise AssertionError("Training changed no variable of the state, so this shows nothing: does it hold the net?")
    _same(whole, _in_two(train_fn, steps, cut), f"A run cut after step {cut} of {steps}")
    state, train_to = train_fn()
    train_to(steps)
    _same(whole, _values(state), "A second whole run")


def _in_two(train_fn: Train, steps: int, cut: int) -> dict[str, np.ndarray]:
    """The variables after `cut` steps, a file, everything made anew, and the other steps."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "cut.npz")
        state, train_to = train_fn()
        train_to(cut)
        save_arrays(path, _values(state))
        state, train_to = train_fn()
        assign(named_variables(state), load_arrays(path), str(path))
    train_to(steps)
    return _values(state)


def _values(state: tf.Module) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in named_variables(state).items()}


def _differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    names = sorted(one.keys() | other.keys())
    return [n for n in names if n not in one or n not in other or one[n].tobytes() != other[n].tobytes()]


def _same(wanted: dict[str, np.ndarray], got: dict[str, np.ndarray], what: str) -> None:
    wrong = _differences(wanted, got)
    if wrong:
        raise AssertionError(
            f"{what} differs in {len(wrong)} of {len(wanted)} variables ({', '.join(wrong[:5])}): "
            "not all that decides the steps is a variable of the state. Look for an iterator, a counter or a random "
            "generator."
        )
