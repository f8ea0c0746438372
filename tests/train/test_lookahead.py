"""Lookahead against its algorithm written out in NumPy, and that a cut run of it resumes exactly."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.errors import UsageError
from rawcnn.layers import Dense, Flatten
from rawcnn.nets.chain import Chain, row
from rawcnn.testing import assert_resume_exact
from rawcnn.train import losses
from rawcnn.train.fit import train_epochs
from rawcnn.train.lookahead import Lookahead
from rawcnn.train.optimizers import Momentum
from rawcnn.train.step import TrainState, make_train_step


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("falling", [False, True])
def test_updates_by_hand(rng, every, falling):
    """Zhang et al. 2019, algorithm 1, with momentum as the inner optimizer."""
    fast = slow = rng.normal(size=(2, 3))
    ours, v = tf.Variable(fast, dtype=tf.float32), np.zeros((2, 3))
    share = (lambda step: 1.0 / (2.0 + tf.cast(step, tf.float32))) if falling else 0.4
    optimizer = Lookahead(Momentum({"w": ours}, 0.1, 0.8), every, share)
    update = tf.function(optimizer.apply, autograph=False)
    for step in range(7):
        g = rng.normal(size=(2, 3))
        update([tf.constant(g, tf.float32)], tf.constant(step, tf.int64))
        v = 0.8 * v - 0.1 * g
        fast = fast + v
        if (step + 1) % every == 0:
            slow = slow + (1 / (2 + step) if falling else 0.4) * (fast - slow)
            fast = slow
        np.testing.assert_allclose(ours, fast, rtol=0, atol=1e-6)
        np.testing.assert_allclose(optimizer.slots["slow"]["w"], slow, rtol=0, atol=1e-6)


def test_it_resumes_exactly(rng):
    source = Source(rng.integers(0, 255, (40, 4, 4, 1), dtype=np.uint8), np.arange(40) % 4, tuple("abcd"))

    def train_fn():
        net = Chain((("flat", row(Flatten)()), ("logits", row(Dense)(4))), input_shape=(4, 4, 1))
        state = TrainState(net, Lookahead(Momentum(net, 0.01), 3))
        step = make_train_step(state, losses.softmax_cross_entropy, Preprocess())

        def train_to(last):
            for now in train_epochs(state, step, source, batch_size=8, epochs=2, seed=0, pause_every=last):
                if now.step == last:
                    break

        return state, train_to

    assert_resume_exact(train_fn, steps=10, cut=4)


def test_the_inner_optimizers_rate_and_its_factor_count():
    w = tf.Variable([1.0])
    optimizer = Lookahead(Momentum({"w": w}, 0.1), 2)
    optimizer.factor.assign(0.1)
    optimizer.apply([tf.constant([1.0])], 0)
    np.testing.assert_allclose(w, [0.99])


def test_every_is_checked():
    with pytest.raises(UsageError, match="every 1 or more updates, not after 0"):
        Lookahead(Momentum({"w": tf.Variable([1.0])}, 0.1), 0)
