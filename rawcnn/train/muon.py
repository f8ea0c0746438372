"""What is peculiar to Muon: a matrix made orthogonal by products of matrices alone."""

import tensorflow as tf

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of the polynomial a s + b s^3 + c s^5, which moves every s in 0 ... 1 towards 1, small ones fast."""


def orthogonalised(g: tf.Tensor, steps: int = 3) -> tf.Tensor:
    """About U V^T, where g = U S V^T is the singular value decomposition of a matrix `[M, N]`: Newton-Schulz steps.

    X begins as g / |g|, whose singular values are at most 1. Each step X <- a X + (b A + c A A) X, with A = X X^T,
    applies a s + b s^3 + c s^5 to each of them, and leaves U and V alone. They do not converge to 1 but come to lie
    about 0.7 ... 1.2, which is good enough; the smaller they are at first, the more steps they need. The result has the
    dtype of `g` (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks").

    >>> orthogonalised(tf.constant([[4.0, 0.0], [0.0, 4.0]]), steps=5).numpy().round(1)
    array([[1.1, 0. ],
           [0. , 1.1]], dtype=float32)
    """
    a, b, c = COEFFICIENTS
    tall = g.shape[0] > g.shape[1]
    x = g / (tf.norm(g) + tf.constant(1e-7, g.dtype))
    x = tf.transpose(x) if tall else x  # of X X^T and X^T X the smaller one
    for _ in range(steps):
        product = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * product + c * tf.matmul(product, product), x)
    return tf.transpose(x) if tall else x
