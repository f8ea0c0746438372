"""What people type where a layer's arguments stand gets one sentence with the remedy."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from rawcnn import layers
from rawcnn.errors import UsageError

IMAGE = {"input_shape": (28, 28, 1)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(32, kernel_size=3, **IMAGE), "Conv2D has no argument 'kernel_size'. It is called"),
        (lambda: layers.Conv2D(32, 3, strides=2, **IMAGE), "'strides'. It is called 'stride' here"),
        (lambda: layers.AveragePool(pool_size=2, **IMAGE), "no argument 'pool_size'. It is called 'size' here"),
        (lambda: layers.Dropout(p=0.5, **IMAGE), "'p'. It is called 'rate' here"),
        (lambda: layers.Conv2D(32, (3, 3), **IMAGE), r"size is one number for both .*, not \(3, 3\): write size=3"),
        (lambda: layers.Conv2D(32, 3, activation="relu", **IMAGE), "not 'relu': write activation=tf.nn.relu"),
        (lambda: layers.Conv2D(32, 3, w_init="he_normal", **IMAGE), "not 'he_normal': write w_init=he_normal"),
        (lambda: layers.Dense(32, b_init="zeros", input_shape=(3,)), "b_init is a number or a function, not 'zeros'"),
        (lambda: layers.Conv2D(32.0, 3, **IMAGE), "filters is a whole number from 1 on, not 32.0"),
        (lambda: layers.Dense(True, input_shape=(3,)), "units is a whole number from 1 on, not True"),
        (lambda: layers.Conv2D(32, -3, **IMAGE), "size is a whole number from 1 on, not -3"),
        (lambda: layers.Conv2D(32, 3, stride=0, **IMAGE), "stride is a whole number from 1 on, not 0"),
        (lambda: layers.MaxPool(2, 2.5, **IMAGE), "stride is a whole number from 1 on, not 2.5"),
        (lambda: layers.Inception(1, 1, 1, 1, 1, 0, **IMAGE), "pool_proj is a whole number from 1 on, not 0"),
        (lambda: layers.Conv2D(32, 3, padding="same", **IMAGE), "choose 'SAME' or 'VALID' in capitals"),
        (lambda: layers.Conv2D(32, 3, padding=-1, **IMAGE), "a number of pixels from 0 on, not -1"),
        (lambda: layers.Conv2D(32, 3, padding=(1, 1), **IMAGE), r"a number of pixels from 0 on, not \(1, 1\)"),
        (lambda: layers.Conv2D(32, 3), r"Conv2D lacks input_shape. Give .* write row\(Layer\)\(\.\.\.\)"),
        (lambda: layers.Flatten(), "Flatten lacks input_shape"),
        (lambda: layers.Conv2D(**IMAGE), "Conv2D lacks filters, size"),
        (lambda: layers.Conv2D(32, 3, in_shape=(28, 28, 1)), "'in_shape'. Did you mean 'input_shape'"),
        (lambda: layers.Conv2D(32, 3, 1, "SAME", (28, 28, 1)), "too many positional arguments. It takes filters, size"),
        (lambda: layers.Conv2D(32, 3, input_shape=(8, 28, 28, 1)), r"not \(8, 28, 28, 1\): leave the batch axis out"),
        (lambda: layers.Dense(32, input_shape=(None, 784)), r"not \(None, 784\): leave the batch axis out"),
        (lambda: layers.Conv2D(32, 3, input_shape=(28, None, 1)), r"in whole numbers from 1 on, not \(28, None, 1\)"),
        (lambda: layers.MaxPool(2, input_shape=(0, 28, 1)), r"in whole numbers from 1 on, not \(0, 28, 1\)"),
        (lambda: layers.Dense(32, input_shape=784), r"a flat input, \(784,\), not 784"),
        (lambda: layers.Dropout("0.5", **IMAGE), "rate is a number, not '0.5'"),
        (lambda: layers.LRN(n=4, **IMAGE), "odd window of channels, not n=4"),
        (lambda: layers.BatchNorm(1.5, **IMAGE), "momentum is a fraction from 0 up to but not 1, not 1.5"),
        (lambda: layers.BatchNorm(epsilon=0, **IMAGE), "epsilon is above 0, not 0"),
        (lambda: layers.Subsample(30, **IMAGE), "30x30 window does not fit into 28 pixels"),
        (lambda: layers.RBF(np.zeros(3), input_shape=(3,)), r"centres are \[K, D\], two axes, not 1"),
    ],
)  # fmt: skip
def test_a_layer_without_a_table_says_what_a_row_says(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_numbers_of_numpy_and_lists_are_taken():
    layer = layers.Conv2D(np.int64(4), 3, padding=np.int32(1), input_shape=[np.int64(6), 6, 2], b_init=np.float32(0.5))
    assert layer.out_shape == (6, 6, 4) and float(layer.b[0]) == 0.5
    assert layers.MaxPool(2, None, input_shape=tf.TensorShape((6, 6, 2))).out_shape == (3, 3, 2)


def test_a_layer_of_ones_own_is_checked_too():
    class Scale(layers.Layer):
        """Twice as much, or `size` times."""

        def __init__(self, size=2, *, input_shape, seed=0, **more):
            super().__init__(input_shape, input_shape)
            self.size, self.more = size, more

        def __call__(self, x, *, training=False):
            return x * self.size

    assert Scale(3, input_shape=(2,), other="x").more == {"other": "x"}
    with pytest.raises(UsageError, match="Scale lacks input_shape"):
        Scale(3)
    with pytest.raises(UsageError, match="size is a whole number from 1 on, not 'big'"):
        Scale("big", input_shape=(2,))
    assert "size=2" in str(inspect.signature(Scale))  # what help() shows
