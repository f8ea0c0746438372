"""The .safetensors format: bytes by hand, a round trip, and headers that lie in every field."""

import json
import struct
import tracemalloc

import numpy as np
import pytest

from rawcnn.errors import DataError, UsageError
from rawcnn.files.safetensors import MAX_HEADER, read_safetensors, write_safetensors
from rawcnn.nets import NETS
from rawcnn.nets.weights import load_weights, save_weights


def packed(path, header, values=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + values)
    return path


def entry(begin, end, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def refuses(path, rule=""):
    with pytest.raises(DataError, match=rule or None) as caught:
        read_safetensors(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_by_hand(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "b": entry(4, 8, [], "I32"), "a": entry(0, 4, [2, 1], "BF16")}
    path = packed(tmp_path / "a.safetensors", header, struct.pack("<HHi", 0x3FC0, 0xC000, -5))
    found = read_safetensors(path)
    assert list(found) == ["a", "b"]
    assert found["a"].dtype == np.float32 and found["a"].tolist() == [[1.5], [-2.0]]
    assert found["b"].dtype == np.int32 and found["b"].shape == () and found["b"] == -5


def test_a_round_trip_of_every_type(tmp_path, rng):
    arrays = {code: rng.integers(0, 2, (2, 3)).astype(code) for code in "?bBhHiIqQefd"}
    arrays |= {"turned": arrays["f"].T, "big": np.array([1.5], ">f8"), "none": np.zeros((0, 2)), "one": np.float32(3)}
    arrays = {f"a/{ord(name[0])}{len(name)}": value for name, value in arrays.items()}
    write_safetensors(tmp_path / "a.safetensors", arrays)
    found = read_safetensors(tmp_path / "a.safetensors")
    assert set(found) == set(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype.newbyteorder("=") and found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


def test_every_array_begins_at_a_multiple_of_its_size(tmp_path):
    write_safetensors(tmp_path / "a", {"x": np.ones(3, np.uint8), "y": np.ones(2), "z": np.ones(3, np.float16)})
    content = (tmp_path / "a").read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    assert length % 8 == 0
    for fields in json.loads(content[8 : 8 + length]).values():
        assert fields["data_offsets"][0] % {"U8": 1, "F64": 8, "F16": 2}[fields["dtype"]] == 0


def test_what_the_format_does_not_have(tmp_path):
    for name, values in (("a", np.ones(1, complex)), ("a", np.array(["x"])), ("../a", np.ones(1))):
        with pytest.raises(UsageError, match="cannot be kept"):
            write_safetensors(tmp_path / "a", {name: values})
    assert not (tmp_path / "a").exists()


def test_a_net_of_its_weights(tmp_path):
    one, other = NETS["lenet5"](seed=1), NETS["lenet5"](seed=2)
    save_weights(one, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(one.c3.w, other.c3.w)


GOOD = entry(0, 8)
HEADERS = {
    "no object": (b"[1, 2, 3]", "does not begin"),
    "space first": (b" {}", "does not begin"),
    "no JSON": (b"{'a': 1}", "not JSON"),
    "not text": (b'{"\xff\xfe": 1}', "not JSON"),
    "deep": (b'{"a":' * 50_000, "not JSON"),
    "twice": (b'{"a": {}, "a": {}}', "appears twice"),
    "NaN": (b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}', "not JSON"),
    "endless number": (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}', "not JSON"),
    "no fields": ({"a": 1}, "does not say dtype"),
    "more fields": ({"a": GOOD | {"x": 1}}, "does not say dtype"),
    "name that leads out": ({"../a": GOOD}, "not the name of an array"),
    "name that prints": ({"\x1b[31m": GOOD}, "not the name of an array"),
    "unknown type": ({"a": GOOD | {"dtype": "F8_E4M3"}}, "has the type 'F8_E4M3'; known are"),
    "type is a list": ({"a": GOOD | {"dtype": ["F32"]}}, "has the type"),
    "negative side": ({"a": GOOD | {"shape": [-2]}}, "not lists of whole numbers"),
    "true as a side": ({"a": GOOD | {"shape": [2, True]}}, "not lists of whole numbers"),
    "a side of 2.0": ({"a": GOOD | {"shape": [2.0]}}, "not lists of whole numbers"),
    "a side of 2**64": ({"a": GOOD | {"shape": [2**64]}}, "not lists of whole numbers"),
    "product beyond 64 bits": ({"a": GOOD | {"shape": [2**62, 4, 2]}}, "declares the shape"),
    "33 sides": ({"a": GOOD | {"shape": [1] * 32 + [2]}}, "declares the shape"),
    "one offset": ({"a": GOOD | {"data_offsets": [0]}}, "not lists of whole numbers"),
    "offsets turned": ({"a": GOOD | {"data_offsets": [8, 0]}}, "declares the shape"),
    "shape larger": ({"a": GOOD | {"shape": [3]}}, "declares the shape"),
    "shape smaller": ({"a": GOOD | {"shape": [1]}}, "declares the shape"),
    "beyond the end": ({"a": entry(0, 2**40)}, "declares 1,099,511,627,776 bytes"),
    "gap at the start": ({"a": entry(4, 8)}, "begins at byte 4"),
    "gap within": ({"a": entry(0, 2, [1], "F16"), "b": entry(4, 8)}, "begins at byte 4"),
    "overlap": ({"a": entry(0, 8), "b": entry(4, 8)}, "begins at byte 4"),
    "the same bytes twice": ({"a": entry(0, 8), "b": entry(0, 8)}, "begins at byte 0"),
    "bytes left over": ({"a": entry(0, 4)}, "declares 4 bytes of values, but 8 follow"),
    "no arrays": ({}, "declares 0 bytes"),
}


@pytest.mark.parametrize(("header", "rule"), HEADERS.values(), ids=HEADERS)
def test_headers_that_lie(tmp_path, header, rule):
    refuses(packed(tmp_path / "a.safetensors", header, bytes(8)), rule)


@pytest.mark.parametrize("length", [0, 1, 60, MAX_HEADER + 1, 2**63, 2**64 - 1])
def test_a_header_of_another_length(tmp_path, length):
    tracemalloc.start()
    try:
        refuses(packed(tmp_path / "a.safetensors", {"a": GOOD}, b"", length), "")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_too_many_arrays(tmp_path):
    refuses(packed(tmp_path / "a", {f"a{i}": entry(0, 0) for i in range(10_001)}), "10,001 arrays")


def test_every_truncation_and_every_addition(tmp_path):
    whole = packed(tmp_path / "a", {"a": GOOD}, bytes(8)).read_bytes()
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0"]:
        (tmp_path / "a").write_bytes(content)
        refuses(tmp_path / "a")
