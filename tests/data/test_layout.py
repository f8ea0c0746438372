"""Layouts of folders: what is a split, what is a class, and what is passed over is said."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from rawcnn.data.images import folder
from rawcnn.data.images.folder import open_folder
from rawcnn.errors import DataError


def fill(root, *names):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def opened(root):
    said = []
    splits, _ = open_folder(root, log=said.append)
    return {split: [os.path.relpath(path, root) for path in source.paths] for split, source in splits.items()}, said


SPLITS = [
    ("training_set", "test_set"),
    ("seg_train", "seg_test"),
    ("train_images", "test_images"),
    ("TrainImages", "TestImages"),
    ("Training", "Testing"),
    ("dataset-train", "dataset-test"),
]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(("train", "test"), SPLITS)
def test_splits_are_not_classes(train, test, twice, tmp_path):
    """Nested twice, as a well-known archive unpacks."""
    for name in (train, test):
        deeper = f"{name}/{name}" if twice else name
        fill(tmp_path, f"{deeper}/cats/1.png", f"{deeper}/dogs/1.png")
    fill(tmp_path, f"{train}/{train}/dogs/2.png" if twice else f"{train}/dogs/2.png")
    splits, _ = open_folder(tmp_path, log=lambda _: None)
    assert {split: (source.class_names, len(source)) for split, source in splits.items()} == {
        "train": (("cats", "dogs"), 3),
        "test": (("cats", "dogs"), 2),
    }


def test_other_folders_beside_splits_are_said(tmp_path):
    fill(tmp_path, "seg_train/a/1.png", "seg_train/b/1.png", "seg_pred/1.png")
    splits, said = opened(tmp_path)
    assert list(splits) == ["train"] and "seg_pred in" in said[0] and "not used" in said[0]


def test_splits_whose_names_do_not_tell_are_refused(tmp_path):
    fill(tmp_path, "first/cats/1.png", "first/dogs/1.png", "second/cats/1.png", "second/dogs/1.png")
    with pytest.raises(DataError, match=r"same folders \(cats and dogs, \.\.\.\).*Rename them to train and test"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "names", [("a/x/1.png", "b/y/1.png"), ("a/x/1.png", "b/x/1.png"), ("a/train/1.png", "b/1.png")]
)
def test_folders_in_class_folders_stay_allowed(names, tmp_path):
    fill(tmp_path, *names)
    splits, _ = opened(tmp_path)
    assert sorted(splits["train"]) == sorted(names)


def test_what_is_passed_over_is_counted_in_one_line(tmp_path):
    root = tmp_path / "d"
    fill(root, "a/1.png", "b/1.png", "b/2.ppm", "a/@eaDir/1.png", "a/.thumbnails/1.png", "b/.3.png")
    for name in ("a/x.txt", "b/y.txt", "b/z.npy", "b/.DS_Store", "a/Thumbs.db", "a/._1.png"):
        (root / name).write_bytes(b"")
    splits, said = opened(root)
    assert splits == {"train": ["a/1.png", "b/1.png", "b/2.ppm"]}
    (line,) = said
    for words in (
        "2 hidden folders or folders that a tool left",
        "1 hidden files",
        "2 files of type .txt, which are not read",
        "1 files of type .npy",
    ):
        assert words in line


def test_nothing_is_said_where_nothing_is_passed_over(tmp_path):
    fill(tmp_path, "a/1.png", "b/1.png")
    assert opened(tmp_path)[1] == []


def test_linked_folders_are_read_once_and_circles_end(tmp_path):
    fill(tmp_path / "more", "1.png", "2.png")
    fill(tmp_path / "d", "a/1.png", "b/1.png")
    os.symlink(tmp_path / "more", tmp_path / "d/b/more")
    os.symlink(tmp_path / "d/b", tmp_path / "d/b/round")
    splits, said = opened(tmp_path / "d")
    assert splits["train"] == ["a/1.png", "b/1.png", "b/more/1.png", "b/more/2.png"]
    assert "1 links to folders that are read already" in said[0]


def test_a_class_of_files_that_are_not_read_is_not_called_empty(tmp_path):
    fill(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    for number in range(3):
        (tmp_path / "b" / f"{number}.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"folder .*b holds no images, only 3 files of type \.npy"):
        opened(tmp_path)


def test_what_is_kept_in_memory_has_a_limit(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.ppm", "b/1.ppm")
    monkeypatch.setattr(folder, "MAX_KEPT", 100)
    with pytest.raises(DataError, match="Convert them to PNG or JPEG"):
        opened(tmp_path)


def test_grey_is_pillows(tmp_path, rng):
    import numpy as np

    from rawcnn.data.batches import in_order
    from rawcnn.data.views import whole

    for name in ("a/1.png", "b/1.png"):
        path = tmp_path / name
        path.parent.mkdir()
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(path)
    grey = tmp_path / "b/2.png"
    Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(grey)
    source = open_folder(tmp_path, channels=1)[0]["train"]
    assert source.shape == (None, None, 1)
    got = np.concatenate([images.numpy()[:, 0] for images, _ in in_order(source, 1, whole(), 12)])
    assert got.shape == (3, 12, 12, 1)
    for image, path in zip(got, source.paths, strict=True):
        expected = np.asarray(Image.open(path).convert("L"), int)
        assert np.abs(image[..., 0] - expected).max() <= (0 if path == str(grey) else 1)


@pytest.mark.parametrize(("train", "test"), [("훈련", "시험"), ("Lernen", "Prüfen"), ("batch 1", "batch 2")])
def test_splits_in_other_languages_are_refused_even_where_one_lacks_a_class(train, test, tmp_path):
    fill(tmp_path, *(f"{train}/{name}/1.png" for name in "abc"), *(f"{test}/{name}/1.png" for name in "ab"))
    with pytest.raises(DataError, match=r"like splits\. Rename them to train and test"):
        opened(tmp_path)


def test_names_that_look_alike_are_one_class(tmp_path):
    """macOS writes letters with accents, and Korean syllables, in pieces (NFD); blanks at the end are not seen."""
    for form, split in (("NFC", "train"), ("NFD", "test")):
        names = (unicodedata.normalize(form, name) for name in ("café", "고양이"))
        fill(tmp_path, *(f"{split}/{name}/1.png" for name in names))
    os.rename(tmp_path / "test" / unicodedata.normalize("NFD", "café"), tmp_path / "test/café ")
    splits, _ = open_folder(tmp_path, log=lambda _: None)
    assert splits["train"].class_names == splits["test"].class_names == ("café", "고양이")
    assert splits["train"].labels.tolist() == splits["test"].labels.tolist() == [0, 1]
    fill(tmp_path, f"train/{unicodedata.normalize('NFD', 'café')}/1.png")
    with pytest.raises(DataError, match="would be a second class called 'café'"):
        opened(tmp_path)


def test_a_class_that_only_the_test_images_have_is_asked_about(tmp_path):
    fill(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/Dog/1.png")
    with pytest.raises(DataError, match=r"have a class 'Dog' that is not in train\. Did you mean 'dog'\?"):
        opened(tmp_path)


def test_runs_in_the_folder_are_not_data(tmp_path):
    """Who trains where the images are has the pictures of earlier runs below them."""
    fill(tmp_path, "a/1.png", "b/1.png", "runs/lenet5-folder-1/curves.png", "mine/samples.png")
    for run in ("runs/lenet5-folder-1", "mine"):
        (tmp_path / run / "run.lock").write_text("1")
    splits, said = opened(tmp_path)
    assert splits == {"train": ["a/1.png", "b/1.png"]} and "2 folders of training runs" in said[0]
