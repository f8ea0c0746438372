"""What a list of probabilities says about a classifier: interval, calibration, mistakes by pair. NumPy alone."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # 95 % of a normal distribution lies within so many deviations


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy, `right` of `total`: (low, high), 0 ... 1 (Wilson 1927).

    >>> [round(bound, 4) for bound in wilson(95, 100)]
    [0.8882, 0.9785]
    """
    if total == 0:
        return 0.0, 1.0
    p, z2 = right / total, Z95**2
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


class Calibration(NamedTuple):
    """Per bin of confidence: how many images, their mean confidence and their accuracy; and the expected error."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    expected_error: float


def calibration(probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 10) -> Calibration:
    """Compare confidence with accuracy in `bins` equal bins; empty bins hold NaN.

    The confidence is the largest probability of an image. The expected calibration error is the mean of |accuracy -
    confidence| over all images (Guo et al. 2017, equation 3).

    >>> found = calibration(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]))
    >>> found.counts.tolist(), found.expected_error
    ([0, 0, 0, 0, 0, 0, 0, 2, 0, 0], 0.25)
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)  # bins are closed above, as in the paper
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, sure, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    gap = np.where(counts > 0, np.abs(accuracy - confidence), 0.0)
    return Calibration(counts, confidence, accuracy, float((counts * gap).sum() / max(1, len(labels))))


class Pair(NamedTuple):
    """A kind of mistake: images of class `true` that the net called `said`, the most confident first."""

    true: int
    said: int
    images: NDArray[np.int64]


def mistakes(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> list[Pair]:
    """All mistakes by pair of classes, the most frequent pair first.

    >>> mistakes(np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]]), np.array([0, 0, 0]))
    [Pair(true=0, said=1, images=array([0, 1]))]
    """
    said = probabilities.argmax(axis=1)
    pairs: dict[tuple[int, int], list[int]] = {}
    for i in np.flatnonzero(said != labels):
        pairs.setdefault((int(labels[i]), int(said[i])), []).append(int(i))
    found = [
        Pair(*pair, np.array(sorted(images, key=lambda i: -probabilities[i].max()))) for pair, images in pairs.items()
    ]
    return sorted(found, key=lambda pair: (-len(pair.images), pair.true, pair.said))


def telling_images(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], most: int
) -> list[tuple[int, str]]:
    """Up to `most` images worth a look, with the reason: "right", "wrong" or "least certain".

    Three eighths are right, of different classes as far as there are some, three eighths wrong, all as confident as can
    be; the rest are those with the lowest confidence. Where a kind has too few images, others take their place.
    """
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    by_confidence = np.argsort(-sure, kind="stable")
    seen: set[int] = set()
    right: list[int] = []
    for i in by_confidence[said[by_confidence] == labels[by_confidence]]:
        if int(labels[i]) not in seen:
            seen.add(int(labels[i]))
            right.append(int(i))
    wrong = [int(i) for i in by_confidence if said[i] != labels[i]]
    chosen: dict[int, str] = {}
    shares = (("right", right, round(most * 3 / 8)), ("wrong", wrong, round(most * 3 / 8)))
    for reason, order, wanted in shares:
        chosen |= dict.fromkeys([i for i in order if i not in chosen][:wanted], reason)
    for i in by_confidence[::-1]:
        if len(chosen) >= most:
            break
        chosen.setdefault(int(i), "least certain")
    place = {"right": 0, "wrong": 1, "least certain": 2}
    return sorted(chosen.items(), key=lambda one: place[one[1]])
