"""The archive that rawcnn writes is the one that NumPy and zipfile read, and equal arrays make equal bytes."""

import io
import zipfile

import numpy as np
import pytest

from rawcnn.files import npz


def written(arrays):
    file = io.BytesIO()
    npz.write_npz(file, arrays)
    return file.getvalue()


@pytest.fixture(params=["small", "large"])
def arrays(request, rng):
    large = rng.normal(size=(700, 900)).astype(np.float32) if request.param == "large" else np.ones((2, 3), np.float32)
    return {
        "net/c1/w": large,
        "transposed": large.T,
        "step": np.array(7, np.int64),
        "none": np.zeros((0, 4), np.float32),
        "flags": np.array([True, False]),
        "meta": np.frombuffer("Größe".encode(), np.uint8),
        "näme": np.arange(5, dtype=np.float64)[::2],
    }


def test_numpy_and_zipfile_read_it(arrays):
    data = written(arrays)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{name}.npy" for name in arrays]
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        assert file.files == list(arrays)
        for name, array in arrays.items():
            assert file[name].dtype == array.dtype and file[name].shape == array.shape
            np.testing.assert_array_equal(file[name], array)


def test_equal_arrays_make_equal_bytes(arrays):
    assert written(arrays) == written({name: array.copy() for name, array in arrays.items()})


def test_one_changed_byte_of_an_array_is_noticed(arrays):
    data = bytearray(written(arrays))
    data[data.index(b"\x93NUMPY") + 130] ^= 1  # the header takes 128
    with pytest.raises(zipfile.BadZipFile), np.load(io.BytesIO(data), allow_pickle=False) as file:
        file["net/c1/w"]


def test_objects_are_refused():
    with pytest.raises(TypeError, match="a holds Python objects"):
        written({"a": np.array([{}], object)})
