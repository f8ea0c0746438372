"""The benchmark of inference: every way gives the same probabilities. Nothing here measures a speed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import inference
from rawcnn.nets import NETS

ROOT = Path(inference.__file__).parents[1]


def args_of(**more: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"net": "lenet5_tanh", "batch_size": 2, "precision": "float32", "threads": 0, "jit": False, **more}
    )


def test_nets_have_the_shapes_that_images_are_drawn_in() -> None:
    for name, shape in inference.SHAPES.items():
        assert NETS[name]().input_shape == shape
        images = inference.drawn_images(args_of(net=name))
        assert images.shape == (2, *shape) and images.dtype == np.uint8 and images.max() > 127


def test_our_ways_ask_the_same_net() -> None:
    images = inference.drawn_images(args_of())
    one, other = inference.predict(args_of()), inference.classifier(args_of())
    np.testing.assert_allclose(one(images), other(images), atol=1e-6)


@pytest.mark.parametrize("way", ["PyTorch eager", "PyTorch traced, frozen"])
def test_ways_of_pytorch_give_probabilities(way: str) -> None:
    pytest.importorskip("torch")
    found = inference.WAYS[way][0](args_of())(inference.drawn_images(args_of()))
    assert found.dtype == np.float32 and found.shape == (2, 10)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_ratios_leave_out_what_is_our_own() -> None:
    assert set(inference.NOT_PEERS) < set(inference.WAYS)
    command = inference.contender("PyTorch eager, 1 thread", "alexnet_bn", 64, "bfloat16", 7).command
    flags = {"--way=PyTorch eager, 1 thread", "--net=alexnet_bn", "--batch_size=64", "--blocks=7", "--threads=1"}
    assert flags < set(command)


@pytest.mark.parametrize(("net", "batch_size", "calls"), [("lenet5_tanh", 1, 500), ("alexnet_bn", 64, 1)])
def test_large_nets_are_called_less_often(net: str, batch_size: int, calls: int) -> None:
    assert inference.calls_of(net, batch_size) == calls


def test_the_parent_of_measured_processes_imports_neither_tensorflow_nor_pytorch() -> None:
    program = "from benchmarks import inference; import sys; sys.exit(bool({'tensorflow', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
