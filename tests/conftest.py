"""TensorFlow starts quietly, and every test has a cache directory of its own and no network to wait for."""

import numpy as np
import pytest

from rawcnn.quiet import start_tensorflow

start_tensorflow()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)
