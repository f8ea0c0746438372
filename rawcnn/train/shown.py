"""How a net is shown images: `fit` notes it on the net, and `evaluate` and `predict` keep to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rawcnn.data.source import Labelled
from rawcnn.errors import UsageError
from rawcnn.nets.chain import Chain
from rawcnn.nets.predictor import Predictor
from rawcnn.train.checks import check_channels
from rawcnn.train.evaluate import Evaluation
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import LOSSES, Loss
from rawcnn.train.recipes import Recipe


@dataclass(frozen=True)
class Shown:
    """How a net is shown images, and what its loss is; `shape`: (H, W, C) of its training images, None if unknown."""

    recipe: Recipe
    loss: Loss
    shape: tuple[int | None, int | None, int] | None = None
    testers: dict[Any, Callable[[Labelled], Evaluation]] = field(default_factory=dict, compare=False)
    """One for each kind of source and protocol, so that each is traced once."""
    predictors: dict[Any, Predictor] = field(default_factory=dict, compare=False)
    """One for each shape of image."""

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and deepcopy: traced functions belong to one net, training views may be local functions."""
        return vars(self) | {"testers": {}, "predictors": {}, "recipe": replace(self.recipe, crop=None, augment=None)}

    def inputs(self, net: Chain, source: Labelled) -> Inputs:
        """From images like those of `source` to what `net` is given."""
        return Inputs.of(self.recipe, source, net.input_shape[:2])

    def check_size(self, net: Chain, source: Labelled) -> None:
        """Raise `UsageError` unless images are of the size that the net was trained on, or takes."""
        check_channels(net, source)
        pad = 2 * self.recipe.preprocess.pad
        wanted: Sequence[int | None] = self.shape or (net.input_shape[0] - pad, net.input_shape[1] - pad)
        if wanted[0] is not None and source.shape[0] is not None and source.shape[:2] != tuple(wanted[:2]):
            raise UsageError(
                f"The net takes images of {wanted[0]}x{wanted[1]} pixels, but these are "
                f"{source.shape[0]}x{source.shape[1]}: scale them first, or cut them."
            )


def shown_to(net: Chain, recipe: Recipe | None) -> Shown:
    """What is noted on `net`; where nothing is, or `recipe` says something else, that is noted."""
    noted: Shown | None = getattr(net, "_shown", None)
    wanted = None if recipe is None else replace(recipe, preprocess=net.expects or recipe.preprocess)
    if noted is None or wanted not in (None, noted.recipe):
        noted = Shown(wanted or Recipe(), loss_named((wanted or Recipe()).loss))
    if net.expects is not None and net.expects != noted.recipe.preprocess:
        noted = Shown(replace(noted.recipe, preprocess=net.expects), noted.loss, noted.shape)
    net._shown = noted
    return noted


def loss_named(loss: str | Loss) -> Loss:
    """A loss by its name; a function is one already. Raises `UsageError` for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        keras = " What Keras calls a cross entropy is softmax_cross_entropy." if "cross" in str(loss) else ""
        raise UsageError(f"There is no loss {loss!r}: choose one of {', '.join(LOSSES)}, or give a function.{keras}")
    return LOSSES[loss]
