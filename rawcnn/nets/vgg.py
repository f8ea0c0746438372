"""The VGG nets of Simonyan and Zisserman 2014: one table of depths serves all (their table 1)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool
from rawcnn.layers.variables import he_normal
from rawcnn.nets.chain import Chain, Row, Table, row
from rawcnn.nets.precision import FLOAT32, Policy

FILTERS = (64, 128, 256, 512, 512)
DEPTHS = {  # 3x3 convolutions before each of the five pools
    "A": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),  # the third of three is 1x1
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}

# The paper draws weights from N(0, 0.01), starting the deeper nets from a trained net A; He et al. 2015 need no net A.
_relu: dict[str, Any] = {"activation": tf.nn.relu, "w_init": he_normal}
_conv, _dense, _pool, _dropout = row(Conv2D, **_relu), row(Dense, **_relu), row(MaxPool, size=2), row(Dropout, rate=0.5)
# Ioffe & Szegedy 2015 normalise before the ReLU. Momentum and epsilon are those of torchvision, whose weights load.
_linear, _bn = row(Conv2D, w_init=he_normal), row(BatchNorm, momentum=0.9, epsilon=1e-5, activation=tf.nn.relu)


def _convolutions(configuration: str, batch_norm: bool = False) -> Table:
    rows: list[tuple[str, Row]] = []
    for block, (filters, depth) in enumerate(zip(FILTERS, DEPTHS[configuration], strict=True), 1):
        for i in range(1, depth + 1):
            size = 1 if configuration == "C" and i == 3 else 3
            rows.append((f"conv{block}_{i}", _linear(filters, size) if batch_norm else _conv(filters, size)))
            if batch_norm:
                rows.append((f"bn{block}_{i}", _bn()))
        rows.append((f"pool{block}", _pool()))
    return tuple(rows)


def _top(classes: int) -> Table:
    return (
        ("flat", row(Flatten)()),
        ("fc6", _dense(4096)),
        ("drop6", _dropout()),
        ("fc7", _dense(4096)),
        ("drop7", _dropout()),
        ("logits", row(Dense, w_init=he_normal)(classes)),
    )


def vgg(
    configuration: str,
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    batch_norm: bool = False,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration "A" to "E" of table 1; without `include_top`, the convolutions and pools alone.

    With `batch_norm`, a batch normalisation stands between each convolution and its ReLU: not in the paper.

    >>> vgg("E", include_top=False).num_params()
    20024384
    """
    table = _convolutions(configuration, batch_norm) + (_top(num_classes) if include_top else ())
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


def vgg11(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration A: 11 layers with weights.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg11()))
    row      layer    output        parameters  multiply-adds  receptive field
    conv1_1  Conv2D   224x224x64         1,792     86,704,128                3
    pool1    MaxPool  112x112x64             0              0                4
    conv2_1  Conv2D   112x112x128       73,856    924,844,032                8
    pool2    MaxPool  56x56x128              0              0               10
    conv3_1  Conv2D   56x56x256        295,168    924,844,032               18
    conv3_2  Conv2D   56x56x256        590,080  1,849,688,064               26
    pool3    MaxPool  28x28x256              0              0               30
    conv4_1  Conv2D   28x28x512      1,180,160    924,844,032               46
    conv4_2  Conv2D   28x28x512      2,359,808  1,849,688,064               62
    pool4    MaxPool  14x14x512              0              0               70
    conv5_1  Conv2D   14x14x512      2,359,808    462,422,016              102
    conv5_2  Conv2D   14x14x512      2,359,808    462,422,016              134
    pool5    MaxPool  7x7x512                0              0              150
    flat     Flatten  25088                  0              0              342
    fc6      Dense    4096         102,764,544    102,760,448              342
    drop6    Dropout  4096                   0              0              342
    fc7      Dense    4096          16,781,312     16,777,216              342
    drop7    Dropout  4096                   0              0              342
    logits   Dense    1000           4,097,000      4,096,000              342
    total                          132,863,336  7,609,090,048
    """
    return vgg("A", input_shape, num_classes, include_top=include_top, seed=seed, policy=policy)


def vgg13(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration B: 13 layers with weights.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg13()))
    row      layer    output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D   224x224x64         1,792      86,704,128                3
    conv1_2  Conv2D   224x224x64        36,928   1,849,688,064                5
    pool1    MaxPool  112x112x64             0               0                6
    conv2_1  Conv2D   112x112x128       73,856     924,844,032               10
    conv2_2  Conv2D   112x112x128      147,584   1,849,688,064               14
    pool2    MaxPool  56x56x128              0               0               16
    conv3_1  Conv2D   56x56x256        295,168     924,844,032               24
    conv3_2  Conv2D   56x56x256        590,080   1,849,688,064               32
    pool3    MaxPool  28x28x256              0               0               36
    conv4_1  Conv2D   28x28x512      1,180,160     924,844,032               52
    conv4_2  Conv2D   28x28x512      2,359,808   1,849,688,064               68
    pool4    MaxPool  14x14x512              0               0               76
    conv5_1  Conv2D   14x14x512      2,359,808     462,422,016              108
    conv5_2  Conv2D   14x14x512      2,359,808     462,422,016              140
    pool5    MaxPool  7x7x512                0               0              156
    flat     Flatten  25088                  0               0              348
    fc6      Dense    4096         102,764,544     102,760,448              348
    drop6    Dropout  4096                   0               0              348
    fc7      Dense    4096          16,781,312      16,777,216              348
    drop7    Dropout  4096                   0               0              348
    logits   Dense    1000           4,097,000       4,096,000              348
    total                          133,047,848  11,308,466,176
    """
    return vgg("B", input_shape, num_classes, include_top=include_top, seed=seed, policy=policy)


def vgg16c(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration C: 16 layers with weights, three of them 1x1 convolutions.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg16c()))
    row      layer    output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D   224x224x64         1,792      86,704,128                3
    conv1_2  Conv2D   224x224x64        36,928   1,849,688,064                5
    pool1    MaxPool  112x112x64             0               0                6
    conv2_1  Conv2D   112x112x128       73,856     924,844,032               10
    conv2_2  Conv2D   112x112x128      147,584   1,849,688,064               14
    pool2    MaxPool  56x56x128              0               0               16
    conv3_1  Conv2D   56x56x256        295,168     924,844,032               24
    conv3_2  Conv2D   56x56x256        590,080   1,849,688,064               32
    conv3_3  Conv2D   56x56x256         65,792     205,520,896               32
    pool3    MaxPool  28x28x256              0               0               36
    conv4_1  Conv2D   28x28x512      1,180,160     924,844,032               52
    conv4_2  Conv2D   28x28x512      2,359,808   1,849,688,064               68
    conv4_3  Conv2D   28x28x512        262,656     205,520,896               68
    pool4    MaxPool  14x14x512              0               0               76
    conv5_1  Conv2D   14x14x512      2,359,808     462,422,016              108
    conv5_2  Conv2D   14x14x512      2,359,808     462,422,016              140
    conv5_3  Conv2D   14x14x512        262,656      51,380,224              140
    pool5    MaxPool  7x7x512                0               0              156
    flat     Flatten  25088                  0               0              348
    fc6      Dense    4096         102,764,544     102,760,448              348
    drop6    Dropout  4096                   0               0              348
    fc7      Dense    4096          16,781,312      16,777,216              348
    drop7    Dropout  4096                   0               0              348
    logits   Dense    1000           4,097,000       4,096,000              348
    total                          133,638,952  11,770,888,192
    """
    return vgg("C", input_shape, num_classes, include_top=include_top, seed=seed, policy=policy)


def vgg16(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration D: 16 layers with weights.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg16()))
    row      layer    output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D   224x224x64         1,792      86,704,128                3
    conv1_2  Conv2D   224x224x64        36,928   1,849,688,064                5
    pool1    MaxPool  112x112x64             0               0                6
    conv2_1  Conv2D   112x112x128       73,856     924,844,032               10
    conv2_2  Conv2D   112x112x128      147,584   1,849,688,064               14
    pool2    MaxPool  56x56x128              0               0               16
    conv3_1  Conv2D   56x56x256        295,168     924,844,032               24
    conv3_2  Conv2D   56x56x256        590,080   1,849,688,064               32
    conv3_3  Conv2D   56x56x256        590,080   1,849,688,064               40
    pool3    MaxPool  28x28x256              0               0               44
    conv4_1  Conv2D   28x28x512      1,180,160     924,844,032               60
    conv4_2  Conv2D   28x28x512      2,359,808   1,849,688,064               76
    conv4_3  Conv2D   28x28x512      2,359,808   1,849,688,064               92
    pool4    MaxPool  14x14x512              0               0              100
    conv5_1  Conv2D   14x14x512      2,359,808     462,422,016              132
    conv5_2  Conv2D   14x14x512      2,359,808     462,422,016              164
    conv5_3  Conv2D   14x14x512      2,359,808     462,422,016              196
    pool5    MaxPool  7x7x512                0               0              212
    flat     Flatten  25088                  0               0              404
    fc6      Dense    4096         102,764,544     102,760,448              404
    drop6    Dropout  4096                   0               0              404
    fc7      Dense    4096          16,781,312      16,777,216              404
    drop7    Dropout  4096                   0               0              404
    logits   Dense    1000           4,097,000       4,096,000              404
    total                          138,357,544  15,470,264,320
    """
    return vgg("D", input_shape, num_classes, include_top=include_top, seed=seed, policy=policy)


def vgg19(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration E: 19 layers with weights.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg19()))
    row      layer    output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D   224x224x64         1,792      86,704,128                3
    conv1_2  Conv2D   224x224x64        36,928   1,849,688,064                5
    pool1    MaxPool  112x112x64             0               0                6
    conv2_1  Conv2D   112x112x128       73,856     924,844,032               10
    conv2_2  Conv2D   112x112x128      147,584   1,849,688,064               14
    pool2    MaxPool  56x56x128              0               0               16
    conv3_1  Conv2D   56x56x256        295,168     924,844,032               24
    conv3_2  Conv2D   56x56x256        590,080   1,849,688,064               32
    conv3_3  Conv2D   56x56x256        590,080   1,849,688,064               40
    conv3_4  Conv2D   56x56x256        590,080   1,849,688,064               48
    pool3    MaxPool  28x28x256              0               0               52
    conv4_1  Conv2D   28x28x512      1,180,160     924,844,032               68
    conv4_2  Conv2D   28x28x512      2,359,808   1,849,688,064               84
    conv4_3  Conv2D   28x28x512      2,359,808   1,849,688,064              100
    conv4_4  Conv2D   28x28x512      2,359,808   1,849,688,064              116
    pool4    MaxPool  14x14x512              0               0              124
    conv5_1  Conv2D   14x14x512      2,359,808     462,422,016              156
    conv5_2  Conv2D   14x14x512      2,359,808     462,422,016              188
    conv5_3  Conv2D   14x14x512      2,359,808     462,422,016              220
    conv5_4  Conv2D   14x14x512      2,359,808     462,422,016              252
    pool5    MaxPool  7x7x512                0               0              268
    flat     Flatten  25088                  0               0              460
    fc6      Dense    4096         102,764,544     102,760,448              460
    drop6    Dropout  4096                   0               0              460
    fc7      Dense    4096          16,781,312      16,777,216              460
    drop7    Dropout  4096                   0               0              460
    logits   Dense    1000           4,097,000       4,096,000              460
    total                          143,667,240  19,632,062,464
    """
    return vgg("E", input_shape, num_classes, include_top=include_top, seed=seed, policy=policy)
