"""From settings and data to all that trains: net, inputs, state, step and evaluators. Needs no command line."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rawcnn.data.augment import distortion, first_batches
from rawcnn.data.datasets import DataSet
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Augment, Labelled
from rawcnn.errors import UsageError
from rawcnn.machine import cores, shards_of
from rawcnn.nets import NETS, input_shape, no_such_net, precision
from rawcnn.nets.chain import Chain
from rawcnn.nets.precision import FLOAT32
from rawcnn.ops.fast import forms
from rawcnn.run.pretrained import Pretrained, load
from rawcnn.run.settings import Settings
from rawcnn.train.changes import Changes, changes
from rawcnn.train.checks import check_logits
from rawcnn.train.evaluate import Evaluation
from rawcnn.train.fit import Progress, steps_per_epoch, train_epochs
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import LOSSES
from rawcnn.train.optimizers import OPTIMIZERS
from rawcnn.train.recipes import RECIPES, SCHEDULES, Recipe, choose_precision, recipe_of
from rawcnn.train.schedules import Schedule
from rawcnn.train.simple import HEAD_WEIGHT, set_policy
from rawcnn.train.step import TrainState, TrainStep, frozen_rows, make_train_step, unfrozen_weights
from rawcnn.train.strategy import Replicas

T = TypeVar("T")
OWN = Recipe(Preprocess(), "adam", 0.001, 64)
"""How a net is trained that has no recipe of its own."""

SMOKE_EPOCHS, SMOKE_BATCH, SMOKE_HELD_OUT = 2, 20, 0.1


@dataclass(frozen=True)
class Plan:
    """All that a run computes with. `evaluate`s take a `Source` or other images with labels."""

    settings: Settings
    recipe: Recipe
    net: Chain
    inputs: Inputs
    state: TrainState
    schedule: Schedule
    train_step: TrainStep
    validate: Callable[[Labelled], Evaluation]
    test: Callable[[Labelled], Evaluation]
    shards: int
    per_epoch: int
    changes: Changes
    pretrained: Pretrained
    replicas: Replicas | None = None

    def train(self, source: Labelled, **more: Any) -> Iterator[Progress]:
        """Train on `source` as planned, from wherever the state stands; `more` goes to `train_epochs`."""
        return train_epochs(
            self.state,
            self.train_step,
            source,
            batch_size=_set(self.settings.batch_size),
            seed=self.settings.seed,
            crop=self.inputs.crop,
            size=self.inputs.size,
            augment=self.changes.augment,
            alternate=self.recipe.alternate,
            balanced=self.changes.balanced,
            mix=self.changes.mix,
            replicas=self.replicas,
            **more,
        )


def plan(
    settings: Settings,
    data: DataSet,
    *,
    net: Chain | None = None,
    recipe: Recipe | None = None,
    shards: int | None = None,
    pretrained: Pretrained | None = None,
    replicas: Replicas | None = None,
) -> Plan:
    """Assemble a run of `settings` on `data`; `net` and `recipe` in the place of those that the settings name.

    A batch is computed in `shards` side by side, by default as many as pay, on `replicas`, by default those of the
    settings' strategy. `pretrained` is what a resumed run began
    with; without it the weights that the settings name are loaded. They decide what the net is shown. Step and
    evaluators use the forms of ops that `settings.forms` chooses.

    Raises `UsageError` if settings, net and data do not fit each other.

    >>> from rawcnn.data.sets.drawn import drawn_digits
    >>> from rawcnn.data.source import Source
    >>> images, labels = drawn_digits(60)
    >>> source = Source(images, labels, tuple("0123456789"))
    >>> ready = plan(Settings("lenet5_relu", batch_size=20), DataSet("drawn", source, source, source))
    >>> ready.per_epoch, ready.inputs.size, ready.net.input_shape
    (3, 28, (32, 32, 1))
    """
    recipe = recipe or recipe_for(settings, net)
    replicas = Replicas.of(settings.strategy) if replicas is None else replicas  # before TensorFlow computes
    settings = settle(settings, recipe, net)
    policy = precision.parse(settings.precision)
    if net is None:
        shape, classes = (*_sides(settings), data.train.shape[2]), len(data.train.class_names)
        net = NETS[settings.net](shape, classes, seed=settings.seed, policy=policy)
    elif net.policy.compute != policy.compute:
        set_policy(net, policy)
    _check_net(net, data)
    frozen_rows(net, settings.freeze or "")  # a wrong name is told before weights are read
    if pretrained is None:
        names = data.train.class_names
        pretrained = load(net, settings.weights, names) if settings.weights else Pretrained(preprocess=net.expects)
    recipe = replace(recipe, preprocess=pretrained.preprocess or recipe.preprocess)
    inputs = Inputs.of(
        recipe,
        data.train,
        net.input_shape[:2],
        max_pixels=settings.max_pixels,
        digits=data.digits,
        light_on_dark=data.train.shape[2] == 1 and data.light_on_dark,
    )
    batch_size, rate = _set(settings.batch_size), _set(settings.learning_rate)
    loss = LOSSES[recipe.loss]
    more = changes(
        data.train,
        loss,
        batch_size,
        label_smoothing=recipe.label_smoothing,
        augment=settings.augment or (distortion(settings.distort_strength) if settings.distort else recipe.augment),
        erase=settings.erase,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
        weights=settings.class_weights,
        balanced=settings.balanced_sampling,
        accumulate=settings.accumulate,
    )
    per_epoch = steps_per_epoch(data.train, batch_size)
    if settings.augment_epochs:
        more = replace(more, augment=_ending(more.augment, settings.augment_epochs, per_epoch))
    shards = shards or shards_for(settings, recipe, replicas)
    if replicas is not None:
        replicas.prepare(net, batch_size, settings.accumulate, shards, sync_batch_norm=settings.sync_batch_norm)
    schedule = SCHEDULES[_set(settings.schedule)](rate, settings.epochs * per_epoch, per_epoch)
    state = _state(settings, recipe, net, schedule, per_epoch, pretrained.rows)
    train_step = make_train_step(
        state,
        more.loss,
        inputs.preprocess,
        shards=shards,
        accumulate=settings.accumulate,
        recompute=settings.recompute,
        head_weights=recipe.head_weights or {name: HEAD_WEIGHT for name, _, _ in net.heads},
        timed=not settings.deterministic,
        replicas=replicas,
    )
    train_step = forms.under(settings.forms, train_step)
    validate = forms.under(settings.forms, inputs.evaluator(net, loss, shards=shards))
    test = forms.under(settings.forms, inputs.tester(net, loss, settings.crops, shards=shards))
    return Plan(
        settings, recipe, net, inputs, state, schedule, train_step, validate, test, shards, per_epoch, more, pretrained,
        replicas,
    )  # fmt: skip


def _ending(augment: Augment | None, epochs: int, per_epoch: int) -> Augment:
    """`augment` for so many epochs. Raises `UsageError` if there is none."""
    if augment is None:
        raise UsageError(
            f"augment_epochs={epochs} says how long training images are changed, but nothing changes them: add "
            "distort, augment or erase, or leave augment_epochs out."
        )
    return first_batches(augment, epochs * per_epoch)


def _state(
    settings: Settings, recipe: Recipe, net: Chain, schedule: Schedule, per_epoch: int, loaded: Collection[str]
) -> TrainState:
    """Net and optimizer: no slots for rows that are never trained, and a rate of their own for loaded ones."""
    frozen, until = frozen_rows(net, settings.freeze or ""), settings.unfreeze_after
    weights = unfrozen_weights(net, frozen if until is None else ())
    slower = [name for name in weights if name.rpartition("/")[0] in loaded]
    optimizer = OPTIMIZERS[_set(settings.optimizer)](
        weights,
        schedule,
        weight_decay=recipe.weight_decay,
        rate_factors=dict.fromkeys(slower, settings.loaded_rate_factor or 1.0),
    )
    frozen_steps = None if until is None else until * per_epoch
    return TrainState(net, optimizer, decay=_set(settings.average), freeze=frozen, frozen_steps=frozen_steps)


def recipe_for(settings: Settings, net: Chain | None = None) -> Recipe:
    """The recipe that `settings` name, with their `fit`; for a net without one Adam, 0.001, and pixels in 0 ... 1."""
    recipe = _named_recipe(settings, net)
    return recipe if settings.fit is None else replace(recipe, fit=settings.fit)


def _named_recipe(settings: Settings, net: Chain | None) -> Recipe:
    if net is not None or (settings.net in NETS and settings.net not in RECIPES):
        if settings.recipe not in (None, "own"):
            raise UsageError(f"{settings.net} has no recipe {settings.recipe!r}: leave recipe out.")
        return OWN
    if settings.net not in NETS:
        raise no_such_net(settings.net)
    return recipe_of(settings.net, settings.recipe)


def settle(settings: Settings, recipe: Recipe, net: Chain | None = None) -> Settings:
    """Every setting that was left out with its value: the recipe's, the net's own, or the machine's.

    `net` is one of the user's own, whose input size and precision come first.

    >>> settle(Settings("lenet5"), recipe_of("lenet5")).batch_size
    64
    """
    smoke, asked = settings.smoke, settings.precision
    height = (input_shape(settings.net) if net is None else net.input_shape)[0]
    if net is not None and asked == "auto" and net.policy != FLOAT32:
        asked = net.policy.compute.name
    held_out = SMOKE_HELD_OUT if smoke and settings.validation is None else settings.validation
    done = replace(
        settings,
        recipe=settings.recipe or next(iter(RECIPES.get(settings.net, {"own": recipe}))),
        input_size=settings.input_size or height if net is None else height,
        precision=choose_precision(asked, recipe)[0].compute.name,
        batch_size=settings.batch_size or recipe.batch_size,
        optimizer=settings.optimizer or recipe.optimizer,
        learning_rate=recipe.learning_rate if settings.learning_rate is None else settings.learning_rate,
        schedule=settings.schedule or recipe.schedule,
        average=recipe.average if settings.average is None else settings.average,
        validation=recipe.validation if held_out is None else held_out,
        threads=settings.threads or cores(),
        forms=forms.in_use() if settings.forms == "auto" else settings.forms,
    )
    if done.validation == 0 and done.patience:
        raise UsageError(
            "patience compares validation accuracies, and validation=0 holds no images out: leave one out."
        )
    if not smoke:
        return done
    dataset = done.dataset if done.data_dir or done.dataset != "auto" else "drawn"
    few = max(SMOKE_BATCH // done.accumulate, 1) * done.accumulate
    epochs, batch_size = min(done.epochs, SMOKE_EPOCHS), min(_set(done.batch_size), few)
    return replace(done, epochs=epochs, batch_size=batch_size, dataset=dataset)


def _sides(settings: Settings) -> tuple[int, int]:
    """(height, width) of the input of the net that `settings` name: a square, unless the net's own is none."""
    height, width, _ = input_shape(settings.net)
    side = _set(settings.input_size)
    if height == width:
        return side, side
    if side != height:
        raise UsageError(
            f"{settings.net} takes images of {height}x{width} pixels, and input_size={side} is for square inputs: "
            "leave it out."
        )
    return height, width


def shards_for(settings: Settings, recipe: Recipe, replicas: Replicas | None = None) -> int:
    """How many parts of a piece of a batch are computed side by side: one a thread where ops are small, else one."""
    if not recipe.small_ops:
        return 1
    count, local = (1, 1) if replicas is None else (replicas.count, replicas.local)
    each = _set(settings.batch_size) // settings.accumulate // count
    return shards_of(each or 1, max(1, _set(settings.threads) // local))


def _check_net(net: Chain, data: DataSet) -> None:
    """Raise `UsageError` unless images and classes of `data` fit `net`."""
    check_logits(net)
    channels, classes, names = data.train.shape[2], net.out_shape[-1], data.train.class_names
    if net.input_shape[2] != channels:
        raise UsageError(
            f"The net takes images of {net.input_shape[2]} channels, but those of the data have {channels}."
        )
    if net.out_shape != (len(names),):
        raise UsageError(
            f"The net gives {classes} numbers an image (its output is {net.out_shape}), but the data have {len(names)} "
            f"classes: give the last row {len(names)} outputs."
        )


def _set(value: T | None) -> T:
    """A setting after `settle`."""
    assert value is not None
    return value
