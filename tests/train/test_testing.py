"""assert_resume_exact passes what resumes exactly, and finds each kind of state that a checkpoint misses."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.layers import Dense, Dropout, Flatten
from rawcnn.layers.variables import named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.testing import assert_resume_exact
from rawcnn.train import losses
from rawcnn.train.fit import train_epochs
from rawcnn.train.optimizers import Adam
from rawcnn.train.step import TrainState, make_train_step

ROWS = (("flat", row(Flatten)()), ("drop", row(Dropout)(0.3)), ("logits", row(Dense)(4)))


@pytest.mark.parametrize("cut", [1, 5, 6])
def test_fit_resumes_exactly(rng, cut):
    images, labels = rng.integers(0, 255, (43, 4, 4, 1), dtype=np.uint8), np.arange(43, dtype=np.int32) % 4
    source = Source(images, labels, tuple("abcd"))

    def train_fn():
        net = Chain(ROWS, input_shape=(4, 4, 1))
        state = TrainState(net, Adam(named_weights(net), 0.01))
        step = make_train_step(state, losses.softmax_cross_entropy, Preprocess())

        def train_to(last):
            for now in train_epochs(state, step, source, batch_size=8, epochs=3, seed=0, pause_every=last):
                if now.step == last:
                    break

        return state, train_to

    assert_resume_exact(train_fn, steps=12, cut=cut)


class State(tf.Module):
    def __init__(self):
        self.step, self.w = tf.Variable(0), tf.Variable(0.0)


def recipe(number):
    """Adds `number(step)` a step; `number` is made anew with the state."""

    def train_fn():
        state, next_number = State(), number()

        def train_to(last):
            for step in range(int(state.step), last):
                state.w.assign_add(next_number(step))
                state.step.assign_add(1)

        return state, train_to

    return train_fn


def counter():
    count = itertools.count()
    return lambda step: float(next(count))


def generator():
    draws = np.random.default_rng(0)
    return lambda step: draws.normal()


def test_a_pure_function_of_the_step_passes():
    assert_resume_exact(recipe(lambda: lambda step: float(step) ** 2), steps=9, cut=4)


@pytest.mark.parametrize("number", [counter, generator])
def test_hidden_state_is_found_and_its_effect_named(number):
    with pytest.raises(AssertionError, match=r"cut after step 4 of 9 differs in 1 of 2 variables \(w\)"):
        assert_resume_exact(recipe(number), steps=9, cut=4)


def test_a_state_that_does_not_change_shows_nothing():
    def train_fn():
        return State(), lambda last: None

    with pytest.raises(AssertionError, match="changed no variable"):
        assert_resume_exact(train_fn, steps=2, cut=1)


@pytest.mark.parametrize("cut", [0, 9, 10])
def test_the_cut_must_be_within(cut):
    with pytest.raises(ValueError, match=r"after 1 \.\.\. 8 of them"):
        assert_resume_exact(recipe(counter), steps=9, cut=cut)
