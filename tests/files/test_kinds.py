"""What a file is, told by what real programs write, whatever its name says."""

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from rawcnn.errors import DataError
from rawcnn.files.kinds import KINDS, kind_of, what_is
from rawcnn.files.safetensors import write_safetensors


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


def saved(save, *args):
    stream = io.BytesIO()
    save(stream, *args)
    return stream.getvalue()


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


CONTENTS = {
    "npz": saved(lambda stream: np.savez(stream, a=np.ones(3))),
    "npy": saved(np.save, np.ones(3)),
    "torch": zipped("archive/data.pkl", "archive/data/0"),
    "keras": zipped("metadata.json", "config.json", "model.weights.h5"),
    "zip": zipped("readme.txt"),
    "pickle": pickle.dumps({"a": [1.0]}),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "gzip": gzip.compress(b"weights"),
    "packed": tar(),
    "web page": b"\xef\xbb\xbf\n <!DOCTYPE html><title>404</title>",
    "git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "matlab": b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(128),
    "tflite": b"\x1c\0\0\0TFL3" + bytes(40),
    "picture": saved(lambda stream: Image.new("RGB", (2, 2)).save(stream, "PNG")),
    "json": b'{"metadata": {"total_size": 1}}',
    "text": "name,größe\na,1\n".encode(),
    "empty": b"",
    "unknown": bytes(range(200, 256)) * 20,
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_first_bytes_decide(tmp_path, kind):
    path = tmp_path / "weights.h5"
    path.write_bytes(CONTENTS[kind])
    assert kind_of(path) == kind
    told = what_is(path, kind)
    assert told.startswith(f"it is {KINDS[kind].what}. ") and "{" not in told.replace("**{", "")


def test_every_kind_is_tested():
    assert {*CONTENTS, "safetensors", "checkpoint", "saved model"} == set(KINDS)


@pytest.mark.parametrize("count", [1, 2, 4, 9, 300])
def test_safetensors_whatever_the_length_of_the_header(tmp_path, count):
    """Of 640 bytes, the length begins as a pickle does."""
    write_safetensors(tmp_path / "w", {f"a{i}": np.ones(3, np.float32) for i in range(count)})
    assert kind_of(tmp_path / "w") == "safetensors"
    (tmp_path / "w").write_bytes((640).to_bytes(8, "little") + b"{" + bytes(700))
    assert kind_of(tmp_path / "w") == "safetensors"


def test_what_tensorflow_writes(tmp_path):
    tf.train.Checkpoint(w=tf.Variable(tf.zeros((3, 3)))).write(str(tmp_path / "model"))
    assert kind_of(tmp_path / "model.index") == "checkpoint"
    assert f"load_checkpoint('{tmp_path / 'model'}')" in what_is(tmp_path / "model.index", "checkpoint")


def test_what_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    for zipping in (True, False):
        torch.save({"a": torch.ones(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipping)
        assert kind_of(tmp_path / "w.pth") == "torch"


def test_a_character_that_is_cut_in_two_is_still_text(tmp_path):
    (tmp_path / "w").write_bytes(b"a" + "ö".encode() * 400)
    assert kind_of(tmp_path / "w") == "text"


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"directory|does not exist"):
            kind_of(path)
