"""Weights of Keras and of torchvision, loaded into the VGG nets: the same numbers must come out of both."""

import contextlib
import re
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fidelity import relative_error
from rawcnn.errors import DataError, RunError
from rawcnn.files.safetensors import write_safetensors
from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool
from rawcnn.layers.variables import named_weights
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.foreign import KERAS, KERAS_PIXELS, TORCH_PIXELS, from_keras, from_torch
from rawcnn.nets.vgg import _convolutions, vgg
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


BUILT = small()


def test_the_keras_table_has_every_row_of_vgg16_and_vgg19():
    for configuration in "DE":
        rows = {name.partition("/")[0] for name in named_weights(vgg(configuration, (32, 32, 3), 10))}
        assert rows <= set(KERAS.values())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
@pytest.mark.parametrize("name", ["vgg16.weights.h5", "vgg16.h5"])
def test_keras_applications_and_rawcnn_agree(tmp_path, rng, name):
    """The whole VGG16 without its top, with weights drawn here, written by Keras and read from its file: both formats.

    Only the second has the layers' names, so only there is it known that the weights are those of BGR.
    """
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    theirs = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    named = name == "vgg16.h5"
    with contextlib.redirect_stdout(None):
        (theirs.save if named else theirs.save_weights)(tmp_path / name)
    ours = vgg("D", (32, 32, 3), include_top=False, seed=9)
    loaded = load_weights(ours, tmp_path / name)
    assert len(loaded.rows) == 13 and not loaded.kept
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(theirs(x[..., ::-1] if named else x))
    assert relative_error(ours(x).numpy(), expected) <= 1e-5
    assert (loaded.preprocess is not None) == named == ("BGR" in str(loaded))


def test_pixels_that_keras_applications_weights_expect(rng):
    """Their own preprocessing: blue, green, red less the means; ours is the same in RGB."""
    keras = pytest.importorskip("keras")
    pixels = rng.integers(0, 256, (1, 4, 5, 3)).astype(np.float32)
    theirs = keras.applications.vgg16.preprocess_input(pixels.copy())
    np.testing.assert_allclose(KERAS_PIXELS(tf.constant(pixels))[..., ::-1], theirs, atol=1e-4)


def test_pixels_that_torchvisions_weights_expect(rng):
    """(x / 255 - mean) / deviation, as its documentation says."""
    pixels = rng.integers(0, 256, (1, 4, 5, 3)).astype(np.float32)
    expected = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(TORCH_PIXELS(tf.constant(pixels)), expected, atol=1e-5)


def test_the_names_of_the_old_keras_files():
    arrays = {"block1_conv1/block1_conv1_W_1:0": np.ones((3, 3, 3, 4)), "block1_conv1/block1_conv1_b_1:0": np.ones(4)}
    found = from_keras(arrays, small()).arrays
    assert {name: values.ndim for name, values in found.items()} == {"conv1_1/w": 4, "conv1_1/b": 1}
    with pytest.raises(DataError, match="second 'b' of block1_conv1"):
        from_keras(arrays | {"block1_conv1/gamma": np.ones(2)}, small())


def test_filters_are_turned_from_bgr_only_where_the_file_says_so_or_the_user_does():
    kernel = np.arange(108.0).reshape(3, 3, 3, 4)
    named, counted = {"block1_conv1/block1_conv1/kernel:0": kernel}, {"conv2d/vars/0": kernel}
    for arrays, bgr, turned in (
        (named, None, True),
        (named, False, False),
        (counted, None, False),
        (counted, True, True),
    ):
        found = from_keras(arrays, Chain(SMALL[:1], input_shape=(8, 8, 3)), bgr=bgr)
        np.testing.assert_array_equal(found.arrays["conv1_1/w"], kernel[:, :, ::-1] if turned else kernel)
        assert bool(found.note) == turned


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
        ({"features.6.weight": np.ones((4, 5, 3, 3), np.float32)}, "differ in 3 convolutions against 2"),
        ({"features.0.running_mean": np.ones(4, np.float32)}, "the file has batch normalisation, and the net has none"),
        ({"features.0.odd": np.ones(4, np.float32)}, "features.0.odd is unexpected"),
        ({"features.0.bias": np.ones(5, np.float32)}, r"conv1_1/b is (5,), not (4,)"),
        ({"classifier.0.weight": np.ones((7, 19), np.float32)}, "fc6/w is (19, 7), not (20, 7)"),
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
    with pytest.raises(RunError, match="differ in 3 dense layers against 1"):
        load_weights(NETS["lenet5"](), tmp_path / "vgg.safetensors")


def test_layers_are_taken_by_number_not_by_text():
    arrays = {f"features.{i}.weight": np.full((1, 1, 1, 1), i) for i in (10, 2, 0)}
    table = tuple((name, row(Conv2D)(1, 1)) for name in "abc")
    found = from_torch(arrays, Chain(table, input_shape=(4, 4, 1))).arrays
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
        in_rgb = variable.numpy()[:, :, ::-1] if name == "conv1_1/w" else variable.numpy()
        np.testing.assert_array_equal(named_weights(other)[name], in_rgb + 1)


# Keras's LeNets, and the words before names ---------------------------------------------------------------------------


def keras_lenet(keras, **names):
    """As courses write it, with Keras's own names except those given: `conv2d`, `conv2d_1`, `dense`, ..."""
    layers = keras.layers
    named = lambda kind: {"name": names[kind]} if kind in names else {}  # noqa: E731
    return keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="relu", **named("c1")), layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu", **named("c3")), layers.AveragePooling2D(2), layers.Flatten(),
            layers.Dense(120, activation="relu", **named("c5")), layers.Dense(84, activation="relu", **named("f6")),
            layers.Dropout(0.5), layers.Dense(10, **named("logits")),
        ]
    )  # fmt: skip


ROWS = ("c1", "c3", "c5", "f6", "logits")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
@pytest.mark.parametrize("file", ["lenet.h5", "lenet.weights.h5"])
@pytest.mark.parametrize(
    "names",
    [{}, {"logits": "output"}, dict(zip(ROWS, ROWS, strict=True)), {"c1": "conv1", "c3": "conv2"}],
    ids=["counted", "the last named", "our rows", "numbered"],
)
def test_a_lenet_of_keras_whole_model_or_weights(tmp_path, rng, file, names):
    """Trained for a step, so that the file holds an optimizer too."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("h5py")
    keras_lenet(keras)  # so that the next one's layers are not counted from 0
    theirs = keras_lenet(keras, **names)
    theirs.compile("adam", "mse")
    x = rng.normal(size=(4, 32, 32, 1)).astype(np.float32)
    theirs.fit(x, np.zeros((4, 10)), verbose=0)
    (theirs.save_weights if "weights" in file else theirs.save)(tmp_path / file)
    ours = NETS["lenet5_relu"](seed=3)
    loaded = load_weights(ours, tmp_path / file)
    assert loaded.rows == ROWS and not loaded.left_out and loaded.preprocess is None
    assert relative_error(ours(x).numpy(), np.asarray(theirs(x))) <= 1e-5


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
def test_layers_whose_order_no_name_tells(tmp_path):
    keras = pytest.importorskip("keras")
    keras_lenet(keras, c5="wide", f6="narrow").save(tmp_path / "lenet.h5")
    with pytest.raises(RunError, match=r"the order of its layers narrow, wide cannot be told. Save it .*save_weights"):
        load_weights(NETS["lenet5_relu"](), tmp_path / "lenet.h5")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
def test_batch_normalisation_of_keras(tmp_path, rng):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    theirs = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.BatchNormalization(scale=False),
        ]
    )
    theirs.set_weights([rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in theirs.get_weights()])
    norm = row(BatchNorm)
    table = (("conv", row(Conv2D, padding="VALID")(3, 3)), ("one", norm()), ("two", norm(scale=False)))
    x = rng.normal(size=(2, 6, 6, 2)).astype(np.float32)
    for file in ("a.h5", "a.weights.h5"):
        (theirs.save_weights if "weights" in file else theirs.save)(tmp_path / file)
        ours = Chain(table, input_shape=(6, 6, 2))
        load_weights(ours, tmp_path / file)
        assert relative_error(ours(x).numpy(), np.asarray(theirs(x))) <= 1e-5
        averages = ours.one.moving_mean.numpy()
        ours(
            100 * x, training=True
        )  # one batch of further training moves the file's averages, and does not replace them
        moved = np.abs(ours.one.moving_mean - averages)
        batch = np.abs(ours.conv(tf.constant(100 * x)).numpy().mean(axis=(0, 1, 2)) - averages)
        np.testing.assert_allclose(moved, 0.01 * batch, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
@pytest.mark.parametrize("file", ["vgg.h5", "vgg.weights.h5"])
def test_a_vgg_within_a_net_of_keras(tmp_path, rng, file):
    """How Keras's own guide fine-tunes: the convolutions as one layer of a new net."""
    keras = pytest.importorskip("keras")
    vgg16 = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    theirs = keras.Sequential([vgg16, keras.layers.Flatten(), keras.layers.Dense(4)])
    (theirs.save_weights if "weights" in file else theirs.save)(tmp_path / file)
    table = (*_convolutions("D"), ("flat", row(Flatten)()), ("logits", row(Dense)(4)))
    ours = Chain(table, input_shape=(32, 32, 3))
    load_weights(ours, tmp_path / file, bgr=False)
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    assert relative_error(ours(x).numpy(), np.asarray(theirs(x))) <= 1e-5


SHAPES = st.lists(st.integers(0, 4), max_size=5).map(tuple)
LAYERS = ("features.0", "features.2", "classifier.1", "head.fc", "pre_logits.fc1", "module.features.0", "c1", "logits")
PARTS = ("weight", "bias", "running_mean", "running_var", "odd")
PATHS = ("conv2d", "conv2d_1", "dense", "block1_conv1/block1_conv1", "fc1/fc1", "own", "other", "batch_normalization")
ENDS = ("vars/0", "vars/1", "vars/2", "kernel:0", "bias:0", "gamma", "beta", "moving_mean", "block1_conv1_W_1:0")


@given(st.dictionaries(st.tuples(st.sampled_from(LAYERS), st.sampled_from(PARTS)), SHAPES, max_size=12))
def test_whatever_the_shapes_a_file_of_pytorch_is_renamed_or_refused(drawn):
    arrays = {f"{layer}.{part}": np.zeros(shape) for (layer, part), shape in drawn.items()}
    with contextlib.suppress(DataError):
        assert len(from_torch(arrays, BUILT).arrays) <= len(arrays)


@given(st.dictionaries(st.tuples(st.sampled_from(PATHS), st.sampled_from(ENDS)), SHAPES, max_size=12))
def test_whatever_the_shapes_a_file_of_keras_is_renamed_or_refused(drawn):
    arrays = {f"{layer}/{end}": np.zeros(shape) for (layer, end), shape in drawn.items()}
    with contextlib.suppress(DataError):
        assert len(from_keras(arrays, BUILT).arrays) == len(arrays)


@pytest.mark.parametrize("before", ["module.", "model.", "_orig_mod.module.", "backbone."])
def test_words_before_all_names(tmp_path, rng, before):
    drawn = torch_arrays(rng)
    write_safetensors(tmp_path / "vgg.safetensors", {before + name: values for name, values in drawn.items()})
    net = small()
    assert not load_weights(net, tmp_path / "vgg.safetensors").left_out
    np.testing.assert_array_equal(net.conv1_1.b, drawn["features.0.bias"])


def test_two_nets_in_one_file_of_pytorch(tmp_path, rng):
    drawn = torch_arrays(rng)
    write_safetensors(tmp_path / "w.safetensors", drawn | {f"module.{name}": v for name, v in drawn.items()})
    with pytest.raises(RunError, match="two nets with the same names"):
        load_weights(small(), tmp_path / "w.safetensors")


def test_timms_names_of_vgg(tmp_path, rng):
    """timm keeps the two hidden layers as convolutions, 7x7 and 1x1."""
    drawn = torch_arrays(rng)
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = torch_forward(drawn, x)
    for theirs, name, maps in (
        ("classifier.0", "pre_logits.fc1", (5, 2, 2)),
        ("classifier.3", "pre_logits.fc2", (7, 1, 1)),
    ):
        weight = drawn.pop(f"{theirs}.weight")
        drawn[f"{name}.weight"], drawn[f"{name}.bias"] = weight.reshape(-1, *maps), drawn.pop(f"{theirs}.bias")
    drawn |= {f"head.fc.{part}": drawn.pop(f"classifier.6.{part}") for part in ("weight", "bias")}
    write_safetensors(tmp_path / "vgg.safetensors", drawn)
    net = small()
    load_weights(net, tmp_path / "vgg.safetensors")
    assert relative_error(net(x.transpose(0, 2, 3, 1)).numpy(), expected) <= 1e-5


def test_a_module_that_is_named_as_the_net(tmp_path, rng):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    rows = [("c1", nn.Conv2d(1, 6, 5)), ("r1", nn.ReLU()), ("s2", nn.AvgPool2d(2)), ("c3", nn.Conv2d(6, 16, 5)),
            ("r3", nn.ReLU()), ("s4", nn.AvgPool2d(2)), ("flat", nn.Flatten()), ("c5", nn.Linear(400, 120)),
            ("r5", nn.ReLU()), ("f6", nn.Linear(120, 84)), ("r6", nn.ReLU()),
            ("logits", nn.Linear(84, 10))]  # fmt: skip
    theirs = nn.Sequential(OrderedDict(rows))
    write_safetensors(tmp_path / "w.safetensors", {name: t.numpy() for name, t in theirs.state_dict().items()})
    ours = NETS["lenet5_relu"](seed=4)
    load_weights(ours, tmp_path / "w.safetensors")
    x = rng.normal(size=(2, 1, 32, 32)).astype(np.float32)
    assert relative_error(ours(x.transpose(0, 2, 3, 1)).numpy(), theirs(torch.from_numpy(x)).detach().numpy()) <= 1e-5


def test_the_line_that_converts_a_pth_converts_it(tmp_path, rng):
    """As printed in the error, run as a command; of a state dict, and of a training checkpoint around one."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    state = {name: torch.from_numpy(values) for name, values in torch_arrays(rng).items()}
    for k, saved in enumerate((state, {"epoch": 3, "state_dict": state})):
        torch.save(saved, tmp_path / f"vgg{k}.pth")
        with pytest.raises(RunError) as error:
            load_weights(small(), tmp_path / f"vgg{k}.pth")
        program = re.search(r'python -c "(.*)"$', str(error.value))[1]
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
        net = small()
        load_weights(net, tmp_path / f"vgg{k}.safetensors")
        np.testing.assert_array_equal(net.conv1_1.b, state["features.0.bias"].numpy())


def test_with_partial_a_deeper_net_takes_the_layers_before_the_first_that_differs(tmp_path, rng):
    write_safetensors(tmp_path / "vgg.safetensors", torch_arrays(rng))
    table = (*SMALL[:1], ("conv1_2", _conv(4, 3)), *SMALL[1:])
    net = Chain(table, input_shape=(8, 8, 3))
    loaded = load_weights(net, tmp_path / "vgg.safetensors", partial=True)
    assert loaded.rows == ("conv1_1", "fc6", "fc7", "logits") and loaded.kept == ("conv1_2", "conv2_1")


def test_torchvisions_googlenet_is_refused_by_name(tmp_path):
    write_safetensors(
        tmp_path / "w.safetensors", {"inception3a.branch1.conv.weight": np.ones((64, 192, 1, 1), np.float32)}
    )
    with pytest.raises(RunError, match=r"torchvision's GoogLeNet, which has batch normalisation, and 3x3"):
        load_weights(NETS["lenet5_relu"](), tmp_path / "w.safetensors", partial=True)
