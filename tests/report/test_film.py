"""The film in the page: what happened when, and that a long film stays small."""

import re
from types import SimpleNamespace

import numpy as np

from rawcnn.report import film
from rawcnn.report.charts import BOTTOM, HEIGHT, TOP, curves
from rawcnn.run.film import Frame

NAMES = ("cat", "<b>dog")


def history(rates):
    return [
        {"epoch": k, "train_loss": 1 / k, "train_accuracy": 0.5, "val_loss": 1 / k, "val_accuracy": 0.5,
         "learning_rate": rate}
        for k, rate in enumerate(rates, 1)
    ]  # fmt: skip


def run_of(rates, resumed=()):
    return SimpleNamespace(history=history(rates), class_names=NAMES, resumed=lambda: list(resumed))


def test_a_plateau_and_a_resumption_are_marked_and_a_cosine_is_not():
    found = film.events(history([0.1, 0.1, 0.01, 0.01]), [2])
    assert [(one.epoch, one.kind) for one in found] == [(2, "resumed"), (3, "fell")]
    assert found[1].words == "In epoch 3 the learning rate fell from 0.1 to 0.01."
    cosine = (1 + np.cos(np.linspace(0, np.pi, 10))) / 2
    assert film.events(history(cosine.tolist()), []) == []
    page, _ = film.section(run_of([0.1, 0.1, 0.01, 0.01], [2]), [])
    assert page.count('class="event fell"') == page.count('class="event resumed"') == 2  # in both charts
    assert "The run was resumed in epoch 2." in page and "key event fell" in page
    plain, _ = film.section(run_of([0.1, 0.1]), [])
    assert "event" not in plain


def test_a_long_film_of_large_filters_stays_small(rng):
    frames = [
        Frame(k, rng.normal(size=(11, 11, 3, 64)).astype(np.float32), np.array([[k, 1], [2, 60 - k]]))
        for k in range(61)
    ]
    page, data = film.section(run_of([0.1] * 60), frames)
    shown = [frame["epoch"] for frame in data["frames"]]
    assert sum(len(frame["filters"]) for frame in data["frames"]) <= film.MOST_BYTES
    assert shown[0] == 0 and shown[-1] == 60 and len(shown) >= 20
    assert len(data["rows"]) == 61 and "<b>dog" not in page
    (address,) = re.findall(r'<img src="([^"]+)"', page)
    assert address == data["frames"][-1]["filters"]
    assert data["frames"][-1]["confusion"][0] == ["60 right5", "1 wrong4", "98.4 %"]  # the root of 1 / 2: 4 of 5


def test_many_classes_are_a_list_of_mistakes(rng):
    names = tuple(f"class {k}" for k in range(30))
    run = SimpleNamespace(history=history([0.1]), class_names=names, resumed=lambda: [])
    page, data = film.section(run, [Frame(1, None, np.eye(30, dtype=int) + 2 * np.eye(30, k=1, dtype=int))])
    assert data["frames"][0]["filters"] is None
    listed = data["frames"][0]["confusion"]
    assert listed[0] == "2 x class 0, called class 1" and len(listed) == 20
    assert page.count("<li>") == 20


def test_curves_stay_within_their_chart():
    """Also a training accuracy that is below what guessing gives."""
    rows = [{"epoch": 1, "train_accuracy": 0.45, "val_accuracy": 0.5}]
    heights = [float(y) for y in re.findall(r'<circle cx="[^"]*" cy="([^"]*)"', curves(rows, "accuracy", 0.5))]
    assert len(heights) >= 2 and min(heights) >= TOP and max(heights) <= HEIGHT - BOTTOM
