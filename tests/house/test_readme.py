"""README: its commands are those of continuous integration, its Python runs as printed, its links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_readmes_commands():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 2
    assert {commands[0] + " --smoke", commands[1]} <= set(ci)


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_anchors_are_headings():
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in headings, anchor


IMAGES = {
    "uint8": lambda images: (255 * images).astype(np.uint8),
    "float32 in 0 ... 1": lambda images: images.astype(np.float32),
    "float64 in 0 ... 255": lambda images: 255.0 * images,
}
LABELS = {
    "uint8": lambda labels: labels.astype(np.uint8),
    "list": lambda labels: labels.tolist(),
    "a column of int64": lambda labels: labels.astype(np.int64)[:, None],
}


@pytest.mark.parametrize(("images", "labels"), list(zip(IMAGES, LABELS, strict=True)))
def test_its_ten_lines_run_as_printed(images, labels, rng, tmp_path, monkeypatch, capsys):
    """On uint8 and float arrays, with labels as arrays, lists and columns; each class is a square in its own place."""
    (program,) = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "rc.fit" in text]
    monkeypatch.chdir(tmp_path)
    classes = np.arange(2000) % 10
    made = 0.3 * rng.random((2000, 32, 32, 3))
    for k in range(10):
        made[classes == k, 3 * k : 3 * k + 4, 4:20] += 0.6
    exec(compile(program, "README.md", "exec"), {"images": IMAGES[images](made), "labels": LABELS[labels](classes)})
    *progress, accuracy = capsys.readouterr().out.splitlines()
    assert progress and float(accuracy) > 0.5 and (tmp_path / "net.npz").is_file()
