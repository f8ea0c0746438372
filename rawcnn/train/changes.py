"""What is done to training batches and to the training loss besides the recipe: told by flags, or arguments of `fit`.

Everything that makes no sense together is refused here, in one place, before any work.
"""

from dataclasses import dataclass
from functools import partial

from rawcnn.data.augment import in_turn, random_erasing
from rawcnn.data.balance import BALANCED, Weights, check_all_there, class_weights
from rawcnn.data.mixing import Mix, mixing
from rawcnn.data.source import Augment, Labelled
from rawcnn.data.trivial import trivial_augment
from rawcnn.errors import UsageError, did_you_mean
from rawcnn.train.losses import Loss, rbf_map, rbf_mse, training_loss
from rawcnn.train.step import piece_size

AUGMENTS: dict[str, Augment] = {"trivial": trivial_augment}
"""Changes of images that have a name."""


@dataclass(frozen=True)
class Changes:
    """What a training does besides its recipe.

    `loss` is the one that is minimised, `augment` changes images, `mix` mixes them, `class_weights` `[K]` are in the
    loss (None: all count the same). `balanced`: each class is drawn equally often. `accumulate`: pieces of a batch.
    """

    loss: Loss
    augment: Augment | None
    mix: Mix | None
    class_weights: tuple[float, ...] | None
    balanced: bool
    accumulate: int

    def lines(self) -> list[str]:
        """What to say before training, besides what the flags say themselves."""
        told = []
        if self.class_weights is not None:
            few, many = min(self.class_weights), max(self.class_weights)
            told.append(
                f"class weights {few:.4g} to {many:.4g} in the training loss; validation and test losses have none"
            )
        if self.balanced:
            told.append("balanced sampling: an epoch shows each class equally often")
        if self.mix is not None:
            told.append("training accuracy: of a mixed image the class of the larger part counts as right")
        return told


def changes(
    train: Labelled,
    loss: Loss,
    batch_size: int,
    *,
    label_smoothing: float = 0.0,
    augment: str | Augment | None = None,
    erase: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    weights: Weights | None = None,
    balanced: bool = False,
    accumulate: int = 1,
) -> Changes:
    """All of it, checked: see the arguments of `rc.fit`. `augment` is a change of images or the name of one.

    Raises `UsageError` for what is out of bounds, unknown, or does not fit `train`, the loss or the batch.
    """
    _check_mixing(loss, batch_size, mixup, cutmix)
    piece_size(batch_size, accumulate)
    if not 0 <= erase <= 1:
        raise UsageError(f"erase is a fraction of the images, in 0 ... 1, not {erase:g}.")
    if isinstance(augment, str) and augment not in AUGMENTS:
        known = ", ".join(AUGMENTS)
        raise UsageError(f"There is no augment {augment!r}: choose {known}.{did_you_mean(augment, AUGMENTS)}")
    if isinstance(augment, str):
        augment = AUGMENTS[augment]
    if erase:
        erasing = partial(random_erasing, probability=erase)
        augment = erasing if augment is None else in_turn(augment, erasing)
    if balanced and isinstance(weights, str) and weights == BALANCED:
        raise UsageError(
            "class_weights=balanced and balanced_sampling both make up for the same thing, and together too much: "
            "leave one out."
        )
    if balanced:
        check_all_there(train, "Batches with balanced_sampling")
    found = None if weights is None else class_weights(weights, train)
    return Changes(
        training_loss(loss, label_smoothing, found), augment, mixing(mixup, cutmix), found, balanced, accumulate
    )


def _check_mixing(loss: Loss, batch_size: int, mixup: float, cutmix: float) -> None:
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        if not 0 <= alpha <= 1000:
            raise UsageError(f"{name} is the alpha of a Beta distribution, in 0 ... 1000 (0: none), not {alpha:g}.")
        if alpha and loss in (rbf_map, rbf_mse):
            raise UsageError(
                f"{name} makes images of two classes, and the loss {loss.__name__} compares with the bitmap of one: "
                "leave it out, or choose a net with softmax_cross_entropy."
            )
        if alpha and batch_size == 1:
            raise UsageError(f"{name} mixes the images of a batch, and a batch of 1 has no other: raise batch_size.")
