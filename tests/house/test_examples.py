"""Every example runs, on little data, and stays as short as it promises."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.layers.variables import named_weights
from rawcnn.nets import NETS
from rawcnn.train.losses import rbf_map

EXAMPLES = Path(__file__).parents[2] / "examples"


LINES = {
    "train_lenet": 60, "train_cifar": 60, "train_alexnet": 60, "train_vgg": 60, "train_googlenet": 60,
    "use_layers": 39, "lenet_raw": 79, "classify": 60,
    "train_own_net": 60, "own_loop": 60, "fine_tune": 60,
}  # fmt: skip


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "lines"), list(LINES.items()))
def test_length(name, lines):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= lines


def test_all_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LINES)


def test_lenet_raw_computes_what_the_table_computes(rng):
    """Weights copied across: distances, and the gradients of the paper's loss, agree."""
    raw, net = load("lenet_raw"), NETS["lenet5"](seed=3)
    v = raw.variables(seed=9)
    assert list(v) == list(named_weights(net)) and sum(tf.size(w).numpy() for w in v.values()) == 60_000
    for name, weight in named_weights(net).items():
        v[name].assign(weight * 3)
        weight.assign(weight * 3)
    x = tf.constant(rng.uniform(-0.1, 1.175, size=(4, 32, 32, 1)), tf.float32)
    labels = tf.constant([3, 1, 4, 1])
    gradients = []
    for forward, weights in ((lambda x: -raw.lenet5(x, v), list(v.values())), (net, list(named_weights(net).values()))):
        with tf.GradientTape() as tape:
            logits = forward(x)
            loss = tf.reduce_mean(rbf_map(logits, labels))
        gradients.append([logits, *tape.gradient(loss, weights)])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_lenet_raw_starts_from_the_tables_weights():
    raw = load("lenet_raw").variables(seed=5)
    for name, weight in named_weights(NETS["lenet5"](seed=5)).items():
        np.testing.assert_array_equal(raw[name], weight)


def test_lenet_raw_trains(capsys):
    load("lenet_raw").main(count=100, epochs=1)
    assert capsys.readouterr().out.startswith("epoch  1  training accuracy")


def test_a_net_of_ones_own_trains_resumes_and_predicts(tmp_path, capsys):
    main, directory = load("train_own_net").main, str(tmp_path / "run")
    main(directory, count=400, epochs=1)
    main(directory, count=400, epochs=2, resume=True)
    said = capsys.readouterr().out
    assert "epoch 2/2" in said and said.count("the first test image is a") == 2
    assert (tmp_path / "run/own_net.npz").is_file()


def test_a_loop_of_ones_own_learns(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    accuracy = load("own_loop").main(count=600, epochs=6)
    assert accuracy > 0.3 and "epoch 6  loss" in capsys.readouterr().out
    assert (tmp_path / "own_loop.npz").is_file()


def test_fine_tuning_beats_training_from_scratch(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    accuracies = load("fine_tune").main(count=1500)
    assert accuracies["fine-tuned"] > accuracies["from scratch"] + 0.02
    assert "loaded conv1, conv2; kept logits as before" in capsys.readouterr().out


@pytest.mark.slow
def test_use_layers_learns():
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    command = [sys.executable, EXAMPLES / "use_layers.py"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(losses) == 3 and losses[2] < losses[0] < np.log(10)
