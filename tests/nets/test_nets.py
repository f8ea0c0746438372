"""Exact numbers of every net: parameters row by row, endpoint shapes, and what the papers say of them."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.alexnet import alexnet
from rawcnn.nets.googlenet import googlenet
from rawcnn.nets.lenet import DIGIT_BITMAPS
from rawcnn.nets.summary import summary, summary_rows
from rawcnn.nets.vgg import vgg

# The numbers of the papers and the courses, written by hand: nothing here is computed by the library.
LENET_SIZES = {"c1": 156, "s2": 0, "c3": 2416, "s4": 0, "flat": 0, "c5": 48120, "f6": 10164, "logits": 850}
HIDDEN = {"flat": 0, "fc6": 37_752_832, "drop6": 0, "fc7": 16_781_312, "drop7": 0, "logits": 40_970}
TOWER = {"conv1": 34_944, "conv2": 614_656, "conv3": 885_120, "conv4": 1_327_488, "conv5": 884_992}
VGG_WEIGHTS = {
    "conv1_1": 1_792, "conv1_2": 36_928, "conv2_1": 73_856, "conv2_2": 147_584, "conv3_1": 295_168,
    "conv3_2": 590_080, "conv3_3": 590_080, "conv3_4": 590_080, "conv4_1": 1_180_160, "conv4_2": 2_359_808,
    "conv4_3": 2_359_808, "conv4_4": 2_359_808, "conv5_1": 2_359_808, "conv5_2": 2_359_808, "conv5_3": 2_359_808,
    "conv5_4": 2_359_808, "fc6": 102_764_544, "fc7": 16_781_312, "logits": 4_097_000,
}  # fmt: skip
GOOGLENET_SIZES = {
    "conv1": 9_472, "conv2_reduce": 4_160, "conv2": 110_784, "inception_3a": 163_696, "inception_3b": 388_736,
    "inception_4a": 376_176, "inception_4b": 449_160, "inception_4c": 510_104, "inception_4d": 605_376,
    "inception_4e": 868_352, "inception_5a": 1_043_456, "inception_5b": 1_444_080,
}  # fmt: skip


def vgg_sizes(rows, **changed):
    return {row: {**VGG_WEIGHTS, **changed}[row] for row in rows.split()}


def vgg_bn_sizes(*depths):
    """With a gamma and a beta for each map of each convolution."""
    sizes = {row: VGG_WEIGHTS[row] for row in ("fc6", "fc7", "logits")}
    for block, (depth, filters) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), 1):
        for i in range(1, depth + 1):
            sizes |= {f"conv{block}_{i}": VGG_WEIGHTS[f"conv{block}_{i}"], f"bn{block}_{i}": 2 * filters}
    return sizes


SIZES = {  # rows that have parameters
    "lenet5": {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164},
    "lenet5_tanh": LENET_SIZES,
    "lenet5_relu": LENET_SIZES,
    "alexnet": {
        "conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936, "conv5": 442_624,
        "fc6": 37_752_832, "fc7": 16_781_312, "logits": 4_097_000,
    },
    "alexnet_one_tower": {
        "conv1": 23_296, "conv2": 307_392, "conv3": 663_936, "conv4": 884_992, "conv5": 590_080,
        "fc6": 37_752_832, "fc7": 16_781_312, "logits": 4_097_000,
    },
    "alexnet_bn": {**TOWER, "bn1": 192, "bn2": 512, "bn5": 512, **HIDDEN},
    "alexnet_valid": {**TOWER, **HIDDEN, "fc6": 4_198_400},
    "alexnet_dogs": {**TOWER, **HIDDEN, "fc6": 150_999_040, "logits": 8_194},
    "alexnet_dogs_small": {**TOWER, "fc6": 11_059_500, "fc7": 60_200, "logits": 402},
    "vgg11": vgg_sizes("conv1_1 conv2_1 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2 fc6 fc7 logits"),
    "vgg13": vgg_sizes(
        "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv4_1 conv4_2 conv5_1 conv5_2 fc6 fc7 logits"
    ),
    "vgg16c": vgg_sizes(
        "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3 "
        "fc6 fc7 logits",
        conv3_3=65_792, conv4_3=262_656, conv5_3=262_656,
    ),
    "vgg16": vgg_sizes(
        "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3 "
        "fc6 fc7 logits"
    ),
    "vgg19": VGG_WEIGHTS,
    "vgg11_bn": vgg_bn_sizes(1, 1, 2, 2, 2),
    "vgg13_bn": vgg_bn_sizes(2, 2, 2, 2, 2),
    "vgg16_bn": vgg_bn_sizes(2, 2, 3, 3, 3),
    "vgg19_bn": vgg_bn_sizes(2, 2, 4, 4, 4),
    "googlenet": {**GOOGLENET_SIZES, "logits": 1_025_000},
    "googlenet_dogs": {**GOOGLENET_SIZES, "fc": 1_025_000, "logits": 2_002},
    "cifar_basic": {
        "conv1": 896, "conv2": 9_248, "conv3": 18_496, "conv4": 36_928, "conv5": 73_856, "fc6": 1_048_704,
        "logits": 1_290,
    },
    "cifar_fast": {
        "conv2": 13_824, "bn2": 64, "conv3": 36_864, "bn3": 64, "conv4": 147_456, "bn4": 256, "conv5": 589_824,
        "bn5": 256, "conv6": 589_824, "bn6": 256, "conv7": 589_824, "bn7": 256, "logits": 2_560,
    },
    "cifar_wide": {
        "conv1": 3_584, "bn1": 256, "conv2": 295_168, "bn2": 512, "bn2b": 512, "conv3": 2_097_664, "bn3": 1_024,
        "conv4": 13_108_224, "bn4": 2_048, "bn4b": 2_048, "fc5": 61_500, "logits": 610,
    },
}  # fmt: skip
TOTALS = {
    "lenet5": 60_000, "lenet5_tanh": 61_706, "lenet5_relu": 61_706,
    "alexnet": 60_965_224, "alexnet_bn": 58_323_530, "alexnet_valid": 24_767_882, "alexnet_dogs": 171_535_746,
    "alexnet_dogs_small": 14_867_302,
    "vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16c": 133_638_952, "vgg16": 138_357_544, "vgg19": 143_667_240,
    # as torchvision's documentation has them
    "vgg11_bn": 132_868_840, "vgg13_bn": 133_053_736, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248,
    "alexnet_one_tower": 61_100_840,
    "googlenet": 13_378_280, "googlenet_dogs": 7_000_554,
    "cifar_basic": 1_189_418, "cifar_wide": 15_573_150, "cifar_fast": 1_971_328,
}  # fmt: skip
WITH_STATISTICS = {
    "alexnet_bn": 58_324_746, "cifar_wide": 15_579_550, "cifar_fast": 1_973_920,
    "vgg11_bn": 132_874_344, "vgg13_bn": 133_059_624, "vgg16_bn": 138_374_440, "vgg19_bn": 143_689_256,
}  # fmt: skip
LENET_SHAPES = "c1 28x28x6, s2 14x14x6, c3 10x10x16, s4 5x5x16, flat 400, c5 120, f6 84, logits 10"
VGG_HIDDEN = "flat 25088, fc6 4096, drop6 4096, fc7 4096, drop7 4096, logits 1000"
GOOGLENET_SHAPES = (
    "conv1 112x112x64, pool1 56x56x64, norm1 56x56x64, conv2_reduce 56x56x64, conv2 56x56x192, norm2 56x56x192, "
    "pool2 28x28x192, inception_3a 28x28x256, inception_3b 28x28x480, pool3 14x14x480, inception_4a 14x14x512, "
    "inception_4b 14x14x512, inception_4c 14x14x512, inception_4d 14x14x528, inception_4e 14x14x832, pool4 7x7x832, "
    "inception_5a 7x7x832, inception_5b 7x7x1024, pool5 1x1x1024, flat 1024, drop 1024, logits 1000"
)


def vgg_shapes(*depths, batch_norm=False):
    rows = []
    for block, (depth, filters) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), 1):
        side = 448 >> block
        for i in range(1, depth + 1):
            names = (f"conv{block}_{i}", f"bn{block}_{i}") if batch_norm else (f"conv{block}_{i}",)
            rows += [f"{name} {side}x{side}x{filters}" for name in names]
        rows.append(f"pool{block} {side // 2}x{side // 2}x{filters}")
    return ", ".join([*rows, VGG_HIDDEN])


SHAPES = {
    "lenet5": "c1 28x28x6, s2 14x14x6, c3 10x10x16, s4 5x5x16, c5 1x1x120, flat 120, f6 84, logits 10",
    "lenet5_tanh": LENET_SHAPES,
    "lenet5_relu": LENET_SHAPES,
    "alexnet": "conv1 55x55x96, norm1 55x55x96, pool1 27x27x96, conv2 27x27x256, norm2 27x27x256, pool2 13x13x256, "
    "conv3 13x13x384, conv4 13x13x384, conv5 13x13x256, pool5 6x6x256, flat 9216, fc6 4096, drop6 4096, fc7 4096, "
    "drop7 4096, logits 1000",
    "alexnet_bn": "conv1 55x55x96, bn1 55x55x96, pool1 27x27x96, conv2 27x27x256, bn2 27x27x256, pool2 13x13x256, "
    "conv3 13x13x384, conv4 13x13x384, conv5 13x13x256, bn5 13x13x256, pool5 6x6x256, flat 9216, fc6 4096, "
    "drop6 4096, fc7 4096, drop7 4096, logits 10",
    "alexnet_valid": "conv1 54x54x96, conv2 50x50x256, pool2 24x24x256, conv3 22x22x384, pool3 10x10x384, "
    "conv4 8x8x384, conv5 6x6x256, pool5 2x2x256, flat 1024, fc6 4096, drop6 4096, fc7 4096, drop7 4096, logits 10",
    "alexnet_dogs": "conv1 54x54x96, norm1 54x54x96, pool1 26x26x96, conv2 26x26x256, norm2 26x26x256, "
    "pool2 12x12x256, conv3 12x12x384, conv4 12x12x384, conv5 12x12x256, flat 36864, fc6 4096, drop6 4096, fc7 4096, "
    "drop7 4096, logits 2",
    "alexnet_dogs_small": "conv1 54x54x96, norm1 54x54x96, pool1 26x26x96, conv2 26x26x256, norm2 26x26x256, "
    "pool2 12x12x256, conv3 12x12x384, conv4 12x12x384, conv5 12x12x256, flat 36864, fc6 300, drop6 300, fc7 200, "
    "drop7 200, logits 2",
    "vgg11": vgg_shapes(1, 1, 2, 2, 2),
    "vgg13": vgg_shapes(2, 2, 2, 2, 2),
    "vgg16c": vgg_shapes(2, 2, 3, 3, 3),
    "vgg16": vgg_shapes(2, 2, 3, 3, 3),
    "vgg19": vgg_shapes(2, 2, 4, 4, 4),
    "vgg11_bn": vgg_shapes(1, 1, 2, 2, 2, batch_norm=True),
    "vgg13_bn": vgg_shapes(2, 2, 2, 2, 2, batch_norm=True),
    "vgg16_bn": vgg_shapes(2, 2, 3, 3, 3, batch_norm=True),
    "vgg19_bn": vgg_shapes(2, 2, 4, 4, 4, batch_norm=True),
    "alexnet_one_tower": "conv1 55x55x64, pool1 27x27x64, conv2 27x27x192, pool2 13x13x192, conv3 13x13x384, "
    "conv4 13x13x256, conv5 13x13x256, pool5 6x6x256, flat 9216, drop6 9216, fc6 4096, drop7 4096, fc7 4096, "
    "logits 1000",
    "googlenet": GOOGLENET_SHAPES,
    "googlenet_dogs": GOOGLENET_SHAPES.replace("112x112", "107x107").replace("56x56", "54x54")
    .replace("28x28", "27x27").replace("logits 1000", "fc 1000, logits 2"),
    "cifar_basic": "conv1 32x32x32, conv2 32x32x32, pool2 16x16x32, conv3 16x16x64, conv4 16x16x64, pool4 8x8x64, "
    "conv5 8x8x128, flat 8192, fc6 128, logits 10",
    "cifar_fast": "conv1 31x31x24, conv2 31x31x64, pool2 15x15x64, bn2 15x15x64, conv3 15x15x64, "
    "bn3 15x15x64, conv4 15x15x256, pool4 7x7x256, bn4 7x7x256, conv5 7x7x256, bn5 7x7x256, conv6 7x7x256, "
    "pool6 3x3x256, bn6 3x3x256, conv7 3x3x256, bn7 3x3x256, pool7 1x1x256, flat 256, logits 10",
    "cifar_wide": "conv1 32x32x128, bn1 32x32x128, conv2 32x32x256, bn2 32x32x256, pool2 11x11x256, bn2b 11x11x256, "
    "conv3 11x11x512, bn3 11x11x512, conv4 7x7x1024, bn4 7x7x1024, pool4 1x1x1024, bn4b 1x1x1024, flat 1024, fc5 60, "
    "drop5 60, logits 10",
}  # fmt: skip


SLOW = (
    "alexnet_dogs",
    "vgg11",
    "vgg13",
    "vgg16c",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
)  # large, and with the rows of others


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETS], ids=str
)
def built(request):
    return request.param, NETS[request.param]()


def test_every_net_has_its_numbers():
    assert set(NETS) == set(SIZES) == set(TOTALS) == set(SHAPES)


def test_parameters(built):
    name, net = built
    assert {row: n for row, layer in net.rows if (n := layer.num_params())} == {
        k: n for k, n in SIZES[name].items() if n
    }
    assert net.num_params() == TOTALS[name] == sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    assert net.num_params() + net.num_statistics() == WITH_STATISTICS.get(name, TOTALS[name])


def test_endpoint_shapes(built):
    name, net = built
    wanted = {row: tuple(map(int, shape.split("x"))) for row, shape in map(str.split, SHAPES[name].split(", "))}
    spec = tf.TensorSpec((3, *net.input_shape))
    logits, ends = tf.function(net.endpoints).get_concrete_function(spec).structured_outputs
    assert logits.shape == (3, *net.out_shape)
    assert {row: tuple(end.shape[1:]) for row, end in ends.items()} == wanted
    assert {row: layer.out_shape for row, layer in net.rows} == wanted
    assert [row for row, _ in net.rows] == list(wanted) and list(wanted)[-1] == "logits"


def test_the_docstring_is_the_summary(built):
    name, net = built
    text = summary(net)
    assert text.split() == NETS[name].__doc__.split("print(summary(" + name + "()))")[1].split()
    assert f"{TOTALS[name]:,}" in text.split() and f"{WITH_STATISTICS.get(name, TOTALS[name]):,}" in text.split()


def test_googlenet_trains_two_more_heads_by_name():
    net = googlenet()
    assert [(name, at, head.num_params()) for name, at, head in net.heads] == [
        ("aux1", "inception_4a", 65_664 + 2_098_176 + 1_025_000),
        ("aux2", "inception_4d", 67_712 + 2_098_176 + 1_025_000),
    ]
    assert googlenet(aux_heads=False).num_params() == 6_998_552
    small = googlenet((224, 224, 3), 7)
    x = tf.TensorSpec((2, 224, 224, 3))
    _, in_training = (
        tf.function(lambda x: small.endpoints(x, training=True)).get_concrete_function(x).structured_outputs
    )
    assert {head: in_training[head].shape for head in ("aux1", "aux2", "logits")} == dict.fromkeys(
        ("aux1", "aux2", "logits"), tf.TensorShape((2, 7))
    )
    assert "aux1" not in tf.function(small.endpoints).get_concrete_function(x).structured_outputs[1]


def test_variants_of_the_papers():
    assert alexnet(groups=1).num_params() == 62_378_344
    assert NETS["vgg19"](num_classes=10).num_params() == 139_611_210
    assert NETS["vgg19"](include_top=False).num_params() == 20_024_384
    assert vgg("C", (32, 32, 3), include_top=False).conv3_3.w.shape == (1, 1, 256, 256)


@pytest.mark.parametrize("name", NETS)
def test_at_32_pixels_a_net_builds_or_names_the_row_that_does_not_fit(name):
    too_large = {
        "alexnet": "pool2", "alexnet_one_tower": "pool5", "alexnet_bn": "pool2", "alexnet_valid": "pool2",
        "googlenet": "pool5", "googlenet_dogs": "pool5",
    }  # fmt: skip
    if name in too_large:
        with pytest.raises(UsageError, match=f"Row '{too_large[name]}' cannot follow"):
            NETS[name]((32, 32, 3))
    else:
        net = NETS[name]((32, 32, 3), 10)
        assert net(tf.zeros((1, 32, 32, 3))).shape == (1, 10)


def test_lenet5_connections_are_the_papers():
    """LeCun et al. 1998, section II.B, counts connections, a bias being one: in S layers 4 inputs and a bias."""
    macs = {r.name: r.multiply_adds for r in summary_rows(NETS["lenet5"]())}
    assert macs["c1"] + 28 * 28 * 6 == 122_304
    assert macs["s2"] * (4 + 1) == 5_880
    assert macs["c3"] + 10 * 10 * 16 == 151_600
    assert macs["s4"] * (4 + 1) == 2_000
    assert macs["c5"] + 120 == 48_120
    assert NETS["lenet5"]().c3.table.sum() == 60


def test_digit_bitmaps_are_distinct_and_7_by_12():
    assert DIGIT_BITMAPS.shape == (10, 84) and set(np.unique(DIGIT_BITMAPS)) == {-1.0, 1.0}
    differing = (DIGIT_BITMAPS[:, None] != DIGIT_BITMAPS).sum(axis=-1)
    assert (differing + 84 * np.eye(10) >= 11).all()


def test_lenet5_is_best_where_f6_draws_the_bitmap():
    logits = NETS["lenet5"]().logits(tf.constant(DIGIT_BITMAPS))
    assert (np.argmax(logits, axis=1) == np.arange(10)).all()
    np.testing.assert_array_equal(np.diag(logits), np.zeros(10))


def test_weights_begin_within_the_papers_bounds():
    net = NETS["lenet5"](seed=3)
    for layer, fan_in in ((net.c1, 25), (net.c5, 400), (net.f6, 120), (net.s2, 4)):
        assert 0 < np.abs(layer.w).max() <= 2.4 / fan_in


def test_a_small_input_names_the_row_that_does_not_fit():
    with pytest.raises(UsageError, match="Row 'c5'"):
        NETS["lenet5"](input_shape=(28, 28, 1))
