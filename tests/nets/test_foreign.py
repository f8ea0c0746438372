"""Weights of Keras and of torchvision, loaded into the VGG nets: the same numbers must come out of both."""

import re

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import DataError, RunError
from rawcnn.files.safetensors import write_safetensors
from rawcnn.layers import Conv2D, Dense, Dropout, Flatten, MaxPool
from rawcnn.layers.variables import named_weights
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.foreign import KERAS, from_keras, from_torch
from rawcnn.nets.vgg import vgg
from rawcnn.nets.weights import load_weights

# A VGG in small: same names of rows, so the tables are those of the real one.
_conv, _dense = row(Conv2D, activation=tf.nn.relu), row(Dense, activation=tf.nn.relu)
SMALL = (
    ("conv1_1", _conv(4, 3)), ("pool1", row(MaxPool, size=2)()), ("conv2_1", _conv(5, 3)),
    ("pool2", row(MaxPool, size=2)()), ("flat", row(Flatten)()), ("fc6", _dense(7)),
    ("drop6", row(Dropout, rate=0.5)()), ("fc7", _dense(6)), ("logits", row(Dense)(3)),
)  # fmt: skip


def small():
    return Chain(SMALL, input_shape=(8, 8, 3))


def test_the_keras_table_has_every_row_of_vgg16_and_vgg19():
    for configuration in "DE":
        rows = {name.partition("/")[0] for name in named_weights(vgg(configuration, (32, 32, 3), 10))}
        assert rows <= set(KERAS.values())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
def test_keras_applications_and_rawcnn_agree(tmp_path, rng):
    """The whole VGG16 without its top, with weights drawn here, written by Keras and read from its file."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    theirs.save_weights(tmp_path / "vgg16.weights.h5")
    ours = vgg("D", (32, 32, 3), include_top=False, seed=9)
    load_weights(ours, tmp_path / "vgg16.weights.h5")
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(theirs(x))
    np.testing.assert_allclose(ours(x), expected, atol=1e-4 * np.abs(expected).max())


def test_the_names_of_the_old_keras_files():
    arrays = {"block1_conv2/block1_conv2_W_1:0": np.ones((3, 3, 2, 2)), "block1_conv2/block1_conv2_b_1:0": np.ones(2)}
    assert {name: values.ndim for name, values in from_keras(arrays, []).items()} == {"conv1_2/w": 4, "conv1_2/b": 1}
    with pytest.raises(DataError, match="second array for conv1_2/b"):
        from_keras(arrays | {"block1_conv2/gamma": np.ones(2)}, [])


def torch_arrays(rng):
    """The small net as torchvision numbers it: convolutions at 0 and 3, dense layers at 0, 3 and 6."""
    shapes = {
        "features.0": (4, 3, 3, 3), "features.3": (5, 4, 3, 3),
        "classifier.0": (7, 5 * 2 * 2), "classifier.3": (6, 7), "classifier.6": (3, 6),
    }  # fmt: skip
    drawn = {}
    for name, shape in shapes.items():
        drawn[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        drawn[f"{name}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    return drawn


def torch_forward(arrays, x):
    """The same net by NumPy in PyTorch's order of axes, term by term. `[N, 3, 8, 8] -> [N, 3]`."""
    for name in ("features.0", "features.3"):
        w, b = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        x = np.maximum(np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None], 0)
        x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max(axis=(3, 5))
    x = x.reshape(len(x), -1)
    for name in ("classifier.0", "classifier.3", "classifier.6"):
        x = x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
        x = x if name.endswith("6") else np.maximum(x, 0)
    return x


def test_torchvisions_order_of_axes(tmp_path, rng):
    arrays = torch_arrays(rng)
    write_safetensors(tmp_path / "vgg.safetensors", arrays)
    net = small()
    load_weights(net, tmp_path / "vgg.safetensors")
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = torch_forward(arrays, x)
    np.testing.assert_allclose(net(x.transpose(0, 2, 3, 1)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"features.6.weight": np.ones((4, 5, 3, 3), np.float32)}, "6 layers with weights, the net 5"),
        ({"features.0.running_mean": np.ones(4, np.float32)}, "features.0.running_mean is unexpected"),
        ({"features.0.bias": np.ones(5, np.float32)}, r"conv1_1/b is (5,), not (4,)"),
        ({"classifier.0.weight": np.ones((7, 19), np.float32)}, "no square maps of 5 channels"),
    ],
)
def test_strict_for_foreign_files_too(tmp_path, rng, change, rule):
    write_safetensors(tmp_path / "vgg.safetensors", torch_arrays(rng) | change)
    net = small()
    before = net.conv1_1.w.numpy()
    with pytest.raises(RunError, match=re.escape(rule)):
        load_weights(net, tmp_path / "vgg.safetensors")
    np.testing.assert_array_equal(net.conv1_1.w, before)


def test_another_net_is_refused(tmp_path, rng):
    write_safetensors(tmp_path / "vgg.safetensors", torch_arrays(rng))
    with pytest.raises(RunError, match="they are not one net"):
        load_weights(NETS["lenet5"](), tmp_path / "vgg.safetensors")


def test_layers_are_taken_by_number_not_by_text():
    arrays = {f"features.{i}.weight": np.full((1, 1, 1, 1), i) for i in (10, 2, 0)}
    found = from_torch(arrays, ["a/w", "a/b", "b/w", "b/b", "c/w", "c/b"])
    assert {name: int(values.sum()) for name, values in found.items()} == {"a/w": 0, "b/w": 2, "c/w": 10}


def test_a_type_that_no_weight_has(tmp_path, rng):
    drawn = torch_arrays(rng)
    net = small()
    step = {"features.0.bias": drawn["features.0.bias"].astype(np.float64)}  # another width is no fault
    write_safetensors(tmp_path / "vgg.safetensors", drawn | step)
    load_weights(net, tmp_path / "vgg.safetensors")
    np.testing.assert_array_equal(net.conv1_1.b, drawn["features.0.bias"])


def test_a_file_that_names_the_layers_as_keras_applications_does(tmp_path):
    """The older layout, by hand: a group a layer, in it a group of the same name."""
    h5py = pytest.importorskip("h5py")
    ours = vgg("D", (32, 32, 3), 10, seed=1)
    theirs = {row: layer for layer, row in KERAS.items()}
    with h5py.File(tmp_path / "vgg16.h5", "w") as file:
        for name, variable in named_weights(ours).items():
            row_name, _, kind = name.partition("/")
            layer = theirs[row_name]
            file[f"{layer}/{layer}/{'kernel' if kind == 'w' else 'bias'}:0"] = variable.numpy() + 1
    other = vgg("D", (32, 32, 3), 10, seed=2)
    load_weights(other, tmp_path / "vgg16.h5")
    for name, variable in named_weights(ours).items():
        np.testing.assert_array_equal(named_weights(other)[name], variable.numpy() + 1)
