"""LeNet-5 as LeCun, Bottou, Bengio and Haffner built it in 1998, and the two variants that courses train today."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.layers import RBF, AveragePool, Conv2D, Dense, Flatten, PartialConv2D, Subsample
from rawcnn.layers.variables import lecun_uniform, truncated_normal
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, Policy
from rawcnn.ops import scaled_tanh, tanh


@functools.cache
def bitmaps(drawing: str, width: int, off: str = ".") -> np.ndarray:
    """Glyphs drawn side by side as text, `width` characters each between blanks, as rows of +1 (ink) and -1.

    Returns float32 `[glyphs, height * width]`; the targets of LeNet-5's RBF units (LeCun et al. 1998, figure 3).
    """
    lines = [line.split() for line in drawing.strip().splitlines()]
    cells = np.array([[[1.0 if c != off else -1.0 for c in glyph] for glyph in line] for line in lines], np.float32)
    if cells.shape[2] != width:
        raise UsageError(f"Every glyph must be {width} characters wide, not {cells.shape[2]}.")
    return cells.transpose(1, 0, 2).reshape(cells.shape[1], -1)


# Table I: a column for each of the 16 maps of C3, a row for each map of S2 it may see. 60 of 96 pairs are connected.
C3_TABLE = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""

# The digits 0 to 9 on 7x12 pixels (in the manner of figure 3): the targets that F6 learns to draw, ink +1, paper -1.
DIGIT_BITMAPS = bitmaps(
    """
..###.. ...##.. .#####. ####### ....##. ####### ..####. ####### ..###.. ..###..
.##.##. ..###.. ##...## ##..##. ...###. ##..... .##.... ##...## .##.##. .##.##.
##...## .####.. .....## ...##.. ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## ..##... .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. .####.. ##..##. #####.. ##.###. ....##. .##.##. ##...##
##...## ...##.. ...##.. ....##. ##..##. ....##. ###..## ...##.. ..###.. .##.###
##...## ...##.. ..##... .....## ##..##. .....## ##...## ...##.. .##.##. ..##.##
##...## ...##.. .##.... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## .....##
.##.##. .###### ##...## .##.##. ....##. .##.##. .##.##. .##.... .##.##. ....##.
..###.. .###### ####### ..###.. ....##. ..###.. ..###.. .##.... ..###.. .####..
""",
    width=7,
)

_1998 = {"activation": scaled_tanh, "w_init": lecun_uniform(), "b_init": lecun_uniform()}
_squashed_conv = row(Conv2D, padding="VALID", **_1998)
_subsample = row(Subsample, **_1998)

LENET5 = (  #                                                                  output    parameters
    ("c1", _squashed_conv(6, 5)),  #                                           28x28x6          156
    ("s2", _subsample(2)),  #                                                  14x14x6           12
    ("c3", row(PartialConv2D, **_1998)(C3_TABLE, 5)),  #                       10x10x16       1,516
    ("s4", _subsample(2)),  #                                                  5x5x16            32
    ("c5", _squashed_conv(120, 5)),  #                                         1x1x120       48,120
    ("flat", row(Flatten)()),
    ("f6", row(Dense, **_1998)(84)),  #                                        84            10,164
    ("logits", row(RBF)(DIGIT_BITMAPS)),  #                                    10     0: not trained
)

_course = {"w_init": truncated_normal(0.1), "b_init": 0.1}
_tanh_conv, _tanh_dense = row(Conv2D, activation=tanh, **_course), row(Dense, activation=tanh, **_course)
_relu_conv, _relu_dense = row(Conv2D, activation=tf.nn.relu, **_course), row(Dense, activation=tf.nn.relu, **_course)
_pool, _flatten, _linear = row(AveragePool), row(Flatten), row(Dense, **_course)

LENET5_TANH = (
    ("c1", _tanh_conv(6, 5)),
    ("s2", _pool(2)),
    ("c3", _tanh_conv(16, 5, padding="VALID")),
    ("s4", _pool(2)),
    ("flat", _flatten()),
    ("c5", _tanh_dense(120)),
    ("f6", _tanh_dense(84)),
)

LENET5_RELU = (
    ("c1", _relu_conv(6, 5, padding="VALID")),
    ("s2", _pool(2)),
    ("c3", _relu_conv(16, 5, padding="VALID")),
    ("s4", _pool(2)),
    ("flat", _flatten()),
    ("c5", _relu_dense(120)),
    ("f6", _relu_dense(84)),
)


def lenet5(
    input_shape: Sequence[int] = (32, 32, 1), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """LeNet-5 of 1998, exactly: C3's connection table, trainable subsampling, scaled tanh, RBF output.

    Takes digits of 28x28 with 2 pixels of background around them, background -0.1 and ink 1.175 (section III.A). The
    logits are minus the squared distance of F6 to each digit's bitmap; raises `UsageError` for more classes than there
    are bitmaps, ten.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(lenet5()))
    row     layer          output    parameters  multiply-adds  receptive field
    c1      Conv2D         28x28x6          156        117,600                5
    s2      Subsample      14x14x6           12          1,176                6
    c3      PartialConv2D  10x10x16       1,516        150,000               14
    s4      Subsample      5x5x16            32            400               16
    c5      Conv2D         1x1x120       48,120         48,000               32
    flat    Flatten        120                0              0               32
    f6      Dense          84            10,164         10,080               32
    logits  RBF            10                 0            840               32
    total                                60,000        328,096
    """
    if num_classes != len(DIGIT_BITMAPS):
        raise UsageError(f"lenet5 has a bitmap for each of 10 digits, not {num_classes} classes: use lenet5_relu.")
    return Chain(LENET5, input_shape=input_shape, seed=seed, policy=policy)


def lenet5_tanh(
    input_shape: Sequence[int] = (28, 28, 1), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """The courses' LeNet-5: 28x28 input padded inside C1, plain average pooling, full C3, tanh, linear output.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(lenet5_tanh()))
    row     layer        output    parameters  multiply-adds  receptive field
    c1      Conv2D       28x28x6          156        117,600                5
    s2      AveragePool  14x14x6            0              0                6
    c3      Conv2D       10x10x16       2,416        240,000               14
    s4      AveragePool  5x5x16             0              0               16
    flat    Flatten      400                0              0               32
    c5      Dense        120           48,120         48,000               32
    f6      Dense        84            10,164         10,080               32
    logits  Dense        10               850            840               32
    total                              61,706        416,520
    """
    table = (*LENET5_TANH, ("logits", _linear(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def lenet5_relu(
    input_shape: Sequence[int] = (32, 32, 1), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """The courses' LeNet-5 with ReLU: digits padded to 32x32, plain average pooling, full C3, linear output.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(lenet5_relu()))
    row     layer        output    parameters  multiply-adds  receptive field
    c1      Conv2D       28x28x6          156        117,600                5
    s2      AveragePool  14x14x6            0              0                6
    c3      Conv2D       10x10x16       2,416        240,000               14
    s4      AveragePool  5x5x16             0              0               16
    flat    Flatten      400                0              0               32
    c5      Dense        120           48,120         48,000               32
    f6      Dense        84            10,164         10,080               32
    logits  Dense        10               850            840               32
    total                              61,706        416,520
    """
    table = (*LENET5_RELU, ("logits", _linear(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)
