"""How well each class is recognised: a small table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rawcnn.report.markup import Content, tag
from rawcnn.train.evaluate import class_scores

MOST = 20
"""Classes in the table; of more those with the lowest F1."""


def table(matrix: NDArray[np.integer], class_names: Sequence[str]) -> list[Content]:
    """Precision, recall and F1 of each class, from the confusion matrix `[K, K]` of the test images."""
    scores, images = class_scores(matrix), matrix.sum(axis=1)
    shown = np.arange(len(matrix))
    if len(shown) > MOST:
        shown = np.sort(np.argsort(scores.f1, kind="stable")[:MOST])
    rows = [
        tag("tr", tag("th", class_names[k], scope="row"), tag("td", f"{images[k]:,}"),
            *(tag("td", f"{100 * values[k]:.1f} %") for values in scores[:3]))
        for k in shown.tolist()
    ]  # fmt: skip
    names = ("class", "images", "precision", "recall", "F1")
    head = tag("tr", [tag("th", name, scope="col") for name in names])
    few = f" The table shows the {MOST} classes with the lowest F1." if len(matrix) > MOST else ""
    told = (
        "Precision: of the answers of a class, how many are right. Recall: of the images of a class, how many are "
        "recognised. F1: 2 x precision x recall / (precision + recall). The mean F1 of the classes (macro F1) is "
        f"{100 * scores.macro_f1:.2f} %; in it a rare class counts as much as a frequent one.{few}"
    )
    made = tag("table", tag("thead", head), tag("tbody", rows), class_="classes")
    scroll = tag(
        "div", made, class_="scroll", tabindex=0, role="region", aria_label="precision, recall and F1 by class"
    )
    return [tag("p", told), scroll]
