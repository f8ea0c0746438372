"""Which form of a convolution is computed: two tables, one for each gradient, and four forms of the whole.

A form wins by the way TensorFlow's kernels work on a CPU, not by another result: each is tested to equal the plain form
in value and gradient, and `docs/performance.md` says what each gained. A new form is a new row here, and one in `FORMS`
that says on which instruction sets it pays.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from rawcnn.ops.fast import filter_gradients as of_filter
from rawcnn.ops.fast import input_gradients as of_input
from rawcnn.ops.fast import space_to_depth, winograd
from rawcnn.ops.fast.forms import fast, for_xla
from rawcnn.ops.fast.pointwise import TwoGradients

Suits = Callable[[tf.Tensor, tf.Tensor, str], bool]


class Form(NamedTuple):
    """A faster form: its name in `FORMS`, whether it suits (x, w, padding), and the function that computes it."""

    name: str
    suits: Suits
    compute: Callable[..., tf.Tensor]


# Of each table the first row that is switched on and suits is taken; where none does, TensorFlow's own kernel.
FILTER_GRADIENTS = (
    Form("conv2d_winograd", winograd.suits_filters, winograd.filter_gradient),
    Form("conv2d_rows", of_filter.suits_rows, of_filter.rows),
    Form("conv2d_products", of_filter.suits_products, of_filter.products),
    Form("conv2d_1x1", of_filter.suits_1x1, of_filter.products),
    Form("conv2d_abreast", of_filter.suits_abreast, of_filter.abreast),
)
INPUT_GRADIENTS = (
    Form("conv2d_strips", of_input.suits_strips, of_input.strips),
    Form("conv2d_interleaved", of_input.suits_interleaved, of_input.interleaved),
)
SUM_BIAS_BY_PRODUCT = frozenset({"conv2d_products", "conv2d_1x1", "conv2d_abreast", "conv2d_winograd"})
"""Filter gradients without which TensorFlow would have summed the bias' gradient along: a product with ones does it."""


def conv2d(x: tf.Tensor, w: tf.Tensor, stride: int, padding: str) -> tuple[tf.Tensor, str | None]:
    """`tf.nn.conv2d` in the form that suits best, and the name of the form of its filter gradient."""
    if fast("conv2d_space_to_depth", space_to_depth.suits(x, w, stride)):
        return space_to_depth.conv2d(x, w, stride, padding), None
    if fast("conv2d_blocks", for_xla() and space_to_depth.suits_blocks(x, w, stride)):
        return space_to_depth.conv2d_blocks(x, w, padding), None
    if stride != 1:
        return tf.nn.conv2d(x, w, stride, padding), None
    if fast("conv2d_winograd", winograd.suits(x, w, padding)):
        return winograd.conv2d(x, w, padding), "conv2d_winograd"
    dw, dx = _chosen(FILTER_GRADIENTS, x, w, padding), _chosen(INPUT_GRADIENTS, x, w, padding)
    if dw is None and dx is None:
        return tf.nn.conv2d(x, w, 1, padding), None
    return _convolve(x, w, padding, dw, dx), dw and dw.name


def _chosen(table: tuple[Form, ...], x: tf.Tensor, w: tf.Tensor, padding: str) -> Form | None:
    return next((form for form in table if fast(form.name, form.suits(x, w, padding))), None)


def _convolve(x: tf.Tensor, w: tf.Tensor, padding: str, dw: Form | None, dx: Form | None) -> tf.Tensor:
    """A convolution with stride 1 whose gradients are computed by the given forms."""
    interleaved = dx is not None and dx.compute is of_input.interleaved

    @tf.custom_gradient
    def convolve(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, TwoGradients]:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            plain = {"out_backprop": dy, "strides": [1, 1, 1, 1], "padding": padding}
            return (
                tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=w, **plain)
                if dx is None
                else dx.compute(dy, w, x.shape[1]),
                tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=w.shape, **plain)
                if dw is None
                else dw.compute(x, dy, w, padding),
            )

        return (of_input.conv2d_interleaved(x, w) if interleaved else tf.nn.conv2d(x, w, 1, padding)), gradient

    return convolve(x, w)
