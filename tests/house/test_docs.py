"""The documentation: its Python can be compiled, every `rc.name` in it exists, and the site lists every page."""

import re

import pytest

import rawcnn
from tests.command import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_of(page):
    text = page.read_text(encoding="utf-8")
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(program, name_of(page), "exec")
    for name in re.findall(r"\brc\.(\w+)", text):
        assert name in dir(rawcnn), f"{name_of(page)} uses rc.{name}, which is not in the front door"


def test_the_site_lists_every_page():
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
