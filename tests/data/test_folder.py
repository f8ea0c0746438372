"""Folders of image files: layouts, bad files, and streams that cut what Pillow cuts, the same each time."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from rawcnn.data.batches import batches, in_order
from rawcnn.data.images.folder import open_folder
from rawcnn.data.images.headers import inspect
from rawcnn.data.images.stream import FileSource, find_undecodable
from rawcnn.data.views import STANDARD, centre, protocol, random_crop, take_boxes, whole
from rawcnn.errors import DataError, UsageError


def quiet(_):
    pass


def photo(seed, width=60, height=45):
    """Smooth coloured stains, so that JPEG and every way of scaling nearly agree."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    small = Image.fromarray(rng.integers(40, 216, (3, 4, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def fill(directory, *names):
    for number, name in enumerate(names):
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(path)


def source_of(*paths):
    return FileSource([str(path) for path in paths], np.zeros(len(paths)), ("all",), map(inspect, paths))


def fixed(*boxes, mirrored=False):
    """The same boxes, (top, left, bottom, right), of every image."""

    def crop(heights, widths, seed):
        count = tf.shape(heights)[0]
        flags = tf.fill((count, len(boxes)), mirrored)
        return tf.tile(tf.constant([boxes], tf.float32), (count, 1, 1)), flags

    return crop


def views_of(source, crop, size):
    return np.concatenate([images.numpy() for images, _ in in_order(source, 1, crop, size)])


# Layouts


def test_class_folders_with_parts(tmp_path):
    fill(tmp_path, "train/dog/b.jpg", "train/dog/a.png", "train/cat/c.JPEG", "val/cat/d.jpg", "test/dog/e.bmp")
    fill(tmp_path, "train/cat/.hidden.jpg")
    for extra in (".DS_Store", "train/cat/Thumbs.db", "train/dog/README.txt", "train/notes.md"):
        (tmp_path / extra).write_bytes(b"?")
    parts, bad = open_folder(tmp_path, log=quiet)
    assert list(parts) == ["test", "train", "validation"] and not bad
    assert {part.class_names for part in parts.values()} == {("cat", "dog")}
    names = [os.path.relpath(path, tmp_path) for path in parts["train"].paths]
    assert names == ["train/cat/c.JPEG", "train/dog/a.png", "train/dog/b.jpg"]
    assert parts["train"].labels.tolist() == [0, 1, 1] and parts["train"].labels.dtype == np.int32
    assert parts["validation"].labels.tolist() == [0] and parts["test"].labels.tolist() == [1]
    assert parts["train"].shape == (None, None, 3)


def test_imagenettes_numbers_become_words(tmp_path):
    fill(tmp_path, "n03888257/x.jpg", "n01440764/y.jpg", "n03000684/deeper/z.jpg")
    parts, _ = open_folder(tmp_path, log=quiet)
    assert list(parts) == ["train"]
    assert parts["train"].class_names == ("tench", "chain saw", "parachute")
    assert [Path(path).name for path in parts["train"].paths] == ["y.jpg", "z.jpg", "x.jpg"]


def test_kaggles_layout(tmp_path):
    fill(tmp_path, "train/dog.0.jpg", "train/cat.0.jpg", "train/cat.10.jpg", "train/cat.9.jpg", "test1/1.jpg")
    said = []
    parts, _ = open_folder(tmp_path, log=said.append)
    assert parts["train"].class_names == ("cat", "dog") and parts["train"].labels.tolist() == [0, 0, 0, 1]
    assert list(parts) == ["train"] and "test1" in said[0] and "not used" in said[0]


def test_a_flat_names_class_is_what_stands_before_its_number(tmp_path):
    fill(tmp_path, "american_bulldog_12.jpg", "american_bulldog_3.jpg", "cat7.png", "Grey wolf (2).jpg")
    source = open_folder(tmp_path, log=quiet)[0]["train"]
    assert source.class_names == ("Grey wolf", "american_bulldog", "cat")


# files -> what the message says
REFUSED_FOLDERS = {
    "nothing": ([], "holds no images"),
    "one class": (["cat/1.jpg", "cat/2.jpg"], "one class only .'cat'.*one folder deeper"),
    "one class, flat": (["IMG_1.jpg", "IMG_2.jpg"], "one class only .'IMG'"),
    "no class": (["1.jpg", "2.jpg"], r"1.jpg does not tell its class: .*cat\.0\.jpg"),
    "no number": (["cat.jpg", "dog.jpg"], "does not tell its class"),
    "mixed": (["cat/1.jpg", "dog/1.jpg", "bird.1.jpg"], "mixes layouts: .*bird.1.jpg"),
    "parts beside classes": (["train/cat/1.jpg", "bus/1.jpg"], "mixes layouts: bus is next to train"),
    "parts beside files": (["train/cat/1.jpg", "cat.1.jpg"], "mixes layouts"),
    "no training images": (["val/cat/1.jpg", "val/dog/1.jpg"], "no train"),
    "two validations": (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "both val and valid"),
    "class not in train": (
        ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"],
        "validation images .* class 'c' that is not in train",
    ),
}


@pytest.mark.parametrize("name", REFUSED_FOLDERS)
def test_folders_that_are_refused(name, tmp_path):
    files, words = REFUSED_FOLDERS[name]
    fill(tmp_path, *files)
    with pytest.raises(DataError, match=words):
        open_folder(tmp_path, log=quiet)


def test_an_empty_class_folder(tmp_path):
    fill(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "README").write_text("soon")
    with pytest.raises(DataError, match=r"class folder .*bird holds no images, only 1 files without a type"):
        open_folder(tmp_path, log=quiet)


def test_what_is_no_folder_or_may_not_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="absent is not a folder"):
        open_folder(tmp_path / "absent", log=quiet)
    with pytest.raises(UsageError, match="'error' or 'skip', not 'delete'"):
        open_folder(tmp_path, bad_images="delete")

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        open_folder(tmp_path, log=quiet)


# Bad files


@pytest.fixture
def spoilt(tmp_path):
    """Eight good files, two that their headers give away, and one that only decoding does."""
    fill(tmp_path, *(f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(4)))
    (tmp_path / "cat" / "page.jpg").write_text("<html>404</html>")
    (tmp_path / "dog" / "empty.png").write_bytes(b"")
    contents = bytearray((tmp_path / "dog" / "2.png").read_bytes())
    middle = len(contents) // 2
    contents[middle : middle + 8] = bytes(8)
    (tmp_path / "dog" / "torn.png").write_bytes(contents)
    return tmp_path


def test_bad_files_are_named(spoilt):
    with pytest.raises(DataError, match=r"2 of 11 image files cannot be used: .*page.jpg is text.*empty.png is empty"):
        open_folder(spoilt, log=quiet)


def test_of_many_bad_files_a_few_are_named(spoilt):
    for number in range(20):
        (spoilt / "cat" / f"z{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"22 of 31 image files .* And 17 more\."):
        open_folder(spoilt, log=quiet)


def test_bad_files_are_skipped_and_listed(spoilt):
    before = sorted((path, path.read_bytes()) for path in spoilt.rglob("*.*"))
    said = []
    parts, bad = open_folder(spoilt, bad_images="skip", log=said.append)
    assert len(parts["train"]) == 8 and parts["train"].labels.tolist() == [0] * 4 + [1] * 4
    assert {os.path.relpath(path, spoilt): problem.split(":")[0] for path, problem in bad.items()} == {
        "cat/page.jpg": "is text (HTML, XML or SVG), whatever its name says. Download the image itself.",
        "dog/empty.png": "is empty (0 bytes). Copy or download it again.",
        "dog/torn.png": "is damaged, truncated or of a rare kind",
    }
    assert "3 bad image files are left out" in said[-1]
    assert before == sorted((path, path.read_bytes()) for path in spoilt.rglob("*.*"))


def test_a_class_of_bad_files_only(tmp_path):
    fill(tmp_path, "cat/1.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"All train images of 'dog' .* are bad"):
        open_folder(tmp_path, bad_images="skip", log=quiet)


def test_too_many_pixels(tmp_path):
    fill(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(DataError, match="60x45 pixels; at most 2,699"):
        open_folder(tmp_path, max_pixels=2699, log=quiet)


def test_a_file_that_breaks_a_stream_is_found(spoilt):
    (spoilt / "cat" / "page.jpg").unlink()
    (spoilt / "dog" / "empty.png").unlink()
    source = open_folder(spoilt, log=quiet)[0]["train"]
    with pytest.raises(DataError, match=r"1 of 9 image files cannot be used: .*torn.png is damaged"):
        views_of(source, whole(), 32)
    ((path, problem),) = find_undecodable(source)
    assert Path(path).name == "torn.png" and "PNG data cannot be decoded" in problem
    assert find_undecodable(source.take(np.arange(4))) == []
    with pytest.raises(DataError, match=r"1 of 9 image files cannot be used: .*torn.png is damaged"):
        source.check()
    source.take(np.arange(8)).check()


# Streams


@pytest.fixture
def source(tmp_path):
    for number in range(20):
        path = tmp_path / ("cat" if number % 2 else "dog") / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        photo(number, 50 + 3 * number, 90 - 2 * number).save(path, quality=95)
    return open_folder(tmp_path, log=quiet)[0]["train"]


def test_without_a_crop_there_is_no_batch(source):
    with pytest.raises(UsageError, match="differ in size: give a crop"):
        in_order(source, 4)


def test_batches_are_functions_of_seed_and_number(source):
    options = {"seed": 3, "crop": random_crop(), "size": 24}
    first = list(batches(source, 6, **options).take(7).as_numpy_iterator())
    again = list(batches(source, 6, **options).take(7).as_numpy_iterator())
    late = list(batches(source, 6, start=4, **options).take(3).as_numpy_iterator())
    assert first[0][0].shape == (6, 24, 24, 3) and first[0][0].dtype == np.uint8
    for other in (again, [*first[:4], *late]):
        for (x, y), (other_x, other_y) in zip(first, other, strict=True):
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)
    other_seed = next(batches(source, 6, seed=4, crop=random_crop(), size=24).as_numpy_iterator())
    assert not np.array_equal(first[0][0], other_seed[0])


def test_labels_go_with_their_images(source):
    """Each image is known by its mean colour."""
    chosen = np.array([[7, 0, 19], [3, 3, 12]], np.int32)
    order = tf.data.Dataset.from_tensor_slices((np.zeros((2, 2), np.int64), chosen))
    for (images, labels), indices in zip(source.stream(order, whole(), 16), chosen, strict=True):
        assert images.shape == (3, 1, 16, 16, 3)
        np.testing.assert_array_equal(labels, source.labels[indices])
        for image, index in zip(images.numpy(), indices, strict=True):
            expected = np.asarray(Image.open(source.paths[index])).mean((0, 1))
            np.testing.assert_allclose(image.mean((0, 1, 2)), expected, atol=2)


def test_the_last_batch_may_be_shorter(source):
    order = tf.data.Dataset.range(10, output_type=tf.int32).batch(4).map(lambda i: (tf.zeros(2, tf.int64), i))
    assert [len(labels) for _, labels in source.stream(order, whole(), 8)] == [4, 4, 2]


def test_take_and_split_keep_files_and_labels_together(source):
    part = source.take(np.array([5, 2]))
    assert part.paths == [source.paths[5], source.paths[2]]
    np.testing.assert_array_equal(part.labels, source.labels[[5, 2]])
    rest, held_out = source.split(6, seed=0)
    assert sorted(rest.paths + held_out.paths) == sorted(source.paths)
    whole_views = views_of(source, whole(), 8)
    np.testing.assert_array_equal(views_of(part, whole(), 8), whole_views[[5, 2]])


BOXES = {
    "inside": (5, 10, 37, 42),
    "larger": (0, 0, 45, 60),
    "wide": (10, 0, 30, 60),
    "smaller": (11, 13, 21, 25),
    "beyond the top left": (-8, -16, 24, 16),
    "beyond the bottom right": (29, 44, 61, 76),
    "around it": (-10, -10, 70, 70),
    "beside it": (50, 70, 82, 102),
}


@pytest.mark.parametrize(  # cameras write 1, 3, 6 and 8
    "orientation", [1, 3, 6, 8, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 4, 5, 7))]
)
def test_boxes_are_those_of_the_upright_image(orientation, tmp_path):
    """Beside `take_boxes` of the upright pixels, which averages where this interpolates; the photo is smooth."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    photo(0, *((45, 60) if orientation >= 5 else (60, 45))).save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert upright.shape == (45, 60, 3)
    for mirrored in (False, True):
        got = views_of(source_of(path), fixed(*BOXES.values(), mirrored=mirrored), 32)[0]
        boxes = tf.constant([list(BOXES.values())], tf.float32)
        expected = take_boxes(upright[None], boxes, tf.fill((1, len(BOXES)), mirrored), 32)[0].numpy()
        for name, image, other in zip(BOXES, got, expected, strict=True):
            inside, inside_other = (image > 20).all(-1), (other > 20).all(-1)  # the photo has no such dark pixels
            assert (inside == inside_other).mean() > 0.93, name
            assert np.abs(image - other)[inside & inside_other].sum() <= 4 * inside.sum() * 3, name
    exact = views_of(source_of(path), fixed(BOXES["inside"]), 32)[0, 0]
    np.testing.assert_array_equal(exact, upright[5:37, 10:42])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("width", [60, 300, 1000, 2500])
def test_shrinking_is_near_pillows(suffix, width, tmp_path):
    path = tmp_path / f"a.{suffix}"
    photo(1, width, width * 3 // 4).save(path)
    got = views_of(source_of(path), whole(), 40)[0, 0]
    expected = np.asarray(Image.open(path).resize((40, 40), Image.Resampling.BILINEAR), int)
    assert np.abs(got - expected).max() <= 6 and np.abs(got - expected).mean() < 1.5


def test_shrinking_averages(tmp_path):
    """A fine chequerboard becomes grey, however it is shrunk."""
    board = np.indices((640, 640)).sum(0) % 2 * 255
    for name in ("a.png", "a.jpg"):
        Image.fromarray(board.astype(np.uint8)).save(tmp_path / name, quality=100)
        got = views_of(source_of(tmp_path / name), whole(), 64)
        assert np.abs(got.astype(int) - 128).max() <= 2


def test_k_boxes_are_each_what_it_is_alone(source):
    """But for one pixel at the edge, where a JPEG decoded in part lacks the neighbour to interpolate its colour."""
    ten = views_of(source, protocol("10"), 32)
    assert ten.shape == (20, 10, 32, 32, 3)
    np.testing.assert_array_equal(ten[:, 5:], ten[:, :5, :, ::-1])  # the mirror images of the first five
    middle = views_of(source, centre(STANDARD), 32)[:, 0]
    differences = [np.abs(ten[:, k].astype(int) - middle) for k in range(5)]
    assert min(difference[:, 1:-1, 1:-1].max() for difference in differences) <= 1
    assert min(difference.max() for difference in differences) <= 8


def test_two_folders_for_one_class_are_refused(tmp_path):
    fill(tmp_path, "n01440764/a.jpg", "tench/b.jpg")
    with pytest.raises(DataError, match="second class called 'tench'"):
        open_folder(tmp_path, log=quiet)
