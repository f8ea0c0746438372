"""TensorFlow starts quietly, and what several files of tests share: a random generator, digits, a whole run."""

import os

import rawcnn.start  # noqa: F401

import numpy as np
import pytest

from tests.command import TRAIN, call, flags_for, write_digits

if "PYTEST_XDIST_WORKER" in os.environ:  # PyTorch's threads would wait for each other on cores that are taken
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A data set of drawn digits in MNIST's files."""
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="session")
def whole(home, digits):
    """An uninterrupted run, and what it printed."""
    run = home / "whole"
    return run, call(TRAIN, *flags_for(run, digits, "--save_every=10"), home=home)
