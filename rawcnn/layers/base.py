"""What all layers share: shapes, counts and the activation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.layers.arguments import check_shape, checked

Activation = Callable[[tf.Tensor], tf.Tensor]
Shape = tuple[int, ...]


class Layer(tf.Module):
    """What all layers share; see `rawcnn.layers` for the contract.

    A subclass hands `input_shape` and `out_shape` to this constructor, both without the batch axis. The arguments of
    every subclass's constructor are checked before it runs: `UsageError` names the argument, the rule and the remedy.
    """

    window = (1, 1)

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, input_shape: Sequence[int], out_shape: Sequence[int]):
        super().__init__(name=type(self).__name__.lower())
        self.input_shape: Shape = check_shape(input_shape)
        self.out_shape: Shape = tuple(int(d) for d in out_shape)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.input_shape} -> {self.out_shape}, {self.num_params():,} parameters>"

    def num_params(self) -> int:
        """Trainable parameters."""
        return sum(math.prod(v.shape) for v in self.trainable_variables)

    def num_statistics(self) -> int:
        """Numbers of the layer that no gradient changes: moving averages, fixed filters."""
        return sum(math.prod(v.shape) for v in self.variables if v.dtype.is_floating and not v.trainable)

    def multiply_adds(self) -> int:
        """Multiplications by a weight, per image; additions of a bias and activations are not counted."""
        return 0


def check_training(training: object) -> None:
    """Raise `UsageError` unless `training` is True or False, as a tensor is not."""
    if not isinstance(training, bool | np.bool_):
        raise UsageError(
            f"training is a Python bool, True or False, not {training!r}: a graph is traced for one of them. In a "
            "tf.function pass it as a Python value, or write one function for training and another for testing."
        )


def activate(x: tf.Tensor, activation: Activation | None) -> tf.Tensor:
    """The activation of `x`, if there is one."""
    if activation is tf.nn.relu:
        return ops.relu(x)
    return x if activation is None else activation(x)
