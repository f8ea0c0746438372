"""How each net is trained unless a flag says otherwise: a table, with the reason for what is not in the paper.

`paper` is what the net's paper says, `course` what the courses do that train it today, `ours` what we found to be
fast. Other names say what differs from the paper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow as tf

from rawcnn.data.augment import pca_lighting, photometric, reflected_shift
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Augment
from rawcnn.data.views import FITS, STANDARD, Crop, area_crop, random_crop, scale_jitter
from rawcnn.errors import UsageError, did_you_mean
from rawcnn.machine import OTHER, matrix_hardware
from rawcnn.nets import precision
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16, Policy
from rawcnn.train import schedules
from rawcnn.train.optimizers import OPTIMIZERS, Optimizer, checked_rate
from rawcnn.train.schedules import Schedule


@dataclass(frozen=True)
class Recipe:
    """How a net is trained, and how images are shown to it from then on.

    `optimizer`, `loss` and `schedule` are names in `OPTIMIZERS`, `LOSSES` and `SCHEDULES`. `weight_decay` is the
    optimizer's. `label_smoothing` acts in training only. `head_weights` says by name how much the loss of each head
    counts. `crop` takes the training views (None: whole images), and `central_fraction` is what the test crops keep of
    the shorter side. `fit`, one of `FITS`, says how whole images become squares, in training and ever after (None:
    "squeeze"). `augment` changes a batch, and `alternate` mirrors each image in every other epoch. `average` is the
    decay of the weights' moving averages (0: none). `validation` is the fraction or count held out.

    `small_ops`: the ops are so small that shards of a batch, side by side on one thread each, beat all threads on one
    op. `bfloat16_cost`: points of test accuracy by which bfloat16 was measured to be worse than float32
    (results/precision.md); None: not measured. See `choose_precision`.
    """

    preprocess: Preprocess = field(default_factory=Preprocess)
    optimizer: str = "adam"
    learning_rate: float = 0.001
    batch_size: int = 64
    loss: str = "softmax_cross_entropy"
    schedule: str = "cosine"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    head_weights: Mapping[str, float] = field(default_factory=dict)
    crop: Crop | None = None
    central_fraction: float = 1.0
    fit: str | None = None
    augment: Augment | None = None
    alternate: bool = False
    average: float = 0.0
    validation: float = 0.1
    small_ops: bool = False
    bfloat16_cost: float | None = None

    def __post_init__(self) -> None:
        if self.fit is None:
            return
        if self.fit not in FITS:
            raise UsageError(f"fit is one of {', '.join(FITS)}, not {self.fit!r}.{did_you_mean(self.fit, FITS)}")
        if self.crop is not None or self.central_fraction < 1:
            raise UsageError(
                f"fit={self.fit} is for recipes that show whole images, but this one takes crops of its own: leave fit "
                "out, or choose another recipe."
            )


SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {  # (learning rate, steps in all, steps an epoch)
    "constant": lambda rate, steps, per_epoch: schedules.constant(rate),
    "linear": lambda rate, steps, per_epoch: schedules.linear(rate, steps),
    "cosine": lambda rate, steps, per_epoch: schedules.cosine(rate, steps),
    "warmup_cosine": lambda rate, steps, per_epoch: schedules.cosine(rate, steps, steps // 5),
    "plateau": lambda rate, steps, per_epoch: schedules.constant(rate),  # times `schedules.plateau_factor`
    "staircase": lambda rate, steps, per_epoch: schedules.staircase(rate, 0.96, 8 * per_epoch),
}

_standardised = Preprocess(low=-0.4242, high=2.8215)  # MNIST's mean becomes 0 and its variance 1
_padded = Preprocess(pad=2)
_1998 = Preprocess(pad=2, low=-0.1, high=1.175)  # LeCun et al. 1998, section III.A: mean about 0, variance about 1
_unit = Preprocess()
# Means (and deviations, where weights begin as He et al. say and so keep the scale) of ImageNet's pixels.
_centred = Preprocess.standardised((123.68, 116.78, 103.94), (1.0, 1.0, 1.0))
_imagenet = Preprocess.standardised((123.68, 116.78, 103.94), (58.4, 57.1, 57.4))

# Means and deviations of CIFAR-10's training pixels.
_cifar = Preprocess.standardised((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))

_lenet: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.003, "validation": 1 / 30, "small_ops": True}
# The courses' optimizer, rate and batch; but the rate falls along a cosine, where they leave it as it is.
_course: dict[str, Any] = {"preprocess": _unit, "optimizer": "adam"}
_2012 = Recipe(
    _centred, "momentum", 0.01, 128, schedule="plateau", weight_decay=5e-4, crop=random_crop(),
    central_fraction=STANDARD, augment=pca_lighting,
)  # fmt: skip
# The paper's batches of 256 lay on four GPUs, 64 on each: here 64. S is drawn from 256 ... 512 (section 3.1).
_vgg = Recipe(
    _imagenet, "momentum", 0.01, 64, schedule="plateau", weight_decay=5e-4, crop=scale_jitter(),
    central_fraction=STANDARD, augment=pca_lighting,
)  # fmt: skip
_vgg_course = Recipe(learning_rate=1e-4, batch_size=32, weight_decay=5e-4, **_course)
# Section 6 names momentum 0.9, the fall of the rate, the crops and Polyak's averaging, but neither rate nor batch.
_googlenet = Recipe(
    _imagenet, "momentum", 0.01, 64, schedule="staircase", head_weights={"aux1": 0.3, "aux2": 0.3},
    crop=area_crop(), central_fraction=STANDARD, augment=photometric, average=0.999,
)  # fmt: skip
# For CIFAR-10 in few epochs: what `cifar_fast` does to images and labels, but Adam.
_short = Recipe(
    _cifar, "adam", 0.002, 128, schedule="warmup_cosine", label_smoothing=0.1, augment=reflected_shift, alternate=True,
)  # fmt: skip
_dogs = Recipe(learning_rate=1e-4, batch_size=32, **_course)
# For a thousand photos: without new views AlexNet has them by heart after ten epochs (results/README.md).
_dogs_ours = replace(_dogs, preprocess=_imagenet, schedule="warmup_cosine", crop=area_crop(0.5))

RECIPES: dict[str, dict[str, Recipe]] = {
    # The paper's stochastic diagonal Levenberg-Marquardt gives each weight a step size of its own; so does Adam. Batch
    # and learning rate did best on validation images; the courses' 0.001 throughout takes more epochs to get there.
    "lenet5": {
        "paper": Recipe(_1998, loss="rbf_map", batch_size=64, bfloat16_cost=-0.1, **_lenet),
        "mse": Recipe(_1998, loss="rbf_mse", batch_size=64, **_lenet),  # equation 8 in the place of equation 9
    },
    "lenet5_tanh": {"course": Recipe(_standardised, batch_size=128, **_lenet)},
    "lenet5_relu": {"course": Recipe(_padded, batch_size=128, **_lenet)},
    "alexnet": {"paper": _2012, "course": Recipe(learning_rate=1e-4, batch_size=64, **_course)},
    "alexnet_one_tower": {"course": Recipe(learning_rate=1e-4, batch_size=64, **_course)},
    "alexnet_bn": {
        "course": Recipe(learning_rate=0.001, batch_size=64, validation=0.2, **_course),
        "ours": replace(_short, learning_rate=0.001),
    },
    "alexnet_valid": {"course": Recipe(learning_rate=1e-4, batch_size=64, **_course)},
    "alexnet_dogs": {"course": _dogs, "ours": _dogs_ours},
    "alexnet_dogs_small": {"course": _dogs, "ours": _dogs_ours},
    "vgg11": {"paper": _vgg, "course": _vgg_course, "ours": replace(_short, learning_rate=5e-4)},
    "vgg13": {"paper": _vgg, "course": _vgg_course},
    "vgg16c": {"paper": _vgg, "course": _vgg_course},
    "vgg16": {"paper": _vgg, "course": _vgg_course},
    "vgg19": {"paper": _vgg, "course": _vgg_course},
    "vgg11_bn": {"course": _vgg_course},
    "vgg13_bn": {"course": _vgg_course},
    "vgg16_bn": {"course": _vgg_course},
    "vgg19_bn": {"course": _vgg_course},
    "googlenet": {
        "paper": _googlenet,
        "ours": replace(_dogs_ours, learning_rate=2e-4, head_weights=_googlenet.head_weights),
    },
    "googlenet_dogs": {"course": _dogs},
    "cifar_basic": {
        "course": Recipe(learning_rate=0.001, batch_size=64, bfloat16_cost=0.3, **_course),
        "ours": Recipe(_cifar, "adam", 0.001, 64, alternate=True),
    },
    "cifar_fast": {
        # 94 % in 10 epochs: see docs/cifar-fast.md. No cutout: it hurts short runs.
        "ours": Recipe(
            _cifar,
            "muon",
            0.24,
            2048,
            schedule="linear",
            weight_decay=1 / 60,
            label_smoothing=0.2,
            augment=reflected_shift,
            alternate=True,
        ),
    },
    "cifar_wide": {"course": Recipe(learning_rate=0.001, batch_size=32, **_course), "ours": _short},
}
"""The recipes of each net; a command takes the first unless `--recipe` names another.

Test accuracies to expect, in %, each with the row of results/README.md that gave it, its flags and its spread:

* `lenet5` paper: 99.10 after 20 epochs (row `lenet5`)
* `lenet5_tanh` course: 99.09 after 18 epochs (row `lenet5_tanh`)
* `alexnet_bn` course: 78.29 after 10 epochs (row `alexnet_bn`)
* `alexnet_bn` ours: 87.17 after 15 epochs (row `alexnet_bn_ours`)
* `alexnet_valid` course: 50.44 after 15 epochs (row `alexnet_valid`)
* `alexnet_dogs` ours: 77.00 after 60 epochs (row `alexnet_dogs`)
* `vgg11` ours: 85.02 after 40 epochs (row `vgg11`)
* `googlenet` ours: 80.97 after 50 epochs (row `googlenet_dogs`)
* `cifar_basic` ours: 77.08 after 5 epochs (row `cifar_basic`)
* `cifar_fast` ours: 94.14 after 10 epochs (row `cifar_fast`)
* `cifar_wide` course: 86.21 after 5 epochs (row `cifar_wide`)
* `cifar_wide` ours: 89.24 after 10 epochs (row `cifar_wide_ours`)
"""

MOST_BFLOAT16_COST = 0.1  # points of test accuracy


def choose_precision(name: str, recipe: Recipe) -> tuple[Policy, str]:
    """The policy called "float32", "bfloat16" or "auto", and in a few words why.

    "auto" is bfloat16 only if the net's ops are large enough to gain by it, the GPU or the processor's instruction set
    multiplies it (AMX, AVX512_BF16), and it was measured to cost less than 0.1 points of test accuracy with this
    recipe; else float32. Raises `UsageError` for another name.

    >>> choose_precision("auto", Recipe())[1]
    'float32: what bfloat16 costs in accuracy was not measured for this net'
    """
    if name != "auto":
        return precision.parse(name), f"{name}, as asked"
    cost = recipe.bfloat16_cost
    if recipe.small_ops:
        return FLOAT32, "float32: the ops of this net are too small to gain much by bfloat16"
    if cost is None:
        return FLOAT32, "float32: what bfloat16 costs in accuracy was not measured for this net"
    if cost >= MOST_BFLOAT16_COST:
        return FLOAT32, f"float32: bfloat16 was measured to cost {cost:g} points of test accuracy"
    hardware, has_bfloat16 = matrix_hardware()
    if not has_bfloat16:
        words = "this processor" if hardware == OTHER else hardware
        return FLOAT32, f"float32: {words} does not multiply bfloat16"
    return MIXED_BFLOAT16, f"bfloat16: {hardware} multiplies it, and it was measured to cost {max(cost, 0):g} points"


def recipe_of(net: str, name: str | None = None) -> Recipe:
    """The recipe `name` of `net`, or its first. Raises `UsageError` that lists what there is.

    Nets of your own have no recipe here: `Run` and the command train them with `rawcnn.run.plan.OWN`.

    >>> recipe_of("alexnet", "paper").weight_decay
    0.0005
    """
    if net not in RECIPES:
        raise UsageError(f"There is no recipe for {net!r}.{did_you_mean(net, RECIPES)} Recipes: {', '.join(RECIPES)}.")
    recipes = RECIPES[net]
    name = name or next(iter(recipes))
    if name not in recipes:
        raise UsageError(f"{net} has no recipe {name!r}: choose {' or '.join(recipes)}.")
    return recipes[name]


def optimizer_of(
    weights: Mapping[str, tf.Variable],
    recipe: Recipe,
    optimizer: str | Optimizer | None,
    learning_rate: float | Schedule | None,
    epochs: int,
    per_epoch: int,
) -> Optimizer:
    """The optimizer that is given, or one of that name with the recipe's learning rate, schedule and weight decay."""
    if isinstance(optimizer, Optimizer):
        if learning_rate is not None:
            raise UsageError("The optimizer that is given has a learning rate: leave learning_rate out.")
        return optimizer
    name = recipe.optimizer if optimizer is None else optimizer
    if not isinstance(name, str) or name not in OPTIMIZERS:
        meant = did_you_mean(name, OPTIMIZERS)
        raise UsageError(f"optimizer is one of {', '.join(OPTIMIZERS)}, or made, as in Adam(net), not {name!r}.{meant}")
    rate = recipe.learning_rate if learning_rate is None else learning_rate
    if not callable(rate):
        rate = SCHEDULES[recipe.schedule](checked_rate(rate), epochs * per_epoch, per_epoch)
    return OPTIMIZERS[name](weights, rate, weight_decay=recipe.weight_decay)
