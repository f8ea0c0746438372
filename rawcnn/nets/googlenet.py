"""GoogLeNet as Szegedy et al. built it in 2014, with its two auxiliary heads, and the variant that a course trains."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rawcnn.layers import LRN, AveragePool, Conv2D, Dense, Dropout, Flatten, MaxPool
from rawcnn.layers.inception import Inception
from rawcnn.layers.variables import he_normal
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, Policy

# The paper does not say how weights begin; LRN's constants are AlexNet's.
_relu: dict[str, Any] = {"activation": tf.nn.relu, "w_init": he_normal}
_conv, _inception, _dense = row(Conv2D, **_relu), row(Inception, **_relu), row(Dense, **_relu)
_pool, _lrn, _average, _dropout = (
    row(MaxPool, size=3, stride=2, padding="SAME"),
    row(LRN),
    row(AveragePool),
    row(Dropout),
)
_flatten, _linear = row(Flatten), row(Dense, w_init=he_normal)

GOOGLENET = (  #                1x1  3x3r 3x3  5x5r 5x5  pool                    output    parameters
    ("conv1", _conv(64, 7, stride=2)),  #                                     112x112x64        9,472
    ("pool1", _pool()),  #                                                    56x56x64
    ("norm1", _lrn()),
    ("conv2_reduce", _conv(64, 1)),  #                                        56x56x64          4,160
    ("conv2", _conv(192, 3)),  #                                              56x56x192       110,784
    ("norm2", _lrn()),
    ("pool2", _pool()),  #                                                    28x28x192
    ("inception_3a", _inception(64, 96, 128, 16, 32, 32)),  #                 28x28x256       163,696
    ("inception_3b", _inception(128, 128, 192, 32, 96, 64)),  #               28x28x480       388,736
    ("pool3", _pool()),  #                                                    14x14x480
    ("inception_4a", _inception(192, 96, 208, 16, 48, 64)),  #                14x14x512       376,176
    ("inception_4b", _inception(160, 112, 224, 24, 64, 64)),  #               14x14x512       449,160
    ("inception_4c", _inception(128, 128, 256, 24, 64, 64)),  #               14x14x512       510,104
    ("inception_4d", _inception(112, 144, 288, 32, 64, 64)),  #               14x14x528       605,376
    ("inception_4e", _inception(256, 160, 320, 32, 128, 128)),  #             14x14x832       868,352
    ("pool4", _pool()),  #                                                    7x7x832
    ("inception_5a", _inception(256, 160, 320, 32, 128, 128)),  #             7x7x832       1,043,456
    ("inception_5b", _inception(384, 192, 384, 48, 128, 128)),  #             7x7x1024      1,444,080
    ("pool5", _average(7)),  #                                                1x1x1024
    ("flat", _flatten()),
    ("drop", _dropout(0.4)),
)


def googlenet(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    aux_heads: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """GoogLeNet of 2014 (table 1), with heads "aux1" on inception_4a and "aux2" on inception_4d (section 5).

    The heads compute in training only; their losses weigh 0.3. Without them, `aux_heads=False`, 6,998,552 parameters.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(googlenet()))
    row           layer        output      parameters  multiply-adds  receptive field
    conv1         Conv2D       112x112x64       9,472    118,013,952                7
    pool1         MaxPool      56x56x64             0              0               11
    norm1         LRN          56x56x64             0              0               11
    conv2_reduce  Conv2D       56x56x64         4,160     12,845,056               11
    conv2         Conv2D       56x56x192      110,784    346,816,512               19
    norm2         LRN          56x56x192            0              0               19
    pool2         MaxPool      28x28x192            0              0               27
    inception_3a  Inception    28x28x256      163,696    128,049,152               59
    inception_3b  Inception    28x28x480      388,736    304,267,264               91
    pool3         MaxPool      14x14x480            0              0              107
    inception_4a  Inception    14x14x512      376,176     73,608,192              171
    inception_4b  Inception    14x14x512      449,160     87,908,352              235
    inception_4c  Inception    14x14x512      510,104     99,850,240              299
    inception_4d  Inception    14x14x528      605,376    118,515,712              363
    inception_4e  Inception    14x14x832      868,352    169,996,288              427
    pool4         MaxPool      7x7x832              0              0              459
    inception_5a  Inception    7x7x832      1,043,456     51,079,168              587
    inception_5b  Inception    7x7x1024     1,444,080     70,697,984              715
    pool5         AveragePool  1x1x1024             0              0              907
    flat          Flatten      1024                 0              0              907
    drop          Dropout      1024                 0              0              907
    logits        Dense        1000         1,025,000      1,024,000              907
    aux1/pool     AveragePool  4x4x512              0              0              235
    aux1/conv     Conv2D       4x4x128         65,664      1,048,576              235
    aux1/flat     Flatten      2048                 0              0              379
    aux1/fc       Dense        1024         2,098,176      2,097,152              379
    aux1/drop     Dropout      1024                 0              0              379
    aux1/logits   Dense        1000         1,025,000      1,024,000              379
    aux2/pool     AveragePool  4x4x528              0              0              427
    aux2/conv     Conv2D       4x4x128         67,712      1,081,344              427
    aux2/flat     Flatten      2048                 0              0              571
    aux2/fc       Dense        1024         2,098,176      2,097,152              571
    aux2/drop     Dropout      1024                 0              0              571
    aux2/logits   Dense        1000         1,025,000      1,024,000              571
    total                                  13,378,280  1,591,044,096
    """
    head = (
        ("pool", _average(5, 3)),
        ("conv", _conv(128, 1)),
        ("flat", _flatten()),
        ("fc", _dense(1024)),
        ("drop", _dropout(0.7)),
        ("logits", _linear(num_classes)),
    )
    heads = {"aux1": ("inception_4a", head), "aux2": ("inception_4d", head)} if aux_heads else {}
    table = (*GOOGLENET, ("logits", _linear(num_classes)))
    return Chain(table, input_shape=input_shape, heads=heads, seed=seed, policy=policy)


def googlenet_dogs(
    input_shape: Sequence[int] = (214, 214, 3), num_classes: int = 2, *, seed: int = 0, policy: Policy = FLOAT32
) -> Chain:
    """A course's GoogLeNet for Dogs vs. Cats: no heads, and a layer of 1000 ReLU units before the last.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(googlenet_dogs()))
    row           layer        output      parameters  multiply-adds  receptive field
    conv1         Conv2D       107x107x64       9,472    107,712,192                7
    pool1         MaxPool      54x54x64             0              0               11
    norm1         LRN          54x54x64             0              0               11
    conv2_reduce  Conv2D       54x54x64         4,160     11,943,936               11
    conv2         Conv2D       54x54x192      110,784    322,486,272               19
    norm2         LRN          54x54x192            0              0               19
    pool2         MaxPool      27x27x192            0              0               27
    inception_3a  Inception    27x27x256      163,696    119,066,112               59
    inception_3b  Inception    27x27x480      388,736    282,921,984               91
    pool3         MaxPool      14x14x480            0              0              107
    inception_4a  Inception    14x14x512      376,176     73,608,192              171
    inception_4b  Inception    14x14x512      449,160     87,908,352              235
    inception_4c  Inception    14x14x512      510,104     99,850,240              299
    inception_4d  Inception    14x14x528      605,376    118,515,712              363
    inception_4e  Inception    14x14x832      868,352    169,996,288              427
    pool4         MaxPool      7x7x832              0              0              459
    inception_5a  Inception    7x7x832      1,043,456     51,079,168              587
    inception_5b  Inception    7x7x1024     1,444,080     70,697,984              715
    pool5         AveragePool  1x1x1024             0              0              907
    flat          Flatten      1024                 0              0              907
    drop          Dropout      1024                 0              0              907
    fc            Dense        1000         1,025,000      1,024,000              907
    logits        Dense        2                2,002          2,000              907
    total                                   7,000,554  1,516,812,432
    """
    table = (*GOOGLENET, ("fc", _dense(1000)), ("logits", _linear(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)
