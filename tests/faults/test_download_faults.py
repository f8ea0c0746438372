"""More ways in which a download fails; the server and the everyday ones are in `test_download.py`."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rawcnn.data.sets import download as module
from rawcnn.errors import DownloadError
from tests.data import test_download
from tests.data.test_download import (
    CHILD,
    DATA,
    SHA,
    drops_after,
    fetched,
    good,
    redirects,
    refused,
    status,
    wait_until,
)

server = test_download.server
ROOT = str(Path(module.__file__).parents[3])


def disguised_html(handler):
    """A log-in page that claims to be the file, of its very size."""
    handler.head(200, len(DATA), Content_Type="application/octet-stream")
    handler.body(b"<!DOCTYPE html><html>".ljust(len(DATA)))


def short_html(handler):
    handler.head(200, 21, Content_Type="application/octet-stream")
    handler.body(b"<!DOCTYPE html><html>")


def empty(handler):
    handler.head(200, 0)


def packed(handler):
    """Packed although nobody asked for that."""
    body = gzip.compress(DATA)
    handler.head(200, len(body), Content_Encoding="gzip")
    handler.body(body)


def torn_chunks(handler):
    """Chunked transfer that ends within a chunk."""
    handler.head(200, Transfer_Encoding="chunked")
    handler.body(b"4000\r\n" + DATA[:0x4000] + b"\r\n4000\r\n" + DATA[0x4000:0x5000])


def nonsense(handler):
    handler.body(b"SSH-2.0-OpenSSH_9.2\r\n")


def endless_headers(handler):
    handler.send_response(200)
    for number in range(500):
        handler.send_header(f"X-{number}", "x")
    handler.end_headers()


def headers_by_drops(handler):
    """Each byte arrives in time, all of them never."""
    handler.body(b"HTTP/1.0 200 OK\r\nX: ")
    while not handler.server.release.wait(0.02):
        handler.body(b"x")


def unnamed_part(handler):
    handler.head(206, len(DATA) - handler.start())
    handler.body(DATA[handler.start() :])


def tampered_rest(handler):
    """The start of the file was right; what is sent to go on is not."""
    good(handler, DATA[: handler.start()] + bytes(len(DATA) - handler.start()))


BAD = {
    "html of the right size": (disguised_html, "SHA-256"),
    "short html": (short_html, "offers 21 bytes, expected 300000"),
    "empty": (empty, "offers 0 bytes, expected 300000"),
    "packed": (packed, "expected 300000"),
    "another protocol": (nonsense, "SSH-2.0"),
    "endless headers": (endless_headers, "got more than 100 headers"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD.values(), ids=BAD)
def test_a_bad_mirror_is_named_with_its_reason_and_the_next_one_asked(tmp_path, server, answer, reason):
    url = server.mirror(answer)
    assert reason in refused(tmp_path, url)
    fetched(tmp_path, url, server.mirror(good))


def test_torn_chunks_are_resumed(tmp_path, server):
    fetched(tmp_path, server.mirror(torn_chunks, good))
    assert server.requests[1][1] is not None  # what had come was kept


def test_headers_that_come_by_drops_are_left(tmp_path, server, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.3)
    began = time.monotonic()
    assert "no answer in 0.3 s" in refused(tmp_path, server.mirror(headers_by_drops))
    assert time.monotonic() - began < 5


def test_redirects_in_a_circle_end(tmp_path, server):
    url = server.url("/0/file.bin")
    assert server.mirror(redirects(url)) == url
    assert "redirect" in refused(tmp_path, url)
    assert len(server.requests) < 30


def test_a_part_without_its_place_is_refused(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(DATA[:1000])
    assert "not asked for" in refused(tmp_path, server.mirror(unnamed_part))
    assert (tmp_path / "file.bin.part").read_bytes() == DATA[:1000]
    fetched(tmp_path, server.mirror(good))


def test_a_rest_that_was_tampered_with_is_thrown_away_whole(tmp_path, server):
    fetched(tmp_path, server.mirror(drops_after(100_000), tampered_rest, good))
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", None]


def test_a_tampered_rest_at_every_attempt_leaves_nothing(tmp_path, server):
    refused(tmp_path, server.mirror(drops_after(100_000), tampered_rest, status(503)))
    assert not (tmp_path / "file.bin.part").exists()


@pytest.mark.parametrize("url", ["http:", "HTTP:", "file:", "ftp:", "data:,", "//"])
def test_no_scheme_but_https(tmp_path, url):
    """Without the tests' permission for plain HTTP."""
    with pytest.raises(DownloadError, match="only https is safe"):
        module.download(module.Remote("file.bin", (f"{url}//127.0.0.1/file.bin",), len(DATA), SHA), tmp_path)


def child(server_url, folder, prelude=""):
    command = [sys.executable, "-c", prelude + CHILD, ROOT, server_url, str(folder), str(len(DATA)), SHA]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_fills_up_keeps_the_part_for_later(tmp_path, server):
    """No file over 100,000 bytes: the disk's fault, so no other mirror is asked, and what came is resumed."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    with child(server.mirror(good), tmp_path, limit) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "DownloadError" in error and "File too large" in error and "RAWCNN_DATA" in error
    begun = (tmp_path / "file.bin.part").read_bytes()
    assert begun == DATA[: len(begun)] and not (tmp_path / "file.bin").exists()
    fetched(tmp_path, server.url("/0/file.bin"))
    assert server.requests[1] == ("/0/file.bin", f"bytes={len(begun)}-")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_second_process_takes_over_from_a_killed_one(tmp_path, server):
    """The first holds the lock and half of the file; the second waits, gets the lock when the first dies, goes on."""

    def slow(handler):
        handler.head(200, len(DATA))
        handler.body(DATA[:150_000])
        handler.server.release.wait(30)

    url, part = server.mirror(slow, good), tmp_path / "file.bin.part"
    with child(url, tmp_path) as first:
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        with child(url, tmp_path) as second:
            assert "another process is downloading it" in second.stdout.readline()
            assert len(server.requests) == 1
            first.send_signal(signal.SIGKILL)
            first.communicate()
            _, error = second.communicate(timeout=60)
    assert second.returncode == 0, error
    assert (tmp_path / "file.bin").read_bytes() == DATA and len(server.requests) == 2
    assert server.requests[1][1] is not None and not part.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(tmp_path, server):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(DownloadError, match=r"cannot be stored in .*Permission denied"):
            module.download(test_download.remote(server.mirror(good)), tmp_path, log=lambda line: None)
    finally:
        tmp_path.chmod(0o755)
    assert server.requests == []
