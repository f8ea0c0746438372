"""The learning-rate range test: its losses are those of a closed form, it survives explosions, and the net stays."""

import numpy as np
import pytest
import tensorflow as tf

import rawcnn as rc
from rawcnn.errors import UsageError
from rawcnn.layers import BatchNorm, Dense, Dropout, Flatten, Whitening
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32
from rawcnn.train.find_rate import find_rate


def distance(logits, labels):
    return 0.5 * (logits[:, 0] - 1.0) ** 2


def one_number():
    """y = w x + b, and pixels that are all x = 1: the distance r of y from 1 follows r' = (1 - 2 rate) r."""
    zero = {"w_init": lambda shape, fan_in, seed: tf.zeros(shape)}
    table = (("flat", row(Flatten)()), ("y", row(Dense)(1, **zero)))
    return Chain(table, input_shape=(1, 1, 1)), rc.Source(np.full((8, 1, 1, 1), 255, np.uint8), np.zeros(8))


def test_the_losses_are_those_of_the_closed_form_and_it_stops_when_they_explode():
    net, source = one_number()
    found = find_rate(net, source, highest=1e3, steps=40, optimizer="sgd", loss=distance, batch_size=4)
    np.testing.assert_allclose(found.rates, 1e-6 * 1e9 ** (np.arange(len(found.rates)) / 39), rtol=1e-12)
    r, wanted = -1.0, []
    for rate in found.rates:
        wanted.append(r * r / 2)
        r *= 1 - 2 * rate
    np.testing.assert_allclose(found.losses, wanted, rtol=2e-3, atol=1e-7)
    assert found.exploded and 1 < found.rates[-1] < 1e3  # a rate above 1 makes r larger
    assert 0.01 < found.suggestion < 0.5


def small():
    table = (
        ("white", row(Whitening)(2)), ("norm", row(BatchNorm)(activation=tf.nn.relu)), ("flat", row(Flatten)()),
        ("drop", row(Dropout)(0.5)), ("logits", row(Dense)(3)),
    )  # fmt: skip
    heads = {"aux": ("norm", (("flat", row(Flatten)()), ("out", row(Dense)(3))))}
    return Chain(table, input_shape=(8, 8, 3), heads=heads, seed=1)


@pytest.fixture
def images(rng):
    return rc.Source(rng.integers(0, 256, (60, 8, 8, 3)), np.arange(60) % 3)


@pytest.mark.parametrize("trained", [False, True])
def test_the_net_is_as_it_was_bit_for_bit(trained, images):
    """Weights, statistics, counters of dropout, filters that are computed from data, precision, and `fit`'s notes."""
    net = small()
    if trained:
        list(rc.fit(net, images, epochs=1, batch_size=20, preprocess=rc.Preprocess(low=-1.0, high=1.0)))
    before = {name: variable.numpy().tobytes() for name, variable in named_variables(net).items()}
    answers = rc.predict(net, images.images)
    seen = []
    found = find_rate(
        net, images, steps=25, batch_size=20, precision="bfloat16",
        augment=lambda x, seed: seen.append(0) or x,
    )  # fmt: skip
    assert len(found.losses) == 25 and seen and len(set(found.losses)) > 20
    assert {name: variable.numpy().tobytes() for name, variable in named_variables(net).items()} == before
    assert net.policy == net.aux.policy == FLOAT32
    np.testing.assert_array_equal(rc.predict(net, images.images), answers)


def test_what_is_not_finite_ends_the_test_and_is_no_error(images):
    net = small()
    found = find_rate(net, images, lowest=1e20, highest=1e38, steps=20, optimizer="sgd", batch_size=20)
    assert found.exploded and len(found.losses) < 20 and found.suggestion is None
    assert np.isfinite(net.logits.w).all()


def test_no_suggestion_where_the_loss_does_not_fall(images):
    found = find_rate(small(), images, lowest=1e-12, highest=1e-11, steps=20, optimizer="sgd", batch_size=60)
    assert not found.exploded and found.suggestion is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"learning_rate": 0.1}, "find_rate decides learning_rate itself"),
        ({"epochs": 3}, "find_rate decides epochs itself"),
        ({"lowest": 0.0}, "The rates must rise from above 0, but lowest is 0 and highest is 1"),
        ({"lowest": 1.0, "highest": 0.1}, "The rates must rise"),
        ({"highest": float("nan")}, "The rates must rise"),
        ({"steps": 5}, "A range test takes 20 steps or more, not 5"),
        ({"optimizer": 3}, "name the optimizer, as in optimizer='adam'"),
        ({"batch_size": 100}, "60 training images fill no batch of 100"),
    ],
)
def test_mistakes(more, message, images):
    net = small()
    with pytest.raises(UsageError, match=message):
        find_rate(net, images, **more)
    assert getattr(net, "_shown", None) is None
