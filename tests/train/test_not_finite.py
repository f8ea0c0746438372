"""An update that is not finite is never made and never saved, and its error says which, why and what to try."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.batches import batch_indices, batches
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.errors import RunError
from rawcnn.layers import Conv2D, Dense, Flatten
from rawcnn.layers.variables import named_variables, named_weights, truncated_normal
from rawcnn.nets.chain import Chain, row
from rawcnn.run.record import Epoch, is_better
from rawcnn.train import checkpoints, losses
from rawcnn.train.finite import SMALL, half_square
from rawcnn.train.fit import train_epochs
from rawcnn.train.optimizers import OPTIMIZERS
from rawcnn.train.step import TrainState, make_train_step

WIDE = {"w_init": truncated_normal(0.1)}  # wide enough for pixels of 1e38 to overflow within the net
CONV = row(Conv2D, activation=tf.nn.relu, **WIDE)
TABLE = (("conv", CONV(3, 3)), ("flat", row(Flatten)()), ("logits", row(Dense, **WIDE)(4)))
BATCH = 8


@pytest.fixture
def source(rng):
    """43 images; the one called 17 is white, all others are darker."""
    images = rng.integers(0, 80, size=(43, 8, 8, 1), dtype=np.uint8)
    images[17] = 255
    return Source(images, np.arange(43, dtype=np.int32) % 4, tuple("abcd"))


def start(optimizer="adam", poison=None, shards=1):
    net = Chain(TABLE, input_shape=(8, 8, 1), seed=1)
    state = TrainState(net, OPTIMIZERS[optimizer](named_weights(net), 0.01))

    def preprocess(images):
        x = Preprocess()(images)
        return x if poison is None else tf.where(tf.reduce_all(images == 255, axis=(1, 2, 3), keepdims=True), poison, x)

    return state, make_train_step(state, losses.softmax_cross_entropy, preprocess, shards=shards)


def run(state, step, source, **kwargs):
    return list(train_epochs(state, step, source, batch_size=BATCH, epochs=1, seed=3, **kwargs))


def step_of_the_white_image(source):
    """Counted from 0; None if the epoch leaves it out."""
    return next((g for g in range(5) if 17 in batch_indices(source, BATCH, seed=3, number=g)), None)


@pytest.mark.parametrize("number", [0, 4, 5, 12])
def test_batch_indices_are_those_of_batches(source, number):
    images, labels = next(iter(batches(source, BATCH, seed=3, start=number)))
    chosen = batch_indices(source, BATCH, seed=3, number=number)
    np.testing.assert_array_equal(images, source.images[chosen])
    np.testing.assert_array_equal(labels, source.labels[chosen])


ONE_BY_ONE, AT_ONCE = {"seconds_per_call": 1e-9}, {"seconds_per_call": 60.0}
CASES = [  # each optimizer with both ways of calling; not every combination
    ("adam", np.nan, AT_ONCE, 1), ("adam", np.inf, ONE_BY_ONE, 2), ("adam", 1e38, AT_ONCE, 2),
    ("sgd", np.inf, AT_ONCE, 1), ("sgd", np.nan, ONE_BY_ONE, 2),
    ("momentum", 1e38, ONE_BY_ONE, 1), ("momentum", np.nan, AT_ONCE, 2),
    ("nesterov", np.nan, ONE_BY_ONE, 1), ("nesterov", np.inf, AT_ONCE, 2),
    ("muon", np.nan, AT_ONCE, 1), ("muon", np.inf, ONE_BY_ONE, 2),
]  # fmt: skip


def test_every_optimizer_is_tried():
    assert {case[0] for case in CASES} == set(OPTIMIZERS)


@pytest.mark.parametrize(("optimizer", "poison", "calls", "shards"), CASES)
def test_the_bad_update_is_not_made_and_is_explained(source, optimizer, poison, calls, shards):
    at = step_of_the_white_image(source)
    assert at is not None  # or choose another seed
    good, step = start(optimizer, shards=shards)
    for now in train_epochs(good, step, source, batch_size=BATCH, epochs=1, seed=3, pause_every=at or None):
        if at and now.step == at:
            break
    bad, step = start(optimizer, np.float32(poison), shards)
    if at == 0:
        good, _ = start(optimizer)
    with pytest.raises(RunError) as error:
        run(bad, step, source, **calls)
    message = str(error.value)
    assert f"Step {at + 1} would make weights that are not finite and was skipped" in message
    assert "learning rate 0.01" in message and "gradient norm" in message and "10 times smaller" in message
    first = batch_indices(source, BATCH, seed=3, number=at)[:8]
    assert f"Its images: numbers {', '.join(map(str, first))}" in message
    for name, value in named_variables(good).items():
        np.testing.assert_array_equal(value, named_variables(bad)[name], err_msg=name)


def test_a_finite_run_is_as_it_was(source):
    """The check changes no bit: the same steps with the update written out."""
    state, step = start("sgd")
    twin, _ = start("sgd")
    data = iter(batches(source, BATCH, seed=3))
    step(data, tf.constant(3))
    data = iter(batches(source, BATCH, seed=3))
    for _ in range(3):
        images, labels = next(data)
        weights = list(named_weights(twin.net).values())
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.softmax_cross_entropy(twin.net(Preprocess()(images), training=True), labels))
        for weight, g in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(0.01 * g)
    for name, value in named_weights(twin.net).items():
        np.testing.assert_allclose(named_weights(state.net)[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("bad", ["weights", "slots"])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, bad):
    state, _ = start()
    checkpoints.save(tmp_path, state, {})
    state.step.assign(1)
    (state.net.logits.b if bad == "weights" else state.optimizer.slots["v"]["logits/b"]).assign([0, np.inf, 0, 0])
    with pytest.raises(RunError, match=r"logits/b hold numbers that are not finite"):
        checkpoints.save(tmp_path, state, {})
    assert checkpoints.newest(tmp_path).step == 0


def test_large_but_finite_numbers_are_saved(tmp_path):
    state, _ = start()
    state.net.logits.b.assign([3e38, 3e38, -3e38, 0])  # their sum overflows
    checkpoints.save(tmp_path, state, {})


@pytest.mark.parametrize(
    ("loss", "accuracy", "best", "expected"),
    [(0.5, 0.9, 0.8, True), (0.5, 0.9, None, True), (0.5, 0.8, 0.8, False), (np.nan, 0.9, 0.8, False),
     (np.nan, 0.9, None, False), (np.inf, 0.9, None, False), (0.5, np.nan, None, False)],
)  # fmt: skip
def test_nan_is_never_the_best(loss, accuracy, best, expected):
    def row(loss, accuracy):
        return Epoch(1, 9, 0.5, 0.5, loss, accuracy, 0.1, 1.0, 100.0)

    assert is_better(row(loss, accuracy), best and row(0.5, best)) is expected


def products(a, b):
    @tf.function
    def squares(a, b):
        w = tf.zeros((a.shape[1], b.shape[1]))
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tf.matmul(a, tf.cast(w, a.dtype))
        gradient = tape.gradient(y, w, output_gradients=b)
        return half_square(gradient), tf.reduce_sum(tf.square(gradient)), gradient

    return squares(a, b), squares.get_concrete_function(a, b)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_a_products_norm_is_that_of_its_factors(rng, dtype):
    a, b = (tf.constant(rng.normal(size=(8, n)), dtype) for n in (1024, SMALL // 1024))
    (got, wanted, _), graph = products(a, b)
    np.testing.assert_allclose(2 * got, wanted, rtol=1e-4 if dtype == tf.float32 else 1e-2)
    assert sum(op.type == "MatMul" for op in graph.graph.get_operations()) >= 3  # else the gradient was read
    assert not any(op.type == "L2Loss" for op in graph.graph.get_operations())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e25])
@pytest.mark.parametrize("both", [False, True])
def test_no_product_that_is_not_finite_passes(rng, value, both):
    a, b = (rng.normal(size=(8, n)).astype(np.float32) for n in (1024, SMALL // 1024))
    a[3, 5] = value
    if both:
        b[3, 7] = value
    (got, _, gradient), _ = products(tf.constant(a), tf.constant(b))
    if not np.isfinite(gradient).all():
        assert not np.isfinite(got)
