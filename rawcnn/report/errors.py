"""What the net gets wrong: confusion, mistakes by pair of classes with Grad-CAM, and how far its confidence is true."""

import numpy as np

from rawcnn.report import charts, classes, images
from rawcnn.report.markup import Content, Markup, count, tag
from rawcnn.report.measures import Calibration, Pair, calibration, mistakes
from rawcnn.report.opened import OpenRun
from rawcnn.report.tested import Tested
from rawcnn.run import inside
from rawcnn.run.figures import percent

MOST_PAIRS, MOST_OF_PAIR, MOST = 8, 6, 24
LONGEST = 112


def section(run: OpenRun, tested: Tested) -> Markup:
    """Confusion matrix, the mistakes of the most frequent pairs, and calibration."""
    matrix = tested.confusion(len(run.class_names))
    parts: list[Content] = [
        tag("h2", "Mistakes"),
        tag("p", f"The net gets {count(len(tested.labels) - tested.right, 'test image')} of "
        f"{len(tested.labels):,} wrong. "
            "Each row of the table is a true class, each column an answer of the net."),
        charts.confusion(matrix, run.class_names),
        _remark(run, tested),
        *classes.table(matrix, run.class_names),
    ]  # fmt: skip
    found = mistakes(tested.probabilities, tested.labels)
    parts += _by_pair(run, tested, found)
    return tag("section", parts, id="mistakes")


def _remark(run: OpenRun, tested: Tested) -> Markup | None:
    answers = np.bincount(tested.said, minlength=len(run.class_names))
    if answers.max() >= 0.9 * answers.sum() and len(run.class_names) > 1:
        name = run.class_names[int(answers.argmax())]
        return tag(
            "p",
            f"Almost every answer is “{name}”: the net has not learnt to tell the classes apart yet.",
            class_="warning",
        )
    return None


def _by_pair(run: OpenRun, tested: Tested, found: list[Pair]) -> list[Content]:
    if not found:
        return [tag("p", "There are no mistakes: every test image is recognised.")]
    shown, left = [], MOST
    for pair in found[:MOST_PAIRS]:
        some = pair.images[: min(MOST_OF_PAIR, left)]
        if len(some):
            shown.append((pair, some))
            left -= len(some)
    wanted = np.concatenate([some for _, some in shown])
    inputs = run.shown(wanted)
    heat = _heat(run, inputs, tested.said[wanted])
    pixels, figures, at = run.pixels(inputs), [], 0
    files = None if run.data is None else run.data.test.file_names(wanted)
    for pair, some in shown:
        true, said = run.class_names[pair.true], run.class_names[pair.said]
        of_pair = []
        for i in some:
            name = files[at] if files else f"no. {i}"
            of_pair.append(
                _mistake(
                    pixels[at], None if heat is None else heat[at], true, said, tested.probabilities[i], pair, name
                )
            )
            at += 1
        heading = tag("h3", tag("b", true), " called ", tag("b", said), f": {count(len(pair.images), 'image')}")
        figures.append(tag("div", heading, tag("div", of_pair, class_="mistakes"), class_="pair-of"))
    told = (
        "The most frequent kinds of mistake, and of each the images that the net was most sure of. Next to each "
        "image, Grad-CAM shows in orange where the last convolution found evidence for the wrong answer."
    )
    return [tag("p", told), *figures]


def _heat(run: OpenRun, inputs: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    try:
        row = inside.last_convolution(run.net)
    except ValueError:
        return None
    blocks = [slice(i, i + 8) for i in range(0, len(inputs), 8)]
    return np.concatenate([inside.grad_cam(run.net, inputs[b], classes[b], row) for b in blocks])


def _mistake(
    image: np.ndarray, heat: np.ndarray | None, true: str, said: str, p: np.ndarray, pair: Pair, name: str
) -> Markup:
    parts: list[Content] = [
        tag("img", src=images.picture(image, LONGEST), alt=f"{name}: {true}, called {said}", class_="pixels")
    ]
    if heat is not None:
        cam = images.overlaid(image, heat, LONGEST)
        parts.append(tag("img", src=cam, alt=f"Grad-CAM for {said}", class_="cam"))
    told = [tag("span", percent(p[k]), class_="whole") for k in (pair.said, pair.true)]
    caption = tag("figcaption", f"{said}: ", told[0], f", {true}: ", told[1], tag("span", name, class_="file"))
    return tag("figure", tag("div", parts, class_="twins"), caption)


def confidence(tested: Tested) -> Markup:
    """The reliability diagram and the expected calibration error, in words."""
    found = calibration(tested.probabilities, tested.labels)
    sure = float(tested.probabilities.max(axis=1).mean())
    kind = "more sure than it should be" if sure > tested.accuracy else "less sure than it could be"
    verdict = (
        f"Mean confidence {100 * sure:.1f} %, accuracy {100 * tested.accuracy:.1f} %: on the whole the net is {kind}."
    )
    told = [
        tag("p", "When the net says “90 % sure”, is it right nine times out of ten? Each bar holds the images "
        "with one level of "
            "confidence; its height is how often they are right; the number is how many they are. On the "
            "diagonal confidence "
            "is honest. A bar below it means that the net is too sure of itself."),
        tag("p", tag("strong", f"Expected calibration error: {100 * found.expected_error:.2f} %. "), verdict),
    ]  # fmt: skip
    return tag("section", tag("h2", "Is it sure when it is right?"), told, _chart(found), id="calibration")


def reliability(tested: Tested) -> Content:
    """The reliability diagram and the expected calibration error alone."""
    found = calibration(tested.probabilities, tested.labels)
    return [_chart(found), tag("p", f"Expected calibration error: {100 * found.expected_error:.2f} %.")]


def _chart(found: Calibration) -> Markup:
    return tag("figure", charts.reliability(found.counts, found.confidence, found.accuracy))
