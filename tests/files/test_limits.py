"""What a small file may take: bombs in every packing are refused within little memory, before they unfold."""

import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest

from rawcnn.data.sets.cifar import RECORD, REMOTE, load_cifar10
from rawcnn.errors import DataError
from rawcnn.files.idx import read_idx
from rawcnn.files.limits import FREE, most_unpacked, read_values, regular_file


def gzip_bomb(path, start, megabytes):
    packer = zlib.compressobj(9, wbits=31)  # 31: with the gzip header
    path.write_bytes(
        packer.compress(start) + b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()
    )
    assert path.stat().st_size < 2**17
    return path


def refuses_cheaply(read, path, rule):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rule) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(str(path))


def test_a_tar_file_of_zeros(tmp_path):
    info = tarfile.TarInfo("data_batch_1.bin")
    info.size = 25_000 * RECORD  # ten times smaller than a batch may be, and all of it is there
    path = gzip_bomb(tmp_path / REMOTE.name, info.tobuf(tarfile.GNU_FORMAT), 80)
    refuses_cheaply(lambda path: load_cifar10(path.parent), path, "unpacks to more than 67,108,864 bytes")


def test_an_idx_file_of_zeros(tmp_path):
    header = bytes([0, 0, 8, 1]) + (80 * 2**20).to_bytes(4, "big")
    refuses_cheaply(read_idx, gzip_bomb(tmp_path / "a.gz", header, 80), "more than the file can hold")


def test_sizes_that_are_believed():
    assert most_unpacked(0) == most_unpacked(FREE // 100) == FREE
    assert most_unpacked(9_912_422) > 47_040_016  # MNIST's training images
    assert most_unpacked(REMOTE.size) > 184_380_000


def test_a_stream_that_ends_early(tmp_path):
    (tmp_path / "a").write_bytes(bytes(15))
    with regular_file(tmp_path / "a") as (file, size):
        assert size == 15
        assert read_values(file, np.dtype("<f4"), 3).tolist() == [0, 0, 0]
        assert read_values(file, np.dtype("<f4"), 1) is None
