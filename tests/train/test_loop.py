"""Training: it learns, its shards add up, it resumes exactly, and it is traced once."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.augment import distort
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.data.views import random_crop
from rawcnn.errors import RunError, UsageError
from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.train import checkpoints, losses, schedules
from rawcnn.train.evaluate import evaluate, make_eval_step
from rawcnn.train.fit import train_epochs
from rawcnn.train.optimizers import SGD, Adam
from rawcnn.train.step import TrainState, make_train_step

TABLE = (
    ("conv", row(Conv2D, activation=tf.nn.relu)(3, 3, stride=2)),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(4)),
)
BATCH, EPOCHS, PER_EPOCH = 8, 3, 5  # 43 images: 5 whole batches


@pytest.fixture
def source(rng):
    labels = np.arange(43, dtype=np.int32) % 4
    images = rng.integers(0, 80, size=(43, 8, 8, 1), dtype=np.uint8)
    images[np.arange(43), labels * 2, :, 0] = 255
    return Source(images, labels, tuple("abcd"))


def start(shards=1, seed=0):
    net = Chain(TABLE, input_shape=(8, 8, 1), seed=seed)
    state = TrainState(net, Adam(named_weights(net), schedules.cosine(0.01, EPOCHS * PER_EPOCH)))
    return state, make_train_step(state, losses.softmax_cross_entropy, Preprocess(), shards=shards)


def train(state, step, source, **kwargs):
    return list(train_epochs(state, step, source, batch_size=BATCH, epochs=EPOCHS, seed=3, augment=distort, **kwargs))


def values(state):
    return {name: v.numpy() for name, v in named_variables(state).items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_the_loss_falls_on_a_repeated_batch(source):
    net = Chain(TABLE, input_shape=(8, 8, 1))
    state = TrainState(net, Adam(named_weights(net), 0.01))
    step = make_train_step(state, losses.softmax_cross_entropy, Preprocess())
    batch = tf.data.Dataset.from_tensors((source.images[:BATCH], source.labels[:BATCH])).repeat()
    losses_ = step(iter(batch), tf.constant(60)).loss.numpy()
    assert losses_[-1] < 0.2 * losses_[0] and int(state.step) == 60


def test_one_step_is_the_plain_gradient_step(source):
    """Against a GradientTape and an update written out here."""
    net = Chain(TABLE, input_shape=(8, 8, 1))
    state = TrainState(net, SGD(named_weights(net), 0.1))
    x, y = source.images[:BATCH], source.labels[:BATCH]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses.softmax_cross_entropy(net(x / np.float32(255)), tf.constant(y)))
    expected = [
        w - 0.1 * g for w, g in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables), strict=True)
    ]
    right = int((np.argmax(net(x / np.float32(255)), axis=1) == y).sum())
    step = make_train_step(state, losses.softmax_cross_entropy, Preprocess())
    results = step(iter(tf.data.Dataset.from_tensors((x, y))), tf.constant(1))
    assert float(results.loss[0]) == pytest.approx(float(loss), rel=1e-6) and int(results.correct[0]) == right
    for variable, wanted in zip(net.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, wanted, rtol=1e-5, atol=1e-7)


def test_parts_side_by_side_are_the_same_update(source):
    whole, shards = start(), start(shards=4)
    train(*whole, source)
    train(*shards, source)
    for name, value in values(whole[0]).items():
        np.testing.assert_allclose(value, values(shards[0])[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 7, PER_EPOCH, PER_EPOCH + 1])
def test_a_run_cut_anywhere_resumes_bitwise(source, cut, tmp_path):
    through = start()
    reports = train(*through, source)

    stopped = start()
    for now in train_epochs(
        *stopped, source, batch_size=BATCH, epochs=EPOCHS, seed=3, augment=distort, pause_every=cut
    ):
        if now.step == cut:
            break
    sums = {} if now.epoch_ended else {"loss_sum": now.loss_sum, "correct": now.correct}
    checkpoints.save(tmp_path, stopped[0], {"sums": sums})

    resumed = start(seed=99)  # whatever it is born with must be overwritten
    saved = checkpoints.newest(tmp_path)
    saved.restore(resumed[0])
    again = train(*resumed, source, **saved.meta["sums"])
    assert_same(values(through[0]), values(resumed[0]))
    ends = [[(r.epoch, r.step, r.loss, r.accuracy) for r in run if r.epoch_ended] for run in (reports, again)]
    assert ends[0][-len(ends[1]) :] == ends[1] and len(ends[0]) == EPOCHS


def test_steps_per_call_change_nothing(source):
    slow, fast = start(), start()
    one_by_one = train(*slow, source, seconds_per_call=1e-9)
    many = train(*fast, source, seconds_per_call=60.0)
    assert len(one_by_one) == EPOCHS * PER_EPOCH > len(many)
    assert_same(values(slow[0]), values(fast[0]))
    assert [r.loss for r in one_by_one if r.epoch_ended] == [r.loss for r in many if r.epoch_ended]


def test_fit_reports_where_it_stands_and_pauses_where_it_is_told(source):
    state, step = start()
    reports = train(state, step, source, pause_every=4)
    assert {4, 8, 12} | {5, 10, 15} <= {r.step for r in reports}
    assert [r.epoch for r in reports if r.epoch_ended] == [1, 2, 3] and reports[-1].seconds_left == 0
    assert all(0 <= r.data_share <= 1 and r.images_per_second > 0 and 0 <= r.accuracy <= 1 for r in reports)


def test_no_speed_counts_the_seconds_of_tracing(source):
    """The first call makes no step: it traces, before any clock is read."""
    state, step = start()
    counts = []

    def counted(iterator, n):
        counts.append(int(n))
        return step(iterator, n)

    train(state, counted, source)
    assert counts[0] == 0 and sum(counts) == EPOCHS * PER_EPOCH and step.experimental_get_tracing_count() == 1


def test_each_step_function_is_traced_once(source):
    state, step = start(shards=2)
    eval_step = make_eval_step(state.net, losses.softmax_cross_entropy, Preprocess(), shards=2)
    train(state, step, source)
    for count in (43, 17, 1):
        evaluate(eval_step, source.take(np.arange(count)), batch_size=16)
    assert step.experimental_get_tracing_count() == eval_step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("count", [43, 16, 1])
def test_evaluation_is_that_of_every_image_once(source, count):
    net, some = Chain(TABLE, input_shape=(8, 8, 1)), source.take(np.arange(count))
    step = make_eval_step(net, losses.softmax_cross_entropy, Preprocess(), shards=2)
    got = evaluate(step, some, batch_size=16)
    logits = net(some.images / np.float32(255)).numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got.probabilities, probabilities, rtol=1e-4, atol=1e-6)
    right = probabilities[np.arange(count), some.labels]
    assert got.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)
    assert got.accuracy == (probabilities.argmax(axis=1) == some.labels).mean()


def test_a_batch_that_cannot_be_filled_is_refused(source):
    with pytest.raises(UsageError, match="43 training images fill no batch of 44"):
        next(train_epochs(*start(), source, batch_size=44, epochs=1, seed=0))


def test_a_loss_that_is_no_number_stops_training(source):
    state, step = start()
    state.net.logits.b.assign([np.nan, 0, 0, 0])
    with pytest.raises(RunError, match="Step 1 would make weights that are not finite and was skipped: loss nan"):
        train(state, step, source)


def test_heads_count_by_name_with_their_weights(source):
    """One step of SGD moves every weight by the gradient of loss + 0.3 loss(aux), as a tape by hand gives it."""
    heads = {"aux": ("conv", (("flat", row(Flatten)()), ("logits", row(Dense)(4))))}
    net = Chain(TABLE, input_shape=(8, 8, 1), heads=heads)
    x, y = Preprocess()(source.images[:BATCH]), tf.constant(source.labels[:BATCH])
    before = {name: tf.identity(v) for name, v in named_weights(net).items()}
    with tf.GradientTape() as tape:
        flat = tf.reshape(net.conv(x), (BATCH, -1))
        main, aux = (
            tf.nn.sparse_softmax_cross_entropy_with_logits(y, tf.matmul(flat, dense.w) + dense.b)
            for dense in (net.logits, net.aux.logits)
        )
        total = tf.reduce_mean(main) + 0.3 * tf.reduce_mean(aux)
    gradients = dict(zip(before, tape.gradient(total, list(named_weights(net).values())), strict=True))
    state = TrainState(net, SGD(named_weights(net), 0.5))
    step = make_train_step(state, losses.softmax_cross_entropy, Preprocess(), head_weights={"aux": 0.3})
    batch = tf.data.Dataset.from_tensors((source.images[:BATCH], source.labels[:BATCH]))
    loss = step(iter(batch), tf.constant(1)).loss[0]
    np.testing.assert_allclose(loss, tf.reduce_mean(main), rtol=1e-5)  # the head's loss is not reported
    for name, weight in named_weights(net).items():
        np.testing.assert_allclose(weight, before[name] - 0.5 * gradients[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_averages_equal_tensorflows(source):
    net = Chain(TABLE, input_shape=(8, 8, 1))
    state = TrainState(net, Adam(named_weights(net), 0.05), decay=0.9)
    step = make_train_step(state, losses.softmax_cross_entropy, Preprocess())
    peer, copy = tf.train.ExponentialMovingAverage(0.9, num_updates=tf.Variable(0)), tf.Variable(net.conv.w)
    peer.apply([copy])
    for now in train_epochs(state, step, source, batch_size=BATCH, epochs=EPOCHS, seed=3, pause_every=1):
        copy.assign(net.conv.w)
        peer._num_updates = tf.constant(now.step)
        peer.apply([copy])
    np.testing.assert_allclose(state.averages["conv/w"], peer.average(copy), rtol=1e-5, atol=1e-6)
    own = net.conv.w.numpy()
    with state.averaged():
        np.testing.assert_array_equal(net.conv.w, state.averages["conv/w"])
    np.testing.assert_array_equal(net.conv.w, own)
    assert not np.array_equal(own, state.averages["conv/w"])


def test_several_views_are_averaged(source):
    net = Chain(TABLE, input_shape=(8, 8, 1), seed=4)
    step = make_eval_step(net, losses.softmax_cross_entropy, Preprocess())
    views = np.stack([source.images[:6], source.images[6:12]], axis=1)
    _, got = step(tf.constant(views), tf.constant(source.labels[:6]))
    one, other = (tf.nn.softmax(net(Preprocess()(source.images[part]))) for part in (slice(0, 6), slice(6, 12)))
    np.testing.assert_allclose(got, (one + other) / 2, rtol=1e-5)


RANDOM_TABLE = (
    ("conv", row(Conv2D, activation=tf.nn.relu)(3, 3)),
    ("bn", row(BatchNorm)(0.9)),
    ("drop", row(Dropout)(0.3)),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(4)),
)


@pytest.mark.parametrize("cut", [1, 7, PER_EPOCH, PER_EPOCH + 1])
def test_dropout_batch_norm_averages_and_random_views_resume_exactly(source, tmp_path, cut):
    def begin():
        net = Chain(RANDOM_TABLE, input_shape=(6, 6, 1))
        state = TrainState(net, Adam(named_weights(net), 0.01, weight_decay=1e-3), decay=0.9)
        return state, make_train_step(state, losses.softmax_cross_entropy, Preprocess())

    def go_on(state, step, **kwargs):
        views = {"crop": random_crop(0.75), "size": 6}
        yield from train_epochs(state, step, source, batch_size=BATCH, epochs=EPOCHS, seed=3, **views, **kwargs)

    whole, step = begin()
    list(go_on(whole, step))
    first, step = begin()
    for now in go_on(first, step, pause_every=cut):
        if now.step == cut:
            break
    checkpoints.save(tmp_path, first, {})
    second, step = begin()
    checkpoints.newest(tmp_path).restore(second)
    list(go_on(second, step))
    assert_same(values(second), values(whole))


def test_head_weights_must_name_the_heads(source):
    heads = {"aux": ("conv", (("flat", row(Flatten)()), ("logits", row(Dense)(4))))}
    for net, weights in ((Chain(TABLE, input_shape=(8, 8, 1), heads=heads), None), (start()[0].net, {"aux": 0.3})):
        state = TrainState(net, SGD(named_weights(net), 0.5))
        with pytest.raises(UsageError, match="give head_weights for exactly these"):
            make_train_step(state, losses.softmax_cross_entropy, Preprocess(), head_weights=weights)
