"""One descriptor per layer, and the promises that every layer keeps."""

import inspect
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from rawcnn import layers
from rawcnn.errors import UsageError
from rawcnn.layers.normalisation import ENOUGH
from rawcnn.layers.variables import lecun_uniform, named_weights
from rawcnn.nets.weights import load_weights, save_weights
from rawcnn.ops import scaled_tanh
from tests.numeric import assert_gradients_match

CASES = {
    "Conv2D": ({"filters": 4, "size": 3, "activation": tf.tanh}, (6, 5, 2), (6, 5, 4), 76),
    "Conv2D strided": ({"filters": 4, "size": 3, "stride": 2, "padding": "VALID"}, (7, 8, 2), (3, 3, 4), 76),
    "Conv2D groups": ({"filters": 6, "size": 3, "groups": 2, "activation": tf.tanh}, (4, 5, 4), (4, 5, 6), 114),
    "PartialConv2D": ({"table": "X . X\nX X .", "size": 3, "activation": scaled_tanh}, (5, 6, 2), (3, 4, 3), 39),
    "Subsample": ({"activation": scaled_tanh, "w_init": lecun_uniform()}, (4, 6, 3), (2, 3, 3), 6),
    "Dense": ({"units": 5, "activation": tf.tanh}, (7,), (5,), 40),
    "MaxPool": ({"size": 3, "stride": 2}, (7, 9, 2), (3, 4, 2), 0),
    "AveragePool": ({}, (4, 6, 3), (2, 3, 3), 0),
    "AveragePool same": ({"size": 3, "stride": 2, "padding": "SAME"}, (5, 6, 2), (3, 3, 2), 0),
    "LRN": ({"n": 3, "alpha": 0.1}, (3, 4, 6), (3, 4, 6), 0),
    "BatchNorm": ({"momentum": 0.9}, (3, 4, 2), (3, 4, 2), 4),
    "BatchNorm unscaled": ({"scale": False, "activation": tf.tanh}, (3, 4, 2), (3, 4, 2), 2),
    "Dropout": ({"rate": 0.4}, (3, 4, 2), (3, 4, 2), 0),
    "Inception": (
        {
            "conv1x1": 2,
            "conv3x3_reduce": 1,
            "conv3x3": 2,
            "conv5x5_reduce": 1,
            "conv5x5": 2,
            "pool_proj": 1,
            "activation": tf.tanh,
        },
        (3, 4, 2),
        (3, 4, 7),
        87,
    ),
    "Conv2D without bias": ({"filters": 4, "size": 3, "groups": 2, "bias": False}, (5, 6, 2), (5, 6, 4), 36),
    "Dense without bias": ({"units": 3, "bias": False}, (5,), (3,), 15),
    "Whitening": ({"size": 2}, (5, 6, 3), (4, 5, 24), 24),
    "Flatten": ({}, (3, 4, 2), (24,), 0),
    "RBF": ({"centres": np.sign(np.sin(np.arange(1, 31, dtype=np.float32))).reshape(5, 6)}, (6,), (5,), 0),
}
every_layer = pytest.mark.parametrize("case", CASES)


def build(case, seed=0):
    kwargs, input_shape, _, _ = CASES[case]
    kind = case.split()[0]
    return getattr(layers, kind)(**kwargs, input_shape=input_shape, seed=seed)


def images(case, rng, dtype=np.float32, count=2):
    return tf.constant(rng.normal(size=(count, *CASES[case][1])).astype(dtype))


def test_every_layer_has_a_descriptor():
    public = {
        name
        for name, member in inspect.getmembers(layers, inspect.isclass)
        if issubclass(member, layers.Layer) and member is not layers.Layer and not name.startswith("_")
    }
    assert public == {case.split()[0] for case in CASES}


@every_layer
def test_static_shape_is_the_run_shape(case, rng):
    layer = build(case)
    assert layer.out_shape == CASES[case][2]
    assert layer(images(case, rng)).shape[1:] == layer.out_shape


@every_layer
def test_parameters(case):
    layer = build(case)
    assert layer.num_params() == CASES[case][3] == sum(math.prod(v.shape) for v in named_weights(layer).values())
    assert all(v.dtype == tf.float32 for v in layer.variables if v.dtype.is_floating)


@every_layer
def test_eager_equals_graph(case, rng):
    layer, x = build(case), images(case, rng)
    np.testing.assert_allclose(layer(x), tf.function(layer)(x), rtol=1e-6, atol=1e-6)


@every_layer
def test_computes_in_the_dtype_of_its_input(case, rng):
    layer, x = build(case), images(case, rng)
    narrow = layer(tf.cast(x, tf.bfloat16))
    assert narrow.dtype == tf.bfloat16 and layer(tf.cast(x, tf.float64)).dtype == tf.float64
    np.testing.assert_allclose(tf.cast(narrow, tf.float32), layer(x), rtol=0.05, atol=0.05)


@every_layer
def test_every_weight_and_the_input_have_a_gradient(case, rng):
    layer, x = build(case), images(case, rng)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x, training=True) ** 2)
    for gradient in tape.gradient(total, [x, *named_weights(layer).values()]):
        assert gradient is not None and float(tf.norm(gradient)) > 0


@every_layer
def test_numeric_gradient_of_the_input(case, rng):
    assert_gradients_match(build(case), images(case, rng, np.float64, count=1).numpy())


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][3]])
def test_numeric_gradient_of_the_weights(case, rng):
    """The weights are float32, so the step is a power of two and the difference is divided by what it became."""
    layer, x = build(case), images(case, rng, np.float64, count=1)
    scale = tf.constant(np.cos(np.arange(math.prod(layer.out_shape))).reshape(layer.out_shape))
    value = tf.function(lambda: tf.reduce_sum(layer(x) * scale))
    for weight in named_weights(layer).values():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x) * scale)
        gradient, start = tape.gradient(total, weight).numpy(), weight.numpy()
        for i in np.ndindex(start.shape):
            ends, values = [], []
            for h in (2.0**-10, -(2.0**-10)):
                moved = start.copy()
                moved[i] += np.float32(h)
                weight.assign(moved)
                ends.append(float(moved[i]))
                values.append(float(value()))
            numeric = (values[0] - values[1]) / (ends[0] - ends[1])
            assert gradient[i] == pytest.approx(numeric, rel=1e-4, abs=1e-5)
        weight.assign(start)


@every_layer
def test_save_and_load(case, rng, tmp_path):
    one, other, x = build(case, seed=1), build(case, seed=2), images(case, rng)
    save_weights(one, tmp_path / "w.npz")
    load_weights(other, tmp_path / "w.npz")
    np.testing.assert_array_equal(one(x), other(x))


@every_layer
def test_the_seed_decides_the_weights(case):
    same = [[v.numpy() for v in build(case, seed=5).trainable_variables] for _ in range(2)]
    for a, b in zip(*same, strict=True):
        np.testing.assert_array_equal(a, b)
    if "w" in named_weights(build(case)):
        assert not np.array_equal(build(case, seed=5).w, build(case, seed=6).w)


@pytest.mark.parametrize(
    ("case", "make"),
    [
        ("Conv2D", lambda: keras.layers.Conv2D(4, 3, padding="same", activation="tanh")),
        ("Conv2D strided", lambda: keras.layers.Conv2D(4, 3, strides=2, padding="valid")),
        ("Dense", lambda: keras.layers.Dense(5, activation="tanh")),
        ("MaxPool", lambda: keras.layers.MaxPooling2D(3, 2)),
        ("AveragePool", lambda: keras.layers.AveragePooling2D(2)),
        ("AveragePool same", lambda: keras.layers.AveragePooling2D(3, 2, padding="same")),
        ("Flatten", keras.layers.Flatten),
        ("Conv2D groups", lambda: keras.layers.Conv2D(6, 3, padding="same", groups=2, activation="tanh")),
    ],
)
def test_equals_keras(case, make, rng):
    ours, x, theirs = build(case), images(case, rng), make()
    theirs.build((None, *CASES[case][1]))
    theirs.set_weights([v.numpy() for v in named_weights(ours).values()])
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_batch_norm_equals_keras_in_training_and_after(rng):
    ours, theirs = build("BatchNorm"), keras.layers.BatchNormalization(momentum=0.9)
    ours.updates.assign(ENOUGH)  # Keras's averages count as full from the start
    theirs.build((None, 3, 4, 2))
    gamma, beta = rng.normal(size=(2, 2)).astype(np.float32)
    ours.gamma.assign(gamma)
    ours.beta.assign(beta)
    theirs.set_weights([gamma, beta, np.zeros(2), np.ones(2)])
    x = images("BatchNorm", rng, count=3) * 3 + 1
    np.testing.assert_allclose(ours(x, training=True), theirs(x, training=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    pixels = 3 * 3 * 4  # Keras keeps the biased variance, Ioffe & Szegedy the unbiased one
    biased = (theirs.moving_variance - 0.9) * pixels / (pixels - 1) + 0.9
    np.testing.assert_allclose(ours.moving_variance, biased, rtol=1e-4)
    for moving, value in ((theirs.moving_variance, ours.moving_variance), (theirs.moving_mean, ours.moving_mean)):
        moving.assign(value)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_moving_averages_are_the_mean_of_what_was_seen_until_there_is_enough(rng):
    """With momentum 0.75: the plain mean of the first four batches, and from then on a quarter of each new one."""
    layer = layers.BatchNorm(0.75, input_shape=(3, 4, 2))
    batches = rng.normal(2.0, 3.0, (7, 5, 3, 4, 2)).astype(np.float32)
    means = batches.mean(axis=(1, 2, 3), dtype=np.float64)
    variances = batches.astype(np.float64).reshape(7, -1, 2).var(axis=1, ddof=1)
    for seen, batch in enumerate(batches, 1):
        layer(batch, training=True)
        if seen <= 4:
            mean, variance = means[:seen].mean(axis=0), variances[:seen].mean(axis=0)
        else:
            mean, variance = 0.75 * mean + 0.25 * means[seen - 1], 0.75 * variance + 0.25 * variances[seen - 1]
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    assert int(layer.updates) == 7


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.bfloat16])
def test_an_empty_batch_leaves_the_moving_averages_as_they_are(rng, dtype):
    layer = build("BatchNorm")
    layer(images("BatchNorm", rng), training=True)
    before = [v.numpy() for v in layer.variables]
    empty = tf.zeros((0, 3, 4, 2), dtype)
    assert layer(empty, training=True).shape == (0, 3, 4, 2)
    tf.function(layer, input_signature=[tf.TensorSpec((None, 3, 4, 2), dtype)], autograph=False)(empty)
    for value, v in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(value, v)


@every_layer
def test_an_empty_batch_has_its_shape_and_gradients_of_zero(case):
    layer, x = build(case), tf.zeros((0, *CASES[case][1]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(x, training=True))
    assert layer(x).shape == (0, *layer.out_shape) and float(total) == 0.0
    for weight, gradient in zip(
        layer.trainable_variables, tape.gradient(total, layer.trainable_variables), strict=True
    ):
        np.testing.assert_array_equal(gradient, np.zeros(weight.shape))


@pytest.mark.parametrize("case", ["Dropout", "BatchNorm"])
@pytest.mark.parametrize("training", [tf.constant(True), 1, None])
def test_training_is_a_python_bool(case, rng, training):
    with pytest.raises(UsageError, match="training is a Python bool, True or False, not"):
        build(case)(images(case, rng), training=training)


def test_batch_norm_has_the_same_gradients_in_float32_and_float64(rng):
    """The float64 form is written with `tf.nn.moments`, the float32 form is TensorFlow's fused kernel."""
    x, found = images("BatchNorm", rng, count=3), []
    for dtype in (tf.float32, tf.float64):
        layer, wide = build("BatchNorm"), tf.cast(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(wide)
            total = tf.reduce_sum(tf.cast(tf.sin(layer(wide, training=True)), tf.float32))
        found.append(tape.gradient(total, [wide, layer.gamma, layer.beta]) + [layer.moving_variance])
    for narrow, wide in zip(*found, strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_its_share_and_the_mean_and_goes_on_from_its_counter():
    layer, x = layers.Dropout(0.3, input_shape=(1000,), seed=7), tf.ones((100, 1000))
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    for y in (first, second):
        assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
        assert (y > 0).mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.3 * 0.7 / y.size))
    assert (first != second).mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.01)
    resumed = layers.Dropout(0.3, input_shape=(1000,), seed=7)
    resumed.calls.assign(1)
    np.testing.assert_array_equal(resumed(x, training=True), second)
    np.testing.assert_array_equal(layer(x), x)


def test_inception_is_its_four_branches_written_out(rng):
    """Against the raw ops of figure 2b, in the order of table 1."""
    module, x = build("Inception"), images("Inception", rng)
    w = {name.removesuffix("/w"): v for name, v in named_weights(module).items() if name.endswith("/w")}

    def conv(x, name):
        return tf.tanh(tf.nn.conv2d(x, w[name], 1, "SAME"))

    branches = (
        conv(x, "conv1x1"),
        conv(conv(x, "conv3x3_reduce"), "conv3x3"),
        conv(conv(x, "conv5x5_reduce"), "conv5x5"),
        conv(tf.nn.max_pool2d(x, 3, 1, "SAME"), "pool_proj"),
    )
    np.testing.assert_allclose(module(x), tf.concat(branches, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [30, 300])
def test_without_a_choice_the_signal_keeps_its_scale_whatever_the_fan_in(width, rng):
    """Ten layers. A deviation of 0.1 would shrink it a thousandfold at 30 inputs and enlarge it 60 times at 300."""
    x = tf.constant(rng.normal(size=(100, width)), tf.float32)
    for seed in range(10):
        x = layers.Dense(width, input_shape=(width,), seed=seed)(x)
    assert 0.3 < np.std(x) < 3


def test_every_layer_with_weights_begins_by_its_fan_in():
    conv = layers.Conv2D(64, 3, input_shape=(8, 8, 32), groups=2)
    assert np.std(conv.w) == pytest.approx(1 / np.sqrt(3 * 3 * 16), rel=0.05)
    partial = layers.PartialConv2D("\n".join(["X X"] * 100 + [". X"] * 300), 5, input_shape=(9, 9, 400))
    of_first = np.arange(200)[::2]  # connections in reading order: those of the first map are every second of 200
    assert np.std(partial.w.numpy()[..., of_first]) == pytest.approx(1 / np.sqrt(25 * 100), rel=0.05)
    assert np.std(partial.w.numpy()[..., 200:]) == pytest.approx(1 / np.sqrt(25 * 400), rel=0.05)
    assert np.std(layers.Subsample(2, input_shape=(4, 4, 900)).w) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("drawing", ["X.X\nXX.", "X . X\nX X .", "  X.X\n  XX.\n", "X .X\nXX ."])
def test_blanks_in_a_drawing_do_not_count(drawing):
    layer = layers.PartialConv2D(drawing, 3, input_shape=(6, 6, 2))
    np.testing.assert_array_equal(layer.table, [[True, False, True], [True, True, False]])


def test_lecun_uniform_is_bounded_by_each_units_own_fan_in():
    layer = layers.PartialConv2D("X X\n. X", 5, input_shape=(9, 9, 2), w_init=lecun_uniform())
    bounds = 2.4 / np.array([25, 50, 50])  # connections in reading order: (0, 0), (0, 1), (1, 1)
    largest = np.abs(layer.w.numpy()).max(axis=(0, 1))
    assert (largest <= bounds).all() and (largest > 0.8 * bounds).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(4, 3, input_shape=(6,)), r"Conv2D needs \(height, width, channels\), not \(6,\)"),
        (lambda: layers.Conv2D(4, 3, input_shape=(6, 6, 3), groups=2), "3 channels and 4 filters cannot both be cut"),
        (lambda: layers.Dropout(1.0, input_shape=(3,)), "from 0 up to but not 1"),
        (lambda: layers.Dense(3, input_shape=(2, 2, 1)), "put a Flatten row before it"),
        (lambda: layers.PartialConv2D("X X", 3, input_shape=(6, 6, 2)), "needs 2 rows"),
        (lambda: layers.PartialConv2D("X.\nX.", 3, input_shape=(6, 6, 2)), "in every column, but column 2 has none"),
        (lambda: layers.PartialConv2D("XX\nX", 3, input_shape=(6, 6, 2)), "row 1 has 2 cells and row 2 has 1"),
        (lambda: layers.PartialConv2D("Xx", 3, input_shape=(6, 6, 1)), "row 1 has 'x'"),
        (lambda: layers.PartialConv2D(" ", 3, input_shape=(6, 6, 1)), "the drawing is empty"),
        (lambda: layers.PartialConv2D(np.ones(3), 3, input_shape=(6, 6, 3)), r"two axes, not 1: \(3,\)"),
        (lambda: layers.PartialConv2D(np.ones((2, 0)), 3, input_shape=(6, 6, 2)), "there is no column"),
        (lambda: layers.RBF(np.zeros((3, 4), np.float32), input_shape=(5,)), "centres of 4 numbers"),
    ],
)
def test_errors_name_the_rule(make, message):
    with pytest.raises(UsageError, match=message):
        make()
