"""The fuzzer itself: it finds faults that were put there, repeats its cases, and a slice of it runs on every reader."""

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawcnn.errors import DataError
from tests.faults.damage import damaged
from tests.faults.fuzz import Reader, content_of, outcome_of, place, readers, run, table

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits memory as Linux does")
SEED = b"sound" * 20


def faulty(act):
    def read(path):
        if (content := path.read_bytes()) != SEED:
            if len(content) % 2:
                raise DataError(f"{path}: it is damaged.")
            act(path)

    return Reader(lambda: [SEED], "a", read, DataError, seconds=0.3)


def missing_key(path):
    raise KeyError("planted")


def nameless(path):
    raise DataError("something is wrong")


def endless(path):
    while True:
        time.process_time()


def greedy(path):
    bytearray(2**31)


def dies(path):
    os._exit(11)


def writes(path):
    path.with_name("b").write_bytes(b"")


def planted():
    return {act.__name__: faulty(act) for act in (missing_key, nameless, endless, greedy, dies, writes)} | {
        "sound": faulty(lambda path: None)
    }


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("missing_key", "KeyError"),
        ("nameless", "names no file"),
        ("greedy", "MemoryError"),
        ("dies", "died (11)"),
        ("writes", "changed "),
    ],
)
def test_planted_faults_are_found(name, fault):
    found = run([name, "sound"], range(8), 3, 1, source=planted)
    wrong = [what for what in found[name] if what not in ("read", "refused")]
    assert wrong and all(fault in what for what in wrong)
    assert sum(found[name].values()) == sum(found["sound"].values()) == 8  # no case is lost when a process dies
    assert set(found["sound"]) <= {"read", "refused"}
    assert f"* {name}, {wrong[0]}" in table(found)


def test_what_never_ends_is_found():
    found = run(["endless"], range(8), 3, 2, source=planted)
    assert any("more than 0.3 s" in what for what in found["endless"])


def test_a_case_is_a_function_of_its_number(rng):
    reader = readers()["idx.gz"]
    seeds = reader.seeds()
    cases = [content_of("idx.gz", reader, 0, case, seeds) for case in range(50)]
    assert cases == [content_of("idx.gz", reader, 0, case, seeds) for case in range(50)]
    assert len(set(cases)) > 45
    assert all(isinstance(damaged(content, cases, rng), bytes) for content in cases)


def test_a_slice_of_every_reader():
    found = run(list(readers()), range(40), 0, 2)
    print(table(found))
    faults = {name: what for name, counts in found.items() for what in counts if what not in ("read", "refused")}
    assert not faults
    assert all(counts["refused"] for counts in found.values())  # the damage is real


EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4)


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_whatever_hypothesis_puts_into_a_file(data):
    """Unlike the fuzzer's damage these bytes are sought, and a failure comes with the smallest file that shows it."""
    name = data.draw(st.sampled_from(sorted(readers())), label="reader")
    reader = readers()[name]
    content = bytearray(data.draw(st.sampled_from(reader.seeds()), label="sound"))
    for where, length, new in data.draw(EDITS, label="edits"):
        at = round(where * len(content))
        content[at : at + length] = new
    packed = reader.pack(bytes(content)) if reader.pack else bytes(content)
    with tempfile.TemporaryDirectory() as folder:
        path = place(Path(folder, name), reader)
        path.write_bytes(packed)
        assert outcome_of(reader, path) in ("read", "refused")
