"""The page as text: what strangers named is escaped, the policy fits, nothing is fetched, and it is small."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.errors import RunError
from rawcnn.layers import Conv2D, Dense, Flatten, MaxPool
from rawcnn.nets.chain import Chain, row
from rawcnn.report import write, write_report
from rawcnn.report.markup import Markup, tag
from rawcnn.report.page import HERE, SCRIPTS, assemble
from rawcnn.report.write import LARGEST
from rawcnn.run.session import Run
from tests.command import environment
from tests.report.photos import EVIL, evil_photos, train_on

CPUINFO = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""


class Page(HTMLParser):
    """What a parser finds: elements with attributes, and the content of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.contents, self.text = [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.contents.append((*self._inside, data))
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def report(whole, tmp_path_factory):
    return write_report(whole[0], tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def evil_run(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    return train_on(evil_photos(place / "data"), place / "run")


def rules(page):
    (policy,) = [
        a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    return dict(rule.strip().split(" ", 1) for rule in policy.split(";"))


def check(text):
    """What must hold of every page; returns what the parser found."""
    page = Page(text)
    allowed = rules(page)
    assert allowed["default-src"] == "'none'" and allowed["img-src"] == "data:" and "unsafe" not in str(allowed)
    for kind in ("script", "style"):
        contents = [data for name, attributes, data in page.contents if name == kind and "type" not in attributes]
        hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()}'" for data in contents]
        assert set(hashes) <= set(allowed[f"{kind}-src"].split())
    for name, attributes in page.elements:
        assert not {key for key in attributes if key.startswith("on") or key in ("style", "srcset")}, (name, attributes)
        for key in ("src", "href", "action"):
            assert attributes.get(key, "#").startswith(("data:image/", "#")), (name, attributes)
        assert name not in ("link", "iframe", "object", "embed", "base", "form")
    assert sum(name == "script" for name, _ in page.elements) == 2
    assert "http:" not in text and "https:" not in text
    assert len(text.encode()) <= LARGEST
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    return page


def test_a_page_of_a_lenet_run(report, whole):
    page = check(report.read_text(encoding="utf-8"))
    said = "".join(page.text)
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", whole[1].stdout)[1])
    assert f"{accuracy:.2f} %" in said and "95 % interval" in said
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {"net", "lab", "training", "mistakes", "calibration", "pad", "epoch"} <= ids
    (data,) = [json.loads(d) for name, a, d in page.contents if a.get("type") == "application/json"]
    assert data["live"]["whole"] and [row["name"] for row in data["live"]["rows"]][:3] == ["c1", "s2", "c3"]
    assert [row["epoch"] for row in data["film"]["rows"]] == [0, 1, 2, 3]
    frames = data["film"]["frames"]
    assert [frame["epoch"] for frame in frames] == [0, 1, 2, 3] and frames[0]["confusion"] is None
    assert len({frame["filters"] for frame in frames}) == 4
    assert all(len(frame["confusion"]) == 10 and len(frame["confusion"][0]) == 11 for frame in frames[1:])
    processors = [line.partition(":")[2] for line in CPUINFO.splitlines() if line.startswith("model name")]
    assert not processors or " ".join(processors[0].split()) in said
    images = [a for name, a in page.elements if name == "img"]
    assert images and all(a.get("alt") is not None for a in images)


def test_a_page_that_would_be_too_large_shows_fewer_maps(report, whole, tmp_path, monkeypatch):
    size, said = report.stat().st_size, []
    # Two pages of one run differ by some bytes, because the times of their rows differ.
    monkeypatch.setattr(write, "LARGEST", 99 * size // 100)
    smaller = write_report(whole[0], tmp_path / "smaller.html", log=said.append)
    assert smaller.stat().st_size < size and "16 maps a row are too many" in said[0]
    monkeypatch.setattr(write, "LARGEST", 1)
    smallest = write_report(whole[0], tmp_path / "smallest.html").read_text(encoding="utf-8")
    assert "data-maps" not in smallest and "data-maps" in report.read_text(encoding="utf-8")


def test_strangers_names_stay_text(evil_run, tmp_path):
    path = write_report(evil_run, tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    page = check(text)
    said = "".join(page.text)
    assert "고양이" in said and "사과 & 배" in said and EVIL in said
    assert "<script>alert" not in text and "<b>.png" not in text


def test_without_its_data_the_page_has_no_images_and_says_so(evil_run, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(evil_run, moved)
    path = write_report(moved, data_dir=tmp_path / "nowhere")
    assert path == moved / "report.html"
    page = check(path.read_text(encoding="utf-8"))
    said = "".join(page.text)
    assert "This page has no images." in said and "nowhere" in said
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {"net", "training"} <= ids and not {"mistakes", "calibration"} & ids


def test_two_runs_are_compared_in_two_columns(whole, evil_run, tmp_path):
    for other, expected in ((whole[0], "McNemar"), (evil_run, "different images")):
        path = write_report(whole[0], tmp_path / "two.html", compare_with=other)
        page = check(path.read_text(encoding="utf-8"))
        assert expected in "".join(page.text)
        assert sum(attributes.get("class") == "two" for _, attributes in page.elements) >= 3


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no checkpoint"):
        write_report(tmp_path)


def test_every_attribute_and_text_is_escaped():
    made = tag("p", "<script>alert(1)</script>", title='"><script>', data_x=None)
    assert made == '<p title="&quot;&gt;&lt;script&gt;">&lt;script&gt;alert(1)&lt;/script&gt;</p>'
    assert tag("b", made, Markup("<i>")).count("<i>") == 1
    assert "\udcff" not in tag("p", "bad\udcff\x00")


def test_data_cannot_end_its_element():
    page = Page(assemble("t", Markup(""), [], {"name": "</script><script>alert(1)</script><!--"}))
    assert sum(name == "script" for name, _ in page.elements) == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_turn_text_into_markup_or_code(name):
    source = (HERE / name).read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|\bFunction\(|fetch\(|XMLHttp|import\(", source
    )
    assert 'setAttribute("style"' not in source and "http" not in source
    assert max(map(len, source.splitlines())) <= 160 and len(source.splitlines()) <= 400


def test_the_command_writes_a_page(whole, evil_run, tmp_path):
    def rawcnn(*words, status=0):
        command = [sys.executable, "-m", "rawcnn", "report", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path), cwd=tmp_path)
        assert done.returncode == status, done.stderr
        return done

    one = tmp_path / "one.html"
    assert "one.html" in rawcnn(f"--run={whole[0]}", f"--out={one}").stdout
    assert "lenet5_relu on mnist" in one.read_text(encoding="utf-8")
    two = tmp_path / "two.html"
    rawcnn("--run", whole[0], f"--run={evil_run}", f"--out={two}")
    assert "Two runs compared" in two.read_text(encoding="utf-8")
    assert "Which run?" in rawcnn(status=2).stderr
    assert "not 3" in rawcnn("--run=a", "--run=b", "--run=c", status=2).stderr


def test_a_net_of_ones_own_on_ones_own_arrays_has_a_page(tmp_path):
    """Its data are not in the run's directory, so it has no images; the net runs in the page all the same."""
    images, labels = drawn_digits(80)
    table = (("c1", row(Conv2D, activation=tf.nn.relu)(4, 5)), ("p1", row(MaxPool)(2)), ("flat", row(Flatten)()),
             ("out", row(Dense)(10)))  # fmt: skip

    def build():
        return Chain(table, input_shape=(28, 28, 1))

    source = Source(images, labels, tuple("0123456789"))
    Run(tmp_path / "run", build(), source, epochs=1, batch_size=20, validation=0.2).train()
    page = check(write_report(tmp_path / "run", net=build).read_text(encoding="utf-8"))
    assert "which are not kept in its directory" in "".join(page.text)
    (data,) = [json.loads(d) for name, a, d in page.contents if a.get("type") == "application/json"]
    assert [one["kind"] for one in data["live"]["rows"]] == ["Conv2D", "MaxPool", "Flatten", "Dense"]
