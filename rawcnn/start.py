"""How TensorFlow starts in a process that imports rawcnn first: with oneDNN, one thread a core, and without remarks.

`rawcnn/__init__.py` calls `prepare()`; TensorFlow itself is imported later, by the code that needs it, with a plain
`import tensorflow`. Where TensorFlow was imported before rawcnn, nothing is changed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `import rawcnn` takes no time: what only the import of TensorFlow needs is imported with it
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

late = False
"""Whether TensorFlow was imported before rawcnn, which then could set nothing."""


def prepare() -> None:
    """Set what TensorFlow reads when it starts, and hold back what it then writes past every log level."""
    global late
    late = "tensorflow" in sys.modules
    if late:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    if machine.lower() in ("x86_64", "amd64"):
        # TensorFlow uses oneDNN by itself on the newest processors only; with AVX2 it is 1.4 to 3.2 times as fast.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.meta_path.insert(0, _Finder())


class StderrHeld:
    """A context that holds back what C++ code writes to stderr; it is shown after all if the block raises."""

    def __enter__(self) -> None:
        import tempfile

        self._real = self._held = None
        try:
            self._real = os.dup(2)
        except OSError:  # a program without stderr, as windowed ones are
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        self._held = tempfile.TemporaryFile()
        os.dup2(self._held.fileno(), 2)

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._real is None or self._held is None:
            return
        if kind is not None:
            self._held.seek(0)
            os.write(self._real, self._held.read())
        os.dup2(self._real, 2)
        os.close(self._real)
        self._held.close()


class _Finder:
    """Sees the first import of TensorFlow, and no other."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)  # type: ignore[assignment]
        return spec


class _QuietLoader:
    """Imports TensorFlow and lets it look for devices, quietly; then the module has its own loader again."""

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self.loader
        with StderrHeld():
            self.loader.exec_module(module)
            module.config.list_physical_devices()
        _set_threads(module.config.threading)


def _set_threads(threading: Any) -> None:
    """One thread a core where TensorFlow would count each core twice, or more than a container may use."""
    from rawcnn.machine import cores, processors

    told = any(os.environ.get(name) for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"))
    if not told and (count := cores()) < processors():
        threading.set_intra_op_parallelism_threads(count)
        threading.set_inter_op_parallelism_threads(count)
