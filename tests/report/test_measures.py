"""Interval, calibration, mistakes and McNemar's test against SciPy and plain loops."""

import numpy as np
import pytest
from scipy.stats import binomtest

from rawcnn.report.compare import mcnemar
from rawcnn.report.measures import calibration, mistakes, telling_images, wilson


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (9830, 10000), (3, 7)])
def test_the_interval_is_wilsons(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 9), (40, 41), (0, 12), (700, 500)])
def test_mcnemar_is_the_exact_binomial_test(a, b):
    expected = binomtest(a, a + b).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)


def some_answers(rng, n=500, classes=6):
    logits = rng.normal(size=(n, classes)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return p.astype(np.float32), rng.integers(0, classes, n)


def test_calibration_against_a_loop_over_bins(rng):
    p, labels = some_answers(rng)
    found, error, sure = calibration(p, labels, bins=15), 0.0, p.max(axis=1).astype(float)
    for i in range(15):
        here = (sure > i / 15) & (sure <= (i + 1) / 15)
        assert found.counts[i] == here.sum()
        if here.any():
            right = (p.argmax(axis=1) == labels)[here].mean()
            assert found.accuracy[i] == pytest.approx(right)
            assert found.confidence[i] == pytest.approx(sure[here].mean())
            error += here.mean() * abs(right - sure[here].mean())
    assert found.expected_error == pytest.approx(error)


def test_an_honest_net_has_no_calibration_error():
    p = np.tile(np.float32([0.75, 0.25]), (400, 1))
    assert calibration(p, np.repeat([0, 0, 0, 1], 100)).expected_error == 0


def test_every_mistake_is_in_one_pair_and_the_surest_comes_first(rng):
    p, labels = some_answers(rng)
    pairs = mistakes(p, labels)
    found = np.concatenate([pair.images for pair in pairs])
    assert sorted(found) == np.flatnonzero(p.argmax(axis=1) != labels).tolist()
    assert [len(pair.images) for pair in pairs] == sorted((len(pair.images) for pair in pairs), reverse=True)
    for pair in pairs:
        assert (labels[pair.images] == pair.true).all() and (p[pair.images].argmax(axis=1) == pair.said).all()
        assert (np.diff(p[pair.images].max(axis=1)) <= 0).all()


def test_chosen_images_are_right_wrong_and_least_certain(rng):
    p, labels = some_answers(rng)
    chosen = telling_images(p, labels, 8)
    right = p.argmax(axis=1) == labels
    reasons = [reason for _, reason in chosen]
    assert reasons == ["right"] * 3 + ["wrong"] * 3 + ["least certain"] * 2
    assert len({i for i, _ in chosen}) == 8
    assert all(right[i] for i, reason in chosen if reason == "right")
    assert not any(right[i] for i, reason in chosen if reason == "wrong")
    assert {i for i, reason in chosen if reason == "least certain"} == set(np.argsort(p.max(axis=1))[:2])


@pytest.mark.parametrize("all_right", [True, False])
def test_where_a_kind_is_missing_others_take_its_place(all_right):
    p = np.full((5, 2), 0.5, np.float32) + np.float32([[0.1, -0.1]])
    chosen = telling_images(p, np.full(5, 0 if all_right else 1), 8)
    assert sorted(i for i, _ in chosen) == [0, 1, 2, 3, 4]
