"""`import rawcnn as rc`: what the front door gives, and what it costs."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import rawcnn as rc
from tests.command import ROOT

ROOMS = ("data", "files", "layers", "nets", "ops", "run", "train")


@pytest.mark.parametrize("name", rc.__all__)
def test_every_name_resolves_and_is_documented(name):
    value = getattr(rc, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_dir_lists_the_names_and_the_rooms():
    assert set(dir(rc)) == {*rc.__all__, *ROOMS, "__version__"}
    assert all(getattr(rc, room) is importlib.import_module(f"rawcnn.{room}") for room in ROOMS)


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING name the same things from the same modules as the table."""
    tree = ast.parse((ROOT / "rawcnn/__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.asname or alias.name: (node.module, alias.name) for node in block.body for alias in node.names}
    rooms = {room: ("rawcnn", room) for room in ROOMS}
    assert seen == rc._WHERE | rooms


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="rawcnn has no 'Conv3D'"):
        _ = rc.Conv3D
    assert not hasattr(rc, "optimizers")


def test_importing_it_imports_neither_tensorflow_nor_numpy():
    program = "import sys, rawcnn; dir(rawcnn); print([m for m in ('tensorflow', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_promised_paths_stay():
    from rawcnn.layers import Conv2D, PartialConv2D
    from rawcnn.nets import NETS
    from rawcnn.ops import scaled_tanh

    assert rc.Conv2D is Conv2D and rc.PartialConv2D is PartialConv2D and set(rc.list_nets()) == set(NETS)
    assert callable(scaled_tanh)
