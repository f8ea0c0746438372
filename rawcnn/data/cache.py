"""Where data sets are kept on this machine."""

import os
import pathlib
import sys

from rawcnn.errors import DataError


def cache_dir() -> pathlib.Path:
    """Return where data sets are kept: `$RAWCNN_DATA`, else `rawcnn` in the user's cache directory.

    That is `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. The
    directory need not exist yet. Raises `DataError` if there is no home directory to be found.
    """
    if chosen := os.environ.get("RAWCNN_DATA"):
        return pathlib.Path(chosen).expanduser()
    try:
        home = pathlib.Path.home()
    except RuntimeError:
        raise DataError(
            "There is no home directory to keep data sets in: set the environment variable RAWCNN_DATA to a directory."
        ) from None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "rawcnn"
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local", "rawcnn")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (pathlib.Path(cache) if os.path.isabs(cache) else home / ".cache") / "rawcnn"
