"""Training on several devices and machines, by `tf.distribute`: replicas that share every batch and stay equal.

`--batch_size` is that of the whole batch, wherever it is computed. Batch g is the same pure function of (source, seed,
g) as on one device; its images are changed and mixed as a whole, and then replica k of n takes the k-th part of it.
Dropout and batch normalisation look at the whole batch too (see there), gradients, loss and correct answers are added
over all replicas by one all-reduce, and each replica then makes the same update of its own copy of the state. So the
loss is that of one device, but for rounding, and whatever stands in an optimizer works here too.

A replica's copy is made of plain variables, which only that replica's step reads and writes; nothing else need know of
replicas. The first replica's copy is the state that the caller has.
"""

import copy
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.data.mixing import Labels
from rawcnn.data.source import no_autograph
from rawcnn.errors import RunError, UsageError
from rawcnn.layers import BatchNorm
from rawcnn.layers.variables import named_variables
from rawcnn.train.cluster import cluster_of

NONE, MIRRORED, MULTI_WORKER = NAMES = ("none", "mirrored", "multi_worker")
"""One device; all GPUs (or logical CPUs) of this machine; the workers that TF_CONFIG names, with their GPUs."""
Computed = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""Of images: loss, correct predictions, and the gradients of what is trained."""
Updated = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
"""Of one update: loss, correct predictions, and when it was computed."""
Update = Callable[[tf.Tensor, Labels, Collection[str]], Updated]
"""`update(images, labels, frozen)` makes one update."""
BITS = {4: tf.int32, 8: tf.int64}  # by which numbers of so many bytes reach other workers bit for bit

_made: dict[str, tf.distribute.Strategy] = {}


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute.Strategy` called "mirrored" or "multi_worker".

    A program of several workers calls `make_strategy("multi_worker")` first of all, before nets and data are made:
    TensorFlow connects to other workers only before it computes anything. It waits there until all workers have come.
    Raises `UsageError` for another name, if TF_CONFIG is missing or wrong (see `cluster_of`), or if it is too late.
    """
    if name not in (MIRRORED, MULTI_WORKER):
        raise UsageError(f"There is no strategy {name!r}: choose {MIRRORED} or {MULTI_WORKER}.")
    if name not in _made:
        _made[name] = _mirrored() if name == MIRRORED else _multi_worker()
    return _made[name]


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    cluster = cluster_of()
    cluster.check_port()
    try:
        with _workers_named():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UsageError(
            f"TensorFlow cannot connect to other workers any more ({error}): call "
            'rc.make_strategy("multi_worker") first of all, before nets and data are made.'
        ) from None


class Replicas:
    """The replicas that train one net together. `strategy` is a Mirrored- or MultiWorkerMirroredStrategy.

    `count` are all replicas, `workers` all processes, of which this is number `worker`; number 0 is the chief. All
    workers make the same calls in the same order. One object belongs to one training.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy, self._devices = strategy, strategy.extended.worker_devices
        self.count, self.local = strategy.num_replicas_in_sync, len(self._devices)
        self.workers = self.count // self.local
        self.worker = _number_of(strategy.cluster_resolver) if self.workers > 1 else 0
        self._states: list[tf.Module] = []
        self._sum = tf.function(self._added_by_all, autograph=False)

    @staticmethod
    def of(strategy: str | tf.distribute.Strategy) -> "Replicas | None":
        """Those of a strategy, or of the one of that name; None for "none". Raises `UsageError` for another kind."""
        if strategy == NONE:
            return None
        strategy = make_strategy(strategy) if isinstance(strategy, str) else strategy
        if not isinstance(strategy, tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy):
            raise UsageError(
                f"strategy is one of {', '.join(NAMES)}, or a MirroredStrategy or MultiWorkerMirroredStrategy of "
                f"tf.distribute, not a {type(strategy).__name__}."
            )
        return Replicas(strategy)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.worker == 0

    def __str__(self) -> str:
        of_worker = f", worker {self.worker} of {self.workers}" if self.workers > 1 else ""
        return f"{self.count} replica{'s' if self.count > 1 else ''}{of_worker}"

    def prepare(
        self, net: tf.Module, batch_size: int, accumulate: int, shards: int, *, sync_batch_norm: bool = True
    ) -> None:
        """Let all batch normalisation of `net` be synchronised, or none.

        Raises `UsageError` if a batch cannot be cut for all replicas, or computed in pieces by them.
        """
        rows = [row for row in net.submodules if isinstance(row, BatchNorm)]
        for row in rows:
            row.synchronised = sync_batch_norm
        parts = self.count * accumulate * shards
        if batch_size % parts:
            cut = {"replicas": self.count, "pieces (accumulate)": accumulate, "shards": shards}
            words = " times ".join(f"{number} {what}" for what, number in cut.items() if number > 1)
            raise UsageError(
                f"A batch of {batch_size} images cannot be cut into {words}: make batch_size a multiple of {parts}."
            )
        if accumulate > 1 and self.count > 1 and rows and sync_batch_norm:
            raise UsageError(
                "With accumulate, TensorFlow cannot take the statistics of batch normalisation over all replicas: "
                "leave accumulate out, or let each replica take its own (sync_batch_norm=False)."
            )

    # Within a step

    def together(self, state: Any, make_update: Callable[[Any], Update], pieces: int) -> Update:
        """One update of `state` and of a copy of it for each other replica of this process, each by its `make_update`.

        Each replica is given its part of each of the `pieces` of a batch: those that are computed at once.
        """
        self._states = [state, *(_copy_of(state, device) for device in self._devices[1:])]
        updates = [make_update(one) for one in self._states]

        def update(images: tf.Tensor, labels: Labels, frozen: Collection[str]) -> Updated:
            @no_autograph
            def on_replica(images: tf.Tensor, labels: Labels) -> Updated:
                images, labels = tf.nest.map_structure(lambda x: self._part(x, pieces), (images, labels))
                return updates[self._number() % self.local](images, labels, frozen)

            loss, correct, clock = self._strategy.run(on_replica, args=(images, labels))
            return self._first(loss), self._first(correct), self._first(clock)

        return update

    def added(self, computed: Computed, net: tf.Module) -> Computed:
        """The sum over all replicas of what each has computed, in one all-reduce.

        With it go the moving averages of batch normalisation that is not synchronised: `net` gets their mean.
        """
        loss, correct, gradients = computed
        own = [row for row in net.submodules if isinstance(row, BatchNorm) and not row.synchronised]
        averages = [variable for row in own for variable in (row.moving_mean, row.moving_variance)]
        values = [loss, tf.cast(correct, tf.float32), *gradients, *(average / self.count for average in averages)]
        loss, right, *sums = tf.distribute.get_replica_context().all_reduce("SUM", values)
        for average, mean in zip(averages, sums[len(gradients) :], strict=True):
            average.assign(mean)
        return loss, tf.cast(right, tf.int32), sums[: len(gradients)]

    def _number(self) -> int:
        return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))

    def _part(self, values: tf.Tensor, pieces: int) -> tf.Tensor:
        """This replica's rows of each of the `pieces` of a batch."""
        if values.shape[0] % (pieces * self.count):
            raise UsageError(
                f"A batch of {values.shape[0]} images cannot be cut into {pieces} pieces for {self.count} replicas: "
                f"make batch_size a multiple of {pieces * self.count}."
            )
        cut = tf.reshape(values, (pieces, self.count, -1, *values.shape[1:]))[:, self._number()]
        return tf.reshape(cut, (values.shape[0] // self.count, *values.shape[1:]))

    def _first(self, value: Any) -> tf.Tensor:
        return self._strategy.experimental_local_results(value)[0]

    # Between steps

    def equalise(self) -> None:
        """Give all replicas the numbers that the chief's first one has; when training begins."""
        first, *others = (named_variables(state) for state in self._states)
        if self.workers > 1:
            bits = [tf.bitcast(variable, BITS[variable.dtype.size]) for variable in first.values()]
            bits = self._of_all(bits if self.is_chief else [tf.zeros_like(one) for one in bits])
            for variable, its in zip(first.values(), bits, strict=True):
                variable.assign(tf.bitcast(its, variable.dtype))
        for other in others:
            for name, variable in other.items():
                variable.assign(first[name])

    def meet(self, *numbers: float) -> np.ndarray:
        """Wait here for all workers, and learn what each of them gives: float64 `[workers, len(numbers)]`."""
        rows = np.zeros((self.workers, len(numbers)))
        rows[self.worker] = numbers
        return rows if self.workers == 1 else np.asarray(self._of_all([tf.constant(rows)])[0])

    def of_chief(self, number: float) -> float:
        """What the chief gives here."""
        return float(self.meet(number)[0, 0])

    def agree(self, **numbers: float) -> None:
        """Raise `UsageError` that names what not all workers have the same of."""
        told = self.meet(*numbers.values())
        if wrong := [name for name, values in zip(numbers, told.T, strict=True) if len(set(values.tolist())) > 1]:
            raise UsageError(
                f"Not all workers were told the same: they differ in {', '.join(wrong)}. Start all with the same "
                "command, on the same data."
            )

    def _of_all(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        with _workers_named():
            sums: list[tf.Tensor] = self._sum(list(values))
            return sums

    def _added_by_all(self, values: list[tf.Tensor]) -> list[tf.Tensor]:
        """The sums over all workers of what each gives."""

        @no_autograph
        def on_replica(values: list[tf.Tensor]) -> list[tf.Tensor]:
            give = tf.identity if self._number() % self.local == 0 else tf.zeros_like  # on this replica's device
            mine = [give(one) for one in values]
            by_dtype = {one.dtype: [other for other in mine if other.dtype == one.dtype] for one in mine}
            context = tf.distribute.get_replica_context()
            sums = {dtype: iter(context.all_reduce("SUM", some)) for dtype, some in by_dtype.items()}
            return [next(sums[one.dtype]) for one in mine]

        return [self._first(value) for value in self._strategy.run(on_replica, args=(values,))]


LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
"""What TensorFlow says when another worker is not there any more."""


@contextmanager
def _workers_named() -> Iterator[None]:
    """Turn TensorFlow's complaint that a worker is gone into an error that says what to do."""
    try:
        yield
    except LOST as error:
        raise lost(error) from None


def lost(error: tf.errors.OpError) -> RunError:
    """What to say where TensorFlow's `error` means that another worker is gone."""
    found = re.search(r"/job:\w+(/replica:\d+)?/task:(\d+)", error.message)
    which = f"Worker {found[2]}" if found else "Another worker"
    return RunError(
        f"{which} is gone. All that was saved is still there: start all workers again, a run with --resume."
    )


def _number_of(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> int:
    """Which of all workers this process is; the chief is number 0."""
    chiefs = len(resolver.cluster_spec().as_dict().get("chief", ()))
    return int(resolver.task_id) + (chiefs if resolver.task_type == "worker" else 0)


def _copy_of(state: tf.Module, device: str) -> tf.Module:
    """A copy of `state` whose variables are on `device`; that of the rates, which is only read, is shared."""
    with tf.device(device):
        copies = {id(v): tf.Variable(v, trainable=v.trainable, name=v.name.partition(":")[0]) for v in state.variables}
    factor = state.optimizer.factor
    return copy.deepcopy(state, copies | {id(factor): factor})
