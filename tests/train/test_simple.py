"""The three calls: what is said once to `fit` holds in `evaluate` and `predict`; arrays as people have them."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf

from rawcnn import machine
from rawcnn.data.augment import distort
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.errors import DataError, UsageError
from rawcnn.layers import BatchNorm, Conv2D, Dense, Flatten
from rawcnn.layers.variables import named_weights
from rawcnn.machine import AMX, AVX2, AVX512, AVX512_BF16, OTHER
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.train import simple
from rawcnn.train.answers import evaluate, predict
from rawcnn.train.fit import train_epochs
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.optimizers import Adam
from rawcnn.train.recipes import Recipe, choose_precision, recipe_of
from rawcnn.train.schedules import constant, cosine
from rawcnn.train.simple import fit
from rawcnn.train.step import TrainState, make_train_step

TABLE = (
    ("conv", row(Conv2D, activation=tf.nn.relu)(3, 3, stride=2)),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(4)),
)


def net_of(seed=0, side=8, **kwargs):
    return Chain(TABLE, input_shape=(side, side, 1), seed=seed, **kwargs)


@pytest.fixture
def arrays(rng):
    """43 images, each with a white row where its class says."""
    labels = np.arange(43, dtype=np.int32) % 4
    images = rng.integers(0, 80, size=(43, 8, 8, 1), dtype=np.uint8)
    images[np.arange(43), labels * 2, :, 0] = 255
    return images, labels


def softmax(logits):
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_it_learns_and_says_so(arrays):
    net, source = net_of(), Source(*arrays)
    said = list(fit(net, source, epochs=40, validation=source, learning_rate=0.01))
    judged = evaluate(net, source)
    assert judged.accuracy == said[-1].val_accuracy == 1.0 and judged.loss == said[-1].val_loss < said[0].loss
    assert "epoch 40/40" in str(said[-1]) and "val loss" in str(said[-1]) and "img/s" in str(said[-1])
    assert said[0].remark.startswith("float32: ") and not said[1].remark


def test_it_is_the_stratum_below_with_its_defaults(arrays):
    source, ours, theirs = Source(*arrays), net_of(), net_of()
    list(fit(ours, source, epochs=2, batch_size=8, seed=3, augment=distort))
    state = TrainState(theirs, Adam(theirs, cosine(0.001, 10)))
    step = make_train_step(state, softmax_cross_entropy, Preprocess())
    list(train_epochs(state, step, source, batch_size=8, epochs=2, seed=3, augment=distort))
    for name, weight in named_weights(ours).items():
        np.testing.assert_array_equal(weight, named_weights(theirs)[name], err_msg=name)


def test_preprocessing_is_said_once(arrays):
    """Held against the net applied by hand to images preprocessed by hand."""
    net, (images, labels) = net_of(side=12), arrays
    list(fit(net, Source(*arrays), epochs=1, preprocess=Preprocess(pad=2, low=-1.0, high=1.0)))
    x = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]).astype(np.float32) / 127.5 - 1
    expected = softmax(net(x).numpy())
    np.testing.assert_allclose(predict(net, images), expected, rtol=1e-4, atol=1e-6)
    judged = evaluate(net, Source(*arrays))
    np.testing.assert_allclose(judged.loss, -np.log(expected[np.arange(43), labels]).mean(), rtol=1e-5)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_allclose(predict(twin, images), expected, rtol=1e-4, atol=1e-6)


def test_a_recipe_says_it_for_loaded_weights(arrays):
    net, recipe = net_of(side=12), Recipe(Preprocess(pad=2, low=-1.0))
    x = np.pad(arrays[0], [(0, 0), (2, 2), (2, 2), (0, 0)]).astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(predict(net, arrays[0], recipe=recipe), softmax(net(x).numpy()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 43])
def test_predictions_do_not_depend_on_how_many_images_are_asked(arrays, count):
    net = net_of()
    np.testing.assert_allclose(predict(net, arrays[0][:count]), predict(net, arrays[0])[:count], rtol=1e-5, atol=1e-7)


def test_arrays_as_people_have_them(arrays):
    net, (images, _) = net_of(), arrays
    wanted = predict(net, images)
    for same in (images[..., 0], images / 255.0, images.astype(np.float64), images.tolist(), images.astype(np.int64)):
        np.testing.assert_allclose(predict(net, same), wanted, rtol=1e-5, atol=1e-6)
    assert predict(net, images[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3)), "takes images of 1 channel, but these are 8x8x3"),
        (np.zeros((2, 9, 8, 1)), "takes images of 8x8 pixels, but these are 9x8: scale them"),
        (np.zeros((8, 8)), "give one image as image"),
        (np.zeros((8, 8, 1)), "give one image as image"),
        (np.full((2, 8, 8, 1), -1.0), "0 ... 255"),
        (np.full((2, 8, 8, 1), "a"), "must be numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused(arrays, images, message):
    net = net_of()
    list(fit(net, Source(*arrays), epochs=1))
    with pytest.raises((DataError, UsageError), match=message):
        predict(net, images)


def test_the_optimizer_that_is_given_is_used(arrays):
    net = net_of()
    before = net.conv.w.numpy()
    list(fit(net, Source(*arrays), epochs=1, optimizer=Adam(net.logits, 0.01)))
    np.testing.assert_array_equal(net.conv.w, before)
    assert not np.array_equal(net.logits.w, net_of().logits.w)


def test_averages_are_what_training_ends_with(arrays):
    """With momentum 1 - 1/10 at most in so few steps: the net is not the last weights, and validation saw it."""
    source, net, plain = Source(*arrays), net_of(), net_of()
    said = list(fit(net, source, epochs=2, validation=source, recipe=Recipe(average=0.9, batch_size=8)))
    list(fit(plain, source, epochs=2, recipe=Recipe(batch_size=8)))
    assert not np.array_equal(net.conv.w, plain.conv.w)
    assert evaluate(net, source).loss == pytest.approx(said[-1].val_loss, rel=1e-6)


def test_heads_are_trained_without_being_asked_for(arrays):
    heads = {"aux": ("conv", (("flat", row(Flatten)()), ("logits", row(Dense)(4))))}
    net = net_of(heads=heads)
    before = net.aux.logits.w.numpy()
    list(fit(net, Source(*arrays), epochs=1))
    assert not np.array_equal(net.aux.logits.w, before)


def test_a_plateau_divides_the_rate(arrays):
    net, source = net_of(), Source(*arrays)
    rates = Adam(net, constant(1e-9))  # nothing moves: the best is never beaten
    list(fit(net, source, epochs=8, validation=source, recipe=Recipe(schedule="plateau"), optimizer=rates))
    assert float(rates.factor) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "adamw"}, "optimizer is one of sgd, momentum, nesterov, adam"),
        ({"optimizer": Adam}, "or made, as in Adam"),
        ({"loss": "mse"}, "no loss 'mse': choose one of softmax_cross_entropy"),
        ({"learning_rate": -1}, "number above 0"),
        ({"precision": "float16"}, "Unknown precision"),
        ({"batch_size": 50}, "43 training images fill no batch of 50"),
        ({"epochs": 0}, "epochs is a whole number from 1 on, not 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_the_call(arrays, wrong, message):
    with pytest.raises(UsageError, match=message):
        fit(net_of(), Source(*arrays), **wrong)


def test_images_labels_and_nets_that_do_not_fit_are_refused(arrays):
    images, labels = arrays
    with pytest.raises(UsageError, match="labels up to 7, but the net knows 4 classes"):
        fit(net_of(), Source(images, labels + 4))
    with pytest.raises(UsageError, match="takes images of 1 channel, but these are 8x8x3"):
        fit(net_of(), Source(np.repeat(images, 3, axis=3), labels))
    with pytest.raises(UsageError, match="end in Flatten, Dense"):
        fit(Chain(TABLE[:1], input_shape=(8, 8, 1)), Source(*arrays))


@pytest.mark.parametrize(("name", "cost", "isa", "wanted"), [
    ("auto", None, AMX, FLOAT32), ("auto", 0.3, AMX, FLOAT32), ("auto", 0.05, AMX, MIXED_BFLOAT16),
    ("auto", -0.1, AVX512_BF16, MIXED_BFLOAT16), ("auto", -0.1, AVX512, FLOAT32), ("auto", -0.1, AVX2, FLOAT32),
    ("auto", -0.1, OTHER, FLOAT32), ("bfloat16", 0.3, AVX2, MIXED_BFLOAT16), ("float32", -0.1, AMX, FLOAT32),
])  # fmt: skip
def test_auto_is_bfloat16_only_where_it_was_measured_to_cost_nothing(name, cost, isa, wanted, monkeypatch):
    monkeypatch.setattr(machine, "instruction_set", lambda: isa)
    policy, why = choose_precision(name, Recipe(bfloat16_cost=cost))
    assert policy == wanted and why.startswith(wanted.compute.name)
    if name == "auto" and cost == -0.1:
        assert ("this processor" if isa == OTHER else isa) in why


def test_nets_of_small_ops_stay_in_float32_unless_asked(monkeypatch):
    monkeypatch.setattr(machine, "instruction_set", lambda: AMX)
    for net in ("lenet5", "lenet5_tanh", "lenet5_relu"):
        policy, why = choose_precision("auto", recipe_of(net))
        assert policy == FLOAT32 and "too small to gain" in why
    assert choose_precision("bfloat16", recipe_of("lenet5"))[0] == MIXED_BFLOAT16


def test_recipes_say_what_was_measured():
    assert recipe_of("lenet5").bfloat16_cost < 0.1 <= recipe_of("cifar_basic").bfloat16_cost


@pytest.mark.parametrize(("policy", "asked", "compute"), [
    (FLOAT32, "auto", "float32"), (MIXED_BFLOAT16, "auto", "bfloat16"), (FLOAT32, "bfloat16", "bfloat16"),
])  # fmt: skip
def test_precision_is_the_nets_unless_asked(arrays, policy, asked, compute):
    net = net_of(policy=policy)
    now = next(iter(fit(net, Source(*arrays), epochs=1, precision=asked)))
    assert net.policy.compute.name == compute and now.remark.startswith(compute)


def test_small_ops_are_cut_into_shards_where_threads_can_be_set(monkeypatch):
    calls = []
    monkeypatch.setattr(simple, "one_thread_per_op", lambda: calls.append(1))
    monkeypatch.setattr(simple, "cores", lambda: 4)
    assert simple._shards(net_of(), Recipe(batch_size=64)) == 4 and calls

    def late():
        raise RuntimeError("Intra op parallelism cannot be modified after initialization.")

    monkeypatch.setattr(simple, "one_thread_per_op", late)
    assert simple._shards(net_of(), Recipe(batch_size=64)) == 1


def test_batch_normalisation_is_at_rest_when_asked(arrays):
    table = (("bn", row(BatchNorm)()), *TABLE)
    net = Chain(table, input_shape=(8, 8, 1))
    list(fit(net, Source(*arrays), epochs=1))
    np.testing.assert_allclose(predict(net, arrays[0][:1]), predict(net, arrays[0])[:1], rtol=1e-5, atol=1e-6)
