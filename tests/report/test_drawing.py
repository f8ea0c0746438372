"""The drawing of the page: a box for each row of the summary, to scale, and heads apart."""

import re

import numpy as np
import pytest

from rawcnn.nets import NETS
from rawcnn.nets.summary import summary_rows
from rawcnn.report.drawing import HIGHEST, WIDEST, drawing
from rawcnn.report.markup import text


def fronts(markup):
    """(width, height) of the front of each box."""
    paths = re.findall(r'<path d="M([^"]*)Z" class="face front', markup)
    points = [np.array([point.split(",") for point in path.split(" L")], float) for path in paths]
    return np.array([np.ptp(corners, axis=0) for corners in points])


def test_boxes_are_to_scale():
    found = fronts(text(drawing(NETS["lenet5"]())))
    sides, channels = np.array([32, 28, 14, 10, 5, 1, 1, 1]), np.array([1, 6, 6, 16, 16, 120, 84, 10])
    np.testing.assert_allclose(found[:, 1], HIGHEST * np.sqrt(sides / 32), atol=0.11)
    np.testing.assert_allclose(found[:, 0], WIDEST * np.sqrt(channels / 120), atol=0.11)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "cifar_fast"])
def test_every_row_of_the_summary_is_drawn(name):
    net = NETS[name](num_classes=10)
    markup = text(drawing(net))
    rows = [row for row in summary_rows(net) if row.kind not in ("Flatten", "Dropout")]
    assert len(fronts(markup)) == 1 + len(rows)
    boxes = re.findall(r"<b>(\w+)</b>((?:<span>[^<]*</span>)*)", markup)
    said = [(box, re.findall(r"<span>([^<]*)</span>", lines)) for box, lines in boxes]
    for row in rows:
        params = f"{row.params:,} parameters" if row.params else "no parameters"
        assert any(box == row.name.split("/")[-1] and lines[-1:] == [params] for box, lines in said), row
    for head, at, _ in net.heads:
        assert f"<b>{head}</b>, a head on {at}: it helps in training only" in markup
