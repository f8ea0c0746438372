"""The rows of the table of results: what is trained how, what others report, and the target that was set."""

from __future__ import annotations

from dataclasses import dataclass

DATA = {"mnist": "mnist", "cifar10": "cifar-10-batches-bin", "folder": "dogs-vs-cats/train"}
"""Where a data set is found below the folder of the data sets."""


@dataclass(frozen=True)
class Row:
    """`flags` are those of `example`, besides the data and the seed; `crops` is the test protocol that the table shows,
    `also` the others that are said below it; `reference` is what a paper or a course reports. Accuracies are in %.
    """

    name: str
    what: str
    reference: str
    target: float
    seeds: int
    example: str
    dataset: str
    epochs: int
    flags: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", (f"--net={self.net}", f"--epochs={self.epochs}", *self.flags))

    @property
    def net(self) -> str:
        """The first word of `what`, in backticks there."""
        return self.what.split("`")[1]

    @property
    def crops(self) -> str:
        given = [flag.removeprefix("--crops=") for flag in self.flags if flag.startswith("--crops=")]
        return given[0] if given else "1"

    @property
    def command(self) -> str:
        return " ".join(("python", self.example, f"--dataset={self.dataset}", *self.flags, "--seed=0"))


LENET, CIFAR, ALEXNET = "examples/train_lenet.py", "examples/train_cifar.py", "examples/train_alexnet.py"
GOOGLENET, VGG = "examples/train_googlenet.py", "examples/train_vgg.py"
FAST = ("--precision=bfloat16",)

ROWS = (
    Row(
        "lenet5", "`lenet5` on MNIST, as the paper has it, 10 epochs", "99.05 (LeCun et al. 1998)", 99.1, 5,
        LENET, "mnist", 10, FAST, remark="To try on validation images: 20 epochs, as the paper; averaged weights.",
    ),
    Row(
        "lenet5_distorted", "`lenet5` on MNIST with distortions", "99.2 (LeCun et al. 1998)", 99.5, 3,
        LENET, "mnist", 30, (*FAST, "--distort"), remark="An older run: 99.36, 3 seeds (lenet.md).",
    ),
    Row(
        "lenet5_tanh", "`lenet5_tanh` on MNIST, a course's recipe: 18 epochs of 1,100 batches of 50",
        "98.57 (a course, 20,000 batches)", 98.8, 3, LENET, "mnist", 18,
        (*FAST, "--batch_size=50", "--learning_rate=0.001", "--validation=5000"),
    ),
    Row(
        "cifar_basic", "`cifar_basic` on CIFAR-10, 5 epochs", "66.57 (a course)", 75.0, 3, CIFAR, "cifar10", 5, FAST,
    ),
    Row(
        "cifar_wide", "`cifar_wide` on CIFAR-10, a course's recipe, 5 epochs", "81.07 (a course)", 84.0, 3,
        CIFAR, "cifar10", 5, FAST, remark="An older run: 86.15, 1 seed (cifar.md).",
    ),
    Row(
        "cifar_fast", "`cifar_fast` on CIFAR-10, 10 epochs, six test views", "94.0 (Jordan 2024, on a GPU)", 94.0, 5,
        CIFAR, "cifar10", 10, (*FAST, "--validation=0", "--crops=6"), also=("1",),
        remark="Trained on all 50,000 images; see [../docs/cifar-fast.md](../docs/cifar-fast.md).",
    ),
    Row(
        "alexnet_bn", "`alexnet_bn` on CIFAR-10 at 227 pixels, a course's recipe, 10 epochs", "67 to 70 (a course)",
        72.0, 1, ALEXNET, "cifar10", 10, FAST,
    ),
    Row(
        "alexnet_valid", "`alexnet_valid` on a tenth of CIFAR-10, a course's recipe", "10 (a course: it did not learn)",
        45.0, 1, ALEXNET, "cifar10", 10, (*FAST, "--sample=0.1"),
    ),
    Row(
        "googlenet_dogs", "`googlenet` on 1,500 photos of dogs and cats", "65 (a course)", 78.0, 3, GOOGLENET, "folder",
        40, FAST,
    ),
    Row(
        "alexnet_dogs", "`alexnet_dogs` on 1,500 photos of dogs and cats", "51 (a course)", 72.0, 3, ALEXNET, "folder",
        40, FAST,
    ),
    Row("vgg11", "`vgg11` on CIFAR-10 at 32 pixels", "92.9 to 93.3 (VGG16 with batch norm)", 88.0, 1, VGG, "cifar10",
        40, (*FAST, "--input_size=32")),
)  # fmt: skip
