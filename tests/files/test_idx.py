"""The IDX reader against files packed by hand, byte by byte, and against every way in which such a file breaks."""

import gzip
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from rawcnn.errors import DataError
from rawcnn.files.idx import MAX_BYTES, read_idx, read_idx_pair

PIXELS = bytes(range(24))  # two images of 3x4
IMAGES = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4) + PIXELS
LABELS = struct.pack(">BBBBI", 0, 0, 8, 1, 2) + bytes([9, 0])


def header(*dims, type_code=8):
    return struct.pack(f">BBBB{len(dims)}I", 0, 0, type_code, len(dims), *dims)


def put(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_values_and_shape_are_the_packed_ones_whatever_the_name(tmp_path, name, pack):
    values = read_idx(put(tmp_path / name, pack(IMAGES)))
    assert values.dtype == np.uint8
    assert values.tolist() == [
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21, 22, 23]],
    ]


def test_a_file_of_several_read_pieces_and_gzip_members(tmp_path):
    pixels = np.random.Generator(np.random.Philox(key=1)).integers(0, 256, (3, 1000, 1000), np.uint8)
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 1000, 1000)
    raw = pixels.tobytes()
    path = put(tmp_path / "images", gzip.compress(header + raw[:1_500_001], 1) + gzip.compress(raw[1_500_001:], 1))
    np.testing.assert_array_equal(read_idx(path), pixels)


def test_values_that_gzip_packs_a_hundred_times_smaller(tmp_path):
    path = put(tmp_path / "images", gzip.compress(header(100, 28, 28) + bytes(78_400)))
    assert path.stat().st_size < 784
    assert read_idx(path).tobytes() == bytes(78_400)


def test_the_path_may_be_a_string_and_the_array_can_be_written(tmp_path):
    labels = read_idx(str(put(tmp_path / "labels", LABELS)), ndim=1)
    labels[0] = 3
    assert labels.tolist() == [3, 0]


ZIPPED = gzip.compress(IMAGES)
BROKEN = {
    "empty": (b"", "is empty"),
    "empty inside gzip": (gzip.compress(b""), "is empty"),
    "html": (b"<!DOCTYPE html><html>403</html>", "web page"),
    "html after a blank line": (b"\n <html>", "web page"),
    "html inside gzip": (gzip.compress(b"<html></html>"), "web page"),
    "text": (b"version https://git-lfs", r"starts with 76 65 72 73, not 00 00 08"),
    "three bytes": (b"\0\0\x08", "is truncated"),
    "wrong magic": (b"\0\1" + IMAGES[2:], "starts with 00 01 08 03"),
    "int32 values": (header(6, type_code=0x0C) + PIXELS, r"0x0c \(int32\)"),
    "unknown type": (header(24, type_code=0x2A) + PIXELS, r"0x2a \(unknown\)"),
    "no dimension": (header() + b"\7", "0 dimensions"),
    "too many dimensions": (header(*[1] * 33) + b"\7", "33 dimensions"),
    "ends in its header": (IMAGES[:14], "ends within its header"),
    "one byte short": (IMAGES[:-1], "only 23 are there"),
    "header only": (IMAGES[:16], "declares 2x3x4 = 24 bytes .* more than the file can hold"),
    "one byte long": (IMAGES + b"\0", "too long"),
    "one byte short inside gzip": (gzip.compress(IMAGES[:-1]), "only 23 are there"),
    "one byte long inside gzip": (gzip.compress(IMAGES + b"\0"), "too long"),
    "two files in one": (gzip.compress(IMAGES) * 2, "too long"),
    "gzip cut in its header": (ZIPPED[:6], "ends too early"),
    "gzip cut in its data": (ZIPPED[:30], "ends too early"),
    "gzip cut in its checksum": (ZIPPED[:-5], "ends too early"),
    "gzip with a wrong checksum": (ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:], "damaged gzip .*CRC"),
    "gzip with wrong data": (ZIPPED[:10] + b"\xff" * 20 + ZIPPED[30:], "damaged gzip"),
    "junk after gzip": (ZIPPED + b"junk", "damaged gzip"),
    "other compression": (zlib.compress(IMAGES), "not an IDX file"),
    "over the size limit": (header(MAX_BYTES + 1), "damaged or too large"),
    "over every limit": (header(*[2**32 - 1] * 32), "damaged or too large"),
    "more than gzip can hold": (gzip.compress(header(2**31)), "more than the file can hold"),
    "far more than gzip makes of pixels": (gzip.compress(header(2**27)), "more than the file can hold"),
}


@pytest.mark.parametrize(("content", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_clear_error_that_names_it(tmp_path, content, rule):
    path = put(tmp_path / "broken-idx3-ubyte.gz", content)
    with pytest.raises(DataError, match=rule) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_file_is_refused(tmp_path):
    for whole in (IMAGES, ZIPPED):
        for length in range(len(whole)):
            with pytest.raises(DataError):
                read_idx(put(tmp_path / "cut", whole[:length]))


def test_no_flipped_bit_of_a_gzip_file_changes_a_value_unnoticed(tmp_path):
    unharmed = []
    for place in range(10, len(ZIPPED)):  # before that is the gzip header, with a date that nothing depends on
        flipped = bytearray(ZIPPED)
        flipped[place] ^= 0x10
        try:
            values = read_idx(put(tmp_path / "flipped", bytes(flipped)))
        except DataError:
            continue
        assert values.tobytes() == PIXELS
        unharmed.append(place)
    assert unharmed in ([], [len(ZIPPED) - 9])  # the bits that pad the last byte before the checksum mean nothing


def test_missing_directory_and_pipe(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a directory"):
        read_idx(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="not a regular file"):
            read_idx(tmp_path / "pipe")


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    path = put(tmp_path / "images", IMAGES)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # root may read everything, so chmod would not do
    with pytest.raises(DataError, match="images cannot be read: Permission denied"):
        read_idx(path)


def test_a_gzip_bomb_is_refused_within_little_memory(tmp_path):
    packer = zlib.compressobj(9, wbits=31)  # 31: with the gzip header
    bomb = packer.compress(header(10)) + b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    assert len(bomb) < 2**17
    path = put(tmp_path / "bomb.gz", bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too long"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


def test_swapped_images_and_labels(tmp_path):
    images, labels = put(tmp_path / "images", IMAGES), put(tmp_path / "labels", LABELS)
    with pytest.raises(DataError, match=r"labels has 1 dimensions where 3 are needed.*swapped"):
        read_idx_pair(labels, images)


def test_a_pair(tmp_path):
    images, labels = read_idx_pair(put(tmp_path / "images", ZIPPED), put(tmp_path / "labels", LABELS))
    assert images.dtype == np.uint8
    assert images.shape == (2, 3, 4, 1)
    assert images.tobytes() == PIXELS
    assert labels.dtype == np.int32
    assert labels.tolist() == [9, 0]


def test_a_pair_of_different_counts(tmp_path):
    labels = put(tmp_path / "labels", header(3) + bytes([1, 2, 3]))
    with pytest.raises(DataError, match=r"images holds 2 images but .*labels holds 3 labels"):
        read_idx_pair(put(tmp_path / "images", IMAGES), labels)


def test_a_label_out_of_range_is_named_by_index_and_value(tmp_path):
    images = put(tmp_path / "images", header(5, 1, 1) + bytes(5))
    labels = put(tmp_path / "labels", header(5) + bytes([0, 9, 10, 3, 200]))
    with pytest.raises(DataError, match=r"labels: label 2 \(counted from 0\) is 10, but 10 classes allow 0 to 9"):
        read_idx_pair(images, labels)
    with pytest.raises(DataError, match=r"label 4 .* is 200"):
        read_idx_pair(images, labels, num_classes=11)
    assert read_idx_pair(images, labels, num_classes=201)[1].tolist() == [0, 9, 10, 3, 200]


@pytest.mark.parametrize("dims", [(0, 28, 28), (5, 0, 28)])
def test_no_image_at_all(tmp_path, dims):
    labels = put(tmp_path / "labels", header(dims[0]) + bytes(dims[0]))
    with pytest.raises(DataError, match=r"images holds no image"):
        read_idx_pair(put(tmp_path / "images", header(*dims)), labels)
