"""A first convolution whose filters whiten the images: they are computed from the data, and not trained."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn import ops
from rawcnn.layers.base import Activation
from rawcnn.layers.convolution import Conv2D
from rawcnn.layers.variables import Initializer


class Whitening(Conv2D):
    """Convolution with fixed filters that make the numbers of a patch uncorrelated. `[N, H, W, C] -> [N, H', W', K]`.

    There is a filter for each of the D = size * size * C principal components of the patches, v_i / sqrt(l_i + epsilon)
    with eigenvector v_i and eigenvalue l_i of their covariance, and one for its negative: K = 2 D. `look_at` computes
    them when a run begins; before that they are random. They are not trained, but saved like weights, so that a resumed
    run has the same. The bias, if there is one, is trained (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU", section 3.1). Raises `UsageError` when the window does not fit.

    >>> Whitening(2, input_shape=(32, 32, 3)).out_shape
    (31, 31, 24)
    """

    def __init__(
        self,
        size: int = 2,
        *,
        input_shape: Sequence[int],
        epsilon: float = 5e-4,
        bias: bool = True,
        activation: Activation | None = None,
        w_init: Initializer | None = None,
        seed: int = 0,
    ):
        _, _, channels = ops.spatial(input_shape, "Whitening")
        super().__init__(
            2 * size * size * channels,
            size,
            padding="VALID",
            input_shape=input_shape,
            bias=bias,
            activation=activation,
            w_init=w_init,
            seed=seed,
        )
        self.epsilon = epsilon
        self.w = tf.Variable(self.w, trainable=False, name="w")
        self._drawn = tf.identity(self.w)

    @property
    def fresh(self) -> bool:
        """Whether the filters are still those that were drawn at first."""
        return np.array_equal(self.w.numpy(), self._drawn)

    def look_at(self, images: tf.Tensor) -> None:
        """Compute the filters from `images` `[N, H, W, C]`, preprocessed as in training; a few thousand are enough."""
        size, count = self.window[0], self.w.shape[-1] // 2
        patches = tf.image.extract_patches(images, (1, size, size, 1), (1, 1, 1, 1), (1, 1, 1, 1), "VALID")
        patches = tf.reshape(tf.cast(patches, tf.float32), (-1, count))
        covariance = tf.matmul(patches, patches, transpose_a=True) / tf.cast(tf.shape(patches)[0], tf.float32)
        eigenvalues, eigenvectors = tf.linalg.eigh(covariance)
        filters = tf.reshape(eigenvectors / tf.sqrt(eigenvalues + self.epsilon), (*self.w.shape[:3], count))
        self.w.assign(tf.concat([filters, -filters], axis=-1))
