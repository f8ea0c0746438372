"""The downloader against a real HTTP server on localhost that fails in every way that servers and networks do."""

import hashlib
import http.server
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rawcnn.data.sets import download as module
from rawcnn.data.sets.download import Remote, download
from rawcnn.errors import DownloadError
from tests.command import heard

DATA = np.random.Generator(np.random.Philox(key=7)).bytes(300_000)
SHA = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers the k-th request for a path by the k-th function of that path's list, and then by its last one."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests, self.sent = {}, [], 0
        self.release = threading.Event()
        self.lock = threading.Lock()

    def mirror(self, *answers):
        path = f"/{len(self.answers)}/file.bin"
        self.answers[path] = list(answers)
        return self.url(path)

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request, client_address):
        """A client that goes away is part of these tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with self.server.lock:
            answers = self.server.answers[self.path]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.server.requests.append((self.path, self.headers["Range"]))
        self.close_connection = True
        answer(self)

    def log_message(self, *args):
        pass

    def head(self, status, length=None, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, data):
        self.wfile.write(data)
        with self.server.lock:
            self.server.sent += len(data)

    def start(self):
        asked = self.headers["Range"]
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0


def good(handler, data=DATA, count=None):
    """Sends what was asked for, or only `count` bytes of it before the connection drops."""
    start = handler.start()
    if start:
        handler.head(206, len(data) - start, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
    else:
        handler.head(200, len(data))
    handler.body(data[start:] if count is None else data[start : start + count])


def drops_after(count):
    return lambda handler: good(handler, count=count)


def ignores_range(handler):
    handler.head(200, len(DATA))
    handler.body(DATA)


def without_length(handler):
    handler.head(200)
    handler.body(DATA + b"and more than was declared")


def wrong_bytes(handler):
    good(handler, bytes([DATA[0] ^ 1]) + DATA[1:])


def too_long(handler):
    good(handler, DATA + b"!")


def wrong_part(handler):
    handler.head(206, 10, Content_Range=f"bytes 5-14/{len(DATA)}")
    handler.body(DATA[5:15])


def html(handler):
    handler.head(200, len(DATA), Content_Type="text/html; charset=utf-8")
    handler.body(b"<html>".ljust(len(DATA)))


def nothing(handler):
    """Closes the connection without a word."""


def hangs(handler):
    handler.server.release.wait(30)


def stalls(handler):
    handler.head(200, len(DATA))
    handler.body(DATA[:50_000])
    handler.server.release.wait(30)


def trickles(handler):
    handler.head(200, len(DATA))
    for place in range(len(DATA)):
        handler.body(DATA[place : place + 1])
        if handler.server.release.wait(0.02):
            return


def status(code):
    return lambda handler: handler.head(code, 0)


def redirects(url):
    return lambda handler: handler.head(302, 0, Location=url)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "ALLOWED_SCHEMES", frozenset({"https", "http"}))
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.release.set()
        server.shutdown()


def remote(*urls):
    return Remote("file.bin", urls, len(DATA), SHA)


class Log(list):
    __call__ = list.append


def fetched(tmp_path, *urls, timeout=20.0):
    path = download(remote(*urls), tmp_path, log=Log(), timeout=timeout)
    assert path == tmp_path / "file.bin"
    assert path.read_bytes() == DATA
    assert not (tmp_path / "file.bin.part").exists()


def refused(tmp_path, *urls, timeout=20.0):
    with pytest.raises(DownloadError) as caught:
        download(remote(*urls), tmp_path, log=Log(), timeout=timeout)
    assert not (tmp_path / "file.bin").exists()
    message = str(caught.value)
    for what in (*urls, f"{len(DATA)} bytes", SHA, str(tmp_path), "--data_dir"):
        assert what in message
    return message


def test_a_download_and_then_no_network(tmp_path, server):
    url = server.mirror(good)
    log = Log()
    assert download(remote(url), tmp_path / "new" / "folder", log=log).read_bytes() == DATA
    assert log == [f"file.bin: downloading from {url} (300,000 bytes)", "file.bin: complete and verified."]
    download(remote(url), tmp_path / "new" / "folder", log=log)
    assert len(server.requests) == 1
    assert len(log) == 2


def test_a_right_file_is_taken_without_writing_anything(tmp_path):
    (tmp_path / "file.bin").write_bytes(DATA)
    assert download(remote(), tmp_path, log=Log()) == tmp_path / "file.bin"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_dropped_connection_is_resumed_where_it_broke(tmp_path, server):
    fetched(tmp_path, server.mirror(drops_after(100_000), drops_after(50_000), good))
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.sent == len(DATA)


def test_a_later_call_resumes_with_another_mirror(tmp_path, server):
    refused(tmp_path, server.mirror(drops_after(100_000), status(503)))
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:100_000]
    fetched(tmp_path, server.mirror(good))
    assert server.sent == len(DATA)


@pytest.mark.parametrize("answer", [ignores_range, without_length])
def test_a_server_that_ignores_ranges_starts_again(tmp_path, server, answer):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    fetched(tmp_path, server.mirror(answer))
    assert server.requests == [("/0/file.bin", "bytes=1000-")]


def test_an_unsatisfiable_range_starts_again(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    fetched(tmp_path, server.mirror(status(416), good))
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 1)], ids=["part", "all", "more"])
def test_a_part_of_something_else_is_thrown_away(tmp_path, server, stale):
    (tmp_path / "file.bin.part").write_bytes(stale)
    fetched(tmp_path, server.mirror(good))


def test_a_complete_part_needs_no_network(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(DATA)
    fetched(tmp_path, server.mirror(status(500)))
    assert server.requests == []


def test_a_wrong_final_file_is_replaced(tmp_path, server):
    (tmp_path / "file.bin").write_bytes(DATA[:-1] + b"?")
    fetched(tmp_path, server.mirror(good))


def test_wrong_bytes_go_to_the_next_mirror(tmp_path, server):
    fetched(tmp_path, server.mirror(wrong_bytes), server.mirror(good))
    assert server.requests == [("/0/file.bin", None), ("/1/file.bin", None)]


def test_wrong_bytes_alone_leave_nothing(tmp_path, server):
    message = refused(tmp_path, server.mirror(wrong_bytes))
    assert hashlib.sha256(bytes([DATA[0] ^ 1]) + DATA[1:]).hexdigest() in message
    assert not (tmp_path / "file.bin.part").exists()


BAD = {
    "403": (status(403), "HTTP 403 Forbidden"),
    "503": (status(503), "HTTP 503 Service Unavailable"),
    "204": (status(204), "HTTP 204"),
    "html": (html, "web page"),
    "too long": (too_long, "offers 300001 bytes, expected 300000"),
    "wrong part": (wrong_part, "from byte 5"),
    "no answer at all": (nothing, "closed connection without response"),
    "redirect to a file": (redirects("file:///etc/passwd"), "file:"),
    "redirect to ftp": (redirects("ftp://127.0.0.1/file.bin"), "redirects to ftp://127.0.0.1/file.bin, and only https"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_mirror_is_named_with_its_reason_and_the_next_one_asked(tmp_path, server, answer, reason):
    url = server.mirror(answer)
    assert reason in refused(tmp_path, url)
    fetched(tmp_path, url, server.mirror(good))


def test_all_reasons_are_listed(tmp_path, server):
    message = refused(tmp_path, server.mirror(status(403)), server.mirror(html))
    assert "/0/file.bin: HTTP 403" in message
    assert "/1/file.bin: sent a web page" in message
    assert "\n" not in message


def test_a_redirect_is_followed_with_its_range(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    target = server.mirror(good)
    fetched(tmp_path, server.mirror(redirects(target)))
    assert server.requests == [("/1/file.bin", "bytes=1000-"), ("/0/file.bin", "bytes=1000-")]


ENDLESS = [(hangs, "no answer in 0.3 s"), (stalls, "the connection stalled"), (trickles, "bytes came in 0.3 s")]


@pytest.mark.parametrize(("answer", "reason"), ENDLESS)
def test_a_mirror_that_never_ends_is_left(tmp_path, server, answer, reason):
    url = server.mirror(answer)
    assert reason in refused(tmp_path, url, timeout=0.3)
    fetched(tmp_path, url, server.mirror(good), timeout=0.3)


def test_a_name_server_that_never_answers_is_left(tmp_path, server, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: server.release.wait(30))
    assert "no answer in 0.2 s" in refused(tmp_path, "https://mirror.invalid/file.bin")


def test_a_port_that_nobody_listens_to(tmp_path, server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "refused" in refused(tmp_path, f"http://127.0.0.1:{port}/file.bin")


def test_only_https_and_no_redirect_away_from_it(tmp_path, server, monkeypatch):
    url = server.mirror(redirects(server.mirror(good)))
    monkeypatch.setattr(module, "ALLOWED_SCHEMES", frozenset({"https"}))
    assert "only https is safe" in refused(tmp_path, url)
    assert server.requests == []
    monkeypatch.setattr(module, "_is_allowed", lambda asked: asked == url)
    assert "redirects to http:" in refused(tmp_path, url)
    assert [path for path, _ in server.requests] == ["/1/file.bin"]


def test_progress_is_logged(tmp_path, server, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.0)
    log = Log()
    download(remote(server.mirror(good)), tmp_path, log=log)
    assert log[-2] == "file.bin: 0.3 of 0.3 MB (100 %)"


def test_a_directory_that_cannot_be_made(tmp_path, server):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot be stored in .*taken.*RAWCNN_DATA"):
        download(remote(server.mirror(good)), tmp_path / "taken" / "folder", log=Log())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_no_fault_of_the_mirrors(tmp_path, server):
    (tmp_path / "file.bin.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="No space left on device"):
        download(remote(server.mirror(good), server.mirror(good)), tmp_path, log=Log())
    assert len(server.requests) == 1


def test_two_at_once_make_one_transfer(tmp_path, server):
    def slow(handler):
        handler.server.release.wait(30)
        good(handler)

    url = server.mirror(slow)
    logs = Log(), Log()
    paths = []
    threads = [
        threading.Thread(target=lambda log=log: paths.append(download(remote(url), tmp_path, log=log))) for log in logs
    ]
    for thread in threads:
        thread.start()
    # The transfer is let go only when the other has said that it waits.
    wait_until(lambda: any("another process" in line for log in logs for line in log))
    server.release.set()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [DATA, DATA]
    assert len(server.requests) == 1
    assert server.sent == len(DATA)


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain for 30 s")


# The child names the packages by their paths only: their __init__.py would import TensorFlow, seconds for nothing.
CHILD = """
import os, sys, types
root, url, folder, size, sha = sys.argv[1:]
for name in ("rawcnn", "rawcnn.data"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [os.path.join(root, *name.split("."))]
from rawcnn.data.sets import download as module
module.ALLOWED_SCHEMES = {"http"}
module.download(module.Remote("file.bin", (url,), int(size), sha), folder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_an_interrupted_process_leaves_a_part_to_resume_and_no_lock(tmp_path, server, number):
    root = str(pathlib.Path(module.__file__).parents[3])
    command = [sys.executable, "-c", CHILD, root, server.mirror(stalls, good), str(tmp_path), str(len(DATA)), SHA]
    part = tmp_path / "file.bin.part"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=heard) as child:
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        child.send_signal(getattr(signal, number))
    assert child.returncode != 0
    begun = part.read_bytes()
    assert begun == DATA[: len(begun)]
    assert begun
    assert not (tmp_path / "file.bin").exists()
    fetched(tmp_path, server.url("/0/file.bin"))
    assert server.requests[1] == ("/0/file.bin", f"bytes={len(begun)}-")
