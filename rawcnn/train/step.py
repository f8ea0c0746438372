"""The training step: a state, and one `tf.function` that makes many updates."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from rawcnn.data.mixing import Labels, Mixed, larger
from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import UsageError
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain
from rawcnn.train.finite import require_finite
from rawcnn.train.losses import Loss, of_labels
from rawcnn.train.optimizers import Optimizer, check_gradients
from rawcnn.train.strategy import Computed, Replicas, Update, Updated


class TrainState(tf.Module):
    """All that training changes: the net's variables, the optimizer's slots and the number of updates made.

    With `decay` > 0 also `averages`, moving averages of all of the net's numbers: after update t each goes the fraction
    1 - min(decay, (1 + t) / (10 + t)) of the way to its variable (Polyak & Juditsky 1992; Szegedy et al. 2014,
    section 6).

    Rows and heads that `freeze` names (see `Chain.rows_named`) are not trained in the first `frozen_steps` updates, or
    never if that is None. They compute as in testing: batch normalisation uses its moving averages and leaves them as
    they are, and dropout drops nothing. Whatever the optimizer, their weights stay the same to the bit.

    Raises `UsageError` if the optimizer trains weights that are not the net's, for a row that the net does not have,
    and if no row is left to train.

    >>> from rawcnn.nets import NETS
    >>> from rawcnn.train.optimizers import Adam
    >>> net = NETS["lenet5_relu"]()
    >>> list(TrainState(net, Adam(net.f6, 0.01)).optimizer.weights)  # all other rows stay as they are
    ['w', 'b']
    >>> list(TrainState(net, Adam(net), freeze="c1..c5").trained())
    ['f6/w', 'f6/b', 'logits/w', 'logits/b']
    """

    def __init__(
        self,
        net: Chain,
        optimizer: Optimizer,
        *,
        decay: float = 0.0,
        freeze: str | Iterable[str] = (),
        frozen_steps: int | None = None,
    ):
        super().__init__(name="train_state")
        of_net = {id(weight) for weight in named_weights(net).values()}
        if strange := [name for name, weight in optimizer.weights.items() if id(weight) not in of_net]:
            raise UsageError(
                f"The optimizer trains {', '.join(strange[:5])}, which the net does not have: make it from this net."
            )
        self.net, self.optimizer, self.decay = net, optimizer, decay
        self.frozen, self.frozen_steps = frozen_rows(net, freeze), frozen_steps
        if not self.trained():
            raise UsageError("freeze names all rows that the optimizer trains: leave one out.")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        followed = {name: v for name, v in named_variables(net).items() if v.dtype.is_floating and decay}
        self.averages = {name: tf.Variable(v, trainable=False, name=f"average/{name}") for name, v in followed.items()}

    def trained(self) -> dict[str, tf.Variable]:
        """The optimizer's weights without those of frozen rows, by name."""
        some = {id(weight) for weight in unfrozen_weights(self.net, self.frozen).values()}
        return {name: weight for name, weight in self.optimizer.weights.items() if id(weight) in some}

    def apply(self, gradients: Mapping[str, tf.Tensor], frozen: Collection[str] = ()) -> None:
        """One update by the optimizer, then of the averages, but for those of the rows `frozen`."""
        always = self.trained()
        self.optimizer.apply({name: g for name, g in gradients.items() if name in always}, self.step)
        if late := {name: g for name, g in gradients.items() if name not in always}:  # of rows that were frozen before
            self.optimizer.apply(late, self.step, self.step - (self.frozen_steps or 0))  # as if Adam began here
        self.step.assign_add(1)
        self.update_averages(frozen)

    def update_averages(self, frozen: Collection[str] = ()) -> None:
        """Move the averages towards the variables, but for the rows `frozen`; `step` counts the updates made."""
        t = tf.cast(self.step, tf.float32)
        fraction = 1.0 - tf.minimum(self.decay, (1.0 + t) / (10.0 + t))
        for name, variable in named_variables(self.net).items():
            if name in self.averages and name.partition("/")[0] not in frozen:
                average = self.averages[name]
                average.assign_sub(fraction * (average - variable))

    def use_averages(self) -> None:
        """Give the net the averages for good, if the state keeps any: what a finished training ends with."""
        for name, variable in named_variables(self.net).items():
            if name in self.averages:
                variable.assign(self.averages[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the net computes with the averages, if the state keeps any."""
        variables = {name: v for name, v in named_variables(self.net).items() if name in self.averages}
        own = {name: v.numpy() for name, v in variables.items()}
        try:
            self.use_averages()
            yield
        finally:
            for name, variable in variables.items():
                variable.assign(own[name])


class StepResults(NamedTuple):
    """What a call of the training step returns: of each step mean loss and correct predictions; seconds waited."""

    loss: tf.Tensor
    correct: tf.Tensor
    waited: tf.Tensor


TrainStep = Callable[[tf.data.Iterator, tf.Tensor], StepResults]


def make_train_step(
    state: TrainState,
    loss: Loss,
    preprocess: Preprocess,
    *,
    shards: int = 1,
    accumulate: int = 1,
    recompute: bool = False,
    head_weights: Mapping[str, float] | None = None,
    timed: bool = True,
    replicas: Replicas | None = None,
) -> TrainStep:
    """`train_step(iterator, n)` makes `n` updates on the next `n` batches in one call, and returns `StepResults`.

    With `n` = 0 it only traces. The iterator is that of a `tf.data.Dataset` that gives (images `[N, H, W, C]`, labels
    `[N]` or `Mixed`), as `iter(rawcnn.data.batches.batches(...))` does. Gradients are computed for the optimizer's
    weights alone; the statistics of batch normalisation follow in all rows that are not frozen (see `TrainState`). No
    gradient goes through the rows below the first one that is trained.

    With `shards` > 1 the batch is cut into that many equal shards, whose gradients are computed side by side and added.
    The update is the same, except that dropout draws for each shard, and batch normalisation sees one shard at a time.
    With `accumulate` > 1 the batch is cut into that many equal pieces, computed one after the other, whose gradients
    are added: a large batch in the memory of a small one. The same exceptions hold for pieces. Each piece is cut into
    shards. With `replicas` each of them computes its part of each shard, see `rawcnn.train.strategy`.
    With `recompute` most rows are computed a second time on the way back, in less memory (`rawcnn.nets.recompute`).
    `head_weights` says by name how much the loss of each head counts, as in `{"aux1": 0.3}`; the loss that is reported
    is that of the last row alone. `timed=False` reads no clock, which TensorFlow's op determinism forbids; the seconds
    waited are then 0.

    Raises `UsageError` unless `head_weights` names the net's heads, if the loss does not depend on a weight, or if a
    batch cannot be cut so.
    """
    heads = {name for name, _, _ in state.net.heads}
    if set(head_weights or {}) != heads:
        raise UsageError(f"The net's heads are {sorted(heads) or 'none'}: give head_weights for exactly these.")

    def clock() -> tf.Tensor:
        return tf.timestamp() if timed else tf.constant(0.0, tf.float64)

    def update_of(state: TrainState) -> Update:
        return _make_update(
            state, loss, preprocess, shards, accumulate, recompute, head_weights or {}, clock, replicas
        )  # fmt: skip

    update = update_of(state) if replicas is None else replicas.together(state, update_of, shards * accumulate)

    def update_now(images: tf.Tensor, labels: Labels) -> Updated:
        if not state.frozen or state.frozen_steps is None:
            return update(images, labels, state.frozen)
        some, every = (partial(update, images, labels, rows) for rows in (state.frozen, ()))
        return tf.cond(state.step < state.frozen_steps, some, every)

    def train_step(iterator: tf.data.Iterator, n: tf.Tensor) -> StepResults:
        def one_step(
            i: tf.Tensor, losses: tf.TensorArray, corrects: tf.TensorArray, waited: tf.Tensor, idle_since: tf.Tensor
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray, tf.Tensor, tf.Tensor]:
            images, labels = iterator.get_next()
            with tf.control_dependencies([images]):
                arrived = clock()
            waited += tf.maximum(arrived - idle_since, 0.0)
            with tf.control_dependencies([arrived]):  # or the clock would be read only when a core is free again
                step_loss, step_correct, idle_since = update_now(tf.identity(images), labels)
            return i + 1, losses.write(i, step_loss), corrects.write(i, step_correct), waited, idle_since

        none = (tf.TensorArray(dtype, n, element_shape=()) for dtype in (tf.float32, tf.int32))
        begun = (tf.constant(0), *none, tf.constant(0.0, tf.float64), clock())
        _, losses, corrects, waited, _ = tf.while_loop(lambda i, *_: i < n, one_step, begun)
        return StepResults(losses.stack(), corrects.stack(), waited)

    return tf.function(partial(train_step), autograph=False)  # partial: see `make_eval_step`


def _make_update(
    state: TrainState,
    loss: Loss,
    preprocess: Preprocess,
    shards: int,
    accumulate: int,
    recompute: bool,
    head_weights: Mapping[str, float],
    clock: Callable[[], tf.Tensor],
    replicas: Replicas | None,
) -> Update:
    """`update(images, labels, frozen)`, for `make_train_step`: one update of `state`, by one replica its own part."""

    def trained(frozen: Collection[str]) -> dict[str, tf.Variable]:
        return state.trained() if frozen else state.optimizer.weights

    def gradients(images: tf.Tensor, labels: Labels, batch_size: int, frozen: Collection[str]) -> Computed:
        weights = trained(frozen)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(weights.values()))
            with tf.name_scope("preprocess"):
                images = preprocess(images)
            logits, ends = state.net.endpoints(images, training=True, frozen=frozen, recompute=recompute)
            own_loss = tf.reduce_sum(of_labels(loss, logits, labels)) / batch_size
            total = own_loss
            for head, weight in head_weights.items():
                total += weight * tf.reduce_sum(of_labels(loss, ends[head], labels)) / batch_size
        of_weights = tape.gradient(total, list(weights.values()))
        check_gradients(weights, of_weights)
        return own_loss, count_correct(logits, labels), of_weights

    def of_piece(images: tf.Tensor, labels: Labels, batch_size: int, frozen: Collection[str]) -> Computed:
        """Loss, correct answers and gradients of a piece of a batch, its shards side by side."""
        cut = zip(tf.split(images, shards), _split(labels, shards), strict=True)
        losses, correct, grads = zip(*(gradients(x, y, batch_size, frozen) for x, y in cut), strict=True)
        return tf.add_n(losses), tf.add_n(correct), [tf.add_n(of_shards) for of_shards in zip(*grads, strict=True)]

    def of_batch(images: tf.Tensor, labels: Labels, frozen: Collection[str]) -> Computed:
        """The same of a whole batch, its pieces one after the other."""
        batch_size = images.shape[0] * (1 if replicas is None else replicas.count)
        if accumulate == 1:
            return of_piece(images, labels, batch_size, frozen)
        each = piece_size(images.shape[0], accumulate)
        images, labels = _map(lambda x: tf.reshape(x, (accumulate, each, *x.shape[1:])), (images, labels))

        def add_piece(i: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            of_one, correct, grads = of_piece(*_map(lambda x: x[i], (images, labels)), batch_size, frozen)
            return i + 1, *(total + one for total, one in zip(sums, (of_one, correct, *grads), strict=True))

        none = (tf.constant(0.0), tf.constant(0), *(tf.zeros_like(weight) for weight in trained(frozen).values()))
        begun = (tf.constant(0), *none)
        # One at a time: what a piece needs is free again before the next one begins.
        _, own_loss, correct, *sums = tf.while_loop(
            lambda i, *_: i < accumulate, add_piece, begun, parallel_iterations=1
        )
        return own_loss, correct, sums

    def update(images: tf.Tensor, labels: Labels, frozen: Collection[str]) -> Updated:
        computed = of_batch(images, labels, frozen)
        own_loss, correct, sums = computed if replicas is None else replicas.added(computed, state.net)
        with tf.control_dependencies([require_finite(sums, own_loss, state.step)]):
            state.apply(dict(zip(trained(frozen), sums, strict=True)), frozen)
        with tf.control_dependencies(sums):
            return own_loss, correct, clock()

    return update


def frozen_rows(net: Chain, freeze: str | Iterable[str]) -> frozenset[str]:
    """The rows and heads that `freeze` names. Raises `UsageError` for an unknown one, and if none is left to train."""
    try:
        frozen = frozenset(net.rows_named(freeze)) if freeze else frozenset()
    except UsageError as error:
        raise UsageError(f"freeze={freeze}: {error}") from None
    if not any(layer.trainable_variables for name, layer in net.rows if name not in frozen):
        raise UsageError(f"freeze={freeze} leaves no row to train: leave one with weights out, such as the last.")
    return frozen


def unfrozen_weights(net: Chain, frozen: Collection[str]) -> dict[str, tf.Variable]:
    """The weights of all rows and heads but `frozen`, by path."""
    return {name: weight for name, weight in named_weights(net).items() if name.partition("/")[0] not in frozen}


def piece_size(batch_size: int, accumulate: int) -> int:
    """Images of each of the `accumulate` pieces of a batch. Raises `UsageError` unless they are equally many."""
    if accumulate < 1 or batch_size % accumulate:
        raise UsageError(
            f"A batch of {batch_size} images cannot be cut into {accumulate} equal pieces: make batch_size a multiple "
            "of accumulate."
        )
    return batch_size // accumulate


def _map(function: Callable[[tf.Tensor], tf.Tensor], of: tuple[tf.Tensor, Labels]) -> tuple[tf.Tensor, Labels]:
    """`function` of images and of labels; of mixed labels, of each of their three tensors."""
    images, labels = of
    return function(images), Mixed(*map(function, labels)) if isinstance(labels, Mixed) else function(labels)


def _split(labels: Labels, shards: int) -> list[Labels]:
    if not isinstance(labels, Mixed):
        return list(tf.split(labels, shards))
    return [Mixed(*shard) for shard in zip(*(tf.split(x, shards) for x in labels), strict=True)]


def count_correct(logits: tf.Tensor, labels: Labels) -> tf.Tensor:
    """How many rows of `logits` are largest at their label; int32 scalar. Of mixed images the larger part counts."""
    labels = larger(labels)
    hits = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
    return tf.reduce_sum(tf.cast(hits, tf.int32))
