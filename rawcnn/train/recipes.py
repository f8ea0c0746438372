"""How each net is trained unless a flag says otherwise: a table, with the reason for what is not in the paper."""

from dataclasses import dataclass

from rawcnn.data.source import Preprocess


@dataclass(frozen=True)
class Recipe:
    """Defaults of one net. The learning rate falls from `learning_rate` to 0 along a cosine over the whole run.

    `small_ops`: the ops are so small that parts of a batch, side by side on one thread each, beat all threads on one
    op.
    """

    preprocess: Preprocess
    loss: str
    optimizer: str
    learning_rate: float
    batch_size: int
    small_ops: bool = False


_standardised = Preprocess(low=-0.4242, high=2.8215)  # MNIST's mean becomes 0 and its variance 1
_padded = Preprocess(pad=2)
_paper = Preprocess(pad=2, low=-0.1, high=1.175)  # LeCun et al. 1998, section III.A: mean about 0, variance about 1

RECIPES = {
    # The paper's stochastic diagonal Levenberg-Marquardt gives each weight a step size of its own; so does Adam. Batch
    # and learning rate did best on validation images; the labs' 0.001 throughout takes more epochs to get there.
    "lenet5": Recipe(_paper, "rbf_map", "adam", 0.003, 64, small_ops=True),
    "lenet5_tanh": Recipe(_standardised, "softmax_cross_entropy", "adam", 0.003, 128, small_ops=True),
    "lenet5_relu": Recipe(_padded, "softmax_cross_entropy", "adam", 0.003, 128, small_ops=True),
}
