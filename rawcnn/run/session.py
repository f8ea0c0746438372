"""A run: a net, its data and a directory for everything that comes of them; for the command and for Python."""

import html
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rawcnn.data.datasets import NAMES as DATASETS
from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain
from rawcnn.run import opening, pretrained, signals, workers
from rawcnn.run.directory import FLAGS, RunDir, read_flags, unused_name
from rawcnn.run.ending import Result
from rawcnn.run.epochs import Session
from rawcnn.run.fields import check_names, parse
from rawcnn.run.given import Data, data_of
from rawcnn.run.output import tell
from rawcnn.run.plan import plan, recipe_for, settle
from rawcnn.run.record import OWN_NET, Epoch, Record
from rawcnn.run.settings import NAMES, Settings, Where, resumed
from rawcnn.train import checkpoints
from rawcnn.train.checks import check_takes_images
from rawcnn.train.cluster import cluster_of
from rawcnn.train.strategy import MULTI_WORKER, Replicas


class Run:
    """Train `net` on `data` and keep everything in `directory`: checkpoints, history, pictures and weights.

    `net` is a name (see `rawcnn.nets.NETS`) or a `Chain` of your own. `data` is a `DataSet`; a `Source`, from which
    validation and test images are split off; (train, validation, test), each a `Source`; or nothing, and the settings
    `dataset` and `data_dir` say what is loaded. `settings` are those of `rawcnn.run.settings.Settings`, by name. With
    `resume` the run in `directory` continues with its own settings, of which some may be given anew; `overwrite`
    deletes it first. Without a `directory` a new one below `runs/` is made.

    Raises `UsageError` for settings that are unknown, out of bounds, or do not fit each other.

        run = rc.Run("runs/mine", net, source, epochs=5)
        result = run.train()
        print(result.test.accuracy)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None,
        net: Chain | str | None = None,
        data: Data = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
        **settings: Any,
    ):
        if directory is not None and not isinstance(directory, str | os.PathLike):
            what = type(directory).__name__
            raise UsageError(f"Run's first argument is a directory, not a {what}: then come net and data.")
        check_names(settings, NAMES, "setting")
        if isinstance(net, Chain):
            check_takes_images(net)
        elif not isinstance(net, str | None):
            raise UsageError(f"net is a Chain or the name of a net, not a {type(net).__name__}.")
        self._own, self._data = net if isinstance(net, Chain) else None, data
        if net is not None:
            settings["net"] = OWN_NET if self._own is not None else net
        self.where = Where(None if directory is None else os.fspath(directory), resume, overwrite)
        self.settings = Settings(**settings)
        self._told = {name: getattr(self.settings, name) for name in settings}
        self.session: Session | None = None
        self.result: Result | None = None

    @property
    def history(self) -> tuple[Epoch, ...]:
        """The epochs so far."""
        return () if self.session is None else self.session.record.history

    def train(self) -> Result:
        """Train from wherever the run stands to the end of its last epoch, then test; returns history and test result.

        Ctrl-C and SIGTERM stop it in good order: everything is saved, a `KeyboardInterrupt` is raised, and with
        `resume` the run continues to the same end. Raises `RunError`, `DataError` or `UsageError`, before any training,
        if directory, data, net and settings do not fit.
        """
        with signals.handled(), ExitStack() as stack:
            directory = saved = None
            follows = workers.follows(self._told.get("strategy"), self.where)
            if self.where.run:  # before the data, so that a mistake in it shows at once
                directory = None if follows else stack.enter_context(self._directory())
                saved = self._take_over(Path(self.where.run)) if self.where.resume else None
            recipe = recipe_for(self.settings, self._own)
            self.settings = settle(self.settings, recipe, self._own)
            opening.use_threads(self.settings, recipe)
            if self.settings.strategy == MULTI_WORKER:
                tell(f"waiting for all workers: {', '.join(cluster_of().workers)}")
            replicas = Replicas.of(self.settings.strategy)
            signals.renew()
            if self.settings.weights and saved is None:
                pretrained.check_there(self.settings.weights)
            data = data_of(self._data, self.settings, None if self._own is None else self._own.input_shape)
            if data.name in DATASETS:
                self.settings = replace(self.settings, dataset=data.name)
            if directory is None and not follows:
                self.where = replace(self.where, run=str(unused_name(self.settings.net, data.name)))
                directory = stack.enter_context(self._directory())
            began = None if saved is None else pretrained.of_record(Record.of(saved))
            ready = plan(self.settings, data, net=self._own, recipe=recipe, pretrained=began, replicas=replicas)
            if directory is None:
                self.session = workers.Follower(Path(self.where.run or ""), data, ready, saved)
            else:
                self.session = Session(directory, data, ready, saved)
            self.result = self.session.run()
            return self.result

    def _directory(self) -> RunDir:
        assert self.where.run
        return RunDir(self.where.run, resume=self.where.resume, overwrite=self.where.overwrite)

    def _take_over(self, directory: Path) -> checkpoints.Checkpoint | None:
        """Continue with the settings in the newest checkpoint, or in flags.txt if the run has none yet."""
        saved = checkpoints.newest(directory, tell)
        if saved is not None:
            then = Record.of(saved).settings
        else:
            then = settings_of(read_flags(directory), f"{directory / FLAGS}")
        self._check_net(then.net)
        self.settings, changed = resumed(then, self._told, str(directory))
        opening.say_changes(self.settings, changed)
        return saved

    def _check_net(self, net: str) -> None:
        """Raise `UsageError` if the run's net is one of the user's own, and is not given."""
        if self._own is None and net not in NETS:
            how = (
                "give it again, as in rc.Run(directory, net, data, resume=True)"
                if net == OWN_NET
                else f"register it before, as in rc.register_net({net!r}, build)"
            )
            raise UsageError(f"{self.where.run} trains a net of your own ({net}), which is not saved with it: {how}.")

    def __repr__(self) -> str:
        where = self.where.run or "a new directory below runs/"
        return f"<Run of {self.settings.net} in {where}: {len(self.history)} of {self.settings.epochs} epochs>"

    def _repr_html_(self) -> str:
        """The settings and the epochs so far, as notebooks show them."""
        shown = {"directory": self.where.run, **self.settings.as_dict()}
        rows = [(name, str(value)) for name, value in shown.items() if value is not None]
        text = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
        return f"<table>{text}</table>" + ("" if self.result is None else self.result._repr_html_())


def settings_of(texts: dict[str, str], where: str) -> Settings:
    """The settings in a flags.txt. Raises `UsageError` for a flag that is unknown, missing, or has no such value."""
    values: dict[str, Any] = dict.fromkeys(NAMES)
    try:
        check_names((f"--{name}" for name in texts), (f"--{name}" for name in NAMES), "flag")
        for name, text in texts.items():
            values[name] = parse(Settings, name, text)
        return Settings(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
