"""`rawcnn look`: what it says of a folder of photos and of arrays, in wide and narrow terminals, and its picture."""

import re

import numpy as np
import pytest
from PIL import Image

from rawcnn.data.datasets import DataSet, load_dataset
from rawcnn.data.source import Source
from rawcnn.errors import DataError, UsageError
from rawcnn.run import look

SIZES = ((30, 70), (70, 30), (50, 50), (130, 40))  # height, width
COUNTS = {"고양이": 24, "a very long name of a class of photographs": 8}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(2)
    for name, count in COUNTS.items():
        (folder / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (*SIZES[i % 4], 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def data(photos):
    return load_dataset(photos, validation=0.25, log=lambda line: None)


def test_a_folder_that_does_not_exist_is_said_so():
    """Not taken for the name of a data set."""
    for name in ("nowhere", "mnist"):
        with pytest.raises(DataError, match=f"^{name} does not exist"):
            look.command(["look", f"--data_dir={name}"])


def test_the_command_says_what_there_is(photos, tmp_path, capsys):
    look.command(["look", f"--data_dir={photos}", "--validation=0.25", f"--out={tmp_path / 'look.png'}"])
    said = capsys.readouterr().out
    assert "data set folder: 16 training, 8 validation and 8 test images in files" in said
    assert re.search(
        r"training  validation  test  class\n +4 +2 +2  a very long name[^\n]+\n +12 +6 +6  고양이\n", said
    )
    flat = " ".join(said.split())  # lines may break between any words
    assert "uneven: 4 training images of a very" in flat and "12 of 고양이" in flat
    assert "smallest 70x30, largest 40x130, median 45x60" in flat
    assert "wide 25%, square 25%, tall 50%" in flat
    assert re.findall(r"(\d+-\d+) +(\d+) +#+", said) == [("16-31", "16"), ("32-63", "16")]
    assert "--fit=pad" in flat and f"picture: {tmp_path / 'look.png'}" in said
    with Image.open(tmp_path / "look.png") as picture:
        assert min(picture.size) > 800 and len(np.unique(np.asarray(picture.convert("L")))) > 100


@pytest.mark.parametrize("columns", [39, 60, 79])
def test_lines_fit_the_terminal(data, columns):
    text = look.described(data, columns)
    wide = {line for line in text.splitlines() if len(line) > columns}
    assert not wide and "고양이" in text


def test_images_are_shown_as_the_net_is_given_them(data):
    some = data.train.take(np.arange(5))
    images = look._given(some, "pad", 20)
    assert [image.shape for image in images] == [(20, 20, 3)] * 5
    for image, (height, width) in zip(images, some.sizes.tolist(), strict=True):
        black = 1 - image.any(axis=2).mean()
        assert black == pytest.approx(1 - min(height, width) / max(height, width), abs=0.06)
    for shown, path in zip(look._as_they_are(some), some.paths, strict=True):
        with Image.open(path) as picture:
            np.testing.assert_array_equal(shown, np.asarray(picture))


def test_arrays_have_one_size(tmp_path):
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 40
    source = Source(rng.integers(0, 256, (80, 6, 9, 1), np.uint8), labels, tuple(f"class {k}" for k in range(40)))
    data = DataSet("own", source, None, source)
    text = look.described(data, 50)
    assert "every image has 9x6 pixels and is grey" in text and "and 10 more classes" in text
    assert "validation  " not in text and "uneven" not in text
    assert look.save_look(data, tmp_path / "crop.png", fit="crop").is_file()


def test_each_class_is_among_the_images_shown():
    labels = np.repeat([0, 1, 2], [500, 3, 1])
    chosen = look.mixed(labels, 25, seed=4)
    assert len(set(chosen)) == 25 and set(labels[chosen]) == {0, 1, 2}
    assert len(set(look.mixed(np.arange(100), 25, seed=4))) == 25
    assert len(look.mixed(np.zeros(4, int), 25, seed=0)) == 4


def test_a_folder_without_its_flag_is_explained():
    with pytest.raises(UsageError, match="name a folder with --data_dir=photos"):
        look.command(["look", "photos"])
