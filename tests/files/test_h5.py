"""Keras's HDF5 files: the three layouts that exist, and every way in which such a file reaches beyond itself."""

import builtins
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from rawcnn.errors import DataError, UsageError
from rawcnn.files.h5 import read_h5

h5py = pytest.importorskip("h5py")
W, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.h5"


def written(path, fill):
    with h5py.File(path, "w") as file:
        file["fc1/kernel:0"] = W
        fill(file)
    return path


def refuses(path, rule=""):
    with pytest.raises(DataError, match=rule or None) as caught:
        read_h5(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("root", ["", "model_weights/", "layers/"])
def test_the_layouts_of_three_generations(path, root):
    with h5py.File(path, "w") as file:
        file[f"{root}fc1/fc1/kernel:0"] = W
        file[f"{root}fc1/fc1/bias:0"] = B.astype(">f4")
        file.create_group(f"{root}flatten")
        file.attrs["model_config"] = "a program, perhaps"
        if root:
            file["optimizer/vars/0"] = np.int64(3)
    found = read_h5(os.fspath(path))
    assert sorted(found) == ["fc1/fc1/bias:0", "fc1/fc1/kernel:0"]
    np.testing.assert_array_equal(found["fc1/fc1/kernel:0"], W)
    assert found["fc1/fc1/bias:0"].dtype == np.dtype("=f4") and found["fc1/fc1/bias:0"].tolist() == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras
def test_what_keras_itself_writes(path):
    """Not this test's idea of a file but Keras's own, of both formats; weights.h5 is its present one."""
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="fc1")])
    for name in ("a.weights.h5", "a.h5"):
        target = path.with_name(name)
        if name == "a.h5":
            from keras.src.legacy.saving import legacy_h5_format

            with h5py.File(target, "w") as file:
                legacy_h5_format.save_weights_to_hdf5_group(file, net)
        else:
            net.save_weights(target)
        found = read_h5(target)
        kernel = next(values for values in found.values() if values.ndim == 2)
        np.testing.assert_array_equal(kernel, net.layers[0].kernel.numpy())
        assert len(found) == 2


def test_soft_and_external_links_are_never_followed(path, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["w"] = W
    links = {
        "soft": h5py.SoftLink("/fc1/kernel:0"),
        "dangling": h5py.SoftLink("/nowhere"),
        "external": h5py.ExternalLink(os.fspath(secret), "/w"),
        "group": h5py.ExternalLink(os.fspath(secret), "/"),
        "missing": h5py.ExternalLink("/nowhere.h5", "/"),
    }
    for name, link in links.items():
        fill = partial(h5py.Group.__setitem__, name=f"fc1/{name}", obj=link)
        refuses(written(path, fill), f"fc1/{name}.*link")
        fill = partial(h5py.Group.__setitem__, name="layers", obj=link)
        refuses(written(path, fill), "'layers' is a link")


def test_external_storage(path, tmp_path):
    """CVE-2026-1669: a dataset whose bytes are those of any file that the reader may read."""
    (tmp_path / "secret").write_bytes(b"password")
    storage = [(os.fspath(tmp_path / "secret"), 0, 8)]
    refuses(written(path, lambda file: file.create_dataset("a", (8,), "u1", external=storage)), "in another file")


def test_virtual_datasets(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["w"] = W
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource(os.fspath(tmp_path / "secret.h5"), "w", (2, 3))
    refuses(written(path, lambda file: file.create_virtual_dataset("a", layout)), "virtual or in chunks")


def fill_recursively(file):
    file["fc1/again"] = file["fc1"]


def name_one_dataset_often(file):
    file["big"] = np.ones(10_000, np.float32)
    for i in range(20):
        file[f"again{i}"] = file["big"]


def nest(file):
    file["/".join("abcdefghij")] = B


OTHERS = {
    "terabytes that are not there": (lambda f: f.create_dataset("a", (10**6, 10**6), "f4"), "0 bytes are stored"),
    "terabytes in chunks": (lambda f: f.create_dataset("a", (10**6, 10**6), "f4", chunks=(1, 64)), "in chunks"),
    "compressed": (lambda f: f.create_dataset("a", data=np.zeros(10**6), compression="gzip"), "in chunks"),
    "text": (lambda f: f.create_dataset("a", data=np.bytes_("hello")), "but weights are numbers"),
    "text of any length": (lambda f: f.create_dataset("a", data="hello"), "but weights are numbers"),
    "references": (lambda f: f.create_dataset("a", data=f["fc1"].ref, dtype=h5py.ref_dtype), "but weights are numbers"),
    "records": (lambda f: f.create_dataset("a", data=np.zeros(2, "f4,i4")), "but weights are numbers"),
    "an enumeration": (lambda f: f.create_dataset("a", data=np.array([True])), "but weights are numbers"),
    "no space": (lambda f: f.create_dataset("a", data=h5py.Empty("f4")), ""),
    "a type": (lambda f: f.__setitem__("a", np.dtype("f4")), "neither a group nor an array"),
    "a circle": (fill_recursively, "a second name"),
    "deep": (nest, "groups more than 8 deep"),
    "one dataset of many names": (name_one_dataset_often, "a second name"),
    "a name that prints": (lambda f: f.create_dataset("\x1b[31m", data=B), "not the name of an array"),
    "a name of blanks": (lambda f: f.create_dataset("a b", data=B), "not the name of an array"),
}


@pytest.mark.parametrize(("fill", "rule"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_plain_array(path, fill, rule):
    refuses(written(path, fill), rule)


def test_no_attribute_is_read(path):
    """A damaged attribute would stop whoever reads it."""
    written(path, lambda file: file.attrs.__setitem__("layer_names", [b"fc1"]))
    whole = path.read_bytes()
    at = whole.index(b"layer_names")
    path.write_bytes(whole[: at + 12] + b"\xff" * 8 + whole[at + 20 :])
    try:
        assert list(read_h5(path)) == ["fc1/kernel:0"]
    except DataError as error:  # the flipped bytes are within a message that HDF5 itself checks
        assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"<html>"])
def test_no_hdf5(path, content):
    path.write_bytes(content)
    refuses(path, "not an HDF5 file" if len(content) != 8 else "damaged")


def test_every_cut(path):
    whole = written(path, lambda file: None).read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        refuses(path)


def test_h5py_is_loaded_only_to_read_and_named_where_it_is_missing(path, monkeypatch):
    written(path, lambda file: None)
    code = "import sys, rawcnn.files.h5; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"rawcnn\[convert\]"):
        read_h5(path)
