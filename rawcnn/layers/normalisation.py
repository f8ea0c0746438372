"""Local response normalisation and batch normalisation."""

from collections.abc import Sequence

import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.layers.base import Activation, Layer, activate, check_training
from rawcnn.layers.passes import once
from rawcnn.layers.variables import (
    bias_variable,
    constant,
    counter_variable,
    statistic_variable,
    weight_variable,
)


class LRN(Layer):
    """Local response normalisation across `n` neighbouring channels, by `ops.lrn`. `[N, H, W, C] -> [N, H, W, C]`.

    The defaults are the paper's. Caffe's and PyTorch's `alpha` is `n` times this one. Raises `UsageError` for an even
    `n` (Krizhevsky et al. 2012, section 3.3).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        k: float = 2.0,
        n: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        seed: int = 0,
    ):
        ops.spatial(input_shape, "LRN")
        ops.check_lrn_window(n)
        super().__init__(input_shape, input_shape)
        self.k, self.n, self.alpha, self.beta = k, n, alpha, beta

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        return ops.lrn(x, k=self.k, n=self.n, alpha=self.alpha, beta=self.beta)


ENOUGH = 1_000_000
"""`updates` of a `BatchNorm` whose averages come from elsewhere: they have seen enough."""


class BatchNorm(Layer):
    """Each channel shifted and scaled to mean `beta` and deviation `gamma`. `[N, H, W, C] -> [N, H, W, C]`.

    Training uses the batch's own statistics, see `ops.batch_norm`; testing uses `moving_mean` and `moving_variance`.
    Each training call moves these towards the batch's by a fraction of 1 - `momentum`, but call t at least by 1 / t:
    they are the mean over all batches until there are enough of these, and a short run can be tested. `updates` counts
    the calls; a layer whose averages come from elsewhere has `updates` set to `ENOUGH`. A batch without images changes
    nothing. `momentum` 0.99 and `epsilon` 0.001 are Keras's defaults, which the courses use; PyTorch's momentum of 0.1
    is 0.9 here, its epsilon 1e-5. Statistics are float32 whatever `x` is. `scale=False` leaves `gamma` out; an
    `activation` comes last.

    On several replicas of `tf.distribute` the statistics are those of the whole batch, of which each replica has a
    part: the net does not depend on their number. `synchronised`, an attribute, is False where each replica is to use
    those of its own part, which is faster; the moving averages then follow only this part (a training step of rawcnn
    takes their mean over all replicas).

    Raises `UsageError` unless `momentum` is at least 0 and less than 1 and `epsilon` is above 0, and for a `training`
    that is not True or False (Ioffe & Szegedy 2015, algorithms 1 and 2).

    >>> layer = BatchNorm(input_shape=(28, 28, 6))
    >>> layer.num_params(), layer.num_statistics()  # gamma and beta; the moving mean and variance
    (12, 12)
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *,
        input_shape: Sequence[int],
        scale: bool = True,
        activation: Activation | None = None,
        seed: int = 0,
    ):
        _, _, channels = ops.spatial(input_shape, "BatchNorm")
        if not 0 <= momentum < 1:
            raise UsageError(f"BatchNorm's momentum is a fraction from 0 up to but not 1, not {momentum}.")
        if epsilon <= 0:
            raise UsageError(f"BatchNorm's epsilon is above 0, not {epsilon}: 0.001 is usual.")
        super().__init__(input_shape, input_shape)
        self.momentum, self.epsilon, self.activation = momentum, epsilon, activation
        self.synchronised = True
        self.gamma = weight_variable((channels,), constant(1.0), name="gamma") if scale else None
        self.beta = bias_variable((channels,), name="beta")
        self.moving_mean = statistic_variable((channels,), 0.0, name="moving_mean")
        self.moving_variance = statistic_variable((channels,), 1.0, name="moving_variance")
        self.updates = counter_variable("updates")

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        check_training(training)
        wide = tf.float64 if x.dtype == tf.float64 else tf.float32
        beta = tf.cast(self.beta, wide)
        gamma = tf.ones_like(beta) if self.gamma is None else tf.cast(self.gamma, wide)
        if training:
            if self.synchronised and ops.replica()[1] > 1:
                near = once(lambda: tf.cast(self.moving_mean, wide))
                y, mean, variance = ops.synchronised_batch_norm(x, gamma, beta, near, self.epsilon)
            else:
                y, mean, variance = ops.batch_norm(x, gamma, beta, self.epsilon)
            once(lambda: self._follow(tf.cast(mean, tf.float32), tf.cast(variance, tf.float32), tf.size(x) > 0))
            return activate(y, self.activation)
        mean, variance = tf.cast(self.moving_mean, wide), tf.cast(self.moving_variance, wide)
        return activate(ops.normalise(x, mean, variance, gamma, beta, self.epsilon), self.activation)

    def _follow(self, mean: tf.Tensor, variance: tf.Tensor, any_pixels: tf.Tensor) -> None:
        """Move the averages towards a batch's statistics, which are no numbers where there are no pixels."""
        fraction = tf.maximum(1.0 - self.momentum, 1.0 / tf.cast(self.updates.read_value() + 1, tf.float32))
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub(tf.where(any_pixels, fraction * (moving - now), tf.zeros_like(now)))
        self.updates.assign_add(tf.cast(any_pixels, tf.int64))
