"""Training in one call: `fit` trains a net and notes on it how images are shown, for `evaluate` and `predict`.

`make_train_step`, `TrainState` and `train_epochs` are the stratum below, for a loop of your own.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

import tensorflow as tf

from rawcnn.data.balance import Weights
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Augment, Labelled, check_same_classes
from rawcnn.data.views import Crop
from rawcnn.errors import UsageError
from rawcnn.machine import cores, one_thread_per_op, shards_of
from rawcnn.nets.chain import Chain
from rawcnn.nets.precision import FLOAT32, Policy
from rawcnn.train import schedules
from rawcnn.train.changes import Changes, changes
from rawcnn.train.checks import check_fit, check_labels, net_and_source
from rawcnn.train.fit import Progress, steps_per_epoch, train_epochs
from rawcnn.train.losses import Loss
from rawcnn.train.optimizers import Optimizer
from rawcnn.train.recipes import Recipe, choose_precision, optimizer_of
from rawcnn.train.schedules import Schedule
from rawcnn.train.shown import Shown, loss_named
from rawcnn.train.step import TrainState, TrainStep, frozen_rows, make_train_step, unfrozen_weights
from rawcnn.train.strategy import NONE, Replicas

HEAD_WEIGHT = 0.3
"""What a head's loss counts unless the recipe says otherwise (Szegedy et al. 2014, section 5)."""
SMALL_OPS = 2_000_000
"""Multiply-adds an image: below, an op is too small for several threads to share it. LeNet-5 has 0.4 million."""


class Training(Iterator[Progress]):
    """What `fit` gives: training goes on while you iterate over it, and warns you if you never do."""

    def __init__(self, steps: Iterator[Progress]):
        self._steps, self._now = steps, "not begun: iterate over it, as in `for now in rc.fit(...): print(now)`"

    def __next__(self) -> Progress:
        if self._now.startswith("not begun"):  # the first step may fail, and that is then told
            self._now = "begun"
        now = next(self._steps)
        self._now = str(now)
        return now

    def __repr__(self) -> str:
        return f"<Training: {self._now}>"

    def __del__(self) -> None:
        if self._now.startswith("not begun"):
            warnings.warn(f"rc.fit trained nothing, {self._now}.", RuntimeWarning, stacklevel=2)


@net_and_source
def fit(
    net: Chain,
    train: Labelled,
    epochs: int = 5,
    *,
    validation: Labelled | None = None,
    batch_size: int | None = None,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | Schedule | None = None,
    loss: str | Loss | None = None,
    preprocess: Preprocess | None = None,
    recipe: Recipe | None = None,
    augment: str | Augment | None = None,
    crop: Crop | None = None,
    erase: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    class_weights: Weights | None = None,
    balanced_sampling: bool = False,
    accumulate: int = 1,
    recompute: bool = False,
    freeze: str | Iterable[str] = (),
    unfreeze_after: int | None = None,
    precision: str = "auto",
    shards: int | None = None,
    pause_every: int | None = None,
    seed: int = 0,
    strategy: str | tf.distribute.Strategy = NONE,
    sync_batch_norm: bool = True,
) -> Training:
    """Train `net` on `train` for `epochs` epochs, and yield a `Progress` about twice a second; `str()` of it is a line.

    Whatever is not given is the recipe's, and without a recipe: Adam; a learning rate of 0.001 that falls along half a
    cosine to 0, which ends higher than a constant rate does; batches of 64 (or of all images, if they are fewer);
    softmax cross entropy; pixels scaled to 0 ... 1 and images to the size of the net's input.

    Args:
      net: its last row gives `[N, K]` logits. Training starts from the weights it has.
      train: a `Source`, or another source of images with labels in 0 ... K - 1.
      validation: images that are evaluated at the end of each epoch; never trained on.
      optimizer: "adam", "nesterov", "momentum" or "sgd"; or one that is made, as in `Adam(net.logits, 0.01)`, which
        brings its own learning rate and trains only the weights it was given.
      learning_rate: the highest one, which falls as the recipe's schedule says, or a schedule of your own.
      loss: a name in `rawcnn.train.losses.LOSSES`, or a function of logits and labels that gives `[N]`.
      preprocess: from pixels in 0 ... 255 to the net's input. `evaluate` and `predict` use it too. By default what the
        weights that were loaded expect (`net.expects`), or else the recipe's.
      recipe: such as `recipe_of("lenet5")`; the arguments above and below come before it.
      freeze: rows that are not trained, as in "conv1..conv5,fc6". They compute as in testing, and no gradient goes
        through the rows below the first one that is trained; see `TrainState`.
      unfreeze_after: train all rows after so many epochs.
      augment: changes the images of a batch; "trivial" is `trivial_augment`. crop: takes a training view of each image;
        see `rawcnn.data.views`.
      erase: the fraction of the images (0 ... 1) of which a rectangle is covered with noise, see `random_erasing`.
      mixup, cutmix: the alpha with which images are mixed in pairs, see there; 0: not at all. With both, a toss decides
        for each image. `Progress.accuracy` then counts the class of the larger part.
      class_weights: how much each class counts in the training loss: "balanced", a file, a sequence, or a mapping from
        names; see `rawcnn.data.balance`. Validation losses are not weighted.
      balanced_sampling: an epoch shows each class equally often, see `balanced_permutation`.
      accumulate: computes a batch in so many pieces, one after the other, in less memory. Up to rounding the update is
        the same, but batch normalisation sees one piece at a time.
      recompute: computes most rows of the net a second time on the way back, in less memory; see
        `rawcnn.nets.recompute`.
      precision: "float32", "bfloat16", or "auto": that of the net's policy if it has one; else bfloat16 only if the
        hardware has it and the recipe's measured loss of accuracy is below 0.1 points (see `choose_precision`).
        The first `Progress.remark` says which it is, and why.
      shards: parts of a batch that are computed side by side. By default one a core for nets of small ops if TensorFlow
        still lets each op have one thread: call `one_thread_per_op()` first, before the net is made. Else 1.
      pause_every: also yield after every so many updates; 1: after each.
      seed: decides the order of the images and all random changes of them.
      strategy: "none"; "mirrored", all GPUs of this machine share each batch; or "multi_worker", so do the processes
        that TF_CONFIG names, which all run the same program and call `make_strategy` first of all. See
        `rawcnn.train.strategy`.
      sync_batch_norm: batch normalisation takes its statistics over the batch of all replicas, so that training does
        not depend on their number. False: each over its own part, which takes less time.

    Raises `UsageError` if net, images and arguments do not fit each other; `RunError` if an update is not finite.
    """
    how = recipe or Recipe()
    how = replace(
        how,
        preprocess=preprocess or net.expects or how.preprocess,
        batch_size=batch_size or min(how.batch_size, len(train)),
        crop=crop or how.crop,
        head_weights=how.head_weights or {name: HEAD_WEIGHT for name, _, _ in net.heads},
    )
    check_fit(net, train)
    replicas = Replicas.of(strategy)
    if validation is not None:
        check_same_classes(train, validation, "validation")
        check_labels(net, validation)
    if unfreeze_after is not None and not (freeze and unfreeze_after >= 1):
        raise UsageError("unfreeze_after is a number of epochs, 1 or more, and needs freeze: the rows to train later.")
    frozen = frozen_rows(net, freeze)
    shown = Shown(how, loss_named(loss or how.loss), train.shape)
    if validation is not None:
        shown.check_size(net, validation)
    more = changes(
        train,
        shown.loss,
        how.batch_size,
        label_smoothing=how.label_smoothing,
        augment=augment or how.augment,
        erase=erase,
        mixup=mixup,
        cutmix=cutmix,
        weights=class_weights,
        balanced=balanced_sampling,
        accumulate=accumulate,
    )
    remark = _set_precision(net, precision, how)
    remark += "; pixels as the loaded weights expect them" if net.expects and not preprocess else ""
    net._shown, net.expects = shown, None if preprocess else net.expects
    per_epoch = steps_per_epoch(train, how.batch_size)
    if shards is not None and how.batch_size % shards:
        raise UsageError(f"A batch of {how.batch_size} cannot be cut into {shards} equal shards: choose a divisor.")
    weights = unfrozen_weights(net, frozen if unfreeze_after is None else ())
    state = TrainState(
        net,
        optimizer_of(weights, how, optimizer, learning_rate, epochs, per_epoch),
        decay=how.average,
        freeze=frozen,
        frozen_steps=None if unfreeze_after is None else unfreeze_after * per_epoch,
    )
    shards = _shards(net, how, accumulate, replicas) if shards is None else shards
    if replicas is not None:
        replicas.prepare(net, how.batch_size, accumulate, shards, sync_batch_norm=sync_batch_norm)
        remark += f"; {replicas}"
    step = make_train_step(
        state,
        more.loss,
        shown.inputs(net, train).preprocess,
        shards=shards,
        accumulate=accumulate,
        recompute=recompute,
        head_weights=how.head_weights,
        replicas=replicas,
    )
    steps = _fit(state, step, train, validation, shown, more, replicas, epochs, pause_every, seed, remark)
    return Training(steps)


def _fit(
    state: TrainState,
    step: TrainStep,
    train: Labelled,
    validation: Labelled | None,
    shown: Shown,
    more: Changes,
    replicas: Replicas | None,
    epochs: int,
    pause_every: int | None,
    seed: int,
    remark: str,
) -> Iterator[Progress]:
    """The generator: apart from `fit`, so that what does not fit is said by the call, not by the first `next`."""
    accuracies: list[float] = []
    recipe, inputs = shown.recipe, shown.inputs(state.net, train)
    inputs.prepare(state.net, train)
    if validation is not None:  # batch normalisation is not folded here: its numbers change from epoch to epoch
        validate = shown.inputs(state.net, validation).evaluator(state.net, shown.loss)
    for now in train_epochs(
        state,
        step,
        train,
        batch_size=recipe.batch_size,
        epochs=epochs,
        seed=seed,
        crop=inputs.crop,
        size=inputs.size,
        augment=more.augment,
        alternate=recipe.alternate,
        balanced=more.balanced,
        mix=more.mix,
        replicas=replicas,
        pause_every=pause_every,
    ):
        if now.epoch_ended and validation is not None:
            with state.averaged():
                judged = validate(validation)
            now = replace(now, val_loss=judged.loss, val_accuracy=judged.accuracy)
            accuracies.append(judged.accuracy if replicas is None else replicas.of_chief(judged.accuracy))
            if recipe.schedule == "plateau":
                state.optimizer.factor.assign(schedules.plateau_factor(accuracies))
        if now.epoch_ended and now.epoch == epochs:
            state.use_averages()
        yield replace(now, remark=remark)
        remark = ""


def _set_precision(net: Chain, name: str, recipe: Recipe) -> str:
    """Let `net` compute in the precision of that name; returns which it is, and why."""
    if name == "auto" and net.policy != FLOAT32:
        return f"{net.policy.compute.name}, as the net was made"
    policy, why = choose_precision(name, recipe)
    set_policy(net, policy)
    return why


def set_policy(net: Chain, policy: Policy) -> None:
    """Let `net` and its heads compute as `policy` says."""
    net.policy = policy
    for _, _, head in net.heads:
        set_policy(head, policy)


def _shards(net: Chain, recipe: Recipe, accumulate: int = 1, replicas: Replicas | None = None) -> int:
    """One shard a core where ops are small and may have one thread each, else 1."""
    if not (recipe.small_ops or sum(layer.multiply_adds() for _, layer in net.rows) < SMALL_OPS):
        return 1
    try:
        one_thread_per_op()
    except RuntimeError:  # TensorFlow's threads are started
        return 1
    count, local = (1, 1) if replicas is None else (replicas.count, replicas.local)
    return shards_of(recipe.batch_size // accumulate // count or 1, max(1, cores() // local))
