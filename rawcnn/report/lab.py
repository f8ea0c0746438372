"""The laboratory: the part of the page in which the net itself runs, and one number is taken apart."""

from collections.abc import Sequence
from typing import Any

from rawcnn.report import images, live
from rawcnn.report.markup import Content, Markup, tag
from rawcnn.report.opened import OpenRun


def section(run: OpenRun, shown: Any, words: Sequence[str]) -> tuple[Markup | None, dict[str, Any] | None]:
    """The section, and what its scripts need; None where the page can compute nothing of this net.

    `shown` are the chosen images after preprocessing `[M, H, W, C]`, None where there are none.
    """
    square = run.net.input_shape[0] == run.net.input_shape[1]
    whole = live.runs_in_page(run.net) and square and run.inputs.preprocess.resize == 0
    saved = live.whole_net(run.net) if whole else live.first_rows(run.net)
    if saved is None or run.net.input_shape[2] not in (1, 3) or (not whole and shown is None):
        return None, None
    pixels = [] if shown is None else list(run.pixels(shown))
    samples = [{"image": images.exact(one), "words": word} for one, word in zip(pixels, words, strict=True)]
    before = {"pad": run.inputs.preprocess.pad, "low": run.inputs.preprocess.low, "high": run.inputs.preprocess.high}
    size = run.net.input_shape[0] - 2 * run.inputs.preprocess.pad
    data = saved | {"whole": whole, "preprocess": before, "size": size, "samples": samples}
    first = saved["rows"][0]["name"]
    title = "Draw a digit: the net runs here" if whole else f"The arithmetic of {first}"
    told = (
        "This is the net itself, with the weights of this run. Draw a digit, or choose a test image, and every "
        "map changes. "
        if whole
        else f"A page is too small for all of this net, but {first}, its first convolution, runs here with the "
        f"weights of "
        "this run. Choose an image. "
    )
    told += (
        "Point at any pixel of a map (tap it, or move with the arrow keys): below you see the window, the "
        "weights, their "
        "products and the sum that make this number. Green frames show where it looks. A click holds the pixel; "
        "Escape lets go."
    )
    parts: list[Content] = [tag("h2", title), tag("p", told, class_="js"), _without_scripts()]
    parts.append(tag("div", _input(whole), tag("div", id="strips"), class_="bench js" if whole else "bench plain js"))
    parts += [tag("div", id="arithmetic", aria_live="polite", class_="js"), tag("div", id="special", class_="js")]
    return tag("section", parts, id="lab"), data


def _input(whole: bool) -> Markup:
    samples = tag("div", id="samples", role="group", aria_label="Test images to choose")
    if not whole:
        return tag("div", samples)
    label = "A pad to draw a digit on with mouse, pen or finger. With a keyboard, choose a test image below."
    pad = tag("canvas", id="pad", width=280, height=280, role="img", aria_label=label)
    clear = tag("button", "Clear", id="clear", type="button")
    verdict = tag("p", id="verdict", aria_live="polite")
    return tag("div", pad, tag("p", clear), tag("p", "Or choose a test image:", class_="small"), samples, verdict,
               tag("ol", id="answers", aria_label="Probability of each class"))  # fmt: skip


def _without_scripts() -> Markup:
    return tag("noscript", tag("p", "This part needs JavaScript.", class_="warning"))
