"""What a file is, by its first bytes and not by its name, and what to do with it where weights are wanted.

Nothing is unpacked and nothing is executed: of a ZIP archive only the list of its members is read.
"""

import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from rawcnn.files.limits import regular_file

START = 512  # bytes that are looked at
NPZ, SAFETENSORS, HDF5, UNKNOWN = "npz", "safetensors", "hdf5", "unknown"


class Kind(NamedTuple):
    """What a file is, and how weights in it become a file that rawcnn reads; `{path}` and `{stem}` are filled in."""

    what: str
    remedy: str


_TORCH = (
    'Convert it where PyTorch is installed: python -c "import torch; from safetensors.torch import save_file; '
    "d = torch.load('{path}', map_location='cpu', weights_only=True); "
    "save_file(d.get('state_dict', d), '{stem}.safetensors')\""
)
_KERAS = (
    'Convert it where Keras is installed: python -c "import keras; '
    "keras.saving.load_model('{path}').save_weights('{stem}.weights.h5')\""
)
_CHECKPOINT = (
    'Convert it where TensorFlow is installed: python -c "import numpy, tensorflow as tf; '
    "r = tf.train.load_checkpoint('{prefix}'); numpy.savez('{stem}.npz', "
    "**{{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()}})\", and give its arrays the names of the net's."
)
_GIVE = "Give a file of weights: .npz, .safetensors or Keras's .h5."
_AGAIN = "Download the file itself again, not the page that shows it."

KINDS = {
    NPZ: Kind("an .npz archive of NumPy", ""),
    SAFETENSORS: Kind("a .safetensors file", ""),
    HDF5: Kind("an HDF5 file", ""),
    "torch": Kind("a file of PyTorch, which is a pickle and could run code when it is opened", _TORCH),
    "pickle": Kind("a pickle of Python, which could run code when it is opened", _TORCH),
    "keras": Kind("a .keras archive, which is a program as well as weights", _KERAS),
    "zip": Kind("a ZIP archive", "Unpack it, and give the file of weights in it."),
    "gzip": Kind("packed with gzip", "Unpack it (gunzip or tar -xzf), and give the file in it."),
    "packed": Kind("a packed archive (bzip2, xz, zstd, 7z or tar)", "Unpack it, and give the file in it."),
    "web page": Kind("a web page: the server sent its page, an error or a log-in form", _AGAIN),
    "git lfs": Kind("a pointer of Git LFS, which stands for the real file", "Run `git lfs pull` where it was cloned."),
    "checkpoint": Kind("a checkpoint of TensorFlow", _CHECKPOINT),
    "saved model": Kind(
        "a SavedModel of TensorFlow, which is a program as well as weights",
        "Save the weights alone where it was made: model.save_weights('{stem}.weights.h5').",
    ),
    "npy": Kind(
        "a single .npy array of NumPy, or a pickle in one",
        "Put the net's arrays into one file by name, where it was made: numpy.savez('{stem}.npz', **arrays).",
    ),
    "matlab": Kind("a .mat file of MATLAB", "Convert it: scipy.io.loadmat, then numpy.savez with the net's names."),
    "tflite": Kind("a .tflite model", "It cannot be trained further: give the file it was converted from."),
    "picture": Kind("a picture", _GIVE),
    "json": Kind("text (JSON), such as the list or the settings that come with weights", _GIVE),
    "text": Kind("text, such as CSV", _GIVE),
    "empty": Kind("empty (0 bytes)", "Copy or download it again."),
    UNKNOWN: Kind("not a weight file that rawcnn knows", f"It is damaged, or another program wrote it. {_GIVE}"),
}

_STARTS = (  # in this order
    (b"\x89HDF\r\n\x1a\n", HDF5), (b"\x1f\x8b", "gzip"), (b"\x93NUMPY", "npy"), (b"MATLAB 5.0", "matlab"),
    (b"version https://git-lfs", "git lfs"), (b"model_checkpoint_path:", "checkpoint"),
    (b"BZh", "packed"), (b"\xfd7zXZ", "packed"), (b"\x28\xb5\x2f\xfd", "packed"), (b"7z\xbc\xaf", "packed"),
    (b"\x89PNG", "picture"), (b"\xff\xd8\xff", "picture"), (b"GIF8", "picture"),
)  # fmt: skip
_PICKLE = re.compile(rb"\x80[\2-\5]", re.DOTALL)
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch before 1.6: a pickled number comes first
_TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the end of a table of TensorFlow, an `.index`
_BLANK = b"\xef\xbb\xbf \t\r\n"


def kind_of(path: str | os.PathLike[str]) -> str:
    """The key of `KINDS` that a file is. Raises `DataError` as `regular_file` does: missing, a directory, a pipe.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder, "vgg16.h5")
    ...     _ = page.write_text("<!DOCTYPE html>")
    ...     kind_of(page)
    'web page'
    """
    with regular_file(path) as (file, size):
        start = file.read(START)
        if not start:
            return "empty"
        if start.startswith(b"PK"):
            return _archive(Path(path))
        if start[8:9] == b"{" and not any(start[5:8]):  # before pickles: the length of a header may look like one
            return SAFETENSORS
        for first, kind in _STARTS:
            if start.startswith(first):
                return kind
        if _PICKLE.match(start):
            return "torch" if start.startswith(_TORCH_MAGIC) else "pickle"
        if start[4:8] == b"TFL3":
            return "tflite"
        if start[257:262] == b"ustar":
            return "packed"
        file.seek(max(0, size - len(_TABLE_MAGIC)))
        if file.read() == _TABLE_MAGIC:
            return "checkpoint"
    return _text(start)


def what_is(path: str | os.PathLike[str], kind: str) -> str:
    """`it is WHAT. REMEDY`, for an error message that begins with the file's name."""
    what, remedy = KINDS[kind]
    name = os.fspath(path)
    stem = os.path.splitext(name)[0]
    return f"it is {what}. {remedy.format(path=name, stem=stem, prefix=name.removesuffix('.index'))}"


def _archive(path: Path) -> str:
    """Which ZIP archive; "zip" too for one whose list of members cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # which one zipfile raises depends on the byte that is wrong
        return NPZ  # whose reader says what is wrong with it
    if all(name.endswith(".npy") for name in names):
        return NPZ
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "torch"
    return "keras" if "config.json" in names and "model.weights.h5" in names else "zip"


def _text(start: bytes) -> str:
    text = start.lstrip(_BLANK)
    if text[:1] == b"<":
        return "web page"
    try:
        characters = text.decode()
    except UnicodeDecodeError as error:
        if error.start < len(text) - 3:  # else a character that was cut in two
            return UNKNOWN
        characters = text[: error.start].decode()
    if not characters.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return UNKNOWN
    return "json" if text[:1] in (b"{", b"[") else "text"
