"""`train_epochs`: whole epochs of training steps, which any loop of your own can replace; where they stand."""

import math
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf

from rawcnn.data.batches import batch_indices, batches
from rawcnn.data.mixing import Mix
from rawcnn.data.source import Augment, Crop, Labelled, images_named
from rawcnn.errors import RunError, UsageError
from rawcnn.train.finite import NOT_FINITE
from rawcnn.train.step import TrainState, TrainStep
from rawcnn.train.strategy import LOST, Replicas, lost


@dataclass(frozen=True)
class Progress:
    """Where training stands; `str()` is one line of it.

    The sums run over the epoch so far, and are part of a checkpoint. `val_loss` and `val_accuracy` are those of
    validation images, at the end of an epoch, where there are such. `remark` says how the net is trained.
    """

    epoch: int  # counted from 1
    epochs: int
    step: int  # updates made since the run began
    steps_per_epoch: int
    batch_size: int
    loss_sum: float = 0.0
    correct: int = 0
    images_per_second: float = 0.0
    data_share: float = 0.0  # of the last call's time, spent waiting for data
    seconds_left: float | None = None  # None: not known yet
    val_loss: float | None = None
    val_accuracy: float | None = None
    remark: str = ""

    def __str__(self) -> str:
        return "  ".join(text for _, text in self.pieces())

    def pieces(self) -> list[tuple[int, str]]:
        """The parts of the line, each with its rank: where there is no room for all, the highest is left out first."""
        steps = self.epochs * self.steps_per_epoch
        pieces = [
            (0, f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}"),
            (7, f"step {self.step:{len(str(steps))}}/{steps}"),
            (1, f"loss {self.loss:.4f}"),
            (2, f"acc {self.accuracy:6.2%}"),
        ]
        if self.val_loss is not None and self.val_accuracy is not None:
            pieces += [(4, f"val loss {self.val_loss:.4f}"), (3, f"val acc {self.val_accuracy:6.2%}")]
        return [
            *pieces,
            (6, f"{self.images_per_second:,.0f} img/s"),
            (8, f"data {self.data_share:.0%}"),
            (5, "eta ..." if self.seconds_left is None else f"eta {duration(self.seconds_left)}"),
        ]

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
        """Training accuracy (0 ... 1) over the epoch so far, each image counted when it was trained on.

        An answer to a mixed image is right if it is the class of the larger part.
        """
        return self.correct / max(self.steps_done * self.batch_size, 1)


def duration(seconds: float) -> str:
    """A short human form.

    >>> duration(0.04), duration(7.4), duration(72), duration(7500)
    ('0.0s', '7.4s', '1m12s', '2h05m')
    """
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def steps_per_epoch(source: Labelled, batch_size: int) -> int:
    """Whole batches in `source`; raises `UsageError` if there is not one."""
    if len(source) < batch_size:
        raise UsageError(
            f"{len(source)} training images fill no batch of {batch_size}: use a batch size up to {len(source)}."
        )
    return len(source) // batch_size


def train_epochs(
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
    alternate: bool = False,
    balanced: bool = False,
    mix: Mix | None = None,
    replicas: Replicas | None = None,
    loss_sum: float = 0.0,
    correct: int = 0,
    pause_every: int | None = None,
    seconds_per_call: float = 0.5,
) -> Iterator[Progress]:
    """Train to the end of epoch `epochs` from wherever `state.step` stands, and yield a `Progress` after every call.

    Between two yields one call makes as many steps as take about `seconds_per_call`, but stops at the end of each
    epoch and at every multiple of `pause_every` steps, where a caller may save. `loss_sum` and `correct` are those of
    the epoch that a checkpoint interrupted. Images that fill no whole batch are left out of an epoch; the next one's
    order is another. `crop` ... `mix` are those of `rc.batches`. `replicas` are those of `train_step`: they begin with
    equal numbers here.

    Raises `UsageError` if not one batch can be filled, and if workers were told different things; `DataError` that
    names the images that cannot be read; and `RunError` if a worker is gone, or when loss or gradient is not finite:
    that update is skipped, but do not save `state` then: its statistics have seen the batch.
    """
    per_epoch = steps_per_epoch(source, batch_size)
    step, n = int(state.step), 1
    now = Progress(0, epochs, step, per_epoch, batch_size, loss_sum, correct)
    data = iter(
        batches(
            source,
            batch_size,
            seed=seed,
            start=step,
            crop=crop,
            size=size,
            augment=augment,
            alternate=alternate,
            balanced=balanced,
            mix=mix,
        )
    )
    if replicas is not None:
        replicas.agree(
            step=step, batch_size=batch_size, epochs=epochs, seed=seed, images=len(source),
            labels=zlib.crc32(source.labels.tobytes()),
        )  # fmt: skip
        replicas.equalise()
    if step < epochs * per_epoch:
        train_step(data, tf.constant(0))  # traces: seconds that no speed nor time left should count
    for epoch in range(step // per_epoch + 1, epochs + 1):
        now = replace(now, epoch=epoch)
        while not now.epoch_ended:
            until_pause = pause_every - now.step % pause_every if pause_every else n
            taken = min(n, per_epoch - now.steps_done, until_pause)
            with images_named(source):
                try:
                    now, seconds = _advance(now, train_step, data, taken)
                except tf.errors.InvalidArgumentError as error:
                    if NOT_FINITE not in error.message:
                        raise
                    chosen = partial(batch_indices, source, batch_size, seed=seed, balanced=balanced)
                    raise RunError(_not_finite(error.message, state, source, chosen)) from None
                except LOST as error:
                    if replicas is None or replicas.workers == 1:
                        raise
                    raise lost(error) from None
            n = max(1, round(min(2 * taken, taken * seconds_per_call / seconds)))
            if replicas is not None:
                n = int(replicas.meet(n).min())  # all workers make the same calls
            yield now
        now = replace(now, loss_sum=0.0, correct=0)


def _advance(now: Progress, train_step: TrainStep, data: tf.data.Iterator, n: int) -> tuple[Progress, float]:
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
        data_share=min(1.0, max(0.0, float(results.waited) / seconds)),  # a clock may be set back meanwhile
    )
    left = now.epochs * now.steps_per_epoch - after.step
    return replace(after, seconds_left=left * seconds / n), seconds


def _not_finite(message: str, state: TrainState, source: Labelled, batch: Callable[..., np.ndarray]) -> str:
    """What TensorFlow's `message` (see `require_finite`) means: the step, the rate, the batch, and what to try."""
    found = re.search(rf"{NOT_FINITE}\] \[(\d+)\] \[([^\]]*)\] \[([^\]]*)\]", message)
    assert found, message
    done, loss, norm = int(found[1]), float(found[2]), math.sqrt(2 * float(found[3]))
    rate = float(state.optimizer.learning_rate(tf.constant(done, tf.int64)) * state.optimizer.factor)
    chosen = batch(number=done)
    return (
        f"Step {done + 1} would make weights that are not finite and was skipped: loss {loss:.4g}, "
        f"gradient norm {norm:.4g}, learning rate {rate:.3g}. Its images: {source.names(chosen)}. "
        "Try a learning rate 10 times smaller, or float32 where it was bfloat16; if it is always at these images, "
        "look at them."
    )
