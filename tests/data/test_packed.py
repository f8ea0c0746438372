"""Packed images: the folder's order and pixels, kills at any time, and damage that is named."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import rawcnn as rc
from rawcnn.data.batches import batches, in_order
from rawcnn.data.datasets import load_dataset
from rawcnn.data.images.folder import open_folder
from rawcnn.data.packed.index import INDEX, read_index
from rawcnn.data.packed.pack import pack
from rawcnn.data.packed.source import open_packed
from rawcnn.data.views import centre, random_crop
from rawcnn.errors import DataError, UsageError
from tests.command import ROOT
from tests.data.test_folder import fill, photo, quiet
from tests.faults.test_disk_faults import no_file_over

SMALL = 0.006  # megabytes: some three of these images a shard


def contents_in(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Every way in which a file is decoded: whole, in part, turned, on white, and by Pillow."""
    folder = tmp_path_factory.mktemp("packed") / "photos"
    kinds = ("a.jpg", "b.png", "c.gif", "d.bmp", "e.webp", "f.jpg")
    fill(folder, *(f"train/{name}/{file}" for name in ("cat", "dög") for file in kinds))
    fill(folder, "val/cat/v.jpg", "val/dög/v.jpg", "test/cat/t.jpg", "test/dög/t.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(3, 50, 80).save(folder / "train" / "cat" / "g turned.jpg", exif=exif)
    photo(4).convert("RGBA").rotate(20, fillcolor=(0, 0, 0, 0)).save(folder / "train" / "dög" / "h.png")
    return folder


@pytest.fixture(scope="module")
def shards(photos):
    return pack(photos, photos.parent / "shards", shard_megabytes=SMALL, log=quiet)


# The folder's order and pixels


@pytest.mark.parametrize("colour", [True, False])
def test_batches_are_the_folders(photos, shards, colour):
    """Random views in two epochs, from the start and from the middle of one, and each image of the other splits."""
    folder, packed = (load_dataset(path, colour=colour, log=quiet) for path in (photos, shards))
    assert (folder.name, packed.name) == ("folder", "packed")
    for split in ("train", "validation", "test"):
        mine, theirs = getattr(folder, split), getattr(packed, split)
        assert mine.class_names == theirs.class_names and mine.shape == theirs.shape
        np.testing.assert_array_equal(mine.labels, theirs.labels)
    options = {"seed": 5, "crop": random_crop(), "size": 24}
    pairs = [list(batches(data.train, 4, **options).take(6)) for data in (folder, packed)]
    pairs[0] += pairs[0][2:]
    pairs[1] += list(batches(packed.train, 4, start=2, **options).take(4))
    for data, other in (("validation", 1), ("test", 2)):
        pairs[0] += list(in_order(getattr(folder, data), other, centre(), 24))
        pairs[1] += list(in_order(getattr(packed, data), other, centre(), 24))
    for (x, y), (other_x, other_y) in zip(*pairs, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_what_is_held_out_and_sampled_is_the_folders(photos, shards):
    both = [open_folder(photos, log=quiet)[0]["train"], open_packed(shards)[0]["train"]]
    for a, b in zip(*(source.split(4, seed=2) for source in both), strict=True):
        assert [os.path.relpath(path, photos) for path in a.paths] == [file_of(b, i) for i in range(len(b))]


def test_whole_images_and_their_sizes_are_the_folders(photos, shards):
    folder, packed = open_folder(photos, log=quiet)[0]["train"], open_packed(shards)[0]["train"]
    np.testing.assert_array_equal(folder.sizes, packed.sizes)
    for index in range(len(folder)):
        np.testing.assert_array_equal(folder.rgb(index), packed.rgb(index))


def test_images_are_called_by_the_files_that_were_packed(photos, shards):
    folder, packed = open_folder(photos, log=quiet)[0]["train"], open_packed(shards)[0]["train"]
    chosen = np.array([0, 7, 13])
    assert packed.file_names(chosen) == folder.file_names(chosen) and "g turned.jpg" in packed.file_names(np.arange(14))


def file_of(source, i):
    return source.names(np.array([i])).rsplit("(", 1)[1].removesuffix(")")


def test_shards_are_tfrecords_of_the_files_own_bytes(photos, shards):
    """Read by TensorFlow's own reader, without the index."""
    for split, source in open_folder(photos, log=quiet)[0].items():
        files = sorted(str(path) for path in shards.glob(f"{split}-*.tfrecord"))
        assert all(os.path.getsize(file) < SMALL * 1e6 for file in files) or any("bmp" in path for path in source.paths)
        records = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]
        for path, label, record in zip(source.paths, source.labels, records, strict=True):
            said = record.features.feature
            with open(path, "rb") as file:
                assert said["image/encoded"].bytes_list.value[0] == file.read()
            assert said["image/filename"].bytes_list.value[0].decode() == os.path.relpath(path, photos)
            assert said["image/class/label"].int64_list.value[0] == label
            assert said["image/class/text"].bytes_list.value[0].decode() == source.class_names[label]
    assert len(list(shards.glob("train-*.tfrecord"))) > 3


def test_a_worker_reads_its_slice_of_each_batch(shards):
    source = open_packed(shards)[0]["train"]
    chosen = np.array([[7, 0, 11, 2], [3, 3, 12, 1]], np.int32)

    def read(columns):
        order = tf.data.Dataset.from_tensor_slices((np.zeros((2, 2), np.int64), chosen[:, columns]))
        return [images.numpy() for images, _ in source.stream(order, centre(), 16)]

    for whole, *slices in zip(read(slice(4)), read(slice(0, 2)), read(slice(2, 4)), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(slices))


def test_only_places_and_labels_are_in_memory(shards):
    source = open_packed(shards)[0]["train"]
    arrays = [value for value in vars(source).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == 32 * len(source)


def test_a_url_is_read_by_tensorflows_file_system(shards):
    url = "ram://packed/shards"
    for path in shards.iterdir():
        tf.io.gfile.copy(str(path), f"{url}/{path.name}", overwrite=True)
    here, there = (load_dataset(path, log=quiet).train for path in (shards, url))
    for (x, y), (other_x, other_y) in zip(
        *(in_order(source, 7, centre(), 16) for source in (here, there)), strict=True
    ):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)
    with pytest.raises(DataError, match=r"ram://packed/nothing/index\.jsonl does not exist"):
        load_dataset("ram://packed/nothing")
    with pytest.raises(DataError, match=r"s3://bucket/index\.jsonl cannot be read: File system scheme 's3' not impl"):
        load_dataset("s3://bucket")
    with pytest.raises(UsageError, match="local directories"):
        pack(url, shards)


# Kills, and what is in the way


def test_the_same_folder_gives_the_same_bytes(photos, shards, tmp_path):
    shutil.copytree(photos, tmp_path / "elsewhere")
    again = pack(tmp_path / "elsewhere", tmp_path / "shards", shard_megabytes=SMALL, log=quiet)
    assert contents_in(again) == contents_in(shards)
    said = []
    before = {path: path.stat().st_mtime_ns for path in again.iterdir()}
    pack(tmp_path / "elsewhere", again, shard_megabytes=SMALL, log=said.append)
    assert "finished already" in said[-1] and before == {path: path.stat().st_mtime_ns for path in again.iterdir()}


@pytest.mark.parametrize("shard", [1, 4])
def test_a_stopped_pack_goes_on(photos, shards, tmp_path, shard):
    said = []

    def stop(text):
        said.append(text)
        if len(said) == shard:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(photos, tmp_path / "out", shard_megabytes=SMALL, log=stop)
    assert f"goes on after {shard} finished shards" in said[-1]
    there = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tfrecord")}
    assert len(there) == shard and not (tmp_path / "out" / INDEX).exists()
    pack(photos, tmp_path / "out", shard_megabytes=SMALL, log=quiet)
    assert contents_in(tmp_path / "out") == contents_in(shards)
    assert there.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}.items()


KILLED = """
import os, signal, sys
from rawcnn.data.packed import pack as packing
crc32, shards = packing._crc32, []
def dies(path):
    shards.append(path)
    if len(shards) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return crc32(path)
packing._crc32 = dies
packing.pack(sys.argv[1], sys.argv[2], shard_megabytes=float(sys.argv[3]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_pack_goes_on(photos, shards, tmp_path):
    """A real SIGKILL before the second shard has its name; what is written of it is left on the disk."""
    command = [sys.executable, "-c", KILLED, str(photos), str(tmp_path / "out"), str(SMALL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert any(name.endswith(".tmp") for name in left) and "unfinished.json" in left and INDEX not in left
    with pytest.raises(DataError, match="`rawcnn pack` has not finished"):
        load_dataset(tmp_path / "out", log=quiet)
    pack(photos, tmp_path / "out", shard_megabytes=SMALL, log=quiet)
    assert contents_in(tmp_path / "out") == contents_in(shards)


def test_a_full_disk_keeps_finished_shards(photos, shards, tmp_path):
    """The file of the largest shard may not grow to its size."""
    largest = max(path.stat().st_size for path in shards.glob("*.tfrecord"))
    with no_file_over(largest - 1), pytest.raises(DataError, match=r"out cannot be written .*same command goes on"):
        pack(photos, tmp_path / "out", shard_megabytes=SMALL, log=quiet)
    assert not list((tmp_path / "out").glob("*.tmp")) and list((tmp_path / "out").glob("*.tfrecord"))
    pack(photos, tmp_path / "out", shard_megabytes=SMALL, log=quiet)
    assert contents_in(tmp_path / "out") == contents_in(shards)


def test_room_is_asked_for_first(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(DataError, match=r"has room for 0 MB.*Make room"):
        pack(photos, tmp_path / "out", log=quiet)


def test_other_directories_are_refused(photos, shards, tmp_path):
    fill(tmp_path, "used/holiday.jpg")
    with pytest.raises(DataError, match=r"used holds something else \(holiday.jpg\)"):
        pack(photos, tmp_path / "used", log=quiet)
    with pytest.raises(UsageError, match="is inside"):
        pack(photos, photos / "train" / "shards", log=quiet)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "train-00000.tfrecord").write_bytes(b"")
    with pytest.raises(DataError, match=r"strange holds something else \(train-00000.tfrecord\)"):
        pack(photos, tmp_path / "strange", log=quiet)
    with pytest.raises(DataError, match="holds other packed images"):
        pack(photos, shards, shard_megabytes=1, log=quiet)
    with pytest.raises(UsageError, match="above 0, not 0"):
        pack(photos, tmp_path / "new", shard_megabytes=0, log=quiet)


def test_a_folder_that_changes_between_calls_is_refused(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "photos", tmp_path / "out", shard_megabytes=SMALL, log=stop)
    fill(tmp_path / "photos", "train/cat/new.jpg")
    with pytest.raises(DataError, match="files were added or changed"):
        pack(tmp_path / "photos", tmp_path / "out", shard_megabytes=SMALL, log=quiet)


@pytest.mark.skipif(os.name != "posix", reason="needs fcntl")
def test_one_process_at_a_time(photos, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    held = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another process packs into it"):
        pack(photos, tmp_path / "out", log=quiet)
    os.close(held)


@pytest.mark.skipif(os.name != "posix", reason="needs fcntl")
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("last", [False, True])
def test_a_pack_whose_directory_was_moved_ends_and_leaves_the_new_one_alone(photos, shards, tmp_path, last, again):
    """Moved after the first shard, or after the last, when only the index is missing."""
    out, said = tmp_path / "out", []

    def move(text):
        said.append(text)
        if len(said) == (len(list(shards.glob("*.tfrecord"))) if last else 1):
            out.rename(tmp_path / "elsewhere")
            if again:  # another pack begins in its place
                out.mkdir()
                (out / "unfinished.json").write_text("{}")

    with pytest.raises(DataError, match=r"out was moved or deleted while this process packed into it"):
        pack(photos, out, shard_megabytes=SMALL, log=move)
    assert os.listdir(out) == ["unfinished.json"] if again else not out.exists()
    pack(photos, tmp_path / "elsewhere", shard_megabytes=SMALL, log=quiet)
    assert contents_in(tmp_path / "elsewhere") == contents_in(shards)


# Bad images


@pytest.fixture
def spoilt(tmp_path):
    """Good files, one that its header gives away, and one that only decoding does."""
    folder = tmp_path / "spoilt"
    fill(folder, *(f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(4)))
    (folder / "cat" / "page.jpg").write_text("<html>404</html>")
    contents = bytearray((folder / "dog" / "2.png").read_bytes())
    middle = len(contents) // 2
    contents[middle : middle + 8] = bytes(8)
    (folder / "dog" / "zz.png").write_bytes(contents)
    return folder


def test_bad_images_stop_a_pack_or_are_left_out(spoilt, tmp_path):
    with pytest.raises(DataError, match=r"1 of 10 image files cannot be used: .*page.jpg is text.*bad_images=skip"):
        pack(spoilt, tmp_path / "out", log=quiet)
    assert not (tmp_path / "out").exists()
    (spoilt / "cat" / "page.jpg").rename(spoilt / "cat" / "page.txt")
    with pytest.raises(DataError, match=r"zz.png is damaged.*PNG data cannot be decoded"):
        pack(spoilt, tmp_path / "out", log=quiet)
    (spoilt / "cat" / "page.txt").rename(spoilt / "cat" / "page.jpg")
    said = []
    pack(spoilt, tmp_path / "out2", bad_images="skip", log=said.append)
    assert "8 images in 1 shards" in said[-1] and "2 bad files left out" in said[-1]
    folder = load_dataset(spoilt, bad_images="skip", log=quiet)
    packed = load_dataset(tmp_path / "out2", log=quiet)
    assert packed.bad == {os.path.relpath(path, spoilt): problem for path, problem in folder.bad.items()}
    np.testing.assert_array_equal(folder.train.labels, packed.train.labels)


def test_a_class_of_bad_images_only(tmp_path):
    fill(tmp_path / "p", "cat/1.png")
    (tmp_path / "p" / "dog").mkdir()
    (tmp_path / "p" / "dog" / "1.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"All train images of 'dog' .* are bad"):
        pack(tmp_path / "p", tmp_path / "out", bad_images="skip", log=quiet)


# Damage


@pytest.fixture
def copied(shards, tmp_path):
    return shutil.copytree(shards, tmp_path / "copy")


def test_a_missing_or_truncated_shard_is_refused(copied):
    shard = copied / "train-00001.tfrecord"
    contents = shard.read_bytes()
    shard.write_bytes(contents[:-1])
    with pytest.raises(DataError, match=rf"train-00001.tfrecord has {len(contents) - 1:,} bytes instead of"):
        load_dataset(copied, log=quiet)
    shard.unlink()
    with pytest.raises(DataError, match=r"train-00001.tfrecord is missing"):
        load_dataset(copied, log=quiet)


def train(source):
    """Two epochs of `rc.fit`."""
    net = rc.Chain((("flat", rc.row(rc.Flatten)()), ("out", rc.row(rc.Dense)(2))), input_shape=(16, 16, 3))
    return list(rc.fit(net, source, epochs=2, batch_size=2))


def test_a_flipped_bit_in_a_shard_stops_reading_and_is_named(copied):
    shard = read_index(copied)[1][0]
    path = copied / shard.file
    sound = path.read_bytes()
    source = open_packed(copied)[0][shard.split]
    source.check()
    for at in (3, 40, len(sound) - 2):  # the length, the data, the last record's checksum
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        begin = max(offset for offset in shard.columns["offset"].tolist() if offset <= at)
        words = rf"1 of \d+ .*{shard.file}, record at byte {begin} cannot be read: .*cor.*pack the folder again"
        for work in (source.check, lambda: list(in_order(source, 1, centre(), 16)), lambda: train(source)):
            with pytest.raises(DataError, match=words):
                work()


def test_a_record_that_is_another_image_is_named(copied):
    """Sound records in another order, as if two shards of one size had been exchanged."""
    source = open_packed(copied)[0]["train"]
    assert source.shards[0] == source.shards[1]
    source.offsets[[0, 1]] = source.offsets[[1, 0]]
    with pytest.raises(DataError, match="is not the image that the index tells of"):
        source.take(np.arange(1)).check()
    source = open_packed(copied)[0]["train"]
    source.labels = 1 - source.labels
    with pytest.raises(DataError, match="is not the image that the index tells of"):
        source.take(np.arange(1)).check()


def test_every_changed_byte_of_the_index_is_refused(copied):
    path = copied / INDEX
    sound = path.read_bytes()
    for at in [*range(0, len(sound) - 1, 7), len(sound) - 2]:
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(DataError, match=r"index\.jsonl"):
            read_index(copied)
    for length in (0, 1, len(sound) // 2, len(sound) - 25):
        path.write_bytes(sound[:length])
        with pytest.raises(DataError, match=r"index\.jsonl is damaged or truncated"):
            read_index(copied)


LIES = {
    "another format": (0, {"format": "else"}, "not an index of version 1"),
    "a later version": (0, {"version": 2}, "not an index of version 1"),
    "one class twice": (0, {"class_names": ["cat", "cat"]}, "no list of different class names"),
    "a file elsewhere": (1, {"file": "../train-00000.tfrecord"}, "names a shard"),
    "a class too many": (1, {"label": [0, 9]}, "number outside 0 ... 1 as label"),
    "a text for a number": (1, {"width": ["60", "60"]}, "no whole numbers as width"),
    "a short column": (1, {"height": [45]}, "do not fit each other"),
    "records one on the other": (1, {"offset": [5, 5]}, "do not fit each other"),
    "an unknown kind": (1, {"kind": [0, 77]}, "number outside 0 ... 3 as kind"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies(lie, copied):
    import zlib

    number, changes, words = LIES[lie]
    lines = (copied / INDEX).read_bytes().splitlines()[:-1]
    lines[number] = json.dumps(json.loads(lines[number]) | changes).encode()
    text = b"".join(line + b"\n" for line in lines)
    (copied / INDEX).write_bytes(text + json.dumps({"crc32": zlib.crc32(text)}).encode() + b"\n")
    with pytest.raises(DataError, match=words):
        read_index(copied)


def test_too_many_pixels(shards):
    with pytest.raises(DataError, match=r"record at byte \d+ \(.*\) has \d+x\d+ pixels; at most 2,000 are decoded"):
        open_packed(shards, max_pixels=2000)
