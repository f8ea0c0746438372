"""The reader of .npz files against NumPy's own writer, and against archives that were packed by hand to hurt."""

import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from rawcnn.errors import DataError
from rawcnn.files.npz import read_npz

ARRAYS = {
    "c1/w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big": np.array([1.5, -2.0], ">f8"),
    "step": np.int64(7),
    "none": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False]),
    "meta": np.frombuffer(b'{"a": 1}', np.uint8),
}


def npy(header, values=b"", version=b"\1\0"):
    """A .npy file of any header at all."""
    header = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(header)) + header + values


def declares(shape, descr="<f4"):
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


GOOD = npy(declares((2,)), bytes(8))


def packed(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def refuses(path, rule):
    with pytest.raises(DataError, match=rule or None) as caught:
        read_npz(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_comes_back(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype.newbyteorder("=") and found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


def test_an_array_larger_than_a_piece_and_one_that_can_be_written(tmp_path, rng):
    values = rng.integers(0, 256, 2_500_001, np.uint8)
    np.savez(tmp_path / "a.npz", values=values)
    found = read_npz(os.fspath(tmp_path / "a.npz"))["values"]
    np.testing.assert_array_equal(found, values)
    found[0] = 0


HEADERS = {
    "40 GB": (npy(declares((10**10,)), bytes(8)), "declares 10000000000 of float32, but has 8 bytes"),
    "one too many": (npy(declares((3,)), bytes(8)), "declares 3 of float32, but has 8 bytes"),
    "one too few": (npy(declares((1,)), bytes(8)), "declares 1 of float32, but has 8 bytes"),
    "negative": (npy(declares((-2,)), bytes(8)), "not have a header as NumPy writes it"),
    "over every limit": (npy(declares((10**19 - 1,) * 30), bytes(8)), "but has 8 bytes"),
    "33 sides": (npy(declares((1,) * 33), bytes(4)), "but has 4 bytes"),
    "objects": (npy(declares((1,), "|O"), b"cos\nsystem\n(S'false'\ntR."), "not have a header as NumPy writes it"),
    "text": (npy(declares((1,), "<U2"), bytes(8)), "not have a header as NumPy writes it"),
    "records": (
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
        "not have a header as NumPy writes it",
    ),
    "complex": (npy(declares((1,), "<c8"), bytes(8)), "not have a header as NumPy writes it"),
    "odd width": (npy(declares((1,), "<f3"), bytes(3)), "not have a header as NumPy writes it"),
    "an expression": (npy("__import__('os').system('true')"), "not have a header as NumPy writes it"),
    "deep": (npy("(" * 4000), "not have a header as NumPy writes it"),
    "endless": (npy(" " * 60_000), "not have a header as NumPy writes it"),
    "version 3": (npy(declares((2,)), bytes(8), b"\3\0"), "not a .npy file of version 1 or 2"),
    "no magic": (b"plain text", "not a .npy file"),
    "empty": (b"", "not a .npy file"),
    "cut": (GOOD[:9], "damaged"),
    "4 GB of header": (b"\x93NUMPY\2\0\xff\xff\xff\xff", "not have a header as NumPy writes it"),
}


@pytest.mark.parametrize(("member", "rule"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_that_lie(tmp_path, member, rule, compression):
    refuses(packed(tmp_path / "a.npz", [("ok.npy", GOOD), ("w.npy", member)], compression), rule)


def test_version_2_of_the_header(tmp_path):
    packed(tmp_path / "a.npz", [("w.npy", npy(declares((2,)), struct.pack("<2f", 1, 2), b"\2\0"))])
    assert read_npz(tmp_path / "a.npz")["w"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "name", ["../w.npy", "/w.npy", "a/../w.npy", "w.py", "w", "a b.npy", "a//b.npy", "\x1b[31m.npy", "x" * 101 + ".npy"]
)
def test_names_of_members(tmp_path, name):
    refuses(packed(tmp_path / "a.npz", [(name, GOOD)]), "is not named as an array is")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(tmp_path):
    refuses(packed(tmp_path / "a.npz", [("w.npy", GOOD), ("w.npy", GOOD)]), "appears twice")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path, compression):
    refuses(packed(tmp_path / "a.npz", [("w.npy", GOOD)], compression), "encrypted or packed in another way")


def test_too_many_members(tmp_path):
    refuses(packed(tmp_path / "a.npz", ((f"w{i}.npy", b"") for i in range(10_001))), "10,001 members")


def test_a_bomb_is_refused_within_little_memory(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as member:
        member.write(npy(declares((70 * 2**20,), "|u1")))
        for _ in range(70):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    try:
        refuses(path, "would unpack from .* at most 67,108,864 are read")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


def directory_entry(content, change):
    """`content` with the fields of its (only) entry in the archive's directory changed: offset -> uint32."""
    at = content.rindex(b"PK\1\2")
    edited = bytearray(content)
    for offset, value in change.items():
        struct.pack_into("<I", edited, at + offset, value)
    return bytes(edited)


# Offsets of APPNOTE 4.3.12: flags and method at 8, checksum at 16, packed size at 20, size at 24, place at 42.
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({24: 2**31}, "with two sizes"),
        ({20: 2**31, 24: 2**31}, "members overlap"),
        ({16: 1}, "CRC"),
        ({42: 2**31}, "damaged"),
        ({8: 1}, "encrypted"),
        ({8: 9 << 16}, "packed in another way"),
    ],
)
def test_a_directory_that_lies(tmp_path, change, rule):
    path = packed(tmp_path / "a.npz", [("w.npy", GOOD)])
    path.write_bytes(directory_entry(path.read_bytes(), change))
    refuses(path, rule)


def test_members_that_share_their_bytes(tmp_path):
    """Fifield 2019: many entries of one directory that stand for the same bytes."""
    path = packed(tmp_path / "a.npz", [("w000.npy", npy(declares((2**16,), "|u1"), bytes(2**16)))])
    whole = path.read_bytes()
    begin, end = whole.rindex(b"PK\1\2"), whole.rindex(b"PK\5\6")
    entries = b"".join(whole[begin:end].replace(b"w000", b"w%03d" % i) for i in range(300))
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 300, 300, len(entries), begin, 0)
    path.write_bytes(whole[:begin] + entries + tail)
    refuses(path, "members overlap")


def test_truncation_anywhere_and_flipped_bytes(tmp_path):
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(50), b=np.ones((2, 3), np.float32))
    whole, path = stream.getvalue(), tmp_path / "a.npz"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        refuses(path, "")
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        try:
            found = read_npz(path)
        except DataError:
            continue
        assert found["a"].tolist() == list(range(50)) and found["b"].tolist() == [[1] * 3] * 2


def test_what_is_no_file(tmp_path):
    refuses(tmp_path / "none.npz", "does not exist")
    refuses(tmp_path, "is a directory")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refuses(tmp_path / "pipe", "not a regular file")
