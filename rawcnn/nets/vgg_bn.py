"""VGG with batch normalisation between each convolution and its ReLU, as torchvision and timm have it.

The paper is of 2014, a year older than batch normalisation; without the latter its deeper nets begin to train only from
the weights of shallower ones.
"""

from collections.abc import Sequence

from rawcnn.nets.chain import Chain
from rawcnn.nets.precision import FLOAT32, Policy
from rawcnn.nets.vgg import vgg


def vgg11_bn(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration A with batch normalisation.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg11_bn()))
    row      layer      output        parameters  multiply-adds  receptive field
    conv1_1  Conv2D     224x224x64         1,792     86,704,128                3
    bn1_1    BatchNorm  224x224x64           128              0                3
    pool1    MaxPool    112x112x64             0              0                4
    conv2_1  Conv2D     112x112x128       73,856    924,844,032                8
    bn2_1    BatchNorm  112x112x128          256              0                8
    pool2    MaxPool    56x56x128              0              0               10
    conv3_1  Conv2D     56x56x256        295,168    924,844,032               18
    bn3_1    BatchNorm  56x56x256            512              0               18
    conv3_2  Conv2D     56x56x256        590,080  1,849,688,064               26
    bn3_2    BatchNorm  56x56x256            512              0               26
    pool3    MaxPool    28x28x256              0              0               30
    conv4_1  Conv2D     28x28x512      1,180,160    924,844,032               46
    bn4_1    BatchNorm  28x28x512          1,024              0               46
    conv4_2  Conv2D     28x28x512      2,359,808  1,849,688,064               62
    bn4_2    BatchNorm  28x28x512          1,024              0               62
    pool4    MaxPool    14x14x512              0              0               70
    conv5_1  Conv2D     14x14x512      2,359,808    462,422,016              102
    bn5_1    BatchNorm  14x14x512          1,024              0              102
    conv5_2  Conv2D     14x14x512      2,359,808    462,422,016              134
    bn5_2    BatchNorm  14x14x512          1,024              0              134
    pool5    MaxPool    7x7x512                0              0              150
    flat     Flatten    25088                  0              0              342
    fc6      Dense      4096         102,764,544    102,760,448              342
    drop6    Dropout    4096                   0              0              342
    fc7      Dense      4096          16,781,312     16,777,216              342
    drop7    Dropout    4096                   0              0              342
    logits   Dense      1000           4,097,000      4,096,000              342
    total                            132,868,840  7,609,090,048
    with numbers that are not trained: 132,874,344
    """
    return vgg("A", input_shape, num_classes, batch_norm=True, include_top=include_top, seed=seed, policy=policy)


def vgg13_bn(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration B with batch normalisation.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg13_bn()))
    row      layer      output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D     224x224x64         1,792      86,704,128                3
    bn1_1    BatchNorm  224x224x64           128               0                3
    conv1_2  Conv2D     224x224x64        36,928   1,849,688,064                5
    bn1_2    BatchNorm  224x224x64           128               0                5
    pool1    MaxPool    112x112x64             0               0                6
    conv2_1  Conv2D     112x112x128       73,856     924,844,032               10
    bn2_1    BatchNorm  112x112x128          256               0               10
    conv2_2  Conv2D     112x112x128      147,584   1,849,688,064               14
    bn2_2    BatchNorm  112x112x128          256               0               14
    pool2    MaxPool    56x56x128              0               0               16
    conv3_1  Conv2D     56x56x256        295,168     924,844,032               24
    bn3_1    BatchNorm  56x56x256            512               0               24
    conv3_2  Conv2D     56x56x256        590,080   1,849,688,064               32
    bn3_2    BatchNorm  56x56x256            512               0               32
    pool3    MaxPool    28x28x256              0               0               36
    conv4_1  Conv2D     28x28x512      1,180,160     924,844,032               52
    bn4_1    BatchNorm  28x28x512          1,024               0               52
    conv4_2  Conv2D     28x28x512      2,359,808   1,849,688,064               68
    bn4_2    BatchNorm  28x28x512          1,024               0               68
    pool4    MaxPool    14x14x512              0               0               76
    conv5_1  Conv2D     14x14x512      2,359,808     462,422,016              108
    bn5_1    BatchNorm  14x14x512          1,024               0              108
    conv5_2  Conv2D     14x14x512      2,359,808     462,422,016              140
    bn5_2    BatchNorm  14x14x512          1,024               0              140
    pool5    MaxPool    7x7x512                0               0              156
    flat     Flatten    25088                  0               0              348
    fc6      Dense      4096         102,764,544     102,760,448              348
    drop6    Dropout    4096                   0               0              348
    fc7      Dense      4096          16,781,312      16,777,216              348
    drop7    Dropout    4096                   0               0              348
    logits   Dense      1000           4,097,000       4,096,000              348
    total                            133,053,736  11,308,466,176
    with numbers that are not trained: 133,059,624
    """
    return vgg("B", input_shape, num_classes, batch_norm=True, include_top=include_top, seed=seed, policy=policy)


def vgg16_bn(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration D with batch normalisation.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg16_bn()))
    row      layer      output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D     224x224x64         1,792      86,704,128                3
    bn1_1    BatchNorm  224x224x64           128               0                3
    conv1_2  Conv2D     224x224x64        36,928   1,849,688,064                5
    bn1_2    BatchNorm  224x224x64           128               0                5
    pool1    MaxPool    112x112x64             0               0                6
    conv2_1  Conv2D     112x112x128       73,856     924,844,032               10
    bn2_1    BatchNorm  112x112x128          256               0               10
    conv2_2  Conv2D     112x112x128      147,584   1,849,688,064               14
    bn2_2    BatchNorm  112x112x128          256               0               14
    pool2    MaxPool    56x56x128              0               0               16
    conv3_1  Conv2D     56x56x256        295,168     924,844,032               24
    bn3_1    BatchNorm  56x56x256            512               0               24
    conv3_2  Conv2D     56x56x256        590,080   1,849,688,064               32
    bn3_2    BatchNorm  56x56x256            512               0               32
    conv3_3  Conv2D     56x56x256        590,080   1,849,688,064               40
    bn3_3    BatchNorm  56x56x256            512               0               40
    pool3    MaxPool    28x28x256              0               0               44
    conv4_1  Conv2D     28x28x512      1,180,160     924,844,032               60
    bn4_1    BatchNorm  28x28x512          1,024               0               60
    conv4_2  Conv2D     28x28x512      2,359,808   1,849,688,064               76
    bn4_2    BatchNorm  28x28x512          1,024               0               76
    conv4_3  Conv2D     28x28x512      2,359,808   1,849,688,064               92
    bn4_3    BatchNorm  28x28x512          1,024               0               92
    pool4    MaxPool    14x14x512              0               0              100
    conv5_1  Conv2D     14x14x512      2,359,808     462,422,016              132
    bn5_1    BatchNorm  14x14x512          1,024               0              132
    conv5_2  Conv2D     14x14x512      2,359,808     462,422,016              164
    bn5_2    BatchNorm  14x14x512          1,024               0              164
    conv5_3  Conv2D     14x14x512      2,359,808     462,422,016              196
    bn5_3    BatchNorm  14x14x512          1,024               0              196
    pool5    MaxPool    7x7x512                0               0              212
    flat     Flatten    25088                  0               0              404
    fc6      Dense      4096         102,764,544     102,760,448              404
    drop6    Dropout    4096                   0               0              404
    fc7      Dense      4096          16,781,312      16,777,216              404
    drop7    Dropout    4096                   0               0              404
    logits   Dense      1000           4,097,000       4,096,000              404
    total                            138,365,992  15,470,264,320
    with numbers that are not trained: 138,374,440
    """
    return vgg("D", input_shape, num_classes, batch_norm=True, include_top=include_top, seed=seed, policy=policy)


def vgg19_bn(
    input_shape: Sequence[int] = (224, 224, 3),
    num_classes: int = 1000,
    *,
    include_top: bool = True,
    seed: int = 0,
    policy: Policy = FLOAT32,
) -> Chain:
    """Configuration E with batch normalisation.

    >>> from rawcnn.nets.summary import summary
    >>> print(summary(vgg19_bn()))
    row      layer      output        parameters   multiply-adds  receptive field
    conv1_1  Conv2D     224x224x64         1,792      86,704,128                3
    bn1_1    BatchNorm  224x224x64           128               0                3
    conv1_2  Conv2D     224x224x64        36,928   1,849,688,064                5
    bn1_2    BatchNorm  224x224x64           128               0                5
    pool1    MaxPool    112x112x64             0               0                6
    conv2_1  Conv2D     112x112x128       73,856     924,844,032               10
    bn2_1    BatchNorm  112x112x128          256               0               10
    conv2_2  Conv2D     112x112x128      147,584   1,849,688,064               14
    bn2_2    BatchNorm  112x112x128          256               0               14
    pool2    MaxPool    56x56x128              0               0               16
    conv3_1  Conv2D     56x56x256        295,168     924,844,032               24
    bn3_1    BatchNorm  56x56x256            512               0               24
    conv3_2  Conv2D     56x56x256        590,080   1,849,688,064               32
    bn3_2    BatchNorm  56x56x256            512               0               32
    conv3_3  Conv2D     56x56x256        590,080   1,849,688,064               40
    bn3_3    BatchNorm  56x56x256            512               0               40
    conv3_4  Conv2D     56x56x256        590,080   1,849,688,064               48
    bn3_4    BatchNorm  56x56x256            512               0               48
    pool3    MaxPool    28x28x256              0               0               52
    conv4_1  Conv2D     28x28x512      1,180,160     924,844,032               68
    bn4_1    BatchNorm  28x28x512          1,024               0               68
    conv4_2  Conv2D     28x28x512      2,359,808   1,849,688,064               84
    bn4_2    BatchNorm  28x28x512          1,024               0               84
    conv4_3  Conv2D     28x28x512      2,359,808   1,849,688,064              100
    bn4_3    BatchNorm  28x28x512          1,024               0              100
    conv4_4  Conv2D     28x28x512      2,359,808   1,849,688,064              116
    bn4_4    BatchNorm  28x28x512          1,024               0              116
    pool4    MaxPool    14x14x512              0               0              124
    conv5_1  Conv2D     14x14x512      2,359,808     462,422,016              156
    bn5_1    BatchNorm  14x14x512          1,024               0              156
    conv5_2  Conv2D     14x14x512      2,359,808     462,422,016              188
    bn5_2    BatchNorm  14x14x512          1,024               0              188
    conv5_3  Conv2D     14x14x512      2,359,808     462,422,016              220
    bn5_3    BatchNorm  14x14x512          1,024               0              220
    conv5_4  Conv2D     14x14x512      2,359,808     462,422,016              252
    bn5_4    BatchNorm  14x14x512          1,024               0              252
    pool5    MaxPool    7x7x512                0               0              268
    flat     Flatten    25088                  0               0              460
    fc6      Dense      4096         102,764,544     102,760,448              460
    drop6    Dropout    4096                   0               0              460
    fc7      Dense      4096          16,781,312      16,777,216              460
    drop7    Dropout    4096                   0               0              460
    logits   Dense      1000           4,097,000       4,096,000              460
    total                            143,678,248  19,632,062,464
    with numbers that are not trained: 143,689,256
    """
    return vgg("E", input_shape, num_classes, batch_norm=True, include_top=include_top, seed=seed, policy=policy)
