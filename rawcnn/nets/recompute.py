"""Recomputation: of some maps only the way forward is taken, and they are computed again when their gradients are due.

Training keeps most maps until the way back has used them, which for large images is most of its memory. A segment of a
net that is computed twice keeps its input alone (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.layers import Conv2D, Layer
from rawcnn.layers.passes import first_pass, second_pass

Run = Callable[[tf.Tensor], tf.Tensor]


class Segment(NamedTuple):
    """Rows of a net, by name, that follow each other, and whether computing them twice saves memory."""

    names: tuple[str, ...]
    twice: bool


def segments(rows: Iterable[tuple[str, Layer]], ends: Collection[str | None] = ()) -> list[Segment]:
    """Cut a net before each row that multiplies by weights, and after each row in `ends`.

    So batch normalisation, LRN, pooling and dropout belong to the convolution before them. Finer cuts would keep more
    maps, and longer segments would have more of them at once: in VGG the first two rows decide the peak anyway.

    >>> from rawcnn.nets.vgg_bn import vgg11_bn
    >>> for segment in segments(vgg11_bn((32, 32, 3)).rows)[6:9]:
    ...     print(segment)
    Segment(names=('conv5_1', 'bn5_1'), twice=True)
    Segment(names=('conv5_2', 'bn5_2', 'pool5', 'flat'), twice=True)
    Segment(names=('fc6', 'drop6'), twice=False)
    """
    cut: list[list[tuple[str, Layer]]] = []
    for name, layer in rows:
        if not cut or layer.multiply_adds() or cut[-1][-1][0] in ends:
            cut.append([])
        cut[-1].append((name, layer))
    return [Segment(tuple(name for name, _ in part), _saves([layer for _, layer in part])) for part in cut]


def _saves(layers: Sequence[Layer]) -> bool:
    """Whether the segment keeps maps besides its input and its output, which its neighbours keep anyway."""
    first = layers[0]
    if len(first.input_shape) != 3:
        return False  # rows of numbers are small beside maps, and large products take long
    alone = len(layers) == 1 and isinstance(first, Conv2D) and first.activation in (None, tf.nn.relu)
    return not alone


def recomputed(run: Run, x: tf.Tensor, what: str) -> tf.Tensor:
    """`run(x)`, which is run again when its gradients are due: within a `tf.function`, nothing in it is kept till then.

    Whatever changes a variable in `run`, or draws random numbers, does so by `rawcnn.layers.passes.once`. Raises
    `UsageError`, in which the rows are called `what`, where it does not.
    """

    @tf.custom_gradient
    def computed(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., object]]:
        with first_pass() as results:
            y = run(x)

        def gradients(dy: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> object:
            # All that is computed again waits for `dy`, or TensorFlow would do it at once, or take both passes for one.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([again, *variables])
                with second_pass(results):
                    y = run(again)
            _check_stateless(again, what)
            dx, *of_variables = tape.gradient(y, [again, *variables], dy)
            with tf.control_dependencies(of_variables):  # done with this segment before another is computed again
                dx = tf.identity(dx)
            return (dx, of_variables) if variables else dx

        return y, gradients

    return computed(x)


def _check_stateless(x: tf.Tensor, what: str) -> None:
    """Raise `UsageError` if the second pass, which begins at `x`, changes a variable or draws from a shared state."""
    if tf.executing_eagerly():
        return
    ops = x.graph.get_operations()
    for op in ops[ops.index(x.op) :]:
        # Other replicas of a strategy, each on its device, are traced in turn with this one.
        if op.device == x.op.device and op.type.startswith(("Assign", "Random")):
            raise UsageError(
                f"recompute computes {what} twice, and a layer there has {op.type}, which must happen once: write it "
                "as `once(...)` of rawcnn.layers.passes, as BatchNorm and Dropout do, or leave recompute out."
            )
