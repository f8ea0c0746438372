"""The workers of a run that are not its chief: they compute their part of every batch, and write nothing.

All workers go the same way through the epochs and meet at the same points: after each call of the training step, where
one that was told to stop tells the others, and at the end of each epoch, where the chief evaluates and saves.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rawcnn.data.datasets import DataSet
from rawcnn.errors import RunError
from rawcnn.run import signals
from rawcnn.run.directory import FLAGS, read_flags
from rawcnn.run.ending import Result
from rawcnn.run.epochs import TOLD, Session
from rawcnn.run.output import tell
from rawcnn.run.plan import Plan
from rawcnn.run.progress import Display
from rawcnn.run.settings import Where
from rawcnn.train import checkpoints
from rawcnn.train.cluster import cluster_of
from rawcnn.train.evaluate import Evaluation
from rawcnn.train.fit import Progress
from rawcnn.train.strategy import MULTI_WORKER


def follows(strategy: str | None, where: Where) -> bool:
    """Whether this process is a worker that follows a chief; `strategy` None is that of the run that is resumed.

    Raises `UsageError` if TF_CONFIG is missing or wrong, `RunError` if the worker cannot see the run to resume.
    """
    if strategy is None and where.resume and where.run and Path(where.run, FLAGS).is_file():
        strategy = read_flags(where.run).get("strategy")
    if strategy != MULTI_WORKER or (cluster := cluster_of()).is_chief:
        return False
    if where.resume and where.run and not Path(where.run).is_dir():
        raise RunError(
            f"Worker {cluster.index} does not see {where.run}: to resume, all workers read the run's directory. Let "
            "them share a file system, or copy it to each machine."
        )
    return True


class Follower(Session):
    """What such a worker does of a run; `path` is the chief's directory, which may not exist here."""

    def __init__(self, path: Path, data: DataSet, ready: Plan, saved: checkpoints.Checkpoint | None = None):
        super().__init__(None, data, ready, saved)  # type: ignore[arg-type]  # all that writes is overridden
        self._path = path

    def run(self) -> Result:
        """Train with the others; the result is the chief's, without the probabilities of single images."""
        tell(f"{self.ready.replicas}: computes with the chief, which prints and writes")
        self._begin_or_resume()
        self._train()
        loss, accuracy, _ = self._hear()
        record = self.record
        tested = record.best if record.stops_early else (record.history or (None,))[-1]
        test = Evaluation(loss, accuracy, np.zeros((0, len(self.data.test.class_names)), np.float32))
        return Result(self._path, record.history, tested, record.best, test)

    def _begin_or_resume(self) -> None:
        self._agree()
        if self._saved is not None:
            self._saved.restore(self.state)
        else:
            self.ready.inputs.prepare(self.ready.net, self.data.train)
        self._saved = None

    def _train(self) -> None:
        with signals.deferred():
            self._epochs(_NoDisplay())

    def _end_epoch(self, now: Progress, say: Callable[[str], None]) -> None:
        """Learn from the chief how the epoch was judged."""
        loss, accuracy, kept = self._hear()
        judged = None if self.data.validation is None else (loss, accuracy)
        best = self.record.best
        self._close_epoch(self._row(now, judged, 0.0))
        if not kept:
            self.record = replace(self.record, best=best)

    def _save(self, *, must: bool = False) -> bool:
        return True

    def _hear(self) -> list[float]:
        """What the chief tells. Raises `Stopped` if a signal stops it."""
        assert self.ready.replicas is not None
        signal, *numbers = self.ready.replicas.meet(*[0.0] * (1 + TOLD))[0].tolist()
        if signal:
            raise signals.Stopped(int(signal))
        return numbers


class _NoDisplay(Display):
    def update(self, now: Progress) -> None:
        pass

    def say(self, text: str) -> None:
        pass
