"""Losses: `loss(logits, labels) -> [N]`, one number per image, in float32 or wider.

`logits` is `[N, K]`, larger = likelier; `labels` is int `[N]` in 0 ... K - 1. No loss knows of mixed images:
`of_labels` asks it for each of their two labels.
"""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from rawcnn.data.mixing import Labels, Mixed

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def softmax_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, label_smoothing: float = 0.0) -> tf.Tensor:
    """`-log softmax(logits)[label]`.

    With `label_smoothing` s, the wanted distribution is 1 - s at the label, plus s / K for every class, so that the
    net need not be certain (Szegedy et al. 2016, section 7).

    >>> softmax_cross_entropy(tf.constant([[0.0, 0.0]]), tf.constant([1])).numpy()  # log 2
    array([0.6931472], dtype=float32)
    """
    if not label_smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    classes = logits.shape[-1]
    wanted = tf.one_hot(labels, classes, dtype=logits.dtype) * (1.0 - label_smoothing) + label_smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)


def rbf_mse(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The distance of F6 to the right class's bitmap (LeCun et al. 1998, eq. 8); logits are minus the distances."""
    return -tf.gather(logits, labels, axis=1, batch_dims=1)


def rbf_map(logits: tf.Tensor, labels: tf.Tensor, j: float = 5.0) -> tf.Tensor:
    """The maximum a posteriori criterion, which also pushes wrong classes away (LeCun et al. 1998, eq. 9).

    `y_D + log(exp(-j) + sum_i exp(-y_i))`, where the distances `y_i` are minus the logits. `j` > 0 stands for a
    rubbish class, so that a class already much further away than `j` is pushed no further. The paper gives no value
    for it; 5 was chosen on validation images, where 0.1, 2 and 20 did worse by less than 0.3 points on one seed.
    """
    rubbish = tf.fill((tf.shape(logits)[0], 1), tf.constant(-j, logits.dtype))
    return rbf_mse(logits, labels) + tf.reduce_logsumexp(tf.concat([logits, rubbish], axis=1), axis=1)


def weighted(loss: Loss, class_weights: Sequence[float]) -> Loss:
    """`loss` times the weight of the label's class: `[K]` weights, 0 or more.

    The mean over a batch stays a sum divided by the number of images, not by the sum of their weights, as in Keras's
    `class_weight`.

    >>> loss = weighted(softmax_cross_entropy, (1.0, 10.0))
    >>> loss(tf.zeros((2, 2)), tf.constant([0, 1])).numpy().round(3)
    array([0.693, 6.931], dtype=float32)
    """

    def of_classes(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        losses = loss(logits, labels)
        return losses * tf.gather(tf.constant(class_weights, losses.dtype), labels)

    return of_classes


def training_loss(loss: Loss, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> Loss:
    """`loss` as it is minimised: smoothed if it is the cross entropy, and weighted. Tests take `loss` itself."""
    if label_smoothing and loss is softmax_cross_entropy:
        loss = partial(softmax_cross_entropy, label_smoothing=label_smoothing)
    return loss if class_weights is None else weighted(loss, class_weights)


def of_labels(loss: Loss, logits: tf.Tensor, labels: Labels) -> tf.Tensor:
    """`loss(logits, labels)` `[N]`; of mixed images `lam * loss(logits, a) + (1 - lam) * loss(logits, b)`.

    For the cross entropy, smoothed or not, that is the cross entropy with the mixed labels, since it is linear in them
    (Zhang et al. 2018, section 2).
    """
    if not isinstance(labels, Mixed):
        return loss(logits, labels)
    of_a, of_b = loss(logits, labels.a), loss(logits, labels.b)
    lam = tf.cast(labels.lam, of_a.dtype)
    return lam * of_a + (1.0 - lam) * of_b


LOSSES: dict[str, Loss] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "rbf_mse": rbf_mse,
    "rbf_map": rbf_map,
}
