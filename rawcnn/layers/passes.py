"""What a layer does once where its row is computed twice: changes of its variables, and the keys of its random draws.

A net that recomputes (`rawcnn.nets.recompute`) computes rows a second time on the way back. Moving averages must not
move twice, and dropout must drop the same numbers again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _Now(threading.local):  # replicas of a strategy are traced in threads of their own
    first: list[Any] | None = None
    second: Iterator[Any] | None = None


_now = _Now()


def once(do: Callable[[], T]) -> T:
    """What `do()` gives; in a second pass what it gave in the first one, and `do` is not called.

    For a layer of your own that changes a variable when it trains, or that draws random numbers:

    >>> import tensorflow as tf
    >>> calls = tf.Variable(0)
    >>> with first_pass() as results:
    ...     first = once(lambda: calls.assign_add(1).numpy())
    >>> with second_pass(results):
    ...     second = once(lambda: calls.assign_add(1).numpy())
    >>> first == second == calls.numpy() == 1
    np.True_
    """
    if _now.second is not None:
        made_then: T = next(_now.second)
        return made_then
    result = do()
    if _now.first is not None:
        _now.first.append(result)
    return result


@contextmanager
def first_pass() -> Iterator[list[Any]]:
    """Gives a list to which the result of each `once` within the block is added."""
    results: list[Any] = []
    outer, _now.first = _now.first, results
    try:
        yield results
    finally:
        _now.first = outer


@contextmanager
def second_pass(results: list[Any]) -> Iterator[None]:
    """Within the block each `once` gives the next of `results`, those of the first pass."""
    outer, _now.second = _now.second, iter(results)
    try:
        yield
    finally:
        _now.second = outer
