"""Finding and reading CIFAR-10's binary version, on batches of ten records written byte by byte."""

import gzip
import io
import os
import socket
import tarfile

import numpy as np
import pytest

from rawcnn.data.sets import cifar
from rawcnn.data.sets.cifar import CLASS_NAMES, REMOTE, has_cifar10, load_cifar10
from rawcnn.errors import DataError, DownloadError

RECORD = 3073
TRAIN = [f"data_batch_{k}.bin" for k in range(1, 6)]
NAMES = [*TRAIN, "test_batch.bin"]
FOLDER = "cifar-10-batches-bin"
PYTHON = "cifar-10-batches-py"


def value(number, row, column, channel):
    """What the test writes at a pixel of image `number`: no two neighbours in any direction are alike."""
    return (number * 31 + row * 7 + column * 3 + channel * 101) % 256


def record(number):
    """One record as its paper says: the label, then all red, all green, all blue, each row by row."""
    planes = [value(number, r, c, channel) for channel in range(3) for r in range(32) for c in range(32)]
    return bytes([(number + 4) % 10, *planes])


BATCHES = {name: b"".join(record(10 * k + i) for i in range(10)) for k, name in enumerate(NAMES)}


def write(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(BATCHES[name])
    return folder


def file(name, content=None, **fields):
    """A member of a tar file: its header and its bytes."""
    content = BATCHES[os.path.basename(name)] if content is None else content
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, field in fields.items():
        setattr(info, key, field)
    return info, content


def real_members():
    return [file(f"{FOLDER}/{name}") for name in NAMES]


def tar(members, form=tarfile.USTAR_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return stream.getvalue()


def write_archive(folder, members, **options):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REMOTE.name
    path.write_bytes(gzip.compress(tar(members, **options), compresslevel=1))
    return path


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test here may reach a network or the user's own cache."""
    asked = []

    def no_name(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("RAWCNN_DATA", str(tmp_path / "cache"))
    return asked


def check(data, where):
    assert data.where == str(where)
    for images, labels, first in ((data.train_images, data.train_labels, 0), (data.test_images, data.test_labels, 50)):
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        assert images.shape == (len(labels), 32, 32, 3) and len(labels) == (10 if first else 50)
        number, row, column, channel = np.indices(images.shape)
        np.testing.assert_array_equal(images, value(number + first, row, column, channel))
        assert labels.tolist() == [(first + i + 4) % 10 for i in range(len(labels))]


def refuses(where):
    with pytest.raises(DataError) as caught:
        load_cifar10(where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_by_hand(tmp_path):
    # Image 0 of the test set: all 0 but the first red, the second green (row 0, column 1) and blue of row 1, column 0.
    image = bytearray(RECORD)
    image[0], image[1], image[1 + 1024 + 1], image[1 + 2048 + 32] = 7, 10, 20, 30
    (write(tmp_path) / "test_batch.bin").write_bytes(image)
    data = load_cifar10(tmp_path)
    assert data.test_labels.tolist() == [7]
    assert data.test_images[0, 0, 0].tolist() == [10, 0, 0]
    assert data.test_images[0, 0, 1].tolist() == [0, 20, 0]
    assert data.test_images[0, 1, 0].tolist() == [0, 0, 30]
    assert data.test_images.sum() == 60


@pytest.mark.parametrize("subfolder", ["", FOLDER])
def test_data_dir_and_its_subfolder(tmp_path, offline, subfolder):
    where = write(tmp_path / subfolder)
    check(load_cifar10(tmp_path), where)
    check(load_cifar10(str(tmp_path), download=False), where)
    assert offline == []


def test_archive_in_data_dir(tmp_path, offline):
    where = write_archive(
        tmp_path, [file(FOLDER, b"", type=tarfile.DIRTYPE), *real_members(), file("readme.html", b"")]
    )
    check(load_cifar10(tmp_path), where)
    assert [path.name for path in tmp_path.iterdir()] == [REMOTE.name]  # nothing was unpacked
    check(load_cifar10(tmp_path), where)
    where = write(tmp_path / FOLDER)
    check(load_cifar10(tmp_path), where)  # files go before the archive: they are read faster
    (where / TRAIN[3]).unlink()
    check(load_cifar10(tmp_path), tmp_path / REMOTE.name)
    assert offline == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_that_others_pack(tmp_path, form):
    long = "a long folder's name / " * 9
    members = [file(f"./{name}", mtime=1.5, pax_headers={"comment": "x" * 700}) for name in reversed(NAMES)]
    extra = (
        [] if form == tarfile.USTAR_FORMAT else [file(long + "x", b"not ours"), file("l", b"", type=tarfile.SYMTYPE)]
    )
    extra += [file(f"._{NAMES[0]}", b"of a Mac"), file("link", b"", type=tarfile.LNKTYPE, linkname=long[:90])]
    check(load_cifar10(write_archive(tmp_path, extra + members, form=form).parent), tmp_path / REMOTE.name)


@pytest.mark.parametrize("name", [TRAIN[3], "test_batch.bin", FOLDER, REMOTE.name, "data_batch_1", PYTHON])
def test_a_directory_with_something_of_cifar10(tmp_path, name):
    assert not has_cifar10(tmp_path) and not has_cifar10(tmp_path / "nowhere")
    (tmp_path / "cat.1.jpg").touch()
    assert not has_cifar10(tmp_path)
    (tmp_path / name).touch()
    assert has_cifar10(tmp_path) and has_cifar10(str(tmp_path))
    assert "CIFAR-10" in refuses(tmp_path) or "cifar-10" in refuses(tmp_path)


def test_the_cache_is_read_without_network(tmp_path, offline):
    where = write_archive(tmp_path / "cache", real_members())
    check(load_cifar10(), where)
    where = write(tmp_path / "cache" / FOLDER)
    check(load_cifar10(), where)
    assert offline == []


def test_what_the_cache_lacks_is_downloaded_into_it(tmp_path, monkeypatch):
    asked, lines = [], []

    def download_file(remote, directory, *, log):
        asked.append((remote, directory))
        log(f"got {remote.name}")
        return write_archive(directory, real_members())

    monkeypatch.setattr(cifar, "download_file", download_file)
    check(load_cifar10(log=lines.append), tmp_path / "cache" / REMOTE.name)
    check(load_cifar10(log=lines.append), tmp_path / "cache" / REMOTE.name)
    assert asked == [(REMOTE, tmp_path / "cache")]
    assert lines == [f"got {REMOTE.name}"]


def test_offline(tmp_path, offline):
    with pytest.raises(DownloadError) as caught:
        load_cifar10(log=[].append)
    assert offline == ["www.cs.toronto.edu"]
    assert all(text in str(caught.value) for text in (REMOTE.name, REMOTE.sha256, "--data_dir", str(tmp_path)))
    with pytest.raises(DataError, match="cache"):
        load_cifar10(download=False)
    assert len(offline) == 1


def test_missing_files_are_named_and_never_downloaded_into_data_dir(tmp_path, offline):
    write(tmp_path / FOLDER, [TRAIN[0], TRAIN[2], TRAIN[3]])
    (tmp_path / FOLDER / TRAIN[4]).mkdir()  # a directory is no file
    message = refuses(tmp_path)
    assert message.startswith(f"{tmp_path / FOLDER} does not have data_batch_2.bin, data_batch_5.bin, test_batch.bin. ")
    assert REMOTE.urls[0] in message
    assert "nowhere is not a directory" in refuses(tmp_path / "nowhere")
    assert offline == []


@pytest.mark.parametrize("name", ["data_batch_1", PYTHON, "cifar-10-python.tar.gz"])
def test_the_python_version_is_never_loaded(tmp_path, name):
    if name == PYTHON:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    message = refuses(tmp_path)
    assert message.startswith(f"{tmp_path / name} is the Python version of CIFAR-10, a pickle")
    assert REMOTE.urls[0] in message
    write(tmp_path)
    check(load_cifar10(tmp_path), tmp_path)


def test_an_archive_of_the_python_version(tmp_path):
    write_archive(tmp_path, [file(f"{PYTHON}/data_batch_1", b"cos\nsystem\n(S'false'\ntR.")])
    message = refuses(tmp_path)
    assert "holds data_batch_1, the Python version" in message and REMOTE.urls[0] in message


@pytest.mark.parametrize("cut", [1, RECORD - 1, 10 * RECORD - 1])
@pytest.mark.parametrize("form", ["files", "archive"])
def test_a_batch_of_no_whole_records(tmp_path, cut, form):
    short = BATCHES[TRAIN[2]][:-cut]
    if form == "files":
        (write(tmp_path) / TRAIN[2]).write_bytes(short)
    else:
        write_archive(tmp_path, [*real_members()[:2], file(TRAIN[2], short), *real_members()[3:]])
    message = refuses(tmp_path)
    assert TRAIN[2] in message and f"has {10 * RECORD - cut:,} bytes" in message and "3,073" in message


def test_empty_and_oversized_batches_are_refused_before_reading(tmp_path, monkeypatch):
    (write(tmp_path) / TRAIN[1]).write_bytes(b"")
    assert f"{TRAIN[1]} has 0 bytes" in refuses(tmp_path)
    with open(tmp_path / TRAIN[1], "wb") as sparse:
        sparse.truncate(100_001 * RECORD)  # it takes no room on the disk
    assert f"{TRAIN[1]} has 307,303,073 bytes, but at most 307,300,000" in refuses(tmp_path)
    monkeypatch.setattr(cifar, "MAX_BATCH", 10 * RECORD)
    write(tmp_path)
    check(load_cifar10(tmp_path), tmp_path)
    (tmp_path / TRAIN[1]).write_bytes(BATCHES[TRAIN[1]] + record(0))
    assert f"{TRAIN[1]} has {11 * RECORD:,} bytes" in refuses(tmp_path)
    (write(tmp_path) / "batches.meta.txt").write_bytes(b"a" * 5000)
    assert "batches.meta.txt has 5,000 bytes, but at most 4,096" in refuses(tmp_path)


@pytest.mark.parametrize("label", [10, 255])
def test_a_label_above_9_names_file_and_record(tmp_path, label):
    broken = bytearray(BATCHES[TRAIN[4]])
    broken[3 * RECORD] = label
    (write(tmp_path) / TRAIN[4]).write_bytes(broken)
    message = refuses(tmp_path)
    assert message.startswith(f"{tmp_path}: {TRAIN[4]}: record 3 (counted from 0) has the label {label}")


def test_batches_of_different_sizes(tmp_path):
    (write(tmp_path) / TRAIN[0]).write_bytes(record(0) + record(1))
    data = load_cifar10(tmp_path)
    assert len(data.train_images) == 42
    assert data.train_images[1, 5, 6].tolist() == [value(1, 5, 6, channel) for channel in range(3)]
    assert data.train_images[2, 5, 6].tolist() == [value(10, 5, 6, channel) for channel in range(3)]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_no_file(tmp_path):
    write(tmp_path, TRAIN)
    os.mkfifo(tmp_path / "test_batch.bin")
    assert "does not have test_batch.bin" in refuses(tmp_path)


LETTERS = list("abcdefghij")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n".join(CLASS_NAMES) + "\n\n", CLASS_NAMES),
        ("\r\n".join(LETTERS), tuple(LETTERS)),
        ("\n".join(LETTERS[:9]), CLASS_NAMES),
        ("\n".join([*LETTERS, "k"]), CLASS_NAMES),
        ("\n".join([*LETTERS[:9], "a"]), CLASS_NAMES),
        ("\n".join([*LETTERS[:9], "\x1b[31mj"]), CLASS_NAMES),
        ("", CLASS_NAMES),
    ],
    ids=["real", "other names", "nine", "eleven", "one twice", "control characters", "empty"],
)
def test_class_names(tmp_path, text, expected):
    known = load_cifar10(write(tmp_path / "bare")).class_names
    assert " ".join(known) == "airplane automobile bird cat deer dog frog horse ship truck"
    (write(tmp_path / "files") / "batches.meta.txt").write_bytes(text.encode())
    assert load_cifar10(tmp_path / "files").class_names == expected
    write_archive(tmp_path / "packed", [file(f"{FOLDER}/batches.meta.txt", text.encode()), *real_members()])
    assert load_cifar10(tmp_path / "packed").class_names == expected


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"S", b"Z"],
)
def test_members_that_are_no_regular_files(tmp_path, kind):
    (tmp_path / "secret").write_bytes(BATCHES[TRAIN[0]])
    link = file(f"{FOLDER}/{TRAIN[0]}", b"", type=kind, linkname=str(tmp_path / "secret"))
    write_archive(tmp_path, [link, *real_members()[1:]])
    assert f"{TRAIN[0]} is not a regular file" in refuses(tmp_path)


@pytest.mark.parametrize("name", ["../{}", "/{}", f"{FOLDER}/../../{{}}", "a/../{}"])
def test_names_that_lead_out_of_the_archive(tmp_path, name):
    write_archive(tmp_path / "data", [file(name.format(TRAIN[0])), *real_members()[1:]])
    assert "leads out of the archive" in refuses(tmp_path / "data")
    write_archive(tmp_path / "data", [file(name.format("evil.sh"), b"#!"), *real_members()])
    check(load_cifar10(tmp_path / "data"), tmp_path / "data" / REMOTE.name)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", REMOTE.name]


def test_a_member_that_is_there_twice(tmp_path):
    write_archive(tmp_path, [*real_members(), file(f"other/{TRAIN[0]}", BATCHES[TRAIN[1]])])
    assert f"holds {TRAIN[0]} twice" in refuses(tmp_path)


def test_an_archive_without_all_members(tmp_path):
    write_archive(tmp_path, real_members()[2:])
    assert f"{REMOTE.name} does not have data_batch_1.bin, data_batch_2.bin in it" in refuses(tmp_path)
    (tmp_path / REMOTE.name).write_bytes(gzip.compress(tar([])))
    assert "does not have data_batch_1.bin" in refuses(tmp_path)


def header(name, size, kind=tarfile.REGTYPE):
    info, _ = file(name, b"", type=kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (header(TRAIN[0], 10**12), "unpacks to more than 67,108,864 bytes"),
        (header("other", 10**12), "unpacks to more than"),
        (header("././@LongLink", 10**12, tarfile.GNUTYPE_LONGNAME), "unpacks to more than"),
        (header("pax", 10**12, tarfile.XHDTYPE), "unpacks to more than"),
        (header(TRAIN[0], 100_001 * RECORD), "unpacks to more than"),
        (header(TRAIN[0], 10_000 * RECORD), "is truncated: 0 of 30,730,000 bytes"),
        (header("other", 10**9), "unpacks to more than"),
        (header(TRAIN[0], -RECORD), "has -3073 bytes"),
        (header("other", -1024), "has -1024 bytes"),
        (b"\1" * 512, "damaged or not a .tar.gz"),
        (b"", "tar file ends too early"),
    ],
)
def test_headers_that_lie_of_sizes(tmp_path, block, message):
    (tmp_path / REMOTE.name).write_bytes(gzip.compress(block))
    assert message in refuses(tmp_path)


def test_zeros_without_end_after_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_ARCHIVE", 2**22)
    path = write_archive(tmp_path, real_members())
    check(load_cifar10(tmp_path), path)
    path.write_bytes(gzip.compress(tar(real_members()) + bytes(2**23)))
    assert "unpacks to more than" in refuses(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"BZh9", tar(real_members())], ids=["empty", "web", "bz2", "tar"])
def test_no_gzip_file(tmp_path, content):
    (tmp_path / REMOTE.name).write_bytes(content)
    message = refuses(tmp_path)
    assert REMOTE.name in message and REMOTE.urls[0] in message


def test_a_wrong_checksum_and_bytes_after_the_end(tmp_path):
    whole = gzip.compress(tar(real_members()), compresslevel=1)
    (tmp_path / REMOTE.name).write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    assert "CRC check failed" in refuses(tmp_path)
    (tmp_path / REMOTE.name).write_bytes(whole + b"more")
    assert "damaged" in refuses(tmp_path)


def test_every_truncation_and_flipped_bytes_end_in_a_data_error(tmp_path, rng):
    plain = tar(real_members())
    whole = gzip.compress(plain, compresslevel=1)
    path = tmp_path / REMOTE.name
    for length in [0, *range(2, 30), *rng.integers(30, len(whole) - 1, 30), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "truncated" in refuses(tmp_path)
    for length in [*rng.integers(0, len(plain) - 10_240, 20), 512, 511]:  # a sound gzip stream of half a tar file
        path.write_bytes(gzip.compress(plain[:length], compresslevel=1))
        assert REMOTE.name in refuses(tmp_path)
    for place in [*range(20), *rng.integers(0, len(whole), 40)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ rng.integers(1, 256)]) + whole[place + 1 :])
        try:
            check(load_cifar10(tmp_path), path)  # bytes of gzip's header that mean nothing
        except DataError as error:
            assert REMOTE.name in str(error)
    for place in rng.integers(0, 512, 100):  # damaged headers: the names and sizes of another archive
        flipped = plain[:place] + bytes([plain[place] ^ rng.integers(1, 256)]) + plain[place + 1 :]
        path.write_bytes(gzip.compress(flipped, compresslevel=0))
        assert "damaged" in refuses(tmp_path)
