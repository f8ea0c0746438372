"""The two benchmarks of fine-tuning: the command of each, whole, on little; nothing here measures a speed."""

from benchmarks import finetune, frozen
from rawcnn.run.flags import read_flags
from rawcnn.run.settings import Settings


def test_a_step_with_frozen_rows_is_timed_beside_one_without(capsys):
    flags = "--net=cifar_basic --batch_size=2 --steps=1 --rounds=1 --freeze=conv1..conv5 --freeze=conv1..fc6"
    frozen.main(flags.split())
    lines = capsys.readouterr().out.splitlines()
    assert f"python -m benchmarks.frozen {flags}" in lines[0]
    assert [line.split(" | ")[0] for line in lines[-3:]] == ["| nothing", "| conv1..conv5", "| conv1..fc6"]
    assert all(float(line.split(" | ")[1]) > 0 for line in lines[-3:]) and lines[-3].endswith(" 1.00 |")


def test_photos_are_chosen_by_their_numbers(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("cat.0.jpg", "cat.749.jpg", "cat.750.jpg", "cat.1000.jpg", "cat.1001.jpg", "dog.3.jpg", "x.jpg"):
        (photos / name).touch()
    finetune.chosen_photos(photos, tmp_path / "chosen")
    found = sorted(str(path.relative_to(tmp_path / "chosen")) for path in (tmp_path / "chosen").rglob("*.jpg"))
    assert found == ["test/cat/cat.1000.jpg", "test/cat/cat.750.jpg", "train/cat/cat.0.jpg", "train/cat/cat.749.jpg",
                     "train/dog/dog.3.jpg"]  # fmt: skip


def test_the_table_of_fine_tuning_is_made_of_flags_that_the_command_takes(tmp_path, monkeypatch, capsys):
    """The command itself is not run: each call is read as its flags would be, and answered with made-up figures."""
    monkeypatch.setattr(finetune, "TRAIN_BELOW", 3)
    photos, calls = tmp_path / "photos", []
    photos.mkdir()
    (photos / "cat.0.jpg").touch()

    def train(directory, *flags):
        told, words = read_flags(["rawcnn train", *flags], Settings, usage="")
        calls.append(Settings(**told))
        assert not words and calls[-1].net == "cifar_basic"
        return {"accuracy": 50.0 + len(calls), "epochs": calls[-1].epochs, "seconds": 90.0, "last": 10.0}

    monkeypatch.setattr(finetune, "train", train)
    finetune.main(["--net=cifar_basic", f"--photos={photos}", f"--source={photos}", "--minutes=2", "--seeds=2"])
    rows = capsys.readouterr().out.splitlines()[-3:]
    names = list(finetune.ways("cifar_basic", photos))
    expected = [f"| {name} | {52.5 + 3 * k:.2f} | {52 + 3 * k:.2f}, {53 + 3 * k:.2f} | 12 | 1.5 |" for k, name in
                enumerate(names)]  # fmt: skip
    assert rows == expected
    assert [(one.weights is None, one.freeze, one.loaded_rate_factor) for one in calls[::3]] == [
        (True, None, None), (False, "conv1..conv5", None), (False, None, 0.1),
    ]  # fmt: skip
