"""Rules of the house, read from the source: imports go downwards, no Keras, and nothing that runs a stranger's data."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "rawcnn").rglob("*.py"))

# A module imports only from modules on a lower rank, or its own where the rank is a family.
RANKS = [
    ["errors", "quiet", "files", "machine"],
    ["forms", "faster", "variables", "precision", "figures", "data.download", "data.strokes", "data.idx", "data.cache"],
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
    ["data.augment", "data.source", "pictures", "train.metrics", "train.losses", "train.schedules"],
    ["layers", "data.folder"],
    ["chain", "blocks", "train.optimizers", "data.datasets"],
    ["nets.lenet", "nets.alexnet", "nets.vgg", "nets.googlenet", "nets.cifar", "summary", "weights", "dense"],
    ["nets", "train.loop", "train.recipes", "train.rundir"],
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


MODULES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
CALLS = {
    "eval", "exec", "compile", "os.system", "tempfile.mktemp", "yaml.load", "tf.py_function", "tf.numpy_function",
    "tf.saved_model.load", "tf.random.uniform", "tf.random.normal", "tf.random.truncated_normal", "tf.random.shuffle",
    "tf.random.set_seed", "tf.nn.dropout", "np.random.seed", "np.random.rand", "np.random.randn", "np.random.shuffle",
    "np.random.permutation", "random.random", "random.shuffle", "random.seed",
}  # fmt: skip


def test_nothing_runs_a_strangers_data_and_no_random_state_is_shared():
    for path, tree in trees():
        assert not MODULES & {name.split(".")[0] for name in imported(tree)}, path
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in CALLS and not called.endswith(".extractall"), f"{path}:{node.lineno} {called}"
            assert called.split(".")[-1] != "urlopen" or path.name == "download.py", f"{path}:{node.lineno}"
            assert keywords.get("shell") != "True", f"{path}:{node.lineno}"
            if called == "np.load":
                assert keywords.get("allow_pickle") == "False", f"{path}:{node.lineno} np.load"


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
