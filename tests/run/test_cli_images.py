"""Training on colour images as a user runs it: CIFAR-10, folders of files, bad files, recipes, one's own photos."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from rawcnn.layers.variables import named_variables
from rawcnn.run.classify import load_run
from tests.command import CLASSIFY, ROOT, call

CIFAR, ALEXNET, VGG, GOOGLENET = (
    ROOT / "examples" / f"train_{name}.py" for name in ("cifar", "alexnet", "vgg", "googlenet")
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A flat folder of JPEGs of several sizes: red ants and green bees."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(5)
    for k in range(60):
        for name, colour in (("ant", (200, 40, 40)), ("bee", (40, 200, 40))):
            height, width = rng.integers(40, 90, size=2)
            pixels = np.clip(np.array(colour) + rng.normal(0, 30, size=(height, width, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.{k}.jpg")
    return folder


@pytest.fixture(scope="module")
def trained(home, photos):
    run = home / "trained"
    flags = ("--net=cifar_fast", "--epochs=4", "--batch_size=16", "--learning_rate=0.05", f"--run={run}")
    return run, call(CIFAR, *flags, f"--data_dir={photos}", "--crops=10", home=home)


@pytest.mark.slow
def test_a_folder_of_photos_is_learnt(trained):
    run, done = trained
    assert "data set folder: 96 training, 12 validation and 12 test images in files" in done.stdout
    assert "2 classes: ant bee" in done.stdout and "test accuracy 100.00%" in done.stdout
    assert {"samples.png", "curves.png", "confusion.png", "mistakes.png", "weights.npz"} <= {
        p.name for p in run.iterdir()
    }


@pytest.mark.slow
def test_ones_own_photos_are_seen_as_the_test_images_were(trained, photos, home, tmp_path):
    done = call(CLASSIFY, f"--run={trained[0]}", photos / "ant.3.jpg", photos / "bee.7.jpg", home=home, cwd=tmp_path)
    assert re.findall(r"(\w+)\.\d+\.jpg: (\w+)", done.stdout) == [("ant", "ant"), ("bee", "bee")]


@pytest.mark.slow
def test_a_finished_run_goes_on_for_more_epochs_and_stops_early(trained, home):
    done = call(CIFAR, f"--run={trained[0]}", "--resume", "--epochs=40", "--patience=3", home=home)
    assert re.search(r"no better validation accuracy in 3 epochs: testing epoch \d", done.stdout)
    rows = [json.loads(line) for line in (trained[0] / "history.jsonl").read_text().splitlines()]
    best = max(range(len(rows)), key=lambda k: (rows[k]["val_accuracy"], -k))
    assert len(rows) == best + 1 + 3 or len(rows) == 4


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--input_size=36", "--recipe=course", "--average=0.5"])
def test_what_decides_the_numbers_cannot_change_on_resume(trained, home, flag):
    done = call(CIFAR, f"--run={trained[0]}", "--resume", flag, home=home, status=2)
    assert f"{flag.split('=')[0]} was " in done.stderr


@pytest.mark.slow
def test_a_run_that_stopped_early_classifies_with_the_epoch_it_tested(trained, photos):
    """`weights.npz` is what was tested; `load_run` must find the same weights in the checkpoints."""
    classifier = load_run(trained[0])
    with np.load(trained[0] / "weights.npz") as tested:
        for name, variable in named_variables(classifier.net).items():
            np.testing.assert_array_equal(variable, tested[name], err_msg=name)
    seen, original, _ = classifier.read(photos / "ant.0.jpg")
    assert seen.shape == (32, 32, 3) and original.shape == np.asarray(Image.open(photos / "ant.0.jpg")).shape


@pytest.mark.slow
def test_bad_files_are_named_or_listed(photos, home, tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("ant", "bee"):
        for k in range(30):
            (folder / f"{name}.{k}.jpg").write_bytes((photos / f"{name}.{k}.jpg").read_bytes())
    whole = (folder / "ant.4.jpg").read_bytes()
    (folder / "ant.4.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "bee.5.jpg").write_text("<html>not found</html>")
    flags = ("--net=cifar_fast", "--epochs=1", "--batch_size=8", f"--data_dir={folder}", f"--run={tmp_path / 'run'}")
    refused = call(CIFAR, *flags, home=home, status=2).stderr
    assert "ant.4.jpg" in refused and "bee.5.jpg" in refused and "--bad_images=skip" in refused
    done = call(CIFAR, *flags, "--bad_images=skip", home=home)
    listed = (tmp_path / "run" / "bad_images.txt").read_text().splitlines()
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in listed] == ["ant.4.jpg", "bee.5.jpg"]
    assert "46 training, 6 validation and 6 test images" in done.stdout and len(list(folder.iterdir())) == 60


@pytest.mark.slow
def test_a_file_that_breaks_while_training_is_named(photos, home, tmp_path):
    """Its header and its end are sound; what lies between is not, and shows only when it is decoded."""
    folder = tmp_path / "some"
    folder.mkdir()
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    broken = bytearray((folder / "bee.9.jpg").read_bytes())
    start = broken.index(b"\xff\xc4")  # a Huffman table of nonsense
    broken[start + 5 : start + 21] = b"\xff" * 16
    (folder / "bee.9.jpg").write_bytes(broken)
    flags = ("--net=cifar_fast", "--epochs=2", "--batch_size=8", f"--data_dir={folder}", f"--run={tmp_path / 'run'}")
    assert "bee.9.jpg" in call(CIFAR, *flags, home=home, status=2).stderr


def test_an_unknown_recipe_lists_what_there_is(home):
    done = call(ALEXNET, "--net=alexnet_bn", "--recipe=paper", home=home, status=2)
    assert "alexnet_bn has no recipe 'paper': choose course or ours." in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        (ALEXNET, ("--net=alexnet", "--input_size=67", "--recipe=paper")),
        (VGG, ("--input_size=32", "--recipe=paper", "--crops=dense")),
        (GOOGLENET, ()),
    ],
    ids=["alexnet", "vgg", "googlenet"],
)
def test_smoke_of_every_example(script, flags, home):
    done = call(script, "--smoke", *flags, home=home)
    assert "data set drawn: 90 training, 10 validation and 100 test images of 32x32x3" in done.stdout
    assert re.search(r"^test accuracy \d+\.\d\d%$", done.stdout, re.MULTILINE)


def test_an_input_that_is_too_small_names_the_row(home):
    done = call(ALEXNET, "--smoke", "--input_size=32", home=home, status=2)
    assert "Row 'pool2' cannot follow an output of shape" in done.stderr
