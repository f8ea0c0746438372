"""`rawcnn pack`: flags, progress, and training from what it wrote."""

import pytest

from rawcnn.errors import UsageError
from rawcnn.run.command import COMMANDS
from tests.data.test_folder import fill


def test_it_packs_and_says_how_far_it_is(tmp_path, capsys):
    fill(tmp_path, *(f"photos/{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(4)))
    flags = [f"--data_dir={tmp_path / 'photos'}", f"--out={tmp_path / 'shards'}", "--shard_megabytes=0.006"]
    COMMANDS["pack"].do(["rawcnn pack", *flags])
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("train-00000.tfrecord: 0.0 MB; ") and "of 8 images (" in first and "min left" in first
    assert last.startswith(f"{tmp_path / 'shards'}: 8 images in ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "Pack what, and where to"),
        (["--data_dir=a"], "Pack what, and where to"),
        (["--data_dir=a", "--out=b", "c"], "'c' is not a flag"),
        (["--data_dir=a", "--out=b", "--shard_megabytes=0"], "shard_megabytes must be"),
    ],
)
def test_mistakes(flags, words):
    with pytest.raises(UsageError, match=words):
        COMMANDS["pack"].do(["rawcnn pack", *flags])
