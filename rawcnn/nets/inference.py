"""Other ways to apply a net: densely to a larger image, to an image moved and mirrored, and with frozen weights."""

import copy
from typing import Any

import tensorflow as tf

from rawcnn import ops
from rawcnn.data.views import SIX_WEIGHTS, six_views
from rawcnn.errors import UsageError
from rawcnn.layers import AveragePool, Dense, Dropout, Flatten, activate
from rawcnn.nets.chain import Chain, not_empty


def six_view_logits(net: Chain, x: tf.Tensor) -> tf.Tensor:
    """The mean of the logits over the `six_views` of each image, weighted as they count. `[N, H, W, C] -> [N, K]`."""
    logits = net(tf.reshape(six_views(x), (-1, *x.shape[1:])))
    weights = tf.constant(SIX_WEIGHTS, logits.dtype)
    return tf.reduce_sum(tf.reshape(logits, (-1, len(SIX_WEIGHTS), logits.shape[-1])) * weights[:, None], axis=1)


def dense_logits(net: Chain, x: tf.Tensor) -> tf.Tensor:
    """The mean of the logits over all positions of `net` on a larger image. `[N, H, W, C] -> [N, K]`.

    The first layer after Flatten becomes a convolution as large as what it flattens, those after it 1x1 convolutions,
    and a pooling that covers all of the net's own input moves pixel by pixel. On images of the net's own size this is
    `net(x)` (Simonyan & Zisserman 2014, section 3.2; Sermanet et al. 2014). Raises `UsageError` for smaller images, and
    see `check_dense`.
    """
    check_dense(net)
    if x.shape[1] < net.input_shape[0] or x.shape[2] < net.input_shape[1]:
        raise UsageError(f"Dense evaluation of {net.input_shape} needs images at least as large, not {x.shape[1:]}.")
    x = tf.cast(not_empty(x), net.policy.compute)
    window: tuple[int, ...] = (1, 1)  # what the next Dense sees of x
    for _, layer in net.rows:
        if isinstance(layer, Flatten):
            window = layer.input_shape[:2]
        elif isinstance(layer, Dense):
            kernel = tf.reshape(tf.cast(layer.w, x.dtype), (*window, x.shape[-1], layer.out_shape[0]))
            b = None if layer.b is None else tf.cast(layer.b, x.dtype)
            x = activate(ops.conv2d(x, kernel, 1, "VALID", b), layer.activation)
            window = (1, 1)
        elif isinstance(layer, AveragePool) and layer.out_shape[:2] == (1, 1):
            x = tf.nn.avg_pool2d(x, layer.size, 1, "VALID")
        else:
            x = layer(x)
    return tf.reduce_mean(tf.cast(x, net.policy.output), axis=(1, 2))


def check_dense(net: Chain) -> None:
    """Raise `UsageError` naming the row by which `net` cannot be applied densely, such as LeNet-5's RBF units."""
    flat = False
    for name, layer in net.rows:
        if flat and not isinstance(layer, Dense | Dropout):
            raise UsageError(f"Row {name!r} ({type(layer).__name__}) cannot be applied densely: use other --crops.")
        flat = flat or isinstance(layer, Flatten)


def frozen(net: Chain) -> Chain:
    """A twin of `net` for inference only: its weights do not change, and have the dtype that the net computes in.

    A net casts its float32 weights whenever it is called; for a few images that takes longer than the images do.
    Later changes of `net` do not reach the twin. Batch normalisation's numbers stay float32. A function that calls the
    twin refers to its weights: as constants of the graph they would be copied ten times over while it is traced.

    >>> from rawcnn.nets import NETS
    >>> from rawcnn.nets.precision import MIXED_BFLOAT16
    >>> net = frozen(NETS["lenet5_relu"](policy=MIXED_BFLOAT16))
    >>> net.c1.w.dtype, net(tf.zeros((1, 32, 32, 1))).shape
    (tf.bfloat16, TensorShape([1, 10]))
    """
    return _frozen(net, net.policy.compute)


def _frozen(module: Any, dtype: tf.DType) -> Any:
    twin = copy.copy(module)
    for name, child in vars(module).items():
        if isinstance(child, tf.Variable):
            narrow = child.dtype.is_floating and name in ("w", "b")
            child = tf.cast(child.read_value(), dtype) if narrow else child.read_value()
        elif isinstance(child, tf.Module):
            child = _frozen(child, dtype)
        object.__setattr__(twin, name, child)  # tf.Module's own would tell the original, whose books the twin shares
    return twin
