"""Nets for 32x32 colour images: two that a course trains, and one that is fast."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rawcnn import ops
from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool, Whitening
from rawcnn.layers.variables import gaussian, glorot_uniform, he_normal, identity
from rawcnn.nets.chain import Chain, Row, row
from rawcnn.nets.precision import FLOAT32, Policy

_he: dict[str, Any] = {"activation": tf.nn.relu, "w_init": he_normal}
_basic, _pool, _flatten = row(Conv2D, size=3, **_he), row(MaxPool, size=2), row(Flatten)

CIFAR_BASIC = (  #                            output    parameters
    ("conv1", _basic(32)),  #                 32x32x32         896
    ("conv2", _basic(32)),  #                 32x32x32       9,248
    ("pool2", _pool()),  #                    16x16x32
    ("conv3", _basic(64)),  #                 16x16x64      18,496
    ("conv4", _basic(64)),  #                 16x16x64      36,928
    ("pool4", _pool()),  #                    8x8x64
    ("conv5", _basic(128)),  #                8x8x128       73,856
    ("flat", _flatten()),
    ("fc6", row(Dense, **_he)(128)),  #       128        1,048,704
)

_course: dict[str, Any] = {"w_init": glorot_uniform}
_wide, _bn = row(Conv2D, activation=tf.nn.relu, **_course), row(BatchNorm)

CIFAR_WIDE = (  #                                                 output      parameters
    ("conv1", _wide(128, 3)),  #                                  32x32x128        3,584
    ("bn1", _bn()),  #                                                               256
    ("conv2", _wide(256, 3)),  #                                  32x32x256      295,168
    ("bn2", _bn()),  #                                                               512
    ("pool2", row(MaxPool)(3, padding="SAME")),  #                11x11x256
    ("bn2b", _bn()),  #                                                              512
    ("conv3", _wide(512, 4)),  #                                  11x11x512    2,097,664
    ("bn3", _bn()),  #                                                             1,024
    ("conv4", _wide(1024, 5, padding="VALID")),  #                7x7x1024    13,108,224
    ("bn4", _bn()),  #                                                             2,048
    ("pool4", row(MaxPool)(5)),  #                                1x1x1024
    ("bn4b", _bn()),  #                                                            2,048
    ("flat", _flatten()),
    ("fc5", row(Dense, activation=tf.sigmoid, **_course)(60)),  #    60              61,500
    ("drop5", row(Dropout)(0.001)),
)

# After Keller Jordan's airbench94: convolution, pool, normalisation, GELU. The first filters whiten and are not
# trained; the others begin as the identity. The only biases are those of the normalisation, which has no gamma.
_fast = row(Conv2D, size=3, bias=False, w_init=identity(glorot_uniform))
_norm = row(BatchNorm, momentum=0.6, scale=False, activation=ops.gelu)


def _eighth(x: tf.Tensor) -> tf.Tensor:
    return x * 0.125


CIFAR_FAST = (  #                                                            output    parameters
    ("conv1", row(Whitening, bias=False, activation=ops.gelu)(2)),  #        31x31x24           0
    ("conv2", _fast(64)),  #                                                 31x31x64      13,824
    ("pool2", _pool()),  #                                                   15x15x64
    ("bn2", _norm()),  #                                                                       64
    ("conv3", _fast(64)),  #                                                 15x15x64      36,864
    ("bn3", _norm()),  #                                                                       64
    ("conv4", _fast(256)),  #                                                15x15x256    147,456
    ("pool4", _pool()),  #                                                   7x7x256
    ("bn4", _norm()),  #                                                                      256
    ("conv5", _fast(256)),  #                                                7x7x256      589,824
    ("bn5", _norm()),  #                                                                      256
    ("conv6", _fast(256)),  #                                                7x7x256      589,824
    ("pool6", _pool()),  #                                                   3x3x256
    ("bn6", _norm()),  #                                                                      256
    ("conv7", _fast(256)),  #                                                3x3x256      589,824
    ("bn7", _norm()),  #                                                                      256
    ("pool7", row(MaxPool)(3)),  #                                           1x1x256
    ("flat", _flatten()),
)


def cifar_basic(
    input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """A first net for CIFAR-10: five convolutions, two pools, two dense layers.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(cifar_basic()))
    row     layer    output    parameters  multiply-adds  receptive field
    conv1   Conv2D   32x32x32         896        884,736                3
    conv2   Conv2D   32x32x32       9,248      9,437,184                5
    pool2   MaxPool  16x16x32           0              0                6
    conv3   Conv2D   16x16x64      18,496      4,718,592               10
    conv4   Conv2D   16x16x64      36,928      9,437,184               14
    pool4   MaxPool  8x8x64             0              0               16
    conv5   Conv2D   8x8x128       73,856      4,718,592               24
    flat    Flatten  8192               0              0               52
    fc6     Dense    128        1,048,704      1,048,576               52
    logits  Dense    10             1,290          1,280               52
    total                       1,189,418     30,246,144
    """
    table = (*CIFAR_BASIC, ("logits", row(Dense, w_init=he_normal)(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def cifar_wide(
    input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """A course's wide net for CIFAR-10: batch normalisation after every convolution and every pool.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(cifar_wide()))
    row     layer      output     parameters  multiply-adds  receptive field
    conv1   Conv2D     32x32x128       3,584      3,538,944                3
    bn1     BatchNorm  32x32x128         256              0                3
    conv2   Conv2D     32x32x256     295,168    301,989,888                5
    bn2     BatchNorm  32x32x256         512              0                5
    pool2   MaxPool    11x11x256           0              0                7
    bn2b    BatchNorm  11x11x256         512              0                7
    conv3   Conv2D     11x11x512   2,097,664    253,755,392               16
    bn3     BatchNorm  11x11x512       1,024              0               16
    conv4   Conv2D     7x7x1024   13,108,224    642,252,800               28
    bn4     BatchNorm  7x7x1024        2,048              0               28
    pool4   MaxPool    1x1x1024            0              0               40
    bn4b    BatchNorm  1x1x1024        2,048              0               40
    flat    Flatten    1024                0              0               40
    fc5     Dense      60             61,500         61,440               40
    drop5   Dropout    60                  0              0               40
    logits  Dense      10                610            600               40
    total                         15,573,150  1,201,599,064
    with numbers that are not trained: 15,579,550
    """
    table = (*CIFAR_WIDE, ("logits", row(Dense, **_course)(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def cifar_fast_head(num_classes: int) -> Row:
    """The last row of `cifar_fast`: logits are an eighth, so that they begin small and the head may learn fast."""
    return row(Dense, bias=False, w_init=gaussian(1 / 32), activation=_eighth)(num_classes)


def cifar_fast(
    input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """The net for CIFAR-10 in few minutes: seven convolutions, the pools early, so that little is computed.

    As in Jordan 2024 ("94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3), without the first row's bias.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(cifar_fast()))
    row     layer      output    parameters  multiply-adds  receptive field
    conv1   Whitening  31x31x24           0        276,768                2
    conv2   Conv2D     31x31x64      13,824     13,284,864                4
    pool2   MaxPool    15x15x64           0              0                5
    bn2     BatchNorm  15x15x64          64              0                5
    conv3   Conv2D     15x15x64      36,864      8,294,400                9
    bn3     BatchNorm  15x15x64          64              0                9
    conv4   Conv2D     15x15x256    147,456     33,177,600               13
    pool4   MaxPool    7x7x256            0              0               15
    bn4     BatchNorm  7x7x256          256              0               15
    conv5   Conv2D     7x7x256      589,824     28,901,376               23
    bn5     BatchNorm  7x7x256          256              0               23
    conv6   Conv2D     7x7x256      589,824     28,901,376               31
    pool6   MaxPool    3x3x256            0              0               35
    bn6     BatchNorm  3x3x256          256              0               35
    conv7   Conv2D     3x3x256      589,824      5,308,416               51
    bn7     BatchNorm  3x3x256          256              0               51
    pool7   MaxPool    1x1x256            0              0               67
    flat    Flatten    256                0              0               67
    logits  Dense      10             2,560          2,560               67
    total                         1,971,328    118,147,360
    with numbers that are not trained: 1,973,920
    """
    return Chain(
        (*CIFAR_FAST, ("logits", cifar_fast_head(num_classes))), input_shape=input_shape, seed=seed, policy=policy
    )
