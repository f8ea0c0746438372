"""AlexNet as Krizhevsky, Sutskever and Hinton built it in 2012, its one tower of 2014, and variants of courses."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rawcnn.layers import LRN, BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool
from rawcnn.layers.variables import gaussian, glorot_uniform
from rawcnn.nets.chain import Chain, Table, row
from rawcnn.nets.precision import FLOAT32, Policy

_relu: dict[str, Any] = {"activation": tf.nn.relu}
_pool, _lrn, _flatten, _dropout = row(MaxPool, size=3, stride=2), row(LRN), row(Flatten), row(Dropout, rate=0.5)
_bn = row(BatchNorm)

_2012: dict[str, Any] = {"w_init": gaussian(0.01)}  # section 5; biases 1 where it speeds the first stage of learning up
_conv, _dense = row(Conv2D, **_relu, **_2012), row(Dense, **_relu, **_2012)


def _alexnet(classes: int, groups: int) -> Table:
    return (  #                                                                       output      parameters
        ("conv1", _conv(96, 11, stride=4, padding="VALID")),  #                       55x55x96        34,944
        ("norm1", _lrn()),
        ("pool1", _pool()),  #                                                        27x27x96
        ("conv2", _conv(256, 5, groups=groups, b_init=1.0)),  #                       27x27x256      307,456
        ("norm2", _lrn()),
        ("pool2", _pool()),  #                                                        13x13x256
        ("conv3", _conv(384, 3)),  #                                                  13x13x384      885,120
        ("conv4", _conv(384, 3, groups=groups, b_init=1.0)),  #                       13x13x384      663,936
        ("conv5", _conv(256, 3, groups=groups, b_init=1.0)),  #                       13x13x256      442,624
        ("pool5", _pool()),  #                                                        6x6x256
        ("flat", _flatten()),
        ("fc6", _dense(4096, b_init=1.0)),  #                                         4096        37,752,832
        ("drop6", _dropout()),
        ("fc7", _dense(4096, b_init=1.0)),  #                                         4096        16,781,312
        ("drop7", _dropout()),
        ("logits", row(Dense, **_2012)(classes)),  #                                  1000         4,097,000
    )


_course: dict[str, Any] = {"w_init": glorot_uniform}
_lab_conv, _lab_dense = row(Conv2D, **_relu, **_course), row(Dense, **_relu, **_course)


def _hidden(classes: int, sizes: Sequence[int] = (4096, 4096)) -> Table:
    return (
        ("flat", _flatten()),
        ("fc6", _lab_dense(sizes[0])),
        ("drop6", _dropout()),
        ("fc7", _lab_dense(sizes[1])),
        ("drop7", _dropout()),
        ("logits", row(Dense, **_course)(classes)),
    )


ALEXNET_BN = (
    ("conv1", _lab_conv(96, 11, stride=4, padding="VALID")),
    ("bn1", _bn()),
    ("pool1", _pool()),
    ("conv2", _lab_conv(256, 5)),
    ("bn2", _bn()),
    ("pool2", _pool()),
    ("conv3", _lab_conv(384, 3)),
    ("conv4", _lab_conv(384, 3)),
    ("conv5", _lab_conv(256, 3)),
    ("bn5", _bn()),
    ("pool5", _pool()),
)

_valid = row(Conv2D, padding="VALID", **_relu, **_course)

ALEXNET_VALID = (
    ("conv1", _valid(96, 11, stride=4)),
    ("conv2", _valid(256, 5)),
    ("pool2", _pool()),
    ("conv3", _valid(384, 3)),
    ("pool3", _pool()),
    ("conv4", _valid(384, 3)),
    ("conv5", _valid(256, 3)),
    ("pool5", _pool()),
)

ALEXNET_ONE_TOWER = (  #                                          output     parameters
    ("conv1", _lab_conv(64, 11, stride=4, padding=2)),  #         55x55x64       23,296
    ("pool1", _pool()),  #                                        27x27x64
    ("conv2", _lab_conv(192, 5)),  #                              27x27x192     307,392
    ("pool2", _pool()),  #                                        13x13x192
    ("conv3", _lab_conv(384, 3)),  #                              13x13x384     663,936
    ("conv4", _lab_conv(256, 3)),  #                              13x13x256     884,992
    ("conv5", _lab_conv(256, 3)),  #                              13x13x256     590,080
    ("pool5", _pool()),  #                                        6x6x256
    ("flat", _flatten()),
    ("drop6", _dropout()),
    ("fc6", _lab_dense(4096)),  #                                 4096       37,752,832
    ("drop7", _dropout()),
    ("fc7", _lab_dense(4096)),  #                                 4096       16,781,312
)

_dogs_lrn = row(LRN, k=1.0, n=5, alpha=2e-5, beta=0.75)

ALEXNET_DOGS = (
    ("conv1", _lab_conv(96, 11, stride=4)),
    ("norm1", _dogs_lrn()),
    ("pool1", _pool()),
    ("conv2", _lab_conv(256, 5)),
    ("norm2", _dogs_lrn()),
    ("pool2", _pool()),
    ("conv3", _lab_conv(384, 3)),
    ("conv4", _lab_conv(384, 3)),
    ("conv5", _lab_conv(256, 3)),
)


def alexnet(
    input_shape: Sequence[int] = (227, 227, 3),
    num_classes: int = 1000,
    *,
    groups: int = 2,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """AlexNet of 2012: two groups (one a GPU then), local response normalisation, overlapping pools, dropout.

    227 pixels, not the paper's 224, which do not give its 55x55 outputs. `groups=1` is one tower: 62,378,344
    parameters. LRN as in section 3.3, weights and biases as in section 5.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet()))
    row     layer    output     parameters  multiply-adds  receptive field
    conv1   Conv2D   55x55x96       34,944    105,415,200               11
    norm1   LRN      55x55x96            0              0               11
    pool1   MaxPool  27x27x96            0              0               19
    conv2   Conv2D   27x27x256     307,456    223,948,800               51
    norm2   LRN      27x27x256           0              0               51
    pool2   MaxPool  13x13x256           0              0               67
    conv3   Conv2D   13x13x384     885,120    149,520,384               99
    conv4   Conv2D   13x13x384     663,936    112,140,288              131
    conv5   Conv2D   13x13x256     442,624     74,760,192              163
    pool5   MaxPool  6x6x256             0              0              195
    flat    Flatten  9216                0              0              355
    fc6     Dense    4096       37,752,832     37,748,736              355
    drop6   Dropout  4096                0              0              355
    fc7     Dense    4096       16,781,312     16,777,216              355
    drop7   Dropout  4096                0              0              355
    logits  Dense    1000        4,097,000      4,096,000              355
    total                       60,965,224    724,406,816
    """
    table = _alexnet(num_classes, groups)
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def alexnet_bn(
    input_shape: Sequence[int] = (227, 227, 3), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """The courses' AlexNet for CIFAR-10 scaled up to 227x227: one tower, batch normalisation after the ReLU for LRN.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet_bn()))
    row     layer      output     parameters  multiply-adds  receptive field
    conv1   Conv2D     55x55x96       34,944    105,415,200               11
    bn1     BatchNorm  55x55x96          192              0               11
    pool1   MaxPool    27x27x96            0              0               19
    conv2   Conv2D     27x27x256     614,656    447,897,600               51
    bn2     BatchNorm  27x27x256         512              0               51
    pool2   MaxPool    13x13x256           0              0               67
    conv3   Conv2D     13x13x384     885,120    149,520,384               99
    conv4   Conv2D     13x13x384   1,327,488    224,280,576              131
    conv5   Conv2D     13x13x256     884,992    149,520,384              163
    bn5     BatchNorm  13x13x256         512              0              163
    pool5   MaxPool    6x6x256             0              0              195
    flat    Flatten    9216                0              0              355
    fc6     Dense      4096       37,752,832     37,748,736              355
    drop6   Dropout    4096                0              0              355
    fc7     Dense      4096       16,781,312     16,777,216              355
    drop7   Dropout    4096                0              0              355
    logits  Dense      10             40,970         40,960              355
    total                         58,323,530  1,131,201,056
    with numbers that are not trained: 58,324,746
    """
    return Chain(ALEXNET_BN + _hidden(num_classes), input_shape=input_shape, seed=seed, policy=policy)


def alexnet_valid(
    input_shape: Sequence[int] = (224, 224, 3), num_classes: int = 10, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """A course's AlexNet without any padding and with a pool after conv2 in place of conv1.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet_valid()))
    row     layer    output     parameters  multiply-adds  receptive field
    conv1   Conv2D   54x54x96       34,944    101,616,768               11
    conv2   Conv2D   50x50x256     614,656  1,536,000,000               27
    pool2   MaxPool  24x24x256           0              0               35
    conv3   Conv2D   22x22x384     885,120    428,212,224               51
    pool3   MaxPool  10x10x384           0              0               67
    conv4   Conv2D   8x8x384     1,327,488     84,934,656               99
    conv5   Conv2D   6x6x256       884,992     31,850,496              131
    pool5   MaxPool  2x2x256             0              0              163
    flat    Flatten  1024                0              0              195
    fc6     Dense    4096        4,198,400      4,194,304              195
    drop6   Dropout  4096                0              0              195
    fc7     Dense    4096       16,781,312     16,777,216              195
    drop7   Dropout  4096                0              0              195
    logits  Dense    10             40,970         40,960              195
    total                       24,767,882  2,203,626,624
    """
    return Chain(ALEXNET_VALID + _hidden(num_classes), input_shape=input_shape, seed=seed, policy=policy)


def alexnet_one_tower(
    input_shape: Sequence[int] = (224, 224, 3), num_classes: int = 1000, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """AlexNet of 2014 as torchvision has it: one tower with fewer filters, no normalisation, dropout before each layer.

    Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks"; its weights in torchvision's
    files load here.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet_one_tower()))
    row     layer    output     parameters  multiply-adds  receptive field
    conv1   Conv2D   55x55x64       23,296     70,276,800               11
    pool1   MaxPool  27x27x64            0              0               19
    conv2   Conv2D   27x27x192     307,392    223,948,800               51
    pool2   MaxPool  13x13x192           0              0               67
    conv3   Conv2D   13x13x384     663,936    112,140,288               99
    conv4   Conv2D   13x13x256     884,992    149,520,384              131
    conv5   Conv2D   13x13x256     590,080     99,680,256              163
    pool5   MaxPool  6x6x256             0              0              195
    flat    Flatten  9216                0              0              355
    drop6   Dropout  9216                0              0              355
    fc6     Dense    4096       37,752,832     37,748,736              355
    drop7   Dropout  4096                0              0              355
    fc7     Dense    4096       16,781,312     16,777,216              355
    logits  Dense    1000        4,097,000      4,096,000              355
    total                       61,100,840    714,188,480
    """
    table = (*ALEXNET_ONE_TOWER, ("logits", row(Dense, **_course)(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def alexnet_dogs(
    input_shape: Sequence[int] = (214, 214, 3),
    num_classes: int = 2,
    *,
    hidden: Sequence[int] = (4096, 4096),
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """A course's AlexNet for Dogs vs. Cats, without a pool after conv5; `hidden=(300, 200)` is its small variant.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet_dogs()))
    row     layer    output      parameters  multiply-adds  receptive field
    conv1   Conv2D   54x54x96        34,944    101,616,768               11
    norm1   LRN      54x54x96             0              0               11
    pool1   MaxPool  26x26x96             0              0               19
    conv2   Conv2D   26x26x256      614,656    415,334,400               51
    norm2   LRN      26x26x256            0              0               51
    pool2   MaxPool  12x12x256            0              0               67
    conv3   Conv2D   12x12x384      885,120    127,401,984               99
    conv4   Conv2D   12x12x384    1,327,488    191,102,976              131
    conv5   Conv2D   12x12x256      884,992    127,401,984              163
    flat    Flatten  36864                0              0              339
    fc6     Dense    4096       150,999,040    150,994,944              339
    drop6   Dropout  4096                 0              0              339
    fc7     Dense    4096        16,781,312     16,777,216              339
    drop7   Dropout  4096                 0              0              339
    logits  Dense    2                8,194          8,192              339
    total                       171,535,746  1,130,638,464
    """
    return Chain(ALEXNET_DOGS + _hidden(num_classes, hidden), input_shape=input_shape, seed=seed, policy=policy)


def alexnet_dogs_small(
    input_shape: Sequence[int] = (214, 214, 3), num_classes: int = 2, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """`alexnet_dogs` with hidden layers of 300 and 200 units.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(alexnet_dogs_small()))
    row     layer    output     parameters  multiply-adds  receptive field
    conv1   Conv2D   54x54x96       34,944    101,616,768               11
    norm1   LRN      54x54x96            0              0               11
    pool1   MaxPool  26x26x96            0              0               19
    conv2   Conv2D   26x26x256     614,656    415,334,400               51
    norm2   LRN      26x26x256           0              0               51
    pool2   MaxPool  12x12x256           0              0               67
    conv3   Conv2D   12x12x384     885,120    127,401,984               99
    conv4   Conv2D   12x12x384   1,327,488    191,102,976              131
    conv5   Conv2D   12x12x256     884,992    127,401,984              163
    flat    Flatten  36864               0              0              339
    fc6     Dense    300        11,059,500     11,059,200              339
    drop6   Dropout  300                 0              0              339
    fc7     Dense    200            60,200         60,000              339
    drop7   Dropout  200                 0              0              339
    logits  Dense    2                 402            400              339
    total                       14,867,302    973,977,712
    """
    return alexnet_dogs(input_shape, num_classes, hidden=(300, 200), seed=seed, policy=policy)
