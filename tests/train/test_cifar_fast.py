"""The recipe of `cifar_fast`: it learns, and a run that is cut resumes bit for bit, whitening filters and all."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Source
from rawcnn.run.plan import plan
from rawcnn.run.settings import Settings
from rawcnn.testing import assert_resume_exact
from rawcnn.train.fit import train_epochs
from rawcnn.train.recipes import recipe_of

COUNT, BATCH = 48, 16


@pytest.fixture
def data(rng):
    """Two classes of noise, one of which is brighter on the left."""
    labels = np.arange(COUNT, dtype=np.int32) % 2
    images = rng.integers(0, 128, size=(COUNT, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :, 8:24] += 100
    source = Source(images, labels, ("dim", "bright"))
    return DataSet("own", source, source, source)


def trainer(data, epochs):
    """A function that makes a run anew; its filters are computed where the run begins, as `Session` does."""

    def train_fn():
        ready = plan(Settings("cifar_fast", batch_size=BATCH, epochs=epochs, precision="bfloat16"), data)
        inputs, recipe = ready.inputs, ready.recipe

        def train_to(last):
            if int(ready.state.step) == 0:
                inputs.prepare(ready.net, data.train)
            for now in train_epochs(
                ready.state, ready.train_step, data.train, batch_size=BATCH, epochs=epochs, seed=0, crop=inputs.crop,
                size=inputs.size, augment=ready.changes.augment, alternate=recipe.alternate, pause_every=last,
            ):  # fmt: skip
                if now.step == last:
                    break

        return ready.state, train_to

    return train_fn


def test_a_cut_run_resumes_bitwise(data):
    """In the middle of the second epoch, when every other image is seen from its other side."""
    assert_resume_exact(trainer(data, epochs=3), steps=9, cut=4)


def test_only_the_filters_are_frozen(data):
    state, train_to = trainer(data, epochs=1)()
    train_to(1)
    filters, others = state.net.conv1.w.numpy(), state.net.conv2.w.numpy()
    train_to(3)
    np.testing.assert_array_equal(state.net.conv1.w, filters)
    assert not np.array_equal(state.net.conv2.w, others)
    assert not state.net.conv1.fresh and "conv1/w" not in state.optimizer.weights


@pytest.mark.slow
def test_it_learns(data):
    state, train_to = trainer(data, epochs=20)()
    train_to(60)
    images = tf.constant(data.test.images)
    preprocess = recipe_of("cifar_fast").preprocess
    assert np.mean(state.net(preprocess(images)).numpy().argmax(axis=1) == data.test.labels) > 0.9
