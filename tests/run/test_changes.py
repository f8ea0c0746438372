"""Runs with unequal classes, mixed images and accumulated gradients: what they say, keep and refuse; they resume."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.batches import batches
from rawcnn.data.datasets import DataSet
from rawcnn.data.mixing import Mixed
from rawcnn.data.source import Source
from rawcnn.errors import RunError, UsageError
from rawcnn.layers import Conv2D, Dense, Dropout, Flatten
from rawcnn.layers.variables import named_variables
from rawcnn.nets.chain import Chain, row
from rawcnn.report import classes
from rawcnn.run import album, ending
from rawcnn.run.plan import plan
from rawcnn.run.session import Run
from rawcnn.run.settings import Settings
from rawcnn.train import checkpoints
from rawcnn.train.evaluate import class_scores, confusion_matrix
from rawcnn.train.inputs import Inputs
from rawcnn.train.recipes import Recipe

NAMES = ("many", "few", "fewest")
ALL = {
    "augment": "trivial", "erase": 0.25, "mixup": 0.2, "cutmix": 1.0, "balanced_sampling": True, "accumulate": 2,
    "recompute": True, "batch_size": 16, "epochs": 2, "save_every": 2, "augment_epochs": 1,
}  # fmt: skip


def build():
    conv = row(Conv2D, activation=tf.nn.relu)
    rest = (("drop", row(Dropout)(0.2)), ("flat", row(Flatten)()), ("out", row(Dense)(3)))
    return Chain((("conv", conv(4, 5, stride=2)), *rest), input_shape=(12, 12, 3))


def images(count, seed):
    rng = np.random.Generator(np.random.Philox(key=seed))
    labels = rng.permutation(np.repeat(np.arange(3), (count - count // 3, count // 3 - count // 8, count // 8)))
    pixels = rng.integers(0, 90, (count, 12, 12, 3), np.uint8)
    pixels[np.arange(count), 4 * labels] = 250
    return Source(pixels, labels, NAMES)


@pytest.fixture(scope="module")
def data():
    return images(72, 1), images(24, 2), images(24, 3)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than these runs."""
    monkeypatch.setattr(ending, "_drawn", lambda *groups: [])


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.txt"
    path.write_text("fewest 4\nmany 1\nfew 2\n")
    return path


def test_a_run_says_keeps_and_resumes_all_of_it(data, weights, tmp_path, capsys):
    whole = Run(tmp_path / "whole", build(), data, class_weights=weights, **ALL)
    result = whole.train()
    said = capsys.readouterr().out
    for line in (
        "training images: changed by TrivialAugment, a rectangle erased in 25%, mixup (alpha 0.2), CutMix (alpha 1)",
        "training images stay as they are after epoch 1",
        "each batch in 2 pieces of 8, one after the other",
        "most rows are computed a second time on the way back (recompute)",
        "class weights 1 to 4 in the training loss; validation and test losses have none",
        "balanced sampling: an epoch shows each class equally often",
        "training accuracy: of a mixed image the class of the larger part counts as right",
    ):
        assert f"\n{line}\n" in said, line
    document = checkpoints.newest(tmp_path / "whole").meta
    assert document["class_weights"] == [1.0, 2.0, 4.0] and document["settings"]["class_weights"] == str(weights)
    assert {name: document["settings"][name] for name in ALL} == ALL

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for step in checkpoints.steps(tmp_path / "cut"):  # as if it had been killed in the second epoch
        if step > 6:
            checkpoints.path_of(tmp_path / "cut", step).unlink()
    assert max(checkpoints.steps(tmp_path / "cut")) == 6
    again = Run(tmp_path / "cut", build(), data, resume=True)
    resumed = again.train()
    ends = [{n: v.numpy() for n, v in named_variables(run.session.state).items()} for run in (whole, again)]
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name], err_msg=name)
    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in result.history]

    weights.write_text("1\n2\n5\n")
    with pytest.raises(RunError, match=r"trained with other class weights than .*weights.txt gives now: give back"):
        Run(tmp_path / "cut", build(), data, resume=True, epochs=3).train()


def test_the_history_tells_how_each_class_does(data, tmp_path):
    """Of 3 classes one by one, of 21 the mean alone."""
    run = Run(tmp_path / "run", build(), data, epochs=1, batch_size=24)
    run.train()
    (line,) = [json.loads(text) for text in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    said = run.session.ready.validate(data[1]).probabilities.argmax(axis=1)
    scores = class_scores(confusion_matrix(data[1].labels, said, 3))
    for name in ("precision", "recall", "f1"):
        np.testing.assert_allclose(line[f"val_{name}"], getattr(scores, name), atol=1e-4)
    assert line["val_macro_f1"] == pytest.approx(scores.macro_f1, abs=1e-5)

    names = tuple(f"c{k:02}" for k in range(21))
    many = Source(np.zeros((42, 12, 12, 3), np.uint8), np.arange(42) % 21, names)
    net = Chain((("flat", row(Flatten)()), ("out", row(Dense)(21))), input_shape=(12, 12, 3))
    (epoch,) = Run(tmp_path / "many", net, (many, many, many), epochs=1, batch_size=21).train().history
    assert epoch.val_macro_f1 == pytest.approx(2 / 22 / 21, abs=1e-5) and epoch.val_f1 is None is epoch.val_recall


def test_without_validation_images_there_are_no_scores(data, tmp_path):
    (epoch,) = Run(tmp_path / "run", build(), (data[0], data[2]), epochs=1, validation=0).train().history
    assert epoch.val_macro_f1 is None is epoch.val_f1


def test_the_page_has_a_table_by_class():
    matrix = np.array([[8, 2, 0], [1, 4, 0], [0, 0, 0]])
    markup = "".join(classes.table(matrix, ("<b>", "few", "none")))
    assert "&lt;b&gt;" in markup and "<b>" not in markup
    for cells in ("10 88.9 % 80.0 % 84.2 %", "5 66.7 % 80.0 % 72.7 %", "0 0.0 % 0.0 % 0.0 %"):
        assert "".join(f"<td>{cell}</td>" for cell in cells.replace(" %", "_%").split()).replace("_", " ") in markup
    assert "78.47 %" in markup  # (84.21 + 72.73) / 2
    many = "".join(classes.table(np.eye(30, dtype=int), [f"class {k}" for k in range(30)]))
    assert many.count("<tr>") == 21 and "the 20 classes with the lowest F1" in many


def test_the_picture_of_training_images_shows_them_mixed(data):
    """Each is half of an image and half of the next; the label is that of the larger part."""
    inputs = Inputs.of(Recipe(), data[0], 12)
    plain, labels = album.training_views(data[0], inputs, seed=3, count=8)

    def halved(images, labels, seed):
        return (tf.cast(images, tf.float32) + tf.cast(tf.roll(images, -1, 0), tf.float32)) / 2, Mixed(
            labels, tf.roll(labels, -1, 0), tf.fill((8,), 0.4)
        )

    views, larger = album.training_views(data[0], inputs, seed=3, count=8, mix=halved)
    assert np.abs(views - (plain.astype(float) + np.roll(plain, -1, 0)) / 2).max() <= 0.5
    np.testing.assert_array_equal(larger, np.roll(labels, -1))


def test_images_are_changed_in_the_first_epochs_only(data):
    """Erasing changes every image of the first epoch, and none of the last."""
    settings = Settings("own", epochs=2, batch_size=24, erase=1.0, augment_epochs=1)
    ready = plan(settings, DataSet("x", *data), net=build())
    known = {image.tobytes() for image in data[0].images.astype(np.float32)}
    read = batches(data[0], 24, seed=0, augment=ready.changes.augment).take(2 * ready.per_epoch)
    unchanged = [sum(image.numpy().tobytes() in known for image in images) for images, _ in read]
    assert unchanged == [0] * ready.per_epoch + [24] * ready.per_epoch


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"mixup": 0.2}, "mixup makes images of two classes, and the loss rbf_map compares with the bitmap of one"),
        ({"accumulate": 7}, "A batch of 64 images cannot be cut into 7 equal pieces"),
        ({"class_weights": "nowhere.txt"}, "nowhere.txt cannot be read"),
        ({"augment_epochs": 3}, "augment_epochs=3 says how long training images are changed, but nothing changes them"),
        ({"class_weights": "balanced", "balanced_sampling": True}, "both make up for the same thing"),
    ],
)
def test_what_makes_no_sense_for_the_run_is_refused(told, message):
    grey = Source(np.zeros((80, 28, 28, 1), np.uint8), np.arange(80) % 10)
    with pytest.raises(UsageError, match=message):
        plan(Settings("lenet5", **told), DataSet("drawn", grey, grey, grey))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"mixup": -0.1}, "mixup must be in 0 ... 1,000, not -0.1"),
        ({"erase": 25}, "erase must be in 0 ... 1, not 25. For 25 % give 0.25."),
        ({"augment": "trivail"}, "augment is 'trivail', but must be one of trivial. Did you mean 'trivial'?"),
        ({"accumulate": 0}, "accumulate must be 1 or more"),
        ({"distort": True, "augment": "trivial"}, "distort and augment exclude each other"),
        ({"distort_strength": 2.0}, "distort_strength needs distort"),
        ({"distort": True, "distort_strength": 9.0}, "distort_strength must be in 0.05 ... 5, not 9"),
    ],
)
def test_settings_out_of_bounds(told, message):
    with pytest.raises(UsageError, match=message):
        Settings(**told)


def test_a_file_of_weights_is_found_from_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings(class_weights="w.txt").class_weights == str(tmp_path / "w.txt")
    assert Settings(class_weights="balanced").class_weights == "balanced"


def test_smoke_keeps_batches_that_can_be_cut(data):
    three = DataSet("drawn", *data)
    for accumulate, batch_size in ((1, 20), (8, 16), (32, 32)):
        ready = plan(Settings("own", smoke=True, accumulate=accumulate), three, net=build())
        assert ready.settings.batch_size == batch_size
