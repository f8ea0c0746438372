"""Rules of the house, read from the source: which room may import which, no Keras, files read in one sitting."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT

PACKAGE = ROOT / "rawcnn"
LIBRARY = sorted(PACKAGE.rglob("*.py"))

ROOMS = ["report", "run", "train", "nets", "layers", "ops", "data", "files"]
"""From the top of the house to its ground: a room imports only from rooms after it."""
STRANGERS = {"data": {"layers", "ops"}, "layers": {"data"}, "ops": {"data"}}
"""Rooms that do not know each other, whatever the order says."""
GROUND = ["errors", "machine", "seeds", "start"]
"""Modules outside the rooms that every room may import; they import no room."""
DOORS = ["__init__", "__main__", "testing"]
"""Modules outside the rooms that may import any."""


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(name):
    return name.split(".")[0]


def trees():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in LIBRARY]


def imported(tree):
    """Full names of everything a module imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(tree):
    """What a module imports of rawcnn: (room, or module outside the rooms, and the full name below rawcnn)."""
    for name in imported(tree):
        if name.startswith("rawcnn."):
            below = name.removeprefix("rawcnn.")
            yield room_of(below), below


def test_every_module_is_in_a_room():
    assert {room_of(name_of(path)) for path in LIBRARY} == {*ROOMS, *GROUND, *DOORS}


def test_imports_go_down_the_house():
    for path, tree in trees():
        here = room_of(name_of(path))
        if here in DOORS:
            continue
        below = set(ROOMS[ROOMS.index(here) + 1 :]) - STRANGERS.get(here, set()) | {here} if here in ROOMS else set()
        for room, name in own(tree):
            assert room in below | set(GROUND), f"{path} imports rawcnn.{name}, which is not below it"


def test_no_two_modules_import_each_other():
    modules = {name_of(path) for path in LIBRARY}
    uses = {name_of(path): {name for _, name in own(tree) if name in modules} for path, tree in trees()}
    for door in (
        "data",
        "data.images",
        "data.sets",
        "files",
        "layers",
        "nets",
        "ops",
        "ops.fast",
        "report",
        "run",
        "train",
    ):
        uses[door] = set()  # a door shows what is behind it, and is no part of a circle
    done = set()

    def follow(name, way):
        assert name not in way, f"a circle: {' -> '.join([*way[way.index(name) :], name])}"
        if name not in done:
            for other in uses[name]:
                follow(other, [*way, name])
            done.add(name)

    for name in uses:
        follow(name, [])


def test_files_know_no_tensorflow():
    modules = [f"rawcnn.{name_of(path)}" for path in LIBRARY if room_of(name_of(path)) in ("files", "machine")]
    program = f"import sys, {', '.join(modules)}\nassert 'tensorflow' not in sys.modules, 'TensorFlow was imported'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "first", ["import rawcnn, tensorflow", "from rawcnn.data.source import Source", "import rawcnn.testing"]
)
def test_tensorflow_starts_without_remarks(first):
    program = f"{first}\nimport tensorflow as tf\ntf.config.list_physical_devices()\nprint(tf.constant(1) + 1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


def test_no_keras_and_flags_only_in_one_module():
    for path, tree in trees():
        names = set(imported(tree))
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "keras" not in attributes and not any("keras" in name.split(".") for name in names), path
        assert path.name == "flags.py" or not any(name.split(".")[0] == "absl" for name in names), path


def test_library_has_no_autograph():
    """AutoGraph warns on Python 3.13, so every `tf.function` is a call that says `autograph=False`."""
    for path in [*LIBRARY, *sorted(Path(ROOT, "examples").glob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = {
            id(node.func)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and any(word.arg == "autograph" and ast.unparse(word.value) == "False" for word in node.keywords)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "tf.function":
                assert id(node) in said, f"{path}, line {node.lineno}"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_text_of(path):
    text = path.read_text(encoding="utf-8")
    assert "http:" + "//" not in text
    assert len(text.splitlines()) <= 400 and max(map(len, text.splitlines()), default=0) <= 120


def test_public_functions_and_classes_are_documented():
    for path, tree in trees():
        assert ast.get_docstring(tree), f"{path} does not say what it is for"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_tests_stand_in_the_same_rooms():
    rooms = {path.parent.name for path in Path(ROOT, "tests").glob("*/test_*.py")}
    assert set(ROOMS) <= rooms <= {*ROOMS, "faults", "house", "oracles", "benchmarks"}, rooms
