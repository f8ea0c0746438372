"""mixup and CutMix against NumPy, and the draws of both against SciPy's distributions."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from rawcnn.data.batches import batches
from rawcnn.data.mixing import Mixed, beta, cutmix, larger, mixing, mixup
from rawcnn.data.source import Source

SEED = tf.constant([3, 7], tf.int64)


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def batch(request, rng):
    return rng.integers(0, 256, size=(50, 9, 12, request.param), dtype=np.uint8), np.arange(50, dtype=np.int32)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta_has_scipys_distribution(alpha):
    draws = beta((20_000,), SEED, alpha).numpy()
    low = draws[draws < 0.5]  # near 1 a float32 has no digits left to tell apart what is near 0
    assert draws.dtype == np.float32 and stats.binomtest(len(low), 20_000).pvalue > 1e-3
    assert stats.kstest(low, lambda x: 2 * stats.beta(alpha, alpha).cdf(x)).pvalue > 1e-3


def test_beta_of_a_tiny_alpha_is_a_toss():
    """Where Gamma(alpha) itself is below the smallest float."""
    draws = beta((4_000,), SEED, 1e-3).numpy()
    assert np.isfinite(draws).all() and ((draws < 0.01) | (draws > 0.99)).mean() > 0.98
    assert abs(draws.mean() - 0.5) < 0.05


def test_mixup_is_the_weighted_mean_of_neighbours(batch):
    images, labels = batch
    got, mixed = mixup(tf.constant(images), tf.constant(labels), SEED, alpha=0.4)
    lam = mixed.lam.numpy()
    assert 0 <= lam.min() < 0.05 and 0.95 < lam.max() <= 1 and len(set(lam.tolist())) == 50
    np.testing.assert_array_equal(mixed.a, labels)
    np.testing.assert_array_equal(mixed.b, np.roll(labels, -1))
    part = lam.astype(np.float64)[:, None, None, None]
    expected = part * images + (1 - part) * np.roll(images, -1, axis=0)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_cutmix_pastes_one_box_of_the_neighbour(batch):
    images, labels = batch
    got, mixed = cutmix(tf.constant(images), tf.constant(labels), SEED)
    got, others = got.numpy(), np.roll(images, -1, axis=0)
    assert got.dtype == np.uint8
    for i in range(50):
        pasted = np.all(got[i] == others[i], axis=-1) & ~np.all(images[i] == others[i], axis=-1)
        rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        box = np.zeros((9, 12), bool)
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        np.testing.assert_array_equal(got[i], np.where(box[..., None], others[i], images[i]))
        assert float(mixed.lam[i]) == pytest.approx(1 - box.mean(), abs=0.03)  # some pasted pixels look the same


def test_cutmix_draws_as_the_papers_program(rng):
    """The part that stays, against the lines of the paper's program in NumPy (Yun et al. 2019, appendix A)."""
    side, kept = 32, []
    for _ in range(4000):
        cut = int(side * np.sqrt(1 - rng.beta(1.0, 1.0)))
        (y1, y2), (x1, x2) = (np.clip([at - cut // 2, at + cut // 2], 0, side) for at in rng.integers(side, size=2))
        kept.append(1 - (y2 - y1) * (x2 - x1) / side**2)
    labels = tf.zeros((4000,), tf.int32)
    lam = cutmix(tf.zeros((4000, side, side, 1), tf.uint8), labels, SEED)[1].lam.numpy()
    assert abs(lam.mean() - np.mean(kept)) < 0.03 and stats.ks_2samp(lam, kept).statistic < 0.06


def test_with_both_each_image_is_mixed_one_way(rng):
    images, labels = rng.uniform(1, 255, size=(400, 8, 8, 1)).astype(np.float32), np.arange(400, dtype=np.int32)
    given = tf.constant(images), tf.constant(labels), SEED
    (got, mixed), (blended, one), (pasted, other) = mixing(0.5, 2.0)(*given), mixup(*given, 0.5), cutmix(*given, 2.0)
    same = [np.all(got.numpy() == x.numpy(), axis=(1, 2, 3)) for x in (blended, pasted)]
    assert np.all(same[0] | same[1]) and 0.4 < same[0].mean() < 0.6
    np.testing.assert_array_equal(mixed.lam, np.where(same[0], one.lam, other.lam))
    np.testing.assert_array_equal(mixed.b, np.roll(labels, -1))


def test_the_larger_part():
    mixed = Mixed(tf.constant([1, 2, 3]), tf.constant([4, 5, 6]), tf.constant([0.7, 0.5, 0.2]))
    assert larger(mixed).numpy().tolist() == [1, 2, 6] and larger(tf.constant([8])).numpy().tolist() == [8]


@pytest.mark.parametrize("alphas", [(0.2, 0.0), (0.2, 1.0)], ids=["mixup", "both"])
def test_a_batch_is_a_function_of_its_number(alphas, rng):
    """A pipeline that begins at batch 4 gives what the one from the start gives there, and no two batches mix alike."""
    mix = mixing(*alphas)
    source = Source(rng.integers(0, 256, size=(23, 6, 6, 1), dtype=np.uint8), np.arange(23) % 3)
    whole = [b for b, _ in zip(batches(source, 5, seed=1, mix=mix, alternate=True), range(7), strict=False)]
    later = iter(batches(source, 5, seed=1, mix=mix, alternate=True, start=4))
    for images, labels in whole[4:]:
        again, mixed = next(later)
        assert isinstance(mixed, Mixed)
        for one, other in ((images, again), *zip(labels, mixed, strict=True)):
            np.testing.assert_array_equal(one, other)
    assert len({labels.lam.numpy().tobytes() for _, labels in whole}) == 7
