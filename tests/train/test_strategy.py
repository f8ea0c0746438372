"""Replicas: the same training on 1, 2 and 4 devices, and what TF_CONFIG must look like."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

import rawcnn as rc
from rawcnn.errors import UsageError
from rawcnn.train.cluster import EXAMPLE, Cluster, cluster_of
from rawcnn.train.strategy import Replicas
from tests.command import ROOT, environment

TOLERANCE = 2e-5
"""Relative, after six steps: rounding alone, which steps make larger."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `replicas_child` prints: virtual devices can only be made in a new process."""
    command = [sys.executable, "-m", "tests.train.replicas_child"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    told = {"cwd": ROOT, "env": environment(tmp_path_factory.mktemp("home"))}
    children = [subprocess.Popen([*command, count], **pipes, **told) for count in ("4", "2")]
    ends = [(*child.communicate(timeout=240), child.returncode) for child in children]
    assert [status for *_, status in ends] == [0, 0], ends
    four, two = (json.loads(out) for out, *_ in ends)
    return two | {name: two[name] | four[name] for name in four}


@pytest.mark.parametrize("name", ["lenet5", "small", "muon"])
def test_replicas_train_like_one_device(found, name):
    (losses, numbers), *others = (found[name][key] for key in sorted(found[name], reverse=True))  # "none" first
    assert len(losses) == 6 and losses[0] != losses[-1]
    for their_losses, theirs in others:
        np.testing.assert_allclose(their_losses, losses, rtol=TOLERANCE)
        assert numbers.keys() == theirs.keys()
        for path, values in numbers.items():
            off = np.abs(np.subtract(theirs[path], values)) / np.abs(values).max()
            # Adam divides by a gradient's size, so rounding moves a weight far whose gradient is next to 0.
            assert np.mean(off > 20 * TOLERANCE) <= 1e-4 and off.max() <= 40 * TOLERANCE, path


def test_replicas_with_statistics_of_their_own_stay_equal(found):
    assert found["differ"] == []


def test_batches_that_replicas_cannot_share(found):
    uneven, pieces = found["errors"]
    assert "17 images cannot be cut into 2 replicas" in uneven
    assert "sync_batch_norm=False" in pieces


def test_other_strategies_are_refused():
    with pytest.raises(UsageError, match="no strategy 'horovod'"):
        rc.make_strategy("horovod")
    with pytest.raises(UsageError, match="not a int"):
        Replicas.of(3)
    assert Replicas.of("none") is None


def test_workers_that_were_told_different_things(monkeypatch):
    monkeypatch.setattr(Replicas, "meet", lambda self, *mine: np.array([mine, [64.0, 2.0]]))
    replicas = object.__new__(Replicas)
    replicas.agree(batch_size=64, seed=2)
    with pytest.raises(UsageError, match=r"they differ in seed\. Start all with the same command"):
        replicas.agree(batch_size=64, seed=1)


def config(cluster, task):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def test_the_chief_comes_first():
    workers = {"worker": ["b:1", "c:2"]}
    first = {"type": "worker", "index": 0}
    assert cluster_of(config(workers, first)).is_chief
    with_chief = cluster_of(config(workers | {"chief": ["a:9"]}, first))
    assert with_chief == Cluster(("a:9", "b:1", "c:2"), 1) and not with_chief.is_chief
    assert cluster_of(config(workers, {"type": "worker", "index": "1"})).index == 1


TWO = {"worker": ["a:1", "b:2"]}
ZERO = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "needs the environment variable TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "is not JSON"),
        ({"TF_CONFIG": "[]"}, "needs a cluster and a task"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "needs a cluster and a task"),
        (config({}, ZERO), "names no worker"),
        (config(TWO | {"ps": ["c:3"]}, ZERO), "type 'ps'"),
        (config({"worker": "a:1"}, ZERO), "must list the addresses"),
        (config({"worker": ["a"]}, ZERO), "'a', which is not host:port"),
        (config({"worker": ["a:70000"]}, ZERO), "'a:70000', which is not host:port"),
        (config({"worker": ["a:1", "a:1"]}, ZERO), "names a:1 twice"),
        (config({"chief": ["a:1", "b:2"]}, ZERO), "2 chiefs"),
        (config(TWO, {"type": "evaluator", "index": 0}), "is a 'evaluator'"),
        (config(TWO, {"type": "worker"}), "worker None"),
        (config(TWO, {"type": "worker", "index": 2}), "worker 2, of which there are 2"),
        (config(TWO, {"type": "worker", "index": True}), "worker True"),
        (config(TWO, {"type": "chief", "index": 0}), "of which the cluster has none"),
    ],
)
def test_mistakes_in_tf_config(environment, said):
    with pytest.raises(UsageError) as raised:
        cluster_of(environment)
    assert said in str(raised.value) and EXAMPLE in str(raised.value)


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of this worker cannot be used"):
            Cluster((f"localhost:{port}",), 0).check_port()
    Cluster((f"localhost:{port}",), 0).check_port()


def test_too_late_to_connect(monkeypatch):
    """TensorFlow has computed in this process."""
    rc.create_net("lenet5")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": [f"localhost:{port}"]}, "task": ZERO}))
    with pytest.raises(UsageError, match="first of all"):
        rc.make_strategy("multi_worker")
