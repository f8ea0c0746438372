"""Class probabilities as fast as they go: a net traced once, and called without what `tf.function` does in Python."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import tensorflow as tf

from rawcnn.layers.variables import named_variables
from rawcnn.machine import gpus
from rawcnn.nets.chain import Chain
from rawcnn.nets.folding import for_inference
from rawcnn.nets.inference import frozen
from rawcnn.ops.fast import forms

TINY = 2_000_000
"""Multiply-adds an image: below, TensorFlow's ops take longer to start than to run, so XLA joins them for one image."""
Function = Callable[[tf.Tensor], tf.Tensor]


class Predictor:
    """Class probabilities of images by a net, as it is now: changed weights are seen by the next call.

    `shown` makes of images `[N, H, W, C]` what the net takes. A tiny net reads its variables at each call. Of another
    one batch normalisation is folded (in float32), and the weights are constants in the dtype that it computes in; they
    are made again when a variable has changed.

    >>> from rawcnn.nets import NETS
    >>> predictor = Predictor(NETS["lenet5_relu"](), lambda images: tf.cast(images, tf.float32) / 255)
    >>> predictor(np.zeros((2, 32, 32, 1), np.uint8)).shape
    (2, 10)
    """

    def __init__(self, net: Chain, shown: Function):
        self.net, self.shown = net, shown
        self._tiny = sum(layer.multiply_adds() for _, layer in net.rows) < TINY
        self._weights = Watched(net)
        self._traced: dict[object, Function] = {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 `[N, K]` of images `[N, H, W, C]`, uint8 or float32, N > 0."""
        if not self._tiny and self._weights.changed():
            self._traced.clear()
        one = len(images) == 1
        key = (one, images.dtype.char, self.net.policy, forms.state())
        function = self._traced.get(key)
        if function is None:
            function = self._traced[key] = self._trace(images, one)
        answer: np.ndarray = function(tf.constant(images)).numpy()
        return answer

    def _trace(self, images: np.ndarray, one: bool) -> Function:
        """The function for one image, or for any number."""
        net: Callable[[tf.Tensor], tf.Tensor] = self.net
        if not self._tiny:
            folded = for_inference(self.net)
            net = lambda x: frozen(folded, constant=True)(x)  # noqa: E731  # its constants belong to the graph
        spec = tf.TensorSpec((1 if one else None, *images.shape[1:]), images.dtype)

        def traced(xla: bool) -> Function:
            function = tf.function(
                lambda images: tf.nn.softmax(net(self.shown(images))), autograph=False, jit_compile=xla
            )
            return function.get_concrete_function(spec)

        if self._tiny and one and not gpus():  # with more images, XLA's convolutions cost more than it saves
            function = traced(xla=True)
            with suppress(tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):  # ops that XLA does not know
                function(tf.zeros(spec.shape, spec.dtype))
                return function
        return traced(xla=False)


class Watched:
    """Whether a net's variables have changed, without a look at their numbers.

    The tensors that were read are kept. While one is, TensorFlow cannot change a variable in place: an update gives the
    variable another place in memory. So a variable that lies where it lay has the numbers that it had. Only the numbers
    of one that lies elsewhere are compared: after a sparse update, TensorFlow copies a variable whenever it is read.
    """

    def __init__(self, net: Chain):
        variables = list(named_variables(net).values())
        read = tf.function(lambda: [variable.read_value() for variable in variables], autograph=False)
        self._read = read.get_concrete_function()
        self._held: list[np.ndarray] = []

    def changed(self) -> bool:
        """Whether a variable has changed since the last call, or this is the first."""
        now = [np.asarray(memoryview(tensor)) for tensor in self._read()]  # no copies
        before, self._held = self._held, now
        if not before:
            return True
        return any(_place(a) != _place(b) and not np.array_equal(a, b) for a, b in zip(before, now, strict=True))


def _place(array: np.ndarray) -> int:
    """Where in memory an array's numbers lie."""
    place: int = array.__array_interface__["data"][0]
    return place
