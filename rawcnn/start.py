"""How TensorFlow starts in a process that imports rawcnn first: with oneDNN, and without remarks on stderr.

`rawcnn/__init__.py` calls `prepare()`; TensorFlow itself is imported later, by whoever needs it, with a plain
`import tensorflow`. Where TensorFlow was imported before rawcnn, nothing is changed.
"""

import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def prepare() -> None:
    """Set what TensorFlow reads when it starts, and hold back what it then writes past every log level."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # TensorFlow uses oneDNN by itself on the newest processors only; with AVX2 it is 1.4 to 3.2 times as fast.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.meta_path.insert(0, _Finder())


@contextmanager
def stderr_held() -> Iterator[None]:
    """Hold back what C++ code writes to stderr; shown after all if the block raises."""
    try:
        real = os.dup(2)
    except OSError:  # a program without stderr, as windowed ones are
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


class _Finder(MetaPathFinder):
    """Sees the first import of TensorFlow, and no other."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(Loader):
    """Imports TensorFlow and lets it look for devices, quietly; then the module has its own loader again."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.loader
        with stderr_held():
            self.loader.exec_module(module)
            module.config.list_physical_devices()
