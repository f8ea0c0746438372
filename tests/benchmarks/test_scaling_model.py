"""The model of many workers: its ring against one that is simulated, its tables, and two real processes."""

from __future__ import annotations

import argparse
import doctest
import math
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import scaling_model as model
from benchmarks.scaling_model import Ring, Worker


def simulated(vectors: np.ndarray, bandwidth: float, latency: float) -> tuple[np.ndarray, float]:
    """A ring all-reduce of `[n, n * k]` float64, message by message, and the seconds that it takes."""
    n = len(vectors)
    chunks, seconds = vectors.reshape(n, n, -1).copy(), 0.0
    for turn in range(2 * (n - 1)):
        sent = [(k, (k - turn) % n if turn < n - 1 else (k - turn + n) % n) for k in range(n)]
        messages = [chunks[k, which].copy() for k, which in sent]
        for (k, which), message in zip(sent, messages, strict=True):
            to = (k + 1) % n
            chunks[to, which] = chunks[to, which] + message if turn < n - 1 else message
        seconds += latency + messages[0].nbytes / bandwidth  # all send at the same time
    return chunks.reshape(n, -1), seconds


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_ring_takes_what_a_simulated_one_takes(workers: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(workers, workers * 5))
    sums, seconds = simulated(vectors, bandwidth=1e6, latency=3e-4)
    np.testing.assert_allclose(sums, np.tile(vectors.sum(0), (workers, 1)), rtol=1e-12)
    assert model.ring_seconds(workers, vectors[0].nbytes, 1e6, 3e-4) == pytest.approx(seconds, rel=1e-12)


def test_processes_cannot_send_faster_than_they_do_here() -> None:
    here = Ring(3e8, 2e-4)
    assert here.through(Ring(1e8, 1e-4)) == Ring(1e8, pytest.approx(3e-4))
    assert here.through(Ring(1e9, 0.0)) == here
    args = argparse.Namespace(gigabits="1,10,100", latency_us=50.0, images_per_second=None)
    told = list(model.on_networks("x", Worker(16, 0.5, 10_000_000), here, None, args))
    assert [line.split("\n")[0] for line in told[::2]] == ["### 1 Gb/s", "### 10 Gb/s", told[4]]
    assert told[4] == "On 100 Gb/s all is as on 10 Gb/s: a core here does not send faster."
    args.images_per_second = 900.0
    assert len(list(model.on_networks("x", Worker(16, 0.5, 10_000_000), here, None, args))) == 6


def test_the_examples() -> None:
    assert doctest.testmod(model).failed == 0


def test_overlap_hides_no_more_than_the_way_back() -> None:
    for compute, all_reduce in ((3.0, 0.0), (3.0, 2.0), (3.0, 5.0)):
        plain, hidden = (model.step_seconds(compute, all_reduce, overlap) for overlap in (False, True))
        assert plain == compute + all_reduce and hidden == pytest.approx(max(compute, compute / 3 + all_reduce))


def test_a_network_too_slow_is_called_pointless() -> None:
    """alexnet_bn's 233 MB take 1.9 s on 1 Gb/s."""
    worker, slow, fast = Worker(16, 0.5, 233_000_000), Ring(1e9 / 8, 5e-5), Ring(1e11 / 8, 5e-5)
    said = model.verdict("alexnet_bn", worker, slow, "1 Gb/s")
    assert said.startswith("alexnet_bn on 1 Gb/s: 233 MB a step take 1.86 s") and "Pointless: two workers" in said
    assert "Pointless without overlap" in model.verdict("x", worker._replace(compute=1.6), slow, "1 Gb/s")
    assert "Two workers train 1.9" in model.verdict("x", worker, fast, "100 Gb/s")


def test_predictions_begin_with_one_worker_and_lose_some_with_each_doubling() -> None:
    worker, ring = Worker(16, 0.5, 10_000_000), Ring(1e9, 1e-4)
    lines = model.prediction(worker, ring, 60).splitlines()[2:]
    cells = [[cell.strip().rstrip("%").replace(",", "") for cell in line.strip("|").split("|")] for line in lines]
    assert [int(row[0]) for row in cells] == list(model.WORKERS)
    hours = 60 * 1_281_167 / 32 / 3600
    assert [float(value) for value in cells[0]] == pytest.approx([1, 16, 32, 100, hours, 32, 100, hours], rel=1e-3)
    efficiency = [float(row[3]) for row in cells]
    assert efficiency == sorted(efficiency, reverse=True)
    for (few, many), ring_of in zip(pairwise(model.WORKERS), pairwise(cells), strict=True):
        assert float(ring_of[1][2]) > float(ring_of[0][2]) and many == 2 * few
    last = 1024 * 16 / (0.5 + 2 * 1023 / 1024 * 0.01 + 2 * 1023 * 1e-4)
    assert float(cells[-1][2]) == pytest.approx(last, abs=1)
    assert len(model.prediction(worker, ring, None).splitlines()[0].split("|")) == len(cells[0])


@pytest.mark.slow
def test_two_workers_reduce_and_train_and_leave_nothing_behind() -> None:
    args = argparse.Namespace(batch_size=4, steps=2, largest=1 << 20, timeout=120.0)
    ring = Ring.fitted(model.workers(2, "ring", args)[0]["timed"])
    assert 1e6 < ring.bandwidth < 1e12 and 0 < ring.latency < 1 and math.isfinite(ring.bandwidth)
    one, other = model.workers(2, "step", args, "lenet5")
    assert one["size"] == other["size"] == 4 * 60_000 and min(one["seconds"], other["seconds"]) > 0
    with pytest.raises(SystemExit, match="compute of vgg, worker 0: exit status 1: KeyError: 'vgg'"):
        model.workers(1, "compute", args, "vgg")
