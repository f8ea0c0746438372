"""The Python of docs/howto/find-settings.md runs as printed, on a few synthetic digits."""

import re

import pytest

from rawcnn.data.sets.drawn import drawn_digits
from tests.command import ROOT


@pytest.mark.slow
def test_the_page_runs(capsys):
    text = (ROOT / "docs/howto/find-settings.md").read_text(encoding="utf-8")
    images, labels = drawn_digits(200)
    given = {"images": images, "labels": labels}
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(program, "find-settings.md", "exec"), given)
    assert len(given["accuracies"]) == 5 and 0 <= float(capsys.readouterr().out.splitlines()[-1]) <= 1
