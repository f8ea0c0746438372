"""Finding, reading and getting the four files of MNIST, on tiny data sets packed by hand."""

import gzip
import pathlib
import socket
import struct
import sys

import numpy as np
import pytest

from rawcnn.data.sets import mnist
from rawcnn.data.sets.download import cache_dir
from rawcnn.data.sets.mnist import REMOTES, find_idx_files, load_mnist
from rawcnn.errors import DataError, DownloadError

KEYS = ["train_images", "train_labels", "test_images", "test_labels"]
NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def images(count, height=3, width=2):
    return struct.pack(">BBBBIII", 0, 0, 8, 3, count, height, width) + bytes(i % 256 for i in range(count * 6))


def labels(count):
    return struct.pack(">BBBBI", 0, 0, 8, 1, count) + bytes(9 - i for i in range(count))


CONTENTS = dict(zip(NAMES, [images(4), labels(4), images(2), labels(2)], strict=True))


def write(folder, names=NAMES, end="", pack=bytes):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / (name + end)).write_bytes(pack(CONTENTS[name]))
    return folder


def write_gzipped(folder, names=NAMES):
    return write(folder, names, ".gz", gzip.compress)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test here may reach a network or the user's own cache."""
    asked = []

    def no_name(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("RAWCNN_DATA", str(tmp_path / "cache"))
    return asked


def check(data, where):
    assert data.where == str(where)
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int32
    assert data.train_images.tolist() == np.arange(24).reshape(4, 3, 2, 1).tolist()
    assert data.test_images.tolist() == np.arange(12).reshape(2, 3, 2, 1).tolist()
    assert data.train_labels.tolist() == [9, 8, 7, 6]
    assert data.test_labels.tolist() == [9, 8]


@pytest.mark.parametrize("subfolder", ["", "mnist", "MNIST/raw", "raw"])
@pytest.mark.parametrize("writer", [write, write_gzipped])
def test_data_dir_and_its_subfolders(tmp_path, offline, subfolder, writer):
    where = writer(tmp_path / subfolder)
    check(load_mnist(tmp_path), where)
    check(load_mnist(str(tmp_path), download=False), where)
    assert offline == []


def test_data_dir_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    where = write(tmp_path / "digits")
    check(load_mnist("~/digits"), where)


def test_names_with_a_dot_and_a_mixture_of_forms(tmp_path):
    write_gzipped(tmp_path, NAMES[:1])
    write(tmp_path, NAMES[1:2])
    for name in NAMES[2:]:
        (tmp_path / name.replace("-idx", ".idx")).write_bytes(CONTENTS[name])
    found = find_idx_files(tmp_path)
    assert list(found) == KEYS
    assert [path.name for path in found.values()] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte",
        "t10k-images.idx3-ubyte",
        "t10k-labels.idx1-ubyte",
    ]
    check(load_mnist(tmp_path), tmp_path)


def test_the_gzipped_file_goes_first_and_folders_are_no_files(tmp_path):
    write(tmp_path)
    write_gzipped(tmp_path, NAMES[:2])
    (tmp_path / (NAMES[2] + ".gz")).mkdir()
    assert [path.suffix for path in find_idx_files(tmp_path).values()] == [".gz", ".gz", "", ""]


def test_files_of_two_folders_are_never_mixed(tmp_path):
    write(tmp_path, NAMES[:1])
    where = write(tmp_path / "MNIST" / "raw", NAMES[:3])
    assert find_idx_files(tmp_path) == {key: where / name for key, name in zip(KEYS[:3], NAMES, strict=False)}
    write(tmp_path / "raw", NAMES[3:])
    assert find_idx_files(tmp_path) == {key: where / name for key, name in zip(KEYS[:3], NAMES, strict=False)}
    assert find_idx_files(tmp_path / "nowhere") == {}


def test_missing_files_are_named_and_never_downloaded_into_data_dir(tmp_path, offline):
    write(tmp_path, [NAMES[0], NAMES[2]])
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path} does not have train-labels-idx1-ubyte.gz, t10k-labels-idx1-ubyte.gz. ")
    assert all(mirror in message for mirror in mnist.MIRRORS)
    with pytest.raises(DataError, match="nowhere is not a directory, so it does not have train-images-idx3-ubyte"):
        load_mnist(tmp_path / "nowhere")
    assert offline == []


def test_a_broken_file_in_data_dir(tmp_path):
    (write(tmp_path) / NAMES[2]).write_bytes(b"<html>")
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is a web page"):
        load_mnist(tmp_path)


def test_training_and_test_images_of_different_sizes(tmp_path):
    (write(tmp_path) / NAMES[2]).write_bytes(images(2, height=2, width=3))
    with pytest.raises(DataError, match="training images are 3x2 pixels and the test images 2x3"):
        load_mnist(tmp_path)


def test_the_cache_is_read_without_network(tmp_path, offline):
    where = write(tmp_path / "cache" / "mnist")
    check(load_mnist(), where)
    assert offline == []


def test_what_the_cache_lacks_is_downloaded_into_it(tmp_path, monkeypatch):
    asked = []

    def download_file(remote, directory, *, log):
        asked.append((remote, directory))
        log(f"got {remote.name}")
        write_gzipped(directory, [remote.name.removesuffix(".gz")])
        return directory / remote.name

    monkeypatch.setattr(mnist, "download_file", download_file)
    lines = []
    check(load_mnist(log=lines.append), tmp_path / "cache" / "mnist")
    assert asked == [(remote, tmp_path / "cache" / "mnist") for remote in REMOTES.values()]
    assert lines == [f"got {name}.gz" for name in NAMES]
    check(load_mnist(), tmp_path / "cache" / "mnist")
    assert len(asked) == 4


def test_offline_ends_at_the_first_file(tmp_path, offline):
    with pytest.raises(DownloadError) as caught:
        load_mnist(log=[].append)
    assert offline == ["ossci-datasets.s3.amazonaws.com", "storage.googleapis.com"]
    message = str(caught.value)
    assert "Temporary failure in name resolution" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert str(tmp_path / "cache" / "mnist") in message
    assert "--data_dir" in message
    assert "\n" not in message


def test_without_download_an_empty_cache_is_an_error(tmp_path, offline):
    with pytest.raises(DataError, match="cache is not a directory"):
        load_mnist(download=False)
    assert offline == []


def test_the_remote_files():
    assert list(REMOTES) == KEYS
    assert [remote.name for remote in REMOTES.values()] == [name + ".gz" for name in NAMES]
    assert sum(remote.size for remote in REMOTES.values()) == 11_594_722
    for remote in REMOTES.values():
        assert len(remote.urls) == 2
        assert all(url.startswith("https://") and url.endswith("/mnist/" + remote.name) for url in remote.urls)
        assert len(bytes.fromhex(remote.sha256)) == 32


def test_cache_dir(tmp_path, monkeypatch):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("RAWCNN_DATA")
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / ".cache" / "rawcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_dir() == tmp_path / ".cache" / "rawcnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "rawcnn"

    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == tmp_path / "Library" / "Caches" / "rawcnn"

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert cache_dir() == tmp_path / "AppData" / "Local" / "rawcnn"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_dir() == tmp_path / "local" / "rawcnn"


def test_no_home_directory(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("RAWCNN_DATA")
    monkeypatch.setattr(pathlib.Path, "home", no_home)
    with pytest.raises(DataError, match="RAWCNN_DATA"):
        cache_dir()
