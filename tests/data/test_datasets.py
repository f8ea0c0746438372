"""Data sets by name: what is taken where MNIST is to be had, where it is not, and how it is cut."""

import gzip
import hashlib

import numpy as np
import pytest
from PIL import Image

from rawcnn.data import datasets
from rawcnn.data.sets import mnist
from rawcnn.data.sets.cifar import CLASS_NAMES
from rawcnn.data.sets.mnist import MnistArrays
from rawcnn.data.source import Source
from rawcnn.errors import DataError, DownloadError, UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAWCNN_DATA", str(tmp_path))


def no_network(data_dir, log, num_classes=10):
    raise DownloadError("no mirror answers. Put the files there.")


def some_mnist(data_dir, log, num_classes=10):
    labels = np.arange(400, dtype=np.int32) % 10
    return MnistArrays(
        np.zeros((400, 28, 28, 1), np.uint8), labels, np.zeros((50, 28, 28, 1), np.uint8), labels[:50], ""
    )


def test_auto_goes_on_with_drawn_digits_and_says_why_in_one_line(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", no_network)
    said = []
    data = datasets.load("auto", limit=200, log=said.append)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("drawn", 180, 20, 200)
    said = [line for line in said if not line.startswith("drawing digits")]  # a slow machine says how far it is
    assert len(said) == 1 and "could not be downloaded: training on digits that rawcnn draws itself" in said[0]


def test_mnist_does_not(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", no_network)
    with pytest.raises(DownloadError, match="no mirror answers"):
        datasets.load("mnist")


def test_damaged_files_are_never_replaced_by_drawn_digits(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist\. Check the spelling"):
        datasets.load("auto", tmp_path / "nowhere")


def test_auto_takes_mnist(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("auto")
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("mnist", 360, 40, 50)
    assert "360 training, 40 validation and 50 test images of 28x28x1" in data.describe()


def test_a_sample_shrinks_the_training_images_alone(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("auto", sample=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 40, 50)
    assert np.bincount(data.train.labels).tolist() == [9] * 10


def test_drawn_test_digits_are_the_same_for_every_seed():
    one, other = (datasets.load("drawn", seed=seed, limit=30) for seed in (0, 1))
    np.testing.assert_array_equal(one.test.images, other.test.images)
    assert not np.array_equal(one.train.images, other.train.images)


@pytest.mark.parametrize(
    ("name", "sample", "message"), [("svhn", 1.0, "Choose one of auto"), ("drawn", 0.0, "a fraction above 0")]
)
def test_mistakes_are_named(name, sample, message):
    with pytest.raises(UsageError, match=message):
        datasets.load(name, sample=sample)


@pytest.fixture
def cifar_dir(tmp_path, rng):
    """CIFAR-10 in miniature: 40 records a batch, in the binary version's files."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, size=(40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(folder / name)
    return folder


def make_images(folder, rng, count):
    folder.mkdir(parents=True)
    for k in range(count):
        Image.fromarray(rng.integers(0, 256, size=(12, 9, 3), dtype=np.uint8)).save(folder / f"{k}.png")


def test_auto_takes_the_cifar_10_that_is_there(cifar_dir):
    data = datasets.load("auto", cifar_dir, colour=True, validation=0.2)
    assert (data.name, len(data.train), len(data.validation), len(data.test)) == ("cifar10", 160, 40, 40)
    assert data.train.class_names == CLASS_NAMES and data.train.shape == (32, 32, 3)
    assert np.bincount(data.validation.labels).tolist() == [4] * 10


def test_a_count_is_held_out_exactly(cifar_dir):
    assert len(datasets.load("cifar10", cifar_dir, validation=50).validation) == 50


@pytest.mark.parametrize("validation", [0.001, 200])
def test_nothing_and_everything_cannot_be_held_out(cifar_dir, validation):
    with pytest.raises(DataError, match=r"of 200 images cannot be held out for validation"):
        datasets.load("cifar10", cifar_dir, validation=validation)


def test_without_cifar_10_a_colour_net_gets_digits_in_colour(monkeypatch):
    monkeypatch.setattr(datasets, "load_cifar10", no_network)
    said = []
    data = datasets.load("auto", colour=True, limit=100, log=said.append)
    assert (data.name, data.train.shape, len(data.train)) == ("drawn", (32, 32, 3), 90)
    assert "CIFAR-10 is not in" in said[0]


def test_a_folder_is_cut_into_three_and_is_the_same_every_time(tmp_path, rng):
    for name in ("ant", "bee"):
        make_images(tmp_path / "pictures" / name, rng, 20)
    once, again = (datasets.load("auto", tmp_path / "pictures", colour=True, seed=3) for _ in range(2))
    assert (once.name, len(once.train), len(once.validation), len(once.test)) == ("folder", 32, 4, 4)
    parts = [set(part.paths) for part in (once.train, once.validation, once.test)]
    assert len(set.union(*parts)) == 40
    assert once.test.paths == again.test.paths and once.train.paths == again.train.paths
    assert "in files, each of its own size" in once.describe() and "2 classes: ant bee" in once.describe()


def test_a_folders_own_validation_images_are_kept(tmp_path, rng):
    for part, count in (("train", 10), ("val", 3)):
        for name in ("ant", "bee"):
            make_images(tmp_path / "pictures" / part / name, rng, count)
    data = datasets.load("folder", tmp_path / "pictures", validation=0.2)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 6, 4)


def test_a_folder_needs_a_name():
    with pytest.raises(UsageError, match="Name it with --data_dir"):
        datasets.load("folder")


def test_a_colour_net_gets_grey_images_three_times(monkeypatch):
    monkeypatch.setattr(datasets, "load_mnist", some_mnist)
    data = datasets.load("mnist", colour=True)
    assert data.train.shape == (28, 28, 3) and data.test.shape == (28, 28, 3)


def test_nothing_is_held_out_where_nothing_is_missing(tmp_path, rng):
    for part in ("train", "val", "test"):
        for name in ("ant", "bee"):
            make_images(tmp_path / "pictures" / part / name, rng, 3)
    data = datasets.load("folder", tmp_path / "pictures", validation=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 6, 6)


def test_with_no_validation_the_test_images_are_the_only_judge(cifar_dir, tmp_path, rng):
    data = datasets.load("cifar10", cifar_dir, validation=0)
    assert (len(data.train), data.validation, len(data.test)) == (200, None, 40)
    assert "<td>none</td>" in data._repr_html_()
    assert "200 training, no validation and 40 test images" in data.describe()
    for name in ("ant", "bee"):
        make_images(tmp_path / "pictures" / name, rng, 5)
    with pytest.raises(DataError, match="cannot be held out for test and validation"):
        datasets.load("folder", tmp_path / "pictures", validation=0)


def write_idx(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_mnist(folder, images, labels, names="{}-images-idx3-ubyte {}-labels-idx1-ubyte", splits=("train", "t10k")):
    for split in splits:
        for name, values in zip(names.format(split, split).split(), (images, labels), strict=True):
            write_idx(folder / name, values)


@pytest.mark.parametrize(
    ("folder", "name", "first", "digits"),
    [
        ("FashionMNIST/raw", "fashion-mnist", "T-shirt/top", False),
        ("kmnist", "kmnist", "o", False),
        ("mine", "mnist", "0", True),
    ],
)
def test_sets_with_mnists_file_names_are_told_by_their_folder(folder, name, first, digits, tmp_path, rng):
    images, labels = rng.integers(0, 256, (40, 28, 28), np.uint8), np.arange(40) % 10
    write_mnist(tmp_path / folder, images, labels)
    data = datasets.load("auto", tmp_path / folder)
    assert (data.name, data.train.class_names[0], data.digits) == (name, first, digits)
    assert datasets.load(name, tmp_path / folder).train.class_names == data.train.class_names  # as --resume does


def test_fashion_mnist_is_told_by_its_checksum(tmp_path, rng, monkeypatch):
    """The file itself is not here: the checksum of another stands for it."""
    write_mnist(tmp_path / "d", rng.integers(0, 256, (40, 28, 28), np.uint8), np.arange(40) % 10)
    plain = tmp_path / "d/train-labels-idx1-ubyte"
    zipped = gzip.compress(plain.read_bytes(), mtime=0)
    (tmp_path / "d/train-labels-idx1-ubyte.gz").write_bytes(zipped)
    known = (hashlib.md5(zipped).hexdigest(), *mnist.SAME_FILES["fashion-mnist"][1:])
    monkeypatch.setitem(mnist.SAME_FILES, "fashion-mnist", known)
    assert datasets.load("auto", tmp_path / "d").train.class_names[9] == "ankle boot"


def test_emnists_letters_are_upright_and_count_from_0(tmp_path, rng):
    images, labels = rng.integers(0, 256, (78, 28, 28), np.uint8), np.arange(78) % 26 + 1
    names = "emnist-letters-{}-images-idx3-ubyte emnist-letters-{}-labels-idx1-ubyte"
    write_mnist(tmp_path / "d/gzip", images, labels, names, ("train", "test"))
    data = datasets.load("auto", tmp_path / "d", validation=0)
    assert data.name == "emnist" and data.train.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") and data.digits
    np.testing.assert_array_equal(data.train.labels, labels - 1)
    np.testing.assert_array_equal(data.train.images[..., 0], images.transpose(0, 2, 1))
    write_mnist(tmp_path / "d", images, labels % 10, names.replace("letters", "digits"), ("train", "test"))
    with pytest.raises(DataError, match=r"letters and digits .several. of EMNIST: put the four files of one set"):
        datasets.load("auto", tmp_path / "d")


def test_cifar_100_has_its_fine_labels(tmp_path, rng):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    records = rng.integers(0, 256, (200, 3074), np.uint8)
    records[:, 0], records[:, 1] = np.arange(200) % 20, np.arange(200) % 100
    for name in ("train.bin", "test.bin"):
        records.tofile(folder / name)
    data = datasets.load("auto", tmp_path, colour=True, validation=0)
    assert data.name == "cifar100" and data.train.class_names[99] == "99" and data.train.shape == (32, 32, 3)
    np.testing.assert_array_equal(data.train.labels, np.arange(200) % 100)
    np.testing.assert_array_equal(data.train.images[7, 3, 5], records[7, [2 + 101, 2 + 1024 + 101, 2 + 2048 + 101]])
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing{i}" for i in range(100)))
    assert datasets.load("auto", folder).train.class_names[5] == "thing5"
    records[3, 1] = 100
    records.tofile(folder / "test.bin")
    with pytest.raises(DataError, match=r"record 3 .* fine label 100"):
        datasets.load("auto", folder)
    (folder / "test.bin").write_bytes(b"x" * 3073)
    with pytest.raises(DataError, match="3,073 bytes, but a file of CIFAR-100"):
        datasets.load("auto", folder)
    (folder / "test.bin").unlink()
    with pytest.raises(DataError, match=r"test\.bin: it does not exist"):
        datasets.load("auto", folder)


def test_a_grey_net_reads_a_folder_of_digits_in_grey(tmp_path, rng):
    for split in ("training", "testing"):
        for digit in range(3):
            folder = tmp_path / "mnist_png" / split / str(digit)
            folder.mkdir(parents=True)
            for k in range(6):
                digits = np.pad(rng.integers(100, 256, (20, 20), np.uint8), 4)
                Image.fromarray(digits).save(folder / f"{k}.png")
    data = datasets.load("auto", tmp_path / "mnist_png", validation=0.2)
    assert data.train.shape == (None, None, 1) and data.digits and data.light_on_dark
    assert not datasets.load("auto", tmp_path / "mnist_png", validation=0.2, class_names=["x", "y", "z"]).digits


def test_what_is_light_on_dark():
    pixels = np.zeros((30, 28, 28), np.uint8)
    pixels[:, 8:20, 8:20] = 255
    for images, expected in ((pixels, True), (255 - pixels, False), (pixels * 0 + 9, False)):
        source = Source(images, np.arange(30) % 10)
        assert datasets.DataSet("x", source, source, source).light_on_dark is expected
    assert datasets.load("drawn", limit=50, log=lambda _: None).light_on_dark


def test_class_names_come_from_a_list_or_a_file(cifar_dir, tmp_path):
    names = [f"thing {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for given in (names, tmp_path / "names.txt"):
        data = datasets.load("cifar10", cifar_dir, class_names=given)
        assert data.train.class_names == data.test.class_names == tuple(names)
    with pytest.raises(DataError, match="10 classes but 9 class names"):
        datasets.load("cifar10", cifar_dir, class_names=names[:9])
    with pytest.raises(DataError, match=r"none\.txt cannot be read.* Give a text file"):
        datasets.load("cifar10", cifar_dir, class_names=tmp_path / "none.txt")


NOT_DIRECTORIES = {
    "a.zip": "is an archive. Unpack it",
    "a.tar": "is an archive",
    "a.csv": r"is a table\. .*Source\(images, labels\)",
    "a.npz": r"is arrays\. Load them",
    "a.pth": "is weights or a model, not images",
    "a.keras": "is weights or a model",
    "a.pkl": "is a pickle",
    "a.jpg": "is one image. Name the folder",
    "a.xyz": "is a file. Name its folder",
}


@pytest.mark.parametrize("name", NOT_DIRECTORIES)
def test_a_file_in_place_of_a_directory(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"{name} {NOT_DIRECTORIES[name]}"):
        datasets.load("auto", tmp_path / name)


def test_directories_that_are_mistyped_empty_or_at_home(tmp_path, monkeypatch, cifar_dir):
    with pytest.raises(DataError, match=r"does not exist\. Did you mean .*cifar-10-batches-bin\?"):
        datasets.load("auto", tmp_path / "cifar-10-batch-bin")
    with pytest.raises(DataError, match="name of the data directory is empty"):
        datasets.load("auto", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.load("auto", "~/cifar-10-batches-bin").name == "cifar10"


def test_load_dataset_takes_names_and_paths(cifar_dir, tmp_path, rng, monkeypatch):
    assert datasets.load_dataset(cifar_dir).name == datasets.load_dataset("cifar10", cifar_dir).name == "cifar10"
    assert datasets.load_dataset("drawn", limit=50, log=lambda _: None).train.shape == (28, 28, 1)
    for name in ("ant", "bee"):
        make_images(tmp_path / "photos" / name, rng, 10)
    monkeypatch.chdir(tmp_path)
    assert datasets.load_dataset("photos").train.shape == (None, None, 3)
    assert datasets.load_dataset("photos", colour=False).train.shape == (None, None, 1)
    with pytest.raises(UsageError, match=r"'minst' is neither a data set nor a directory\. Did you mean 'mnist'\?"):
        datasets.load_dataset("minst")
    with pytest.raises(DataError, match="my/photos does not exist"):
        datasets.load_dataset("my/photos")


def test_data_sets_show_as_one_line_and_as_a_table(cifar_dir):
    data = datasets.load("cifar10", cifar_dir)
    assert repr(data) == "<DataSet cifar10: 180 training, 20 validation and 40 test images of 32x32x3>"
    assert "<td>32x32x3</td>" in data._repr_html_() and "airplane, automobile" in data._repr_html_()
