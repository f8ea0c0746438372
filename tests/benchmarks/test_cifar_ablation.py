"""The ablation of cifar_fast: that each row changes what it says, and that one trains from its command."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import cifar_ablation
from benchmarks.cifar_ablation import VARIANTS
from rawcnn import ops
from rawcnn.data.datasets import DataSet
from rawcnn.data.source import Source
from rawcnn.nets.chain import Chain
from rawcnn.nets.cifar import CIFAR_FAST, cifar_fast, cifar_fast_head
from rawcnn.train.optimizers import Muon, Nesterov
from rawcnn.train.schedules import linear


def net_of(variant):
    return Chain((*variant.table, ("logits", cifar_fast_head(10))), input_shape=(32, 32, 3), seed=3)


def test_the_first_row_is_the_net_itself():
    net, ours = net_of(VARIANTS["all of it"]), cifar_fast(seed=3)
    assert [name for name, _ in net.rows] == [name for name, _ in ours.rows]
    np.testing.assert_array_equal(net.conv4.w, ours.conv4.w)
    np.testing.assert_array_equal(net.logits.w, ours.logits.w)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_row_changes_one_thing_and_can_be_trained(name):
    variant, ours = VARIANTS[name], VARIANTS["all of it"]
    changed = [variant.table != ours.table, variant.recipe != ours.recipe, variant.optimize != ours.optimize]
    assert sum(changed) == (name != "all of it")
    assert [row for row, _ in variant.table] == [row for row, _ in CIFAR_FAST]
    net = net_of(variant)
    assert net.num_params() >= cifar_fast().num_params()
    optimizer = variant.optimize(net, linear(0.1, 10), 10)
    optimizer.apply([tf.ones_like(w) for w in optimizer.weights.values()], 0)


def test_rows_are_what_they_are_called():
    assert net_of(VARIANTS["ReLU, not GELU"]).bn4.activation is tf.nn.relu and cifar_fast().bn4.activation is ops.gelu
    assert net_of(VARIANTS["momentum 0.99 in batch normalisation, not 0.6"]).bn7.momentum == 0.99
    drawn = net_of(VARIANTS["filters drawn, not the identity"]).conv5.w[1, 1].numpy()
    assert (cifar_fast().conv5.w[1, 1].numpy() == np.eye(256)).all() and not (drawn == np.eye(256)).any()
    assert "conv1/w" in Muon(net_of(VARIANTS["first filters drawn and trained, not whitening"])).weights
    assert "conv1/b" in Muon(net_of(VARIANTS["whitening with a bias"])).weights
    net = cifar_fast()
    assert isinstance(VARIANTS["Nesterov (0.5) for all weights, not Muon"].optimize(net, linear(1.0, 2), 2), Nesterov)


def test_a_row_trains_once_where_trainings_are_kept(monkeypatch, capsys, rng, tmp_path):
    images = rng.integers(0, 256, size=(40, 32, 32, 3), dtype=np.uint8)
    source = Source(images, np.arange(40) % 10, tuple("abcdefghij"))
    monkeypatch.setattr(cifar_ablation, "load", lambda *args, **more: DataSet("tiny", source, source, source))
    flags = ["--data_dir=-", "--epochs=1", "--batch_size=20", "--rows=lookahead besides", f"--keep={tmp_path / 'kept'}"]
    monkeypatch.setattr("sys.argv", ["cifar_ablation", *flags])
    cifar_ablation.main()
    table = capsys.readouterr().out.splitlines()[-1]
    assert table.startswith("| lookahead besides |")
    monkeypatch.setattr(cifar_ablation, "held_out_accuracy", lambda *_: pytest.fail("it was trained before"))
    cifar_ablation.main()
    assert capsys.readouterr().out.splitlines()[-1] == table
    monkeypatch.setattr(cifar_ablation, "held_out_accuracy", lambda *_: (12.5, 25.0))
    monkeypatch.setattr("sys.argv", ["cifar_ablation", *flags, "--epochs=2"])  # other settings: another training
    cifar_ablation.main()
    assert capsys.readouterr().out.splitlines()[-1] == "| lookahead besides | 12.50 | 25.00 | 25.00 |  |"


def test_the_difference_is_that_of_equal_seeds():
    found = {("all of it", 0): (80.0, 90.0), ("all of it", 1): (82.0, 92.0), ("all of it", 2): (0.0, 93.0)}
    found |= {("less", 0): (70.0, 89.0), ("less", 1): (71.0, 90.0), ("less", 2): (75.0, 90.0)}
    # Differences of -1, -2 and -3: mean -2, deviation 1, standard error 1 / sqrt(3).
    expected = ("less", "72.00", "89.67", "89.00, 90.00, 90.00", "-2.00 ± 0.58")
    assert cifar_ablation.table_row("less", found, 3) == expected
    assert cifar_ablation.table_row("less", found, 1)[-1] == "-1.00"
    assert cifar_ablation.table_row("all of it", found, 3)[-1] == ""
