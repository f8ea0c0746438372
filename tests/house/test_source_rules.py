"""Nothing in rawcnn runs a stranger's data, reaches the network by the way, or draws from a shared random state.

Names are resolved through the imports (`import numpy.random as r; r.rand()` is numpy.random.rand): an alias hides
nothing. Where a family of names is dangerous, the harmless ones are listed and not the others.
"""

import ast

import pytest

from tests.house.test_architecture import LIBRARY, name_of

PICKLES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "copyreg"}
RUNS = {"subprocess", "multiprocessing", "ctypes", "cffi", "code", "codeop", "runpy", "importlib", "imp", "yaml", "pty"}
WEB = {"urllib", "http", "socket", "ssl", "ftplib", "requests", "httpx", "aiohttp", "webbrowser", "xmlrpc", "telnetlib"}
MAY_IMPORT = {
    "start": {"importlib"},  # TensorFlow's first import is made quiet
    "__init__": {"importlib"},  # the front door imports from a table of its own
    "data.sets.download": WEB,
    "files.h5": {"h5py"},
    "run.flags": {"absl"},
    "run.signals": {"socket"},
    "train.cluster": {"socket"},  # whether the port of this worker is free
    "run.sweep": {"subprocess"},  # each run of a sweep is rawcnn itself, in a process of its own
}
FORBIDDEN_MODULES = PICKLES | RUNS | WEB | {"random", "keras", "tf_keras", "absl", "h5py", "torch", "secrets", "uuid"}

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "input", "breakpoint",
    "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv", "os.startfile", "os.posix_spawn",
    "tempfile.mktemp", "shutil.rmtree", "shutil.unpack_archive", "numpy.fromregex", "numpy.genfromtxt",
    "tensorflow.py_function", "tensorflow.numpy_function", "tensorflow.load_library", "tensorflow.load_op_library",
    "tensorflow.nn.dropout", "tensorflow.saved_model.load", "tensorflow.data.Dataset.load",
    "tensorflow.data.Dataset.random", "tensorflow.data.Dataset.from_generator", "tensorflow.io.parse_tensor",
}  # fmt: skip
FORBIDDEN_FAMILIES = (
    "tensorflow.saved_model.", "tensorflow.keras.", "tensorflow.compat.v1.", "tensorflow.raw_ops.PyFunc",
    "tensorflow.raw_ops.EagerPyFunc", "tensorflow.raw_ops.Random", "tensorflow.raw_ops.Stateful",
)  # fmt: skip
# Saving runs nothing; loading stays forbidden everywhere.
MAY_USE = {"run.export": {"tensorflow.saved_model.save"}}
FORBIDDEN_METHODS = {"extractall", "extract", "unpack_archive", "load_module", "from_generator"}
NUMPY_RANDOM = {"Generator", "Philox", "BitGenerator", "SeedSequence"}  # each is given its key
TENSORFLOW_RANDOM = ("stateless_", "experimental.stateless_", "experimental.index_shuffle", "split", "fold_in")
# Who may open files for writing: all others go through `whole_file`, or a crash would leave half a file. `files.npz`
# opens members of an archive, whose file is given to it; `run.sweep` opens logs, to which its runs add lines.
WRITERS = {"files.whole", "files.npz", "run.directory", "run.lock", "data.sets.download", "run.sweep"}
WRITES = {"write_text", "write_bytes", "savefig", "tofile", "touch", "symlink_to", "hardlink_to"}
NUMPY_SAVES = {"numpy.save", "numpy.savez", "numpy.savez_compressed", "numpy.savetxt"}


def aliases(tree):
    """What every imported name stands for."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


def full_name(node, known):
    """`np.random.rand` as numpy.random.rand; None for what is no dotted name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([known.get(node.id, node.id), *reversed(parts)])


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.lineno


def mode_of(call, position):
    """The mode that `open` is given as its argument at `position` or by name; "" where it is not written out."""
    given = [k.value for k in call.keywords if k.arg == "mode"] + call.args[position : position + 1]
    if not given:
        return "r"
    return given[0].value if isinstance(given[0], ast.Constant) and isinstance(given[0].value, str) else "w"


def forbidden_name(name, here):
    module, _, rest = name.partition(".random.")
    if name in MAY_USE.get(here, set()):
        return None
    if name in FORBIDDEN or name.startswith(FORBIDDEN_FAMILIES):
        return "runs data, or has state that is shared"
    if module == "numpy" and rest and rest.split(".")[0] not in NUMPY_RANDOM:
        return f"draws without a key of its own: only numpy.random's {', '.join(sorted(NUMPY_RANDOM))}"
    if module == "tensorflow" and rest not in ("", "experimental") and not rest.startswith(TENSORFLOW_RANDOM):
        return "draws from a state: only tf.random.stateless_*"
    if name.startswith("tensorflow.image.random_"):
        return "draws from a state"
    return None


def broken_rules(tree, here):
    """Each line that breaks a rule, with the rule."""
    known = aliases(tree)
    for name, line in imports(tree):
        first = name.split(".")[0]
        if first in FORBIDDEN_MODULES - MAY_IMPORT.get(here, set()):
            yield line, f"imports {name}"
    for node in ast.walk(tree):
        name = full_name(node, known) if isinstance(node, ast.Attribute | ast.Name) else None
        if name and (why := forbidden_name(name, here)):
            yield node.lineno, f"{name} {why}"
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in broken_by_call(node, known, here))
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except swallows Ctrl-C"


def broken_by_call(call, known, here):
    name = full_name(call.func, known) or ""
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if last in FORBIDDEN_METHODS:
        yield f".{last}() writes where an archive tells it to"
    if name == "numpy.load" and keywords.get("allow_pickle") != "False":
        yield "numpy.load without allow_pickle=False"
    if name.startswith("numpy.lib.format.read_array") and keywords.get("allow_pickle") != "False":
        yield "read_array without allow_pickle=False"
    if keywords.get("shell") == "True":
        yield "a shell"
    if last == "shuffle" and "seed" not in keywords and not name.startswith("numpy"):
        yield ".shuffle() without a seed"
    if name in NUMPY_SAVES and not (call.args and isinstance(call.args[0], ast.Name) and call.args[0].id == "file"):
        yield f"{name} to a path: give it the file of `whole_file`"
    if here in WRITERS:
        return
    position = 1 if name in ("open", "gzip.open", "io.open", "bz2.open", "lzma.open") else 0
    if last == "open" and name not in ("os.open", "PIL.Image.open") and set(mode_of(call, position)) & set("wax+"):
        yield "opens a file to write: use rawcnn.files.whole.whole_file"
    if last in WRITES and not (last == "savefig" and isinstance(call.args[0], ast.Name) and call.args[0].id == "png"):
        yield f".{last}() writes in place: use rawcnn.files.whole.whole_file"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_rules_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    broken = [f"{path}:{line} {what}" for line, what in broken_rules(tree, name_of(path))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy as n\nn.load(f)",
        "from numpy import load\nload(f, allow_pickle=True)",
        "import numpy.random as r\nr.rand(3)",
        "import numpy as np\nrng = np.random.default_rng()",
        "from random import shuffle",
        "import tensorflow as tf\ntf.random.uniform((3,))",
        "from tensorflow import random\nrandom.normal((3,))",
        "import tensorflow as tf\ntf.keras.models.load_model(p)",
        "import tensorflow as tf\ntf.saved_model.load(p)",
        "import tensorflow as tf\ntf.raw_ops.PyFunc(input=[], token='', Tout=[])",
        "import tensorflow as tf\nf = tf.py_function",
        "archive.extractall()",
        "archive.extract(member, path)",
        "eval('1')",
        "__import__('os')",
        "from os import system",
        "import os as o\no.popen('ls')",
        "import urllib.request",
        "import socket",
        "open(p, 'w')",
        "open(p, mode='ab')",
        "open(p, m)",
        "path.open('wb')",
        "path.write_text('x')",
        "import numpy as np\nnp.savez(path, a=1)",
        "dataset.shuffle(100)",
        "try:\n    f()\nexcept:\n    pass",
    ],
)
def test_the_rules_find(source):
    """Each rule, broken."""
    if source == "from os import system":
        source += "\nsystem('ls')"
    assert list(broken_rules(ast.parse(source), "somewhere")), source


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nwith np.load(f, allow_pickle=False) as a: pass",
        "import numpy as np\nnp.random.Generator(np.random.Philox(key=1)).permutation(3)",
        "import tensorflow as tf\ntf.random.stateless_uniform((3,), seed)",
        "import tensorflow as tf\ntf.random.experimental.stateless_fold_in(seed, 1)",
        "open(p, 'rb')",
        "path.open('rb')",
        "with whole_file(p) as file:\n    np.savez(file, a=1)",
        "from PIL import Image\nImage.open(p, formats=names)",
    ],
)
def test_the_rules_let_pass(source):
    assert list(broken_rules(ast.parse(source), "somewhere")) == []
