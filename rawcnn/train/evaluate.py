"""Evaluation: loss, accuracy and class probabilities of every image, and the confusion matrix."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import in_order
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Crop, Labelled
from rawcnn.errors import UsageError
from rawcnn.train.losses import Loss

EvalStep = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_eval_step(
    net: Callable[[tf.Tensor], tf.Tensor], loss: Loss, preprocess: Preprocess, *, shards: int = 1
) -> EvalStep:
    """`eval_step(images, labels)` -> (losses `[N]`, probabilities `[N, K]`), for a batch that `shards` divides.

    `images` is `[N, H, W, C]`, or `[N, views, H, W, C]`: losses and probabilities are then means over the views.
    """

    def of_shard(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        views = images.shape[1] if images.shape.rank == 5 else 1
        logits = net(preprocess(tf.reshape(images, (-1, *images.shape[-3:]))))
        losses, probabilities = loss(logits, tf.repeat(labels, views)), tf.nn.softmax(logits)
        return (
            tf.reduce_mean(tf.reshape(losses, (-1, views)), axis=1),
            tf.reduce_mean(tf.reshape(probabilities, (-1, views, probabilities.shape[-1])), axis=1),
        )

    def eval_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cut = zip(tf.split(images, shards), tf.split(labels, shards), strict=True)
        losses, probabilities = zip(*(of_shard(x, y) for x, y in cut), strict=True)
        return tf.concat(losses, axis=0), tf.concat(probabilities, axis=0)

    # TensorFlow counts tracings by the code of a function, and would warn of the fifth net that is evaluated, as if one
    # had been traced five times. By a partial it counts each step alone.
    return tf.function(partial(eval_step), autograph=False)


class Evaluation(NamedTuple):
    """Mean loss, accuracy (0 ... 1: the fraction of correct answers) and each image's class probabilities `[N, K]`."""

    loss: float
    accuracy: float
    probabilities: np.ndarray

    def __repr__(self) -> str:
        shape = list(self.probabilities.shape)
        return f"<Evaluation: loss {self.loss:.4f}, accuracy {self.accuracy:.2%}, probabilities {shape}>"


def evaluate(
    eval_step: EvalStep,
    source: Labelled,
    batch_size: int = 1000,
    *,
    crop: Crop | None = None,
    size: int | None = None,
) -> Evaluation:
    """Evaluate every image of `source` once, in order; the last batch is filled up so that all have one shape.

    With `crop`, its views of each image, `size` pixels a side, are evaluated, and their probabilities averaged. Raises
    `UsageError` if there are no images.
    """
    if not len(source):
        raise UsageError("There are no images to evaluate.")
    results = [eval_step(images, labels) for images, labels in in_order(source, batch_size, crop, size)]
    losses, probabilities = (np.concatenate([r[i].numpy() for r in results])[: len(source)] for i in (0, 1))
    accuracy = float(np.mean(probabilities.argmax(axis=1) == source.labels))
    return Evaluation(float(np.mean(losses, dtype=np.float64)), accuracy, probabilities)


class ClassScores(NamedTuple):
    """How well each class is recognised: float `[K]` each, 0 ... 1; 0 where there is nothing to count.

    Of class k, `precision` is the fraction of the answers k that are right, `recall` the fraction of the images of k
    that are recognised, `f1` their harmonic mean, 2 p r / (p + r). `macro_f1` is the mean F1 of the classes that occur,
    among the images or the answers: each class counts the same, however few its images are.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    macro_f1: float


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class, from a confusion matrix `[K, K]`: row = true, column = predicted.

    >>> scores = class_scores(np.array([[8, 2], [0, 2]]))
    >>> scores.precision, scores.recall, round(scores.macro_f1, 3)
    (array([1. , 0.5]), array([0.8, 1. ]), 0.778)
    """
    right, images, answers = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    f1 = 2 * right / np.maximum(images + answers, 1)  # 2 p r / (p + r)
    occurs = images + answers > 0
    macro = float(f1[occurs].mean()) if occurs.any() else 0.0
    return ClassScores(right / np.maximum(answers, 1), right / np.maximum(images, 1), f1, macro)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts `[K, K]`: row = true class, column = predicted class.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    array([[1, 0],
           [1, 1]])
    """
    flat = np.bincount(labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)
