"""Whether gradients are numbers, asked before they are used, at nearly no cost."""

from collections.abc import Sequence

import tensorflow as tf

NOT_FINITE = "rawcnn: this update is not finite"
"""How the message begins of the error that `require_finite` raises; step, loss and half the norm's square follow."""

SMALL = 2**20  # numbers: a gradient of fewer is read faster than two products are set up


def half_square(gradient: tf.Tensor) -> tf.Tensor:
    """Half the sum of the squares of `gradient`, float32 scalar; not finite if one number of `gradient` is not.

    A large gradient that is a product a^T b, as `tf.matmul` gives for its weights, is not read at all: the sum of its
    squares is the sum over (a a^T) * (b b^T), which are only batch size x batch size (Goodfellow 2015, "Efficient
    per-example gradient computations", in its full form). If a or b holds NaN or infinity, or if the product overflows,
    so does a diagonal element of this, which is a sum of squares: nothing can cancel it.
    """
    factors = _factors(gradient) if (gradient.shape.num_elements() or 0) >= SMALL else None
    if factors is None:
        return tf.nn.l2_loss(tf.cast(gradient, tf.float32))
    a, b = (tf.cast(factor, tf.float32) for factor in factors)
    return 0.5 * tf.reduce_sum(tf.matmul(a, a, transpose_b=True) * tf.matmul(b, b, transpose_b=True))


def _factors(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
    """(a `[N, I]`, b `[N, O]`) if the graph computes `gradient` as a^T b with N below I and O; else None."""
    if tf.executing_eagerly():
        return None
    while gradient.op.type in ("Cast", "Identity"):
        gradient = gradient.op.inputs[0]
    op = gradient.op
    if op.type != "MatMul" or not op.get_attr("transpose_a") or op.get_attr("transpose_b"):
        return None
    a, b = op.inputs
    few = a.shape.is_fully_defined() and b.shape.is_fully_defined() and a.shape[0] < min(a.shape[1], b.shape[1])
    return (a, b) if few else None


def require_finite(gradients: Sequence[tf.Tensor], loss: tf.Tensor, step: tf.Tensor) -> tf.Operation:
    """An op that fails, with an error whose message begins with `NOT_FINITE`, unless `loss` and the norm are finite.

    To be made a control dependency of the update. The norm is that of all `gradients` together, in float32: one above
    1.8e19 counts as infinite too.
    """
    # Few ops: a step of LeNet takes 3 ms, and whatever stands here is waited for.
    half = tf.add_n([half_square(gradient) for gradient in gradients])
    return tf.raw_ops.Assert(
        condition=tf.math.is_finite(half + loss),
        data=[tf.constant(NOT_FINITE), tf.convert_to_tensor(step), loss, half],
    )
