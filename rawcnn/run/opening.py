"""The start of a run: threads, what is said about a resumed one, and the lines that say what is going to happen."""

import math
import sys
from collections.abc import Collection, Mapping

import tensorflow as tf

from rawcnn.data.datasets import DataSet
from rawcnn.layers.variables import named_weights
from rawcnn.machine import cores, gpus, one_thread_per_op, processors
from rawcnn.nets import NETS
from rawcnn.nets.summary import summary
from rawcnn.nets.weights import in_words
from rawcnn.ops.fast import forms
from rawcnn.run.output import tell
from rawcnn.run.plan import Plan
from rawcnn.run.progress import columns_of, narrowed, wrapped
from rawcnn.run.settings import Settings
from rawcnn.train.recipes import Recipe, choose_precision
from rawcnn.train.step import unfrozen_weights

BENDS = ("linear", "cosine", "warmup_cosine")
"""Schedules whose rates depend on the number of epochs from the first step on."""
SCHEDULE_WORDS = {
    "constant": "constant",
    "linear": "falling in a straight line",
    "cosine": "falling along a cosine",
    "warmup_cosine": "rising for a fifth of the run, then falling along a cosine",
    "plateau": "divided by 10 when the accuracy stops rising",
    "staircase": "falling by 4 % every 8 epochs",
}
FIT_WORDS = {
    "squeeze": "squeezed to squares",
    "crop": "cut to their central squares",
    "pad": "padded to squares with black",
}
CROP_WORDS = {"1": "one view of each", "dense": "the net applied densely"}


def use_threads(settings: Settings, recipe: Recipe) -> None:
    """Tell TensorFlow how many threads compute; where it computed before, its threads stay, and that is said."""
    try:
        if settings.deterministic:
            tf.config.experimental.enable_op_determinism()
        if recipe.small_ops:
            one_thread_per_op(settings.threads)
        elif settings.threads != (tf.config.threading.get_intra_op_parallelism_threads() or processors()):
            tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    except RuntimeError:
        tell(
            "TensorFlow computed in this process before, so its threads stay as they are, and training may be slower. "
            "Restart Python (or the notebook's kernel) for full speed."
        )


def say_changes(settings: Settings, changed: Mapping[str, str]) -> None:
    """Say what a resumed run was given anew, and where the rest of it becomes another than if it had begun so."""
    for change in changed.values():
        tell(change)
    _say_what_bends(settings, changed)


def _say_what_bends(settings: Settings, changed: Collection[str]) -> None:
    if "epochs" in changed and settings.schedule in BENDS:
        tell("The learning rate falls to 0 over all epochs: from here on it differs from the one at the start.")
    if settings.threads and settings.threads != cores():
        tell(
            f"Computing with {settings.threads} threads, as the run began or as told; this machine has {cores()} cores."
        )
    if settings.forms not in ("auto", here := forms.here()):
        tell(
            f"Forms of ops stay those for {settings.forms}, as the run began or as told; on this machine a new run "
            f"would take those for {here}."
        )
    if "threads" in changed:
        tell("With another number of threads the rest of the run is as good, but not bit for bit the same.")


def say_start(ready: Plan, data: DataSet) -> None:
    """The data set, the net's table, and how it is trained and tested."""
    columns = columns_of(sys.stdout)
    table = narrowed(str(summary(ready.net)), columns)
    tell(f"{wrapped(data.describe(), columns)}\n\n{ready.settings.net}\n{table}\n")
    tell(wrapped(f"{_machine(ready)}\n{_training(ready, data)}\n", columns))


def _machine(ready: Plan) -> str:
    found = len(gpus())
    device = f"{found} GPU" if found else "CPU"
    threads = f"{ready.settings.threads} thread{'s' if ready.settings.threads != 1 else ''}"
    shards = f", batches in {ready.shards} shards side by side" if ready.shards > 1 else ""
    compute = ready.net.policy.compute.name
    policy, why = choose_precision("auto", ready.recipe)
    why = why.partition(": ")[2] if policy == ready.net.policy else f"as told; auto would be {why}"
    shared = "" if ready.replicas is None else f", {ready.replicas}"
    what = f"{device}, {threads}{shards}{shared}, forms of ops: {ready.settings.forms}"
    return f"{what}; TensorFlow {tf.__version__}\n{compute} ({why})"


def _besides(now: Settings) -> list[str]:
    """What the flags add to the recipe, in words."""
    what = {
        "distorted" + f" {now.distort_strength:g} times as far" * (now.distort_strength != 1): now.distort,
        "changed by TrivialAugment": now.augment == "trivial",
        f"a rectangle erased in {100 * now.erase:g}%": now.erase,
        f"mixup (alpha {now.mixup:g})": now.mixup,
        f"CutMix (alpha {now.cutmix:g})": now.cutmix,
    }
    told = ", ".join(words for words, on in what.items() if on)
    pieces = f"each batch in {now.accumulate} pieces of {(now.batch_size or 0) // now.accumulate}, one after the other"
    again = "most rows are computed a second time on the way back (recompute)"
    ends = f"training images stay as they are after epoch {now.augment_epochs}"
    changed = (f"training images: {told}", told), (ends, now.augment_epochs)
    told_of = (*changed, (pieces, now.accumulate > 1), (again, now.recompute))
    return [line for line, on in told_of if on]


def _training(ready: Plan, data: DataSet) -> str:
    now = ready.settings
    what = (
        f"{now.optimizer}, learning rate {now.learning_rate:g} {SCHEDULE_WORDS[str(now.schedule)]}, "
        f"batches of {now.batch_size}, loss {ready.recipe.loss}"
    )
    for line in _besides(now) + ready.changes.lines():
        what += f"\n{line}"
    tested = "the last epoch" if not now.patience else f"the best epoch, if {now.patience} epochs bring none better"
    views = CROP_WORDS.get(now.crops, f"{now.crops} views of each")
    averaged = ", with averaged weights" if now.average else ""
    if data.validation is None and now.schedule == "plateau":
        what += "\nno validation images: the training accuracy decides when the learning rate falls"
    height, width, _ = ready.inputs.data_shape
    if ready.inputs.whole is not None or height != width:  # not squares already
        fit = "crops of them" if ready.recipe.crop else FIT_WORDS[ready.inputs.fit or "squeeze"]
        what += f"\nthe net is given the images as {ready.inputs.size}x{ready.inputs.size} pixels: {fit}"
    what += "".join(f"\n{line}" for line in (ready.pretrained.said, _frozen(ready)) if line)
    return f"{what}\ntested at the end: {tested}{averaged}, on {len(data.test):,} test images, {views}"


def _frozen(ready: Plan) -> str:
    """Which rows are not trained, and which learn more slowly."""
    now, frozen = ready.settings, ready.state.frozen
    lines = []
    if now.loaded_rate_factor is not None:
        lines = [f"rows that were loaded learn at {now.loaded_rate_factor:g} times the learning rate"]
    if frozen:
        rows = [name for name in (*(name for name, _ in ready.net.rows), *frozen) if name in frozen]
        still = sum(math.prod(w.shape) for w in unfrozen_weights(ready.net, frozen).values())
        until = "" if now.unfreeze_after is None else f"; all rows train after epoch {now.unfreeze_after}"
        until += f" of {now.epochs}, so never" if now.unfreeze_after and now.unfreeze_after >= now.epochs else ""
        lines.append(
            f"frozen: {in_words(list(dict.fromkeys(rows)))}, which compute as in testing; {still:,} of "
            f"{ready.net.num_params():,} parameters train{until}"
        )
        drawn = {name.rpartition("/")[0] for name in named_weights(ready.net) if name.partition("/")[0] in frozen}
        drawn -= set(ready.pretrained.rows)
        if drawn and (now.weights or now.net in NETS):  # nets of one's own may have been given weights before
            lines.append(f"frozen with random weights, because nothing was loaded into them: {in_words(sorted(drawn))}")
    return "\n".join(lines)
