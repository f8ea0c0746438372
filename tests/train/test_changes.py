"""Weights of classes, mixed labels and accumulated gradients: against Keras and NumPy; they resume bit for bit."""

import re
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.batches import batches
from rawcnn.data.mixing import Mixed, cutmix, mixup
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.data.views import centre
from rawcnn.errors import RunError, UsageError
from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.testing import assert_resume_exact
from rawcnn.train import losses
from rawcnn.train.answers import evaluate
from rawcnn.train.changes import changes
from rawcnn.train.evaluate import class_scores, confusion_matrix
from rawcnn.train.fit import train_epochs
from rawcnn.train.optimizers import SGD, Adam
from rawcnn.train.simple import fit
from rawcnn.train.step import TrainState, make_train_step
from tests.command import ROOT
from tests.data.test_folder import photo, source_of

CONV, FLAT, LOGITS = ("conv", row(Conv2D, activation=tf.nn.relu)(4, 3)), ("flat", row(Flatten)()), row(Dense)(4)
TABLE = (CONV, FLAT, ("logits", LOGITS))
HEADS = {"aux": ("conv", (FLAT, ("logits", LOGITS)))}
BATCH = 16


@pytest.fixture
def source(rng):
    """75 images of four classes of 40, 20, 10 and 5, each with a bright row where its class says."""
    labels = rng.permutation(np.repeat(np.arange(4), (40, 20, 10, 5))).astype(np.int32)
    images = rng.integers(0, 80, size=(75, 8, 8, 1), dtype=np.uint8)
    images[np.arange(75), labels * 2, :, 0] = 255
    return Source(images, labels, tuple("abcd"))


def net_of(table=TABLE, **more):
    return Chain(table, input_shape=(8, 8, 1), **more)


def one_step(net, batch, loss=losses.softmax_cross_entropy, **more):
    """Loss, correct answers and all variables after one step of SGD with rate 1: their changes are the gradients."""
    state = TrainState(net, SGD(named_weights(net), 1.0))
    step = make_train_step(state, loss, Preprocess(), **more)
    done = step(iter(tf.data.Dataset.from_tensors(batch)), tf.constant(1))
    return float(done.loss[0]), int(done.correct[0]), {n: v.numpy() for n, v in named_variables(net).items()}


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


# Weights of classes


def test_class_weights_are_kerass(source):
    """Loss and updated weights of one step, with the same net, batch and weights."""
    weights = (0.5, 1.0, 2.0, 7.5)
    x, y = source.images[:BATCH], source.labels[:BATCH]
    net = net_of((FLAT, ("logits", LOGITS)))
    peer = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    peer.set_weights([net.logits.w.numpy(), net.logits.b.numpy()])
    peer.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs = peer.train_on_batch(x / np.float32(255), y, class_weight=dict(enumerate(weights)))
    ours, _, after = one_step(net, (x, y), losses.weighted(losses.softmax_cross_entropy, weights))
    assert ours == pytest.approx(float(theirs), rel=1e-5)
    np.testing.assert_allclose(after["logits/w"], peer.get_weights()[0], rtol=1e-4, atol=1e-6)


def test_validation_is_not_weighted(source):
    net = net_of()
    *_, last = fit(net, source, 2, batch_size=25, validation=source, class_weights=(9, 0, 0, 1), learning_rate=0.01)
    assert last.val_loss == evaluate(net, source).loss
    logs = log_softmax(net(source.images / np.float32(255)).numpy())
    assert last.val_loss == pytest.approx(-logs[np.arange(75), source.labels].mean(), rel=1e-4)


def test_scores_of_classes_are_those_of_their_definitions(rng):
    labels, said = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    said[said == 2] = 1  # nothing is called 2
    scores = class_scores(confusion_matrix(labels, said, 5))  # and nothing is 3 or 4
    f1 = []
    for k in range(3):
        hits = ((labels == k) & (said == k)).sum()
        precision, recall = hits / max((said == k).sum(), 1), hits / (labels == k).sum()
        f1.append(2 * precision * recall / (precision + recall) if hits else 0.0)
        got = scores.precision[k], scores.recall[k], scores.f1[k]
        np.testing.assert_allclose(got, (precision, recall, f1[-1]))
    assert scores.f1[2] == 0 == scores.f1[4] and scores.macro_f1 == pytest.approx(np.mean(f1))


# Mixed labels


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_mixed_labels_is_the_cross_entropy_with_soft_ones(smoothing, rng):
    logits, a, b = rng.normal(size=(6, 4)), rng.integers(0, 4, 6), rng.integers(0, 4, 6)
    lam = rng.uniform(size=6).astype(np.float32)
    soft = lam[:, None] * np.eye(4)[a] + (1 - lam[:, None]) * np.eye(4)[b]
    expected = -((soft * (1 - smoothing) + smoothing / 4) * log_softmax(logits)).sum(axis=1)
    loss = losses.training_loss(losses.softmax_cross_entropy, smoothing)
    got = losses.of_labels(loss, tf.constant(logits), Mixed(tf.constant(a), tf.constant(b), tf.constant(lam)))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_weights_of_mixed_labels_are_those_of_both_classes(rng):
    logits, weights = rng.normal(size=(2, 3)).astype(np.float32), np.array([1.0, 4.0, 0.5])
    logs = log_softmax(logits)
    mixed = Mixed(tf.constant([0, 1]), tf.constant([1, 2]), tf.constant([0.25, 0.9]))
    loss = losses.training_loss(losses.softmax_cross_entropy, class_weights=weights)
    expected = [-(0.25 * logs[0, 0] + 0.75 * 4 * logs[0, 1]), -(0.9 * 4 * logs[1, 1] + 0.1 * 0.5 * logs[1, 2])]
    np.testing.assert_allclose(losses.of_labels(loss, tf.constant(logits), mixed), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("heads", "more"),
    [({}, {}), (HEADS, {"shards": 4}), (HEADS, {"accumulate": 2, "shards": 2})],
    ids=["whole", "shards", "pieces"],
)
def test_a_step_on_mixed_images_is_that_of_a_tape(source, heads, more):
    """However the batch is cut, and for every head."""
    x, mixed = mixup(tf.constant(source.images[:BATCH]), tf.constant(source.labels[:BATCH]), tf.constant([1, 2]), 1.0)
    net = net_of(heads=heads)
    x01, names = x / 255.0, list(named_weights(net))
    soft = mixed.lam[:, None] * tf.one_hot(mixed.a, 4) + (1 - mixed.lam[:, None]) * tf.one_hot(mixed.b, 4)
    with tf.GradientTape() as tape:
        logits, ends = net.endpoints(x01, training=True)
        own = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, logits))
        total = own + sum(0.3 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, ends[h])) for h in heads)
    wanted = dict(zip(names, tape.gradient(total, list(named_weights(net).values())), strict=True))
    before = {name: weight.numpy() for name, weight in named_weights(net).items()}
    right = int((logits.numpy().argmax(axis=1) == np.where(mixed.lam >= 0.5, mixed.a, mixed.b)).sum())
    loss, correct, after = one_step(net, (x, mixed), head_weights=dict.fromkeys(heads, 0.3), **more)
    assert loss == pytest.approx(float(own), rel=1e-5) and correct == right
    for name in names:
        np.testing.assert_allclose(before[name] - after[name], wanted[name], rtol=1e-3, atol=1e-6, err_msg=name)


# Accumulated gradients


def relative(one, other):
    """The largest difference of two sets of variables, relative to the largest number of each variable."""
    assert one.keys() == other.keys()
    return max(np.abs(one[n] - other[n]).max() / max(np.abs(other[n]).max(), 1e-30) for n in one)


def trained(source, table=TABLE, steps=8, **more):
    net = net_of(table)
    state = TrainState(net, Adam(named_weights(net), 0.01))
    step = make_train_step(state, losses.softmax_cross_entropy, Preprocess(), **more)
    for now in train_epochs(state, step, source, batch_size=BATCH, epochs=steps // 4, seed=0):
        loss = now.loss
    return {n: v.numpy() for n, v in named_variables(net).items()}, loss


def test_accumulated_gradients_are_those_of_the_whole_batch(source):
    whole, loss = trained(source)
    for more in ({"accumulate": 4}, {"accumulate": 16}, {"accumulate": 2, "shards": 4}):
        pieces, its_loss = trained(source, **more)
        assert relative(pieces, whole) < 1e-4 and its_loss == pytest.approx(loss, rel=1e-5), more


def test_batch_norm_sees_a_piece_at_a_time_and_dropout_draws_for_each(source):
    """As the help text says: both differ from the whole batch, and the counters count pieces."""
    for table, counter in (
        ((CONV, ("bn", row(BatchNorm)()), FLAT, ("logits", LOGITS)), "bn/updates"),
        ((CONV, ("drop", row(Dropout)(0.5)), FLAT, ("logits", LOGITS)), "drop/calls"),
    ):
        whole, _ = trained(source, table)
        pieces, _ = trained(source, table, accumulate=4)
        assert (whole[counter], pieces[counter]) == (8, 32) and relative(pieces, whole) > 1e-3


def test_an_update_that_is_not_finite_is_skipped_in_pieces_too(source):
    net = net_of()
    net.logits.b.assign([np.nan, 0, 0, 0])
    state = TrainState(net, SGD(named_weights(net), 1.0))
    step, before = make_train_step(state, losses.softmax_cross_entropy, Preprocess(), accumulate=4), net.conv.w.numpy()
    with pytest.raises(RunError, match="Step 1 would make weights that are not finite and was skipped: loss nan"):
        list(train_epochs(state, step, source, batch_size=BATCH, epochs=1, seed=0))
    np.testing.assert_array_equal(net.conv.w, before)


# All of it together

RANDOM = (CONV, ("bn", row(BatchNorm)()), ("drop", row(Dropout)(0.3)), FLAT, ("logits", LOGITS))


def test_all_of_it_resumes_bitwise(source):
    """mixup or CutMix, TrivialAugment, erasing, balanced batches, weights, smoothing, pieces, a head, dropout."""
    more = changes(
        source, losses.softmax_cross_entropy, BATCH, label_smoothing=0.1, augment="trivial", erase=0.5, mixup=0.2,
        cutmix=1.0, weights=(1, 2, 3, 4), balanced=True, accumulate=2,
    )  # fmt: skip

    def train_fn():
        net = net_of(RANDOM, heads=HEADS)
        state = TrainState(net, Adam(named_weights(net), 0.01), decay=0.9)
        step = make_train_step(state, more.loss, Preprocess(), accumulate=2, head_weights={"aux": 0.3})

        def train_to(last):
            for now in train_epochs(
                state, step, source, batch_size=BATCH, epochs=3, seed=0, augment=more.augment, alternate=True,
                balanced=more.balanced, mix=more.mix, pause_every=last,
            ):  # fmt: skip
                if now.step == last:
                    break

        return state, train_to

    assert_resume_exact(train_fn, steps=7, cut=5)  # in the second epoch


def test_fit_takes_all_of_it(source):
    """It is the stratum below with the same arguments; and it still learns."""
    ours, theirs = net_of(), net_of()
    list(fit(ours, source, 2, batch_size=BATCH, seed=3, mixup=0.3, class_weights="balanced", accumulate=4,
             learning_rate=lambda step: 0.01, shards=1))  # fmt: skip
    state = TrainState(theirs, Adam(theirs, 0.01))
    loss = losses.weighted(losses.softmax_cross_entropy, [75 / (4 * n) for n in (40, 20, 10, 5)])
    step = make_train_step(state, loss, Preprocess(), accumulate=4)
    list(train_epochs(state, step, source, batch_size=BATCH, epochs=2, seed=3, mix=partial(mixup, alpha=0.3)))
    for name, weight in named_weights(ours).items():
        np.testing.assert_array_equal(weight, named_weights(theirs)[name], err_msg=name)
    *_, last = fit(net_of(), source, 30, validation=source, balanced_sampling=True, cutmix=1.0, erase=0.1,
                   learning_rate=0.01)  # fmt: skip
    assert last.val_accuracy == 1.0 and 0 < last.accuracy < 1


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"mixup": -1}, "mixup is the alpha of a Beta distribution, in 0 ... 1000"),
        ({"cutmix": float("nan")}, "cutmix is the alpha"),
        ({"cutmix": 1, "loss": "rbf_map"}, "cutmix makes images of two classes, and the loss rbf_map compares"),
        ({"mixup": 1, "batch_size": 1}, "a batch of 1 has no other"),
        ({"erase": 25}, "erase is a fraction of the images, in 0 ... 1, not 25"),
        ({"augment": "trivail"}, "There is no augment 'trivail': choose trivial. Did you mean 'trivial'?"),
        ({"accumulate": 3}, "A batch of 16 images cannot be cut into 3 equal pieces: make batch_size a multiple"),
        ({"accumulate": 0}, "accumulate is a whole number from 1 on, not 0"),
        ({"class_weights": "balanced", "balanced_sampling": True}, "both make up for the same thing"),
        ({"class_weights": (1, 2)}, "class_weights has 2 weights, but there are 4 classes"),
        ({"class_weights": (1, 2, 3, -1)}, "gives 'd' the weight -1"),
    ],
)
def test_what_makes_no_sense_is_refused_before_work(source, told, message):
    with pytest.raises(UsageError, match=message):
        fit(net_of(), source, **({"batch_size": BATCH} | told))


def test_balance_needs_an_image_of_each_class(source):
    few = source.take(np.flatnonzero(source.labels != 3))
    for told in ({"balanced_sampling": True}, {"class_weights": "balanced"}):
        with pytest.raises(UsageError, match="need an image of each class, and there is no training image of d"):
            fit(net_of(), few, **told)


def test_image_files_are_mixed_too(tmp_path):
    """From files of different sizes: CutMix of the views that the files give without it."""
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        photo(i, width=60 + i, height=45).save(path)
    view = {"seed": 0, "crop": centre(), "size": 12}
    plain, mixed = (next(iter(batches(source_of(*paths), 6, **view, **more))) for more in ({}, {"mix": cutmix}))
    others = np.roll(plain[0].numpy(), -1, axis=0)
    assert np.all((mixed[0] == plain[0]) | (mixed[0] == others)) and not np.array_equal(mixed[0], plain[0])
    np.testing.assert_array_equal(mixed[1].a, plain[1])


@pytest.mark.parametrize("page", ["imbalance", "augment"])
def test_the_examples_of_the_pages_run(page, source, capsys):
    some = Source(source.images, np.minimum(source.labels, 2), ("cat", "dog", "lynx"))
    given = {"net": net_of((CONV, FLAT, ("logits", row(Dense)(3)))), "train": some, "validation": some, "test": some}
    text = (ROOT / "docs" / "howto" / f"{page}.md").read_text(encoding="utf-8")
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(program, page, "exec"), given)
    printed = capsys.readouterr().out
    assert "epoch 5/5" in printed and ("(20, 8, 8, 1)" in printed or "[" in printed)
