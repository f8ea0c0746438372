"""Class probabilities as fast as they go: a net traced once, and called without what `tf.function` does in Python."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

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
MANY = 32
"""Images from which a tiny net takes two halves side by side: its ops are too small for all cores."""
AT_ONCE = 80 * 224 * 224
"""Pixels of the images that one call of a net tests: more take memory and no less time."""
Function = Callable[[tf.Tensor], tf.Tensor]
Answer = Callable[[np.ndarray], np.ndarray]


def images_at_once(pixels: int) -> int:
    """How many images of so many `pixels`, all their views counted, are tested in one call: 1 ... 1,000."""
    return max(1, min(1000, AT_ONCE // pixels))


class Predictor:
    """Class probabilities of images by a net, as it is now: changed weights are seen by the next call.

    `shown` makes of images `[N, H, W, C]` what the net takes. A tiny net reads its variables at each call. Of another
    one batch normalisation is folded (in float32), and the weights are kept in the dtype that it computes in; they are
    made again when a variable has changed.

    >>> from rawcnn.nets import NETS
    >>> predictor = Predictor(NETS["lenet5_relu"](), lambda images: tf.cast(images, tf.float32) / 255)
    >>> predictor(np.zeros((2, 32, 32, 1), np.uint8)).shape
    (2, 10)
    """

    def __init__(self, net: Chain, shown: Function):
        self.net, self.shown = net, shown
        self._at_once = images_at_once(math.prod(net.input_shape[:2]))
        self._tiny = sum(layer.multiply_adds() for _, layer in net.rows) < TINY
        self._weights = Watched(net)
        self._traced: dict[tuple[bool, bool, str], Answer] = {}
        self._state: object = None  # under which they were traced

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 `[N, K]` of images `[N, H, W, C]`, uint8 or float32, N > 0."""
        if len(images) <= self._at_once:
            return self._answer(images)
        starts = range(0, len(images), self._at_once)
        return np.concatenate([self._answer(images[start : start + self._at_once]) for start in starts])

    def _answer(self, images: np.ndarray) -> np.ndarray:
        """The same for as many images as one call takes."""
        state = self.net.policy, forms.state()
        if (not self._tiny and self._weights.changed()) or state != self._state:
            self._traced.clear()
            self._state = state
        one, many = len(images) == 1, self._tiny and len(images) >= MANY
        key = one, many, images.dtype.char
        function = self._traced.get(key)
        if function is None:
            function = self._traced[key] = self._trace(images, one, many)
        return function(images)

    def _trace(self, images: np.ndarray, one: bool, many: bool) -> Answer:
        """The function for one image, for any number, or for many images of a tiny net."""
        net: Function = self.net if self._tiny else frozen(for_inference(self.net))
        on_cpu = not gpus()
        spec = tf.TensorSpec((1 if one else None, *images.shape[1:]), images.dtype)

        def probabilities(images: tf.Tensor) -> tf.Tensor:
            return tf.nn.softmax(net(self.shown(images)))

        def halves(images: tf.Tensor) -> tf.Tensor:
            middle = tf.shape(images)[0] // 2
            return tf.concat([probabilities(images[:middle]), probabilities(images[middle:])], axis=0)

        if self._tiny and one and on_cpu:  # with more images, XLA's convolutions cost more than it saves
            with forms.compiled(), suppress(tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
                answer = _traced(probabilities, spec, xla=True)
                answer(np.zeros_like(images))  # refused if there are ops that XLA does not know
                return answer
        return _traced(halves if many and on_cpu else probabilities, spec)


def _traced(function: Function, spec: tf.TensorSpec, xla: bool = False) -> Answer:
    return _direct(tf.function(function, autograph=False, jit_compile=xla).get_concrete_function(spec))


def _direct(function: Any) -> Answer:
    """A concrete function of one tensor, without the checks of its arguments: a third of the time of a tiny net."""
    inference, captured = function.inference_fn, function.captured_inputs

    def call(images: np.ndarray) -> np.ndarray:
        answer: np.ndarray = inference.call_flat(tf.constant(images), *captured)[0].numpy()
        return answer

    return call


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
