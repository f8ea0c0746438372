"""Training as a few functions: a state, a step, an evaluation, and `fit`, which any loop of your own can replace."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rawcnn.chain import Chain
from rawcnn.data.source import Augment, Crop, Labelled, Preprocess, batch_indices, batches, in_order
from rawcnn.errors import RunError, UsageError
from rawcnn.machine import cores
from rawcnn.train.gradients import NOT_FINITE, require_finite
from rawcnn.train.losses import Loss
from rawcnn.train.optimizers import Optimizer
from rawcnn.weights import named_variables, named_weights


class TrainState(tf.Module):
    """All that training changes: the net's variables, the optimizer's slots and the number of updates made.

    With `decay` > 0 also `averages`, moving averages of all of the net's numbers: after update t each moves by a share
    of 1 - min(decay, (1 + t) / (10 + t)) towards its variable (Polyak & Juditsky 1992; Szegedy et al. 2014, section 6).
    """

    def __init__(self, net: Chain, optimizer: Optimizer, *, decay: float = 0.0):
        super().__init__(name="train_state")
        self.net, self.optimizer, self.decay = net, optimizer, decay
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        followed = {name: v for name, v in named_variables(net).items() if v.dtype.is_floating and decay}
        self.averages = {name: tf.Variable(v, trainable=False, name="average") for name, v in followed.items()}

    def update_averages(self) -> None:
        """Move the averages towards the variables; `step` counts the updates made."""
        t = tf.cast(self.step, tf.float32)
        share = 1.0 - tf.minimum(self.decay, (1.0 + t) / (10.0 + t))
        for name, variable in named_variables(self.net).items():
            if name in self.averages:
                average = self.averages[name]
                average.assign_sub(share * (average - variable))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the net has the averages for its numbers, if any are kept."""
        variables = {name: v for name, v in named_variables(self.net).items() if name in self.averages}
        own = {name: v.numpy() for name, v in variables.items()}
        try:
            for name, variable in variables.items():
                variable.assign(self.averages[name])
            yield
        finally:
            for name, variable in variables.items():
                variable.assign(own[name])


class StepResults(NamedTuple):
    """What a call of the training step returns: of each step mean loss and correct predictions; seconds waited."""

    loss: tf.Tensor
    correct: tf.Tensor
    waited: tf.Tensor


TrainStep = Callable[[Iterator[tuple[tf.Tensor, tf.Tensor]], tf.Tensor], StepResults]


def side_by_side(batch_size: int, threads: int | None = None) -> int:
    """How many equal parts of a batch to compute side by side: a divisor of it, at most `threads` (one a core)."""
    return max(parts for parts in range(1, (threads or cores()) + 1) if batch_size % parts == 0)


def one_thread_per_op(threads: int | None = None) -> None:
    """Let TensorFlow run `threads` ops at once (by default one a core), one thread each: for small nets the faster way.

    To be called before TensorFlow's first op; raises its `RuntimeError` otherwise.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads or cores())


def make_train_step(
    state: TrainState,
    loss: Loss,
    preprocess: Preprocess,
    *,
    parts: int = 1,
    head_weights: Mapping[str, float] | None = None,
    timed: bool = True,
) -> TrainStep:
    """`train_step(iterator, n)` makes `n` updates on the next `n` batches in one call, and returns `StepResults`.

    The iterator gives (images `[N, H, W, C]`, labels `[N]`) as `rawcnn.data.source.batches` does. With `parts` > 1
    the batch is cut into that many equal parts whose gradients are computed side by side and added: the same update
    (but for dropout, which draws for each part, and batch normalisation, which sees one part at a time).
    `head_weights` says by name how much the loss of each further head counts, as in `{"aux1": 0.3}`; the loss that is
    reported is that of the last row alone. Raises `UsageError` unless it names the net's heads. `timed=False` reads no
    clock, which TensorFlow's op determinism forbids; the seconds waited are then 0.
    """
    heads = {name for name, _, _ in state.net.heads}
    if set(head_weights or {}) != heads:
        raise UsageError(f"The net's heads are {sorted(heads) or 'none'}: give head_weights for just these.")
    weights = list(named_weights(state.net).values())

    def clock() -> tf.Tensor:
        return tf.timestamp() if timed else tf.constant(0.0, tf.float64)

    def gradients(
        images: tf.Tensor, labels: tf.Tensor, batch_size: int
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            with tf.name_scope("preprocess"):
                images = preprocess(images)
            ends = state.net.endpoints(images, training=True)
            *_, logits = ends.values()
            share = tf.reduce_sum(loss(logits, labels)) / batch_size
            total = share
            for head, weight in (head_weights or {}).items():
                total += weight * tf.reduce_sum(loss(ends[head], labels)) / batch_size
        return share, count_correct(logits, labels), tape.gradient(total, weights)

    def update(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        shares = zip(tf.split(images, parts), tf.split(labels, parts), strict=True)
        losses, correct, grads = zip(*(gradients(x, y, images.shape[0]) for x, y in shares), strict=True)
        sums = [tf.add_n(parts_of_one) for parts_of_one in zip(*grads, strict=True)]
        with tf.control_dependencies([require_finite(sums, tf.add_n(losses), state.step)]):
            state.optimizer.apply(sums, state.step)
            state.step.assign_add(1)
            state.update_averages()
        with tf.control_dependencies(sums):
            return tf.add_n(losses), tf.add_n(correct), clock()

    @tf.function
    def train_step(iterator: Iterator[tuple[tf.Tensor, tf.Tensor]], n: tf.Tensor) -> StepResults:
        losses, corrects = tf.TensorArray(tf.float32, n), tf.TensorArray(tf.int32, n)
        waited, idle_since = tf.constant(0.0, tf.float64), clock()
        for i in tf.range(n):
            images, labels = next(iterator)
            with tf.control_dependencies([images]):
                arrived = clock()
            waited += tf.maximum(arrived - idle_since, 0.0)
            with tf.control_dependencies([arrived]):  # or the clock would be read only when a core is free again
                step_loss, step_correct, idle_since = update(tf.identity(images), labels)
            losses, corrects = losses.write(i, step_loss), corrects.write(i, step_correct)
        return StepResults(losses.stack(), corrects.stack(), waited)

    return train_step


def count_correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """How many rows of `logits` are largest at their label; int32 scalar."""
    hits = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
    return tf.reduce_sum(tf.cast(hits, tf.int32))


EvalStep = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_eval_step(
    net: Callable[[tf.Tensor], tf.Tensor], loss: Loss, preprocess: Preprocess, *, parts: int = 1
) -> EvalStep:
    """`eval_step(images, labels)` -> (losses `[N]`, probabilities `[N, K]`), for a batch that `parts` divides.

    `images` is `[N, H, W, C]`, or `[N, views, H, W, C]`: losses and probabilities are then means over the views.
    """

    def evaluate_part(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        views = images.shape[1] if images.shape.rank == 5 else 1
        logits = net(preprocess(tf.reshape(images, (-1, *images.shape[-3:]))))
        losses, probabilities = loss(logits, tf.repeat(labels, views)), tf.nn.softmax(logits)
        return (
            tf.reduce_mean(tf.reshape(losses, (-1, views)), axis=1),
            tf.reduce_mean(tf.reshape(probabilities, (-1, views, probabilities.shape[-1])), axis=1),
        )

    @tf.function
    def eval_step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shares = zip(tf.split(images, parts), tf.split(labels, parts), strict=True)
        losses, probabilities = zip(*(evaluate_part(x, y) for x, y in shares), strict=True)
        return tf.concat(losses, axis=0), tf.concat(probabilities, axis=0)

    return eval_step


class Evaluation(NamedTuple):
    """Mean loss, share of correct predictions (0 ... 1) and every image's class probabilities `[N, K]`."""

    loss: float
    accuracy: float
    probabilities: np.ndarray


def evaluate(
    eval_step: EvalStep,
    source: Labelled,
    batch_size: int = 1000,
    *,
    crop: Crop | None = None,
    size: int | None = None,
) -> Evaluation:
    """Evaluate every image of `source` once, in order; the last batch is filled up so that all have one shape.

    With `crop`, its views of each image, `size` pixels a side, are evaluated, and their probabilities averaged.
    """
    results = [eval_step(images, labels) for images, labels in in_order(source, batch_size, crop, size)]
    losses, probabilities = (np.concatenate([r[i].numpy() for r in results])[: len(source)] for i in (0, 1))
    accuracy = float(np.mean(probabilities.argmax(axis=1) == source.labels))
    return Evaluation(float(np.mean(losses, dtype=np.float64)), accuracy, probabilities)


@dataclass(frozen=True)
class Progress:
    """Where training stands; the sums run over the epoch so far, and are part of a checkpoint."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # updates made since the run began
    steps_per_epoch: int
    batch_size: int
    loss_sum: float = 0.0
    correct: int = 0
    images_per_second: float = 0.0
    data_share: float = 0.0  # of the last call's time, spent waiting for data
    seconds_left: float = 0.0

    @property
    def steps_done(self) -> int:
        """Steps of this epoch that are done."""
        return self.step - (self.epoch - 1) * self.steps_per_epoch

    @property
    def epoch_ended(self) -> bool:
        return self.steps_done == self.steps_per_epoch

    @property
    def loss(self) -> float:
        """Mean training loss over the epoch so far."""
        return self.loss_sum / max(self.steps_done, 1)

    @property
    def accuracy(self) -> float:
        """Training accuracy (0 ... 1) over the epoch so far, each image counted when it was trained on."""
        return self.correct / max(self.steps_done * self.batch_size, 1)


def steps_per_epoch(source: Labelled, batch_size: int) -> int:
    """Whole batches in `source`; raises `UsageError` if there is not one."""
    if len(source) < batch_size:
        raise UsageError(
            f"{len(source)} training images fill no batch of {batch_size}: use a batch size up to {len(source)}."
        )
    return len(source) // batch_size


def fit(
    state: TrainState,
    train_step: TrainStep,
    source: Labelled,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    crop: Crop | None = None,
    size: int | None = None,
    augment: Augment | None = None,
    loss_sum: float = 0.0,
    correct: int = 0,
    pause_every: int | None = None,
    seconds_per_call: float = 0.5,
) -> Iterator[Progress]:
    """Train to the end of epoch `epochs` from wherever `state.step` stands, and yield a `Progress` after every call.

    Between two yields one call makes as many steps as take about `seconds_per_call`, but stops at the end of each
    epoch and at every multiple of `pause_every` steps, where a caller may save. `loss_sum` and `correct` are those of
    the epoch that a checkpoint interrupted. Images that fill no whole batch are left out of an epoch; the next one's
    order is another. Raises `UsageError` if not one batch can be filled, `RunError` when loss or gradient is no
    number: that update was not made, but `state` is then of no use (statistics have seen the batch), so do not save it.
    """
    per_epoch = steps_per_epoch(source, batch_size)
    step, n = int(state.step), 1
    now = Progress(0, epochs, step, per_epoch, batch_size, loss_sum, correct)
    data = iter(batches(source, batch_size, seed=seed, start=step, crop=crop, size=size, augment=augment))
    for epoch in range(step // per_epoch + 1, epochs + 1):
        now = replace(now, epoch=epoch)
        while not now.epoch_ended:
            until_pause = pause_every - now.step % pause_every if pause_every else n
            taken = min(n, per_epoch - now.steps_done, until_pause)
            try:
                now, seconds = _advance(now, train_step, data, taken)
            except tf.errors.InvalidArgumentError as error:
                if NOT_FINITE not in error.message:
                    raise
                raise RunError(_not_finite(error.message, state, source, batch_size, seed)) from None
            n = max(1, round(min(2 * taken, taken * seconds_per_call / seconds)))
            yield now
        now = replace(now, loss_sum=0.0, correct=0)


def _advance(
    now: Progress, train_step: TrainStep, data: Iterator[tuple[tf.Tensor, tf.Tensor]], n: int
) -> tuple[Progress, float]:
    """`now` after `n` more steps, and the seconds they took."""
    began = time.perf_counter()
    results = train_step(data, tf.constant(n))
    losses = results.loss.numpy().tolist()
    seconds = time.perf_counter() - began
    loss_sum = now.loss_sum
    for i, loss in enumerate(losses):  # one by one, so that the sum does not depend on how many steps a call makes
        if not np.isfinite(loss):
            raise RunError(f"The loss is {loss} at step {now.step + i + 1}: try a learning rate 10 times smaller.")
        loss_sum += loss
    after = replace(
        now,
        step=now.step + n,
        loss_sum=loss_sum,
        correct=now.correct + int(results.correct.numpy().sum()),
        images_per_second=n * now.batch_size / seconds,
        data_share=min(1.0, float(results.waited) / seconds),
    )
    left = now.epochs * now.steps_per_epoch - after.step
    return replace(after, seconds_left=left * seconds / n), seconds


def _not_finite(message: str, state: TrainState, source: Labelled, batch_size: int, seed: int) -> str:
    """What TensorFlow's `message` (see `require_finite`) means: the step, the rate, the batch, and what to try."""
    found = re.search(rf"{NOT_FINITE}\] \[(\d+)\] \[([^\]]*)\] \[([^\]]*)\]", message)
    assert found, message
    done, loss, norm = int(found[1]), float(found[2]), math.sqrt(2 * float(found[3]))
    rate = float(state.optimizer.learning_rate(tf.constant(done, tf.int64)) * state.optimizer.factor)
    chosen = batch_indices(source, batch_size, seed=seed, number=done)
    return (
        f"Step {done + 1} would make weights that are no numbers and was not made: loss {loss:.4g}, "
        f"gradient norm {norm:.4g}, learning rate {rate:.3g}. Its images: {source.names(chosen)}. "
        "Try a learning rate 10 times smaller, or float32 where it was bfloat16; if it is always at these images, "
        "look at them."
    )
