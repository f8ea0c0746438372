"""Every net as a Keras user would write it, built from the papers and not from rawcnn's tables: oracle and contender.

A layer is named as rawcnn names its row, with `_` where rawcnn nests (`inception_3a_conv5x5`), so that `assign` copies
weights by name. Outputs are logits; `googlenet` gives a dict of three, by name. lenet5 of 1998 has layers that Keras
lacks and is not here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import initializers, layers

Step = Callable[[Any], Any]
Shape = tuple[int, int, int]


@keras.saving.register_keras_serializable("rawcnn")
class LRN(layers.Layer):
    """Krizhevsky et al. 2012, section 3.3; TensorFlow's alpha is the paper's."""

    def __init__(self, k: float = 2.0, alpha: float = 1e-4, **options: Any):
        super().__init__(**options)
        self.k, self.alpha = k, alpha

    def call(self, x: Any) -> Any:
        if x.dtype == tf.float64:  # which TensorFlow's kernel does not take
            squares = tf.pad(x * x, [[0, 0], [0, 0], [0, 0], [2, 2]])
            energy = tf.add_n([squares[..., k : k + x.shape[-1]] for k in range(5)])
            return x / (self.k + self.alpha * energy) ** 0.75
        y = tf.cast(x, tf.float32)  # nor bfloat16
        return tf.cast(tf.nn.local_response_normalization(y, 2, bias=self.k, alpha=self.alpha, beta=0.75), x.dtype)


@keras.saving.register_keras_serializable("rawcnn")
class Towers(layers.Conv2D):
    """Grouped convolution as a convolution for each group: TensorFlow's own kernel for groups trains 4 times slower."""

    def call(self, x: Any) -> Any:
        parts = zip(*(tf.split(t, self.groups, axis=-1) for t in (x, self.kernel, self.bias)), strict=True)
        settings = {"strides": self.strides, "padding": self.padding.upper()}
        towers = [self.activation(tf.nn.bias_add(tf.nn.conv2d(x, w, **settings), b)) for x, w, b in parts]
        return tf.concat(towers, axis=-1)


# Rows -----------------------------------------------------------------------------------------------------------------


def conv(
    name: str,
    filters: int,
    size: int,
    stride: int = 1,
    padding: str = "same",
    groups: int = 1,
    activation: str | None = "relu",
    bias: bool = True,
) -> Step:
    kind = layers.Conv2D if groups == 1 else Towers
    return kind(filters, size, stride, padding, groups=groups, activation=activation, use_bias=bias, name=name)


def max_pool(name: str, size: int, stride: int | None = None, padding: str = "valid") -> Step:
    return layers.MaxPooling2D(size, stride, padding, name=name)


def batch_norm(name: str) -> Step:
    return layers.BatchNormalization(name=name)


def unscaled_norm(name: str) -> Step:
    """Without gamma, and with a GELU."""
    norm, gelu = layers.BatchNormalization(momentum=0.6, scale=False, name=name), layers.Activation("gelu")
    return lambda x: gelu(norm(x))


def flat() -> Step:
    return layers.Flatten(name="flat")


def dense(name: str, units: int, activation: str = "relu") -> Step:
    return layers.Dense(units, activation, name=name)


def dropout(name: str, rate: float) -> Step:
    return layers.Dropout(rate, name=name)


def logits(classes: int, name: str = "logits") -> Step:
    return layers.Dense(classes, dtype=keras.config.floatx(), name=name)  # float32 in mixed precision too


def run(x: Any, *rows: Step) -> Any:
    """The rows, one after the other."""
    return functools.reduce(lambda y, row: row(y), rows, x)


def model(shape: Shape, *rows: Step) -> Any:
    inputs = keras.Input(shape)
    return keras.Model(inputs, run(inputs, *rows))


# LeNet-5 of the courses -----------------------------------------------------------------------------------------------


def _lenet5(shape: Shape, classes: int, activation: str, padding: str, **init: Any) -> Any:
    return model(
        shape,
        layers.Conv2D(6, 5, padding=padding, activation=activation, name="c1", **init),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation=activation, name="c3", **init),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation=activation, name="c5", **init),
        layers.Dense(84, activation=activation, name="f6", **init),
        layers.Dense(classes, dtype=keras.config.floatx(), name="logits", **init),
    )


def lenet5_tanh(shape: Shape, classes: int) -> Any:
    """The lab's initial weights: truncated normal 0.1, biases 0.1."""
    weights = initializers.TruncatedNormal(stddev=0.1)
    init = {"kernel_initializer": weights, "bias_initializer": initializers.Constant(0.1)}
    return _lenet5(shape, classes, "tanh", "same", **init)


def lenet5_relu(shape: Shape, classes: int) -> Any:
    """Digits are padded to 32 x 32 before they reach the net."""
    return _lenet5(shape, classes, "relu", "valid")


# AlexNet --------------------------------------------------------------------------------------------------------------


def _classifier(classes: int, *hidden: int) -> tuple[Step, ...]:
    fc6, fc7 = hidden or (4096, 4096)
    drops = dropout("drop6", 0.5), dropout("drop7", 0.5)
    return flat(), dense("fc6", fc6), drops[0], dense("fc7", fc7), drops[1], logits(classes)


def alexnet(shape: Shape, classes: int) -> Any:
    """Krizhevsky et al. 2012: two towers as groups; conv3 sees both."""
    return model(
        shape,
        conv("conv1", 96, 11, 4, "valid"),
        LRN(name="norm1"),
        max_pool("pool1", 3, 2),
        conv("conv2", 256, 5, groups=2),
        LRN(name="norm2"),
        max_pool("pool2", 3, 2),
        conv("conv3", 384, 3),
        conv("conv4", 384, 3, groups=2),
        conv("conv5", 256, 3, groups=2),
        max_pool("pool5", 3, 2),
        *_classifier(classes),
    )


def alexnet_one_tower(shape: Shape, classes: int) -> Any:
    """Krizhevsky 2014 as torchvision has it: 2 pixels of zeros around the image, dropout before each dense layer."""
    return model(
        shape,
        layers.ZeroPadding2D(2),
        conv("conv1", 64, 11, 4, "valid"),
        max_pool("pool1", 3, 2),
        conv("conv2", 192, 5),
        max_pool("pool2", 3, 2),
        conv("conv3", 384, 3),
        conv("conv4", 256, 3),
        conv("conv5", 256, 3),
        max_pool("pool5", 3, 2),
        flat(),
        dropout("drop6", 0.5),
        dense("fc6", 4096),
        dropout("drop7", 0.5),
        dense("fc7", 4096),
        logits(classes),
    )


def alexnet_bn(shape: Shape, classes: int) -> Any:
    """One tower; batch normalisation after the ReLU of conv1, conv2 and conv5."""
    return model(
        shape,
        conv("conv1", 96, 11, 4, "valid"),
        batch_norm("bn1"),
        max_pool("pool1", 3, 2),
        conv("conv2", 256, 5),
        batch_norm("bn2"),
        max_pool("pool2", 3, 2),
        conv("conv3", 384, 3),
        conv("conv4", 384, 3),
        conv("conv5", 256, 3),
        batch_norm("bn5"),
        max_pool("pool5", 3, 2),
        *_classifier(classes),
    )


def alexnet_valid(shape: Shape, classes: int) -> Any:
    """No padding anywhere, no normalisation, pools after conv2, conv3 and conv5."""
    return model(
        shape,
        conv("conv1", 96, 11, 4, "valid"),
        conv("conv2", 256, 5, padding="valid"),
        max_pool("pool2", 3, 2),
        conv("conv3", 384, 3, padding="valid"),
        max_pool("pool3", 3, 2),
        conv("conv4", 384, 3, padding="valid"),
        conv("conv5", 256, 3, padding="valid"),
        max_pool("pool5", 3, 2),
        *_classifier(classes),
    )


def alexnet_dogs(shape: Shape, classes: int, hidden: tuple[int, int] = (4096, 4096)) -> Any:
    """One tower, SAME convolutions, a weaker LRN, no pool after conv5."""
    return model(
        shape,
        conv("conv1", 96, 11, 4),
        LRN(k=1.0, alpha=2e-5, name="norm1"),
        max_pool("pool1", 3, 2),
        conv("conv2", 256, 5),
        LRN(k=1.0, alpha=2e-5, name="norm2"),
        max_pool("pool2", 3, 2),
        conv("conv3", 384, 3),
        conv("conv4", 384, 3),
        conv("conv5", 256, 3),
        *_classifier(classes, *hidden),
    )


# VGG ------------------------------------------------------------------------------------------------------------------

# Configurations A to E, as the sizes of each block's convolutions.
VGG = {
    "vgg11": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "vgg13": ((3, 3),) * 5,
    "vgg16c": ((3, 3), (3, 3), *((3, 3, 1),) * 3),
    "vgg16": ((3, 3), (3, 3), *((3, 3, 3),) * 3),
    "vgg19": ((3, 3), (3, 3), *((3, 3, 3, 3),) * 3),
}
BATCH_NORM = ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")


def vgg(name: str, shape: Shape, classes: int) -> Any:
    """Simonyan and Zisserman 2014, table 1; with `_bn` and torchvision's batch normalisation before each ReLU."""
    rows: list[Step] = []
    plain = name.removesuffix("_bn")
    for block, (sizes, filters) in enumerate(zip(VGG[plain], (64, 128, 256, 512, 512), strict=True), 1):
        for k, size in enumerate(sizes, 1):
            rows += [conv(f"conv{block}_{k}", filters, size, activation="relu" if name == plain else None)]
            if name != plain:
                rows += [layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"bn{block}_{k}"), layers.ReLU()]
        rows += [max_pool(f"pool{block}", 2)]
    return model(shape, *rows, *_classifier(classes))


# GoogLeNet ------------------------------------------------------------------------------------------------------------

# Szegedy et al. 2014, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def inception(which: str) -> Step:
    """Four branches side by side; figure 2b of the paper."""
    name = f"inception_{which}"
    n1x1, n3x3_reduce, n3x3, n5x5_reduce, n5x5, pool_proj = INCEPTIONS[which]

    def branches(x: Any) -> Any:
        return layers.concatenate(
            [
                conv(f"{name}_conv1x1", n1x1, 1)(x),
                run(x, conv(f"{name}_conv3x3_reduce", n3x3_reduce, 1), conv(f"{name}_conv3x3", n3x3, 3)),
                run(x, conv(f"{name}_conv5x5_reduce", n5x5_reduce, 1), conv(f"{name}_conv5x5", n5x5, 5)),
                run(x, max_pool(f"{name}_pool", 3, 1, "same"), conv(f"{name}_pool_proj", pool_proj, 1)),
            ],
            name=name,
        )

    return branches


def _head(name: str, classes: int) -> tuple[Step, ...]:
    return (
        layers.AveragePooling2D(5, 3, name=f"{name}_pool"),
        conv(f"{name}_conv", 128, 1),
        layers.Flatten(name=f"{name}_flat"),
        dense(f"{name}_fc", 1024),
        dropout(f"{name}_drop", 0.7),
        logits(classes, f"{name}_logits"),
    )


def _until_4a() -> tuple[Step, ...]:
    return (
        conv("conv1", 64, 7, 2),
        max_pool("pool1", 3, 2, "same"),
        LRN(name="norm1"),
        conv("conv2_reduce", 64, 1),
        conv("conv2", 192, 3),
        LRN(name="norm2"),
        max_pool("pool2", 3, 2, "same"),
        inception("3a"),
        inception("3b"),
        max_pool("pool3", 3, 2, "same"),
        inception("4a"),
    )


def _after_4d() -> tuple[Step, ...]:
    return (
        inception("4e"),
        max_pool("pool4", 3, 2, "same"),
        inception("5a"),
        inception("5b"),
        layers.AveragePooling2D(7, 1, name="pool5"),
        dropout("drop", 0.4),
        flat(),
    )


def googlenet(shape: Shape, classes: int) -> Any:
    """With both auxiliary heads: aux1 sees inception_4a, aux2 sees inception_4d."""
    inputs = keras.Input(shape)
    seen_by_1 = run(inputs, *_until_4a())
    seen_by_2 = run(seen_by_1, inception("4b"), inception("4c"), inception("4d"))
    outputs = {
        "logits": run(seen_by_2, *_after_4d(), logits(classes)),
        "aux1": run(seen_by_1, *_head("aux1", classes)),
        "aux2": run(seen_by_2, *_head("aux2", classes)),
    }
    return keras.Model(inputs, outputs)


def googlenet_dogs(shape: Shape, classes: int) -> Any:
    """No heads; a hidden layer of 1000 before the logits."""
    middle = inception("4b"), inception("4c"), inception("4d")
    return model(shape, *_until_4a(), *middle, *_after_4d(), dense("fc", 1000), logits(classes))


# CIFAR-10 -------------------------------------------------------------------------------------------------------------


def cifar_basic(shape: Shape, classes: int) -> Any:
    return model(
        shape,
        conv("conv1", 32, 3),
        conv("conv2", 32, 3),
        max_pool("pool2", 2),
        conv("conv3", 64, 3),
        conv("conv4", 64, 3),
        max_pool("pool4", 2),
        conv("conv5", 128, 3),
        flat(),
        dense("fc6", 128),
        logits(classes),
    )


def cifar_fast(shape: Shape, classes: int) -> Any:
    """Filters that are not trained; then convolution, pool, normalisation, GELU; logits are an eighth."""
    plain = functools.partial(conv, size=3, activation=None, bias=False)
    whitening: Any = conv("conv1", 24, 2, padding="valid", activation="gelu", bias=False)
    whitening.trainable = False
    return model(
        shape,
        whitening,
        plain("conv2", 64),
        max_pool("pool2", 2),
        unscaled_norm("bn2"),
        plain("conv3", 64),
        unscaled_norm("bn3"),
        plain("conv4", 256),
        max_pool("pool4", 2),
        unscaled_norm("bn4"),
        plain("conv5", 256),
        unscaled_norm("bn5"),
        plain("conv6", 256),
        max_pool("pool6", 2),
        unscaled_norm("bn6"),
        plain("conv7", 256),
        unscaled_norm("bn7"),
        max_pool("pool7", 3),
        flat(),
        layers.Dense(classes, use_bias=False, dtype=keras.config.floatx(), name="logits"),
        layers.Rescaling(0.125, dtype=keras.config.floatx()),
    )


def cifar_wide(shape: Shape, classes: int) -> Any:
    """Few layers of many filters; batch normalisation before and after each pool."""
    return model(
        shape,
        conv("conv1", 128, 3),
        batch_norm("bn1"),
        conv("conv2", 256, 3),
        batch_norm("bn2"),
        max_pool("pool2", 3, 3, "same"),
        batch_norm("bn2b"),
        conv("conv3", 512, 4),
        batch_norm("bn3"),
        conv("conv4", 1024, 5, padding="valid"),
        batch_norm("bn4"),
        max_pool("pool4", 5),
        batch_norm("bn4b"),
        flat(),
        dense("fc5", 60, "sigmoid"),
        dropout("drop", 0.001),
        logits(classes),
    )


# name -> (builder, input shape [H, W, C], classes)
NETS: dict[str, tuple[Callable[[Shape, int], Any], Shape, int]] = {
    "lenet5_tanh": (lenet5_tanh, (28, 28, 1), 10),
    "lenet5_relu": (lenet5_relu, (32, 32, 1), 10),
    "alexnet": (alexnet, (227, 227, 3), 1000),
    "alexnet_one_tower": (alexnet_one_tower, (224, 224, 3), 1000),
    "alexnet_bn": (alexnet_bn, (227, 227, 3), 10),
    "alexnet_valid": (alexnet_valid, (224, 224, 3), 10),
    "alexnet_dogs": (alexnet_dogs, (214, 214, 3), 2),
    "alexnet_dogs_small": (functools.partial(alexnet_dogs, hidden=(300, 200)), (214, 214, 3), 2),
    **{name: (functools.partial(vgg, name), (224, 224, 3), 1000) for name in (*VGG, *BATCH_NORM)},
    "googlenet": (googlenet, (224, 224, 3), 1000),
    "googlenet_dogs": (googlenet_dogs, (214, 214, 3), 2),
    "cifar_basic": (cifar_basic, (32, 32, 3), 10),
    "cifar_wide": (cifar_wide, (32, 32, 3), 10),
    "cifar_fast": (cifar_fast, (32, 32, 3), 10),
}


def _applications(build: Callable[..., Any], shape: Shape, classes: int) -> Any:
    return build(weights=None, input_shape=shape, classes=classes, classifier_activation=None)


# The builds of `keras.applications`: without dropout, but nobody here wrote them.
APPLICATIONS: dict[str, Callable[[Shape, int], Any]] = {
    "vgg16": functools.partial(_applications, keras.applications.VGG16),
    "vgg19": functools.partial(_applications, keras.applications.VGG19),
}


# Weights --------------------------------------------------------------------------------------------------------------

PARTS = {"kernel": "w", "bias": "b"}
ROWS = {"fc1": "fc6", "fc2": "fc7", "predictions": "logits"}  # in `keras.applications`


def _path(layer: str, variable: str) -> str:
    """rawcnn's name, `_` for `/`, of a Keras variable."""
    row = re.sub(r"^block(\d)_conv", r"conv\1_", ROWS.get(layer, layer))
    return f"{row}_{PARTS.get(variable, variable)}"


def assign(net: Any, values: Mapping[str, np.ndarray]) -> None:
    """Give every variable the value that rawcnn's `named_variables` has for it, path by path.

    Raises `ValueError` naming the paths that only one side has, and whatever Keras raises when shapes differ.
    """
    own = {_path(layer.name, v.name): v for layer in net.layers for v in layer.weights}
    given = {path.replace("/", "_"): value for path, value in values.items()}
    if own.keys() != given.keys():
        raise ValueError(f"only in one of the two nets: {sorted(own.keys() ^ given.keys())}")
    for path, variable in own.items():
        if tuple(variable.shape) != given[path].shape:
            raise ValueError(f"{path} is {tuple(variable.shape)} in Keras, {given[path].shape} in rawcnn")
        variable.assign(given[path])
