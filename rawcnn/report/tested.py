"""What a run's net says about its test images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rawcnn.report.measures import telling_images
from rawcnn.report.opened import OpenRun
from rawcnn.train.evaluate import confusion_matrix


@dataclass(frozen=True)
class Tested:
    """Probabilities `[N, K]` and labels `[N]` of the test images, and the few `chosen` ones with the reason."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.integer]
    chosen: list[tuple[int, str]]

    @property
    def said(self) -> NDArray[np.integer]:
        """The class that the net gives each image."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> int:
        """How many answers are right."""
        return int((self.said == self.labels).sum())

    @property
    def accuracy(self) -> float:
        """The fraction of answers that are right."""
        return self.right / max(1, len(self.labels))

    def confusion(self, classes: int) -> NDArray[np.integer]:
        """Counts `[K, K]`: row = true class, column = the net's answer."""
        return confusion_matrix(self.labels, self.said, classes)


def test(run: OpenRun, chosen: int) -> Tested | None:
    """Ask the net about every test image, and choose a few to look at; None where there are no images."""
    if run.data is None or not len(run.data.test):
        return None
    probabilities = run.probabilities()
    labels = run.data.test.labels
    return Tested(probabilities, labels, telling_images(probabilities, labels, chosen))
