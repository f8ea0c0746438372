"""`write_report`: from a run's directory to one HTML file."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rawcnn.errors import RunError
from rawcnn.files.whole import whole_file
from rawcnn.report import compare, errors, film, head, images, lab, rows, table
from rawcnn.report.markup import Markup
from rawcnn.report.opened import OpenRun, open_run
from rawcnn.report.page import assemble
from rawcnn.report.tested import Tested, test
from rawcnn.run.classify import Build
from rawcnn.run.directory import REPORT

LARGEST = 8_000_000
"""Bytes of a page."""
CHOSEN = 8
MAPS = (16, 12, 8, 5, 3, 0)
"""Maps of a row that are shown: the first number with which the page is small enough."""
PIXELS, MOST_IMAGES = 400 * 32 * 32, 256
"""How many images histograms and times are measured on: so many pixels, and no more than so many."""
StrPath = str | os.PathLike[str]


def write_report(
    run: StrPath, out: StrPath | None = None, *, compare_with: StrPath | None = None, data_dir: StrPath | None = None,
    net: Build = None, log: Callable[[str], None] = lambda line: None,
) -> Path:  # fmt: skip
    """Write a page that opens a run's net: one HTML file without network or server, under 8 MB. Returns its path.

    Args:
      run: the directory of a run.
      out: the file to write; by default `report.html` in `run`.
      compare_with: another run's directory; the page then compares the two in two columns.
      data_dir: where the run's data are now, if not where they were. Without data the page has no images and says so.
      net: of a run whose net is one of your own, a `Chain` like it or a function that makes one, as in `load_run`.
      log: is told what happens.

    Raises:
      RunError: there is no run, or the file cannot be written.
    """
    opened = open_run(run, data_dir, net)
    if opened.missing:
        log(f"the page has no images: {opened.missing}")
    content = single(opened, log) if compare_with is None else pair(opened, open_run(compare_with, data_dir))
    path = Path(os.path.expanduser(Path(run, REPORT) if out is None else out))
    try:
        with whole_file(path) as file:
            file.write(content.encode("utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}): choose another --out.") from error
    return path


def single(run: OpenRun, log: Callable[[str], None]) -> str:
    """The page of one run."""
    tested = test(run, CHOSEN)
    words, shown, thumbs = _chosen(run, tested)
    views = list(rows.look(run.net, _measured(run, tested, shown), len(words)))
    for most in MAPS:
        content = _page(run, tested, views, most, words, shown, thumbs)
        if len(content.encode()) <= LARGEST:
            return content
        log(f"{len(content.encode()):,} bytes with {most} maps a row are too many for one page")
    return content


def _page(
    run: OpenRun, tested: Tested | None, views: Sequence[rows.RowView], most: int, words: Sequence[str], shown: Any,
    thumbs: Sequence[str],
) -> str:  # fmt: skip
    geometry: list[dict[str, Any]] = []
    sections: list[tuple[str, Markup]] = [("The net", table.section(run.net, views, most, words, geometry))]
    bench, live = lab.section(run, shown, words)
    if bench is not None and live is not None:
        sections.append(("Draw a digit" if live["whole"] else "Arithmetic", bench))
    training, reel = film.section(run, run.frames())
    sections.append(("Training", training))
    if tested is not None:
        sections.append(("Mistakes", errors.section(run, tested)))
        sections.append(("Confidence", errors.confidence(tested)))
    data = {
        "classes": run.class_names, "palette": images.palette().tolist(), "input": run.net.input_shape,
        "maps": geometry, "film": reel, "live": live,
    }  # fmt: skip
    return assemble(run.title, head.section(run, tested), sections, data, thumbs)


def pair(a: OpenRun, b: OpenRun) -> str:
    """The page that compares two runs."""
    sections = compare.section((a, b), (test(a, CHOSEN), test(b, CHOSEN)))
    title = f"{a.title} and {b.title}"
    data = {"classes": a.class_names, "palette": images.palette().tolist(), "maps": [], "film": {}, "live": None}
    return assemble(title, compare.heading(a, b), sections, data)


def _chosen(run: OpenRun, tested: Tested | None) -> tuple[list[str], Any, list[str]]:
    """Of the chosen test images what is said of each, what the net is shown `[M, H, W, C]`, and small pictures."""
    if tested is None:
        return [], None, []
    words = []
    for i, reason in tested.chosen:
        true, said = run.class_names[int(tested.labels[i])], run.class_names[int(tested.said[i])]
        sure = f"{100 * tested.probabilities[i].max():.0f} % sure"
        answer = f"{true}, recognised" if true == said else f"{true}, called {said}"
        words.append(f"{answer}, {sure}" + (" (least certain)" if reason == "least certain" else ""))
    shown = run.shown(np.array([i for i, _ in tested.chosen]))
    return words, shown, [images.picture(one, 112) for one in run.pixels(shown)]


def _measured(run: OpenRun, tested: Tested | None, shown: Any) -> np.ndarray:
    """Images to measure histograms and times on: the chosen ones first, then test images at even distances."""
    height, width, channels = run.net.input_shape
    if tested is None:
        grey = np.full(
            (1, height, width, channels), np.mean((run.inputs.preprocess.low, run.inputs.preprocess.high)), np.float32
        )
        return np.repeat(grey, 2, axis=0)
    most = max(CHOSEN, min(MOST_IMAGES, PIXELS // (height * width)))
    if most <= len(shown):
        return np.asarray(shown)
    others = np.unique(np.linspace(0, len(tested.labels) - 1, most - len(shown)).astype(int))
    return np.concatenate([shown, run.shown(others)])
