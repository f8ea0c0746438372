"""Downloading one file of known size and hash, so that its final name never stands for anything else.

The bytes go to `NAME.part`, which a later call resumes (HTTP Range), whether the earlier one failed or was killed. Only
when size and SHA-256 are right is it renamed to `NAME`. Mirrors are tried in turn; a lock per file makes a second
process wait for the first and then use its file.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import IO, TYPE_CHECKING

from rawcnn.data.log import Log
from rawcnn.errors import DataError, DownloadError
from rawcnn.files.limits import Unfit
from rawcnn.files.whole import sync_directory

if TYPE_CHECKING:
    import http.client
    import urllib.request

ALLOWED_SCHEMES = frozenset({"https"})  # the tests add plain HTTP for their server on localhost
CONNECT_SECONDS = 8.0  # name, connection, TLS, redirects and headers together: somebody offline should soon know
PROGRESS_SECONDS = 3.0
ATTEMPTS = 10  # per mirror, and only while each one gets further
CHUNK = 2**16
MIN_BYTES = 2**14  # the least in each `timeout` (a trickle could go on for ever), and the least worth another attempt


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file on the web: its name, its addresses (the best one first), its size in bytes and its SHA-256 in hex."""

    name: str
    urls: tuple[str, ...]
    size: int
    sha256: str


def download(
    remote: Remote, directory: str | os.PathLike[str], *, log: Log = print, timeout: float = 20.0
) -> pathlib.Path:
    """Make sure that `directory` has the file `remote` with the right size and SHA-256, and return its path.

    A right file that is there already is returned without touching the network. `log` gets a line at the start, every
    few seconds and at the end. `timeout` is in seconds: the longest wait for a mirror's next bytes.

    Raises `DownloadError`, with each mirror's reason and the way to get the file by hand, if no mirror gives the right
    bytes or they cannot be written. An interrupt leaves `NAME.part` for the next call to resume.
    """
    directory = pathlib.Path(directory)
    final, part = directory / remote.name, directory / f"{remote.name}.part"
    try:
        if _fault(final, remote) is None:
            return final
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory / f".{remote.name}.lock", remote.name, log):
            fault = _fault(final, remote)  # again: who held the lock may have brought the file
            if fault is None:
                return final
            if final.exists():
                log(f"{final} {fault}; downloading it again.")
            reasons = _fetch(remote, part, log, timeout)
            if not reasons:
                _publish(part, final)
                log(f"{remote.name}: complete and verified.")
                return final
    except OSError as error:
        raise DownloadError(
            f"{remote.name} cannot be stored in {directory}: {error.strerror or error}. Set the environment variable "
            "RAWCNN_DATA to a directory that can be written and has room, or use --data_dir with files already there."
        ) from error
    raise DownloadError(
        f"{remote.name} could not be downloaded: {'; '.join(reasons)}. By hand: put the file ({remote.size} bytes, "
        f"SHA-256 {remote.sha256}) in {directory}, or use --data_dir with a directory that has the data set's files."
    )


def _fetch(remote: Remote, part: pathlib.Path, log: Log, timeout: float) -> list[str]:
    """Fill `part` with the right bytes from one of the mirrors; if that fails, return the reason of each."""
    reasons: list[str] = []
    for url in remote.urls:
        if reasons:
            log(f"{reasons[-1]}; trying the next mirror.")
        reason = _fetch_from(url, remote, part, log, timeout)
        if reason is None:
            return []
        reasons.append(f"{url}: {reason}")
    return reasons


def _fetch_from(url: str, remote: Remote, part: pathlib.Path, log: Log, timeout: float) -> str | None:
    reason = None
    for _ in range(ATTEMPTS):
        start = _size(part)
        try:
            _transfer(url, remote, part, log, timeout)
        except Unfit as error:
            reason = str(error)
            # Asking again makes sense after a good stretch, or with a useless .part out of the way (then it shrank).
            if 0 <= _size(part) - start < MIN_BYTES:
                return reason
            continue
        reason = _fault(part, remote)
        if reason is None:
            return None
        part.unlink()
        if start == 0:  # else the wrong bytes may be those of an earlier call, and this mirror gets another chance
            return reason
    return reason


def _transfer(url: str, remote: Remote, part: pathlib.Path, log: Log, timeout: float) -> None:
    """Ask `url` for what `part` lacks and append it, never beyond the declared size."""
    from urllib.error import HTTPError

    done = _size(part)
    if done >= remote.size:
        return
    log(f"{remote.name}: {'resuming' if done else 'downloading'} from {url} ({remote.size:,} bytes)")
    with _mirror_errors():
        try:
            response = _open(url, done, timeout)
        except HTTPError as error:
            error.close()
            if error.code == 416:  # "range not satisfiable": the .part is as long as this mirror's file, or longer
                part.unlink(missing_ok=True)
            raise Unfit(f"HTTP {error.code} {error.reason}") from None
    with contextlib.closing(response):
        begin = _first_byte(response, done, remote.size)
        with open(part, "ab" if begin else "wb") as file:
            _copy(response, file, begin, remote, log, timeout)


def _copy(
    response: "http.client.HTTPResponse", file: IO[bytes], done: int, remote: Remote, log: Log, timeout: float
) -> None:
    told = checked = time.monotonic()
    done_when_checked = done
    while done < remote.size:
        with _mirror_errors():
            # read1 gives what has come; read would wait for the whole chunk, with a new timeout for every byte.
            chunk = response.read1(min(CHUNK, remote.size - done))
        if not chunk:
            raise Unfit(f"the connection closed after {done} of {remote.size} bytes")
        file.write(chunk)
        done += len(chunk)
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            log(f"{remote.name}: {done / 1e6:.1f} of {remote.size / 1e6:.1f} MB ({100 * done // remote.size} %)")
        if now - checked >= timeout:
            if done - done_when_checked < MIN_BYTES and done < remote.size:
                raise Unfit(f"only {done - done_when_checked} bytes came in {timeout:g} s")
            checked, done_when_checked = now, done


def _first_byte(response: "http.client.HTTPResponse", asked: int, size: int) -> int:
    """Where in the file the answer begins: at the byte asked for, or at 0 if the server ignores ranges."""
    if response.headers.get_content_type() == "text/html":
        raise Unfit("sent a web page instead of the file (an error or log-in page)")
    begin = 0
    if response.status == 206:
        match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        begin = int(match[1]) if match else -1
    if response.status not in (200, 206) or begin not in (0, asked):
        raise Unfit(f"sent an answer that was not asked for (HTTP {response.status}, from byte {begin})")
    if response.length not in (None, size - begin):
        raise Unfit(f"offers {begin + (response.length or 0)} bytes, expected {size}")
    return begin


def _open(url: str, done: int, timeout: float) -> "http.client.HTTPResponse":
    """Send the request in another thread, so that looking up the name and trying each of its addresses, which
    the socket's timeout does not bound, end in time too."""
    from urllib.request import Request

    if not _is_allowed(url):
        raise Unfit("only https is safe")
    headers = {"User-Agent": "rawcnn"} | ({"Range": f"bytes={done}-"} if done else {})
    request, opener = Request(url, headers=headers), _opener()
    answer: futures.Future[http.client.HTTPResponse] = futures.Future()

    def ask() -> None:
        try:
            answer.set_result(opener.open(request, timeout=timeout))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    seconds = min(timeout, CONNECT_SECONDS)
    try:
        return answer.result(seconds)
    except (TimeoutError, futures.TimeoutError):  # two classes in Python 3.10
        answer.add_done_callback(lambda late: None if late.exception() else late.result().close())
        raise Unfit(f"no answer in {seconds:g} s") from None


def _opener() -> "urllib.request.OpenerDirector":
    import urllib.request
    from urllib.error import HTTPError

    class CheckedRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
            if not _is_allowed(newurl):
                raise HTTPError(newurl, code, f"redirects to {newurl}, and only https is safe", headers, fp)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(CheckedRedirects)


def _is_allowed(url: str) -> bool:
    return url.partition(":")[0].lower() in ALLOWED_SCHEMES


@contextlib.contextmanager
def _mirror_errors() -> Iterator[None]:
    """Turn whatever the network raises into an `Unfit` mirror; an `OSError` outside is then our own disk's."""
    import http.client

    try:
        yield
    except TimeoutError:
        raise Unfit("the connection stalled") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)  # URLError hides the real one there
        raise Unfit(str(reason) or type(reason).__name__) from error


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fault(path: pathlib.Path, remote: Remote) -> str | None:
    """What is wrong with the file at `path`, or None if it is byte for byte what `remote` declares."""
    if not path.is_file():
        return "is not there"
    if path.stat().st_size != remote.size:
        return f"has {path.stat().st_size} bytes, expected {remote.size}"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    if digest.hexdigest() != remote.sha256:
        return f"has SHA-256 {digest.hexdigest()}, expected {remote.sha256}"
    return None


def _publish(part: pathlib.Path, final: pathlib.Path) -> None:
    """Rename, with the data on the disk before the name and the name before we return, so that it survives a crash."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, final)
    sync_directory(final.parent)


@contextlib.contextmanager
def _locked(path: pathlib.Path, name: str, log: Log) -> Iterator[None]:
    """Hold the lock file while the block runs. The system frees it when a process dies. The empty file stays: if
    it were deleted, a third process could lock a new file of that name while the second still holds the old one."""
    with open(path, "ab") as file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                log(f"{name}: another process is downloading it, waiting for that ({path}).")
                told = True
            time.sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        # Some network file systems have no locks. Two writers can then spoil a .part, which its hash will show.
        return True
    return True


def cache_dir() -> pathlib.Path:
    """Return where data sets are kept: `$RAWCNN_DATA`, else `rawcnn` in the user's cache directory.

    That is `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. The
    directory need not exist yet. Raises `DataError` if no home directory is found.
    """
    if chosen := os.environ.get("RAWCNN_DATA"):
        return pathlib.Path(os.path.expanduser(chosen))
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
