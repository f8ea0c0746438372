"""Where an op is traced: alone, or on one of several replicas of `tf.distribute` that share a batch."""

import tensorflow as tf


def replica() -> tuple[int, int]:
    """(k, n): this is traced for replica k of n, which has the k-th part of a batch; (0, 1) outside of `strategy.run`.

    >>> replica()
    (0, 1)
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, 1
    return int(tf.get_static_value(context.replica_id_in_sync_group)), context.num_replicas_in_sync


def mean_of_replicas(*values: tf.Tensor) -> list[tf.Tensor]:
    """The mean over all replicas of each value, by one all-reduce; gradients go through it. Values share a dtype."""
    means: list[tf.Tensor] = tf.distribute.get_replica_context().all_reduce("MEAN", list(values))
    return means
