"""Rules of the house, read from the source: imports go downwards, no Keras, files that can be read in one sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "rawcnn").rglob("*.py"))

# A module imports only from modules on a lower rank, or its own where the rank is a family.
RANKS = [
    ["errors", "quiet", "files", "machine", "output", "signals"],
    ["limits"],
    [
        *["forms", "faster", "variables", "precision", "figures", "npz", "safetensors", "h5", "foreign"],
        *["data.download", "data.strokes", "data.idx", "data.cache", "data.image_headers"],
    ],
    [
        "ops",
        "data.drawn",
        "data.mnist",
        "data.cifar",
        "data.own_image",
        "data.image_files",
        "data.views",
        "data.colour",
    ],
    [
        *["data.augment", "data.source", "pictures"],
        *["train.metrics", "train.losses", "train.schedules", "train.gradients"],
    ],
    ["layers", "data.folder"],
    ["chain", "blocks", "train.optimizers", "data.datasets"],
    ["nets.lenet", "nets.alexnet", "nets.vgg", "nets.googlenet", "nets.cifar", "summary", "weights", "dense"],
    ["nets", "train.loop", "train.recipes", "train.rundir", "testing"],
    ["train.checkpoints", "progress", "train.feed"],
    ["session", "classify"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def name_of(path):
    return ".".join(path.relative_to(ROOT / "rawcnn").with_suffix("").parts).removesuffix(".__init__")


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


def test_every_module_has_a_rank():
    packages = {"__init__", "data", "train"}
    assert {name_of(path) for path in LIBRARY} - packages == set(RANK)


def test_imports_go_downwards():
    for path, tree in trees():
        here = name_of(path)
        for target in imported(tree):
            name = target.removeprefix("rawcnn.")
            if target.startswith("rawcnn.") and name in RANK:
                assert RANK[name] < RANK[here], f"rawcnn.{here} imports rawcnn.{name}, which is not below it"


def test_no_keras_and_flags_only_in_cli():
    for path, tree in trees():
        names = set(imported(tree))
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "keras" not in attributes and not any("keras" in name.split(".") for name in names), path
        assert path.name == "cli.py" or not any(name.split(".")[0] == "absl" for name in names), path


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_text_of(path):
    text = path.read_text(encoding="utf-8")
    assert "http:" + "//" not in text
    assert len(text.splitlines()) <= 400 and max(map(len, text.splitlines()), default=0) <= 120


def test_public_functions_and_classes_are_documented():
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"
