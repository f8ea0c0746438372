"""The pictures of a run: whole PNG files that show what they are given, whatever the names and numbers."""

import math
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from rawcnn.errors import RawcnnError, RunError, UsageError
from rawcnn.run import confusion as confusion_picture
from rawcnn.run import pictures
from rawcnn.run.pictures import save_classified, save_confusion, save_curves, save_mistakes, save_samples

BLUE, VERMILION = (0, 0x72, 0xB2), (0xD5, 0x5E, 0)
DIGITS = list("0123456789")
ODD_NAMES = ["$a_{b$", "a\nb", "\udcff", "猫", "x" * 80, "", "%d", "\x00", "tab\there", r"\frac"]


def rng():
    return np.random.Generator(np.random.Philox(key=7))


def pixels(path):
    """The picture as int `[H, W, 3]`; fails unless it is a complete PNG of sensible size with something on it."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        array = np.asarray(image.convert("RGB")).astype(int)
    assert min(array.shape[:2]) > 200 and max(array.shape[:2]) < 20_000
    assert array.std() > 2
    return array


def share(picture, colour):
    return np.mean(np.abs(picture - colour).max(axis=-1) < 12)


def history(epochs):
    return [
        {
            "epoch": e,
            "step": 468 * e,
            "train_loss": 1 / e,
            "train_accuracy": 1 - 0.1 / e,
            "val_loss": 1.1 / e,
            "val_accuracy": 1 - 0.2 / e,
            "learning_rate": 0.001,
        }
        for e in range(1, epochs + 1)
    ]


def confusion(classes):
    return rng().poisson(1.5, (classes, classes)) + 90 * np.eye(classes, dtype=int)


def mistakes(count, channels=1, size=28):
    images = rng().integers(0, 256, (count, size, size, channels), np.uint8)
    labels = np.arange(count) % 10
    return images, labels, (labels + 1) % 10, np.linspace(0.2, 1, count), DIGITS


def classified(name="four.jpg", classes=10, picture=(300, 400), seen=(28, 28)):
    generator = rng()
    names = [f"class {i}" for i in range(classes)]
    probabilities = generator.dirichlet(np.ones(classes))
    return name, generator.integers(0, 256, picture, np.uint8), generator.random(seen), names, probabilities


@pytest.fixture
def figures(monkeypatch):
    """The figures drawn by the test, which are not written."""
    drawn = []
    for module in (pictures, confusion_picture):
        monkeypatch.setattr(module, "save", lambda figure, path: drawn.append(figure))
    return drawn


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize(("count", "shape"), [(1, (32, 32, 3)), (7, (28, 28, 1)), (30, (227, 227, 3))])
def test_samples(tmp_path, count, shape):
    images = rng().integers(0, 256, (count, *shape), np.uint8)
    path = tmp_path / "samples.png"
    assert save_samples(images, np.arange(count) % 10, DIGITS, path, title="cifar10") == path
    assert max(pixels(path).shape) < 2000


def test_samples_show_their_own_colours_and_classes(tmp_path):
    red, green, blue = (np.zeros((24, 40, 3), np.uint8) for _ in range(3))
    red[..., 0], green[..., 1], blue[..., 2] = 250, 200, 150
    picture = pixels(save_samples([red, green, blue], [0, 1, 2], "rgb", tmp_path / "s.png", title="t"))
    assert all(share(picture, colour) > 0.05 for colour in ((250, 0, 0), (0, 200, 0), (0, 0, 150)))
    rows, columns = np.nonzero(np.abs(picture - (250, 0, 0)).max(axis=-1) < 12)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(40 / 24, rel=0.03)


def test_samples_of_many_images_are_spread_over_them(figures):
    images = np.arange(100, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 4, 3), np.uint8)
    save_samples(images, np.arange(100), [f"no. {i}" for i in range(100)], "s.png", title="t")
    save_samples(images[:7], np.arange(7), list("abcdefg"), "s.png", title="t")
    many, few = figures
    assert titles(many) == [f"no. {4 * i}" for i in range(25)]
    assert [axes.images[0].get_array()[0, 0, 0] for axes in many.axes] == [4 * i for i in range(25)]
    assert titles(few) == list("abcdefg")
    for wrong, labels in ((images[:0], []), (images, [1, 2])):
        with pytest.raises(UsageError, match="a label for each"):
            save_samples(wrong, labels, DIGITS, "s.png", title="t")


@pytest.mark.parametrize("count", [1, 2, 9])
def test_long_titles_and_names_stay_inside(figures, count):
    names = ["Staffordshire bullterrier, Staffordshire bull terrier"] * 10
    title = "a title " * 15
    images, labels, predicted, probabilities, _ = mistakes(count, 3, 64)
    save_samples(images, labels, names, "s.png", title=title)
    save_mistakes(images, labels, predicted, probabilities, names, "m.png", indices=range(count), title=title)
    save_confusion(confusion(10), names, "c.png", title=title)
    for figure in figures:
        figure.canvas.draw()
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    for figure in figures[:2]:
        shown = [axes.title.get_window_extent() for axes in figure.axes if axes.get_visible()]
        assert not any(a.overlaps(b) for i, a in enumerate(shown) for b in shown[:i])


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curves(tmp_path, epochs):
    path = save_curves(history(epochs), tmp_path / "curves.png", title="lenet5")
    assert path == tmp_path / "curves.png"
    assert share(pixels(path), BLUE) > 0.0001


def test_curves_leave_out_what_is_missing(tmp_path):
    whole = pixels(save_curves(history(6), tmp_path / "whole.png", title="t"))
    holed = []
    for gone in (math.nan, math.inf, None, "absent"):
        rows = history(6)
        for row in rows[2:4]:
            row["val_loss"] = gone
            if gone == "absent":
                del row["val_loss"]
        holed.append(pixels(save_curves(rows, tmp_path / "holed.png", title="t")))
        assert holed[-1].shape == whole.shape and (holed[-1] != whole).any()
        assert share(holed[-1], BLUE) > 0.0001
        np.testing.assert_array_equal(holed[-1], holed[0])


def test_curves_without_any_value(tmp_path):
    pixels(save_curves([], tmp_path / "none.png", title="nothing yet"))
    pixels(save_curves([{"epoch": 1, "train_loss": math.nan}], tmp_path / "nan.png", title="diverged"))


def test_curves_name_the_last_and_the_best_value(tmp_path, figures):
    rows = history(3)
    rows[1]["val_loss"], rows[0]["val_accuracy"] = 0.25, 0.987
    save_curves(rows, tmp_path / "c.png", title="t")
    loss, accuracy = (axes.get_title(loc="left") for axes in figures[0].axes)
    assert "validation: last 0.3667, best 0.2500 (epoch 2)" in loss
    assert "validation: last 93.33 %, best 98.70 % (epoch 1)" in accuracy
    assert [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()] == [
        "training (mean over the epoch)",
        "validation (at its end)",
        "best epoch",
    ]


def test_curves_name_loss_chance_and_what_makes_training_harder(figures):
    save_curves(history(3), "c.png", title="t", loss="cross entropy", classes=4, harder=("dropout", "distortions"))
    save_curves(history(3), "c.png", title="t")
    named, plain = figures
    loss, accuracy = named.axes
    assert loss.get_ylabel() == "cross entropy" and accuracy.get_ylabel() == "accuracy (%)"
    assert accuracy.get_legend().get_texts()[-1].get_text() == "by chance: 25 %"
    assert [list(line.get_ydata()) for line in accuracy.lines if line.get_linestyle() == ":"] == [[25, 25]]
    assert not [line for line in loss.lines if line.get_linestyle() == ":"]
    assert "with dropout and distortions on;" in named.get_supxlabel()
    assert "while the net was still learning;" in plain.get_supxlabel()
    assert not [line for axes in plain.axes for line in axes.lines if line.get_linestyle() == ":"]


def test_chance_far_below_leaves_the_curves_their_height(figures):
    rows = history(3)
    for row in rows:
        row["train_accuracy"], row["val_accuracy"] = 0.97 + row["epoch"] / 300, 0.98
    save_curves(rows, "c.png", title="t", classes=10)
    accuracy = figures[0].axes[1]
    assert accuracy.get_legend().get_texts()[-1].get_text() == "by chance: 10 % (far below)"
    assert accuracy.get_ylim()[0] > 96


@pytest.mark.parametrize("classes", [1, 2, 10, 26, 1000])
def test_confusion(tmp_path, classes):
    names = [f"a rather long name {i}" for i in range(classes)]
    picture = pixels(save_confusion(confusion(classes), names, tmp_path / "confusion.png", title="lenet5"))
    assert max(picture.shape) < 2500


def test_one_error_among_thousands_is_seen(tmp_path):
    matrix = 10_000 * np.eye(10, dtype=int)
    right = pixels(save_confusion(matrix, DIGITS, tmp_path / "right.png", title="t"))
    assert share(right, VERMILION) == 0
    matrix[4, 9] = 1
    wrong = pixels(save_confusion(matrix, DIGITS, tmp_path / "wrong.png", title="t"))
    assert share(wrong, VERMILION) > 0.003  # a cell is 1 % of the matrix
    assert share(wrong, BLUE) > 0.03  # and the diagonal 10 %


def test_confusion_tells_counts_recall_and_accuracy(tmp_path, figures):
    save_confusion(np.array([[30, 10, 0], [3, 57, 0], [0, 0, 0]]), ["cat", "dog", "owl"], tmp_path / "c.png", title="t")
    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert texts[:4] == ["30", "10", "3", "57"]
    recall, precision = ["75.0 %", "95.0 %", "-"], ["90.9 %", "85.1 %", "-"]  # 30 of 40, 57 of 60; 30 of 33, 57 of 67
    assert texts[4:] == [*(x for pair in zip(recall, precision, strict=True) for x in pair), "recall", "precision"]
    assert figures[0].get_suptitle() == "t\n87.00 % of 100 right"
    assert "up to 10" in figures[0].get_supxlabel()


def test_confusion_says_where_one_class_is_the_answer_to_everything(figures):
    for matrix in ([[3, 0], [7, 0]], [[3, 0], [6, 1]], [[3, 0], [0, 0]], [[0, 0], [0, 0]]):
        save_confusion(np.array(matrix), ["cat", "dog"], "c.png", title="t")
    remarks = [figure.get_suptitle().split("\n")[2:] for figure in figures]
    assert remarks == [["The answer to every image is cat."], [], [], []]


def test_confusion_of_many_classes_lists_the_most_frequent_errors(figures):
    matrix = 50 * np.eye(40, dtype=int)
    matrix[3, 7], matrix[7, 3], matrix[39, 0] = 2, 12, 2
    save_confusion(matrix, [f"class {i}" for i in range(40)], "c.png", title="t")
    (text,) = figures[0].axes[0].texts
    assert text.get_text().split("\n") == [
        "most frequent errors",
        "12  class 7 as class 3",
        "\u20072  class 3 as class 7",
        "\u20072  class 39 as class 0",
    ]
    matrix += 1
    save_confusion(matrix, [f"class {i}" for i in range(40)], "c.png", title="t")
    assert len(figures[1].axes[0].texts[0].get_text().split("\n")) == 31


@pytest.mark.parametrize("matrix", [np.zeros((2, 3), int), np.zeros(9, int), np.zeros((3, 3), int)])
def test_confusion_must_fit_the_names(tmp_path, matrix):
    with pytest.raises(UsageError, match=r"2 class names need a confusion matrix \[2, 2\]"):
        save_confusion(matrix, ["cat", "dog"], tmp_path / "c.png", title="t")


def test_an_empty_confusion_matrix_is_drawn(tmp_path):
    pixels(save_confusion(np.zeros((3, 3), int), ["a", "b", "c"], tmp_path / "c.png", title="no images"))


@pytest.mark.parametrize(("count", "channels", "size"), [(0, 1, 28), (1, 1, 28), (7, 3, 224), (60, 1, 28)])
def test_mistakes(tmp_path, count, channels, size):
    arguments = mistakes(count, channels, size)
    pixels(save_mistakes(*arguments, tmp_path / "m.png", indices=range(count), title="lenet5"))


def test_mistakes_are_the_most_confident_wrong_ones(tmp_path, figures):
    images, labels, predicted, probabilities, names = mistakes(40)
    predicted[39] = labels[39]  # right, so not shown although the surest
    save_mistakes(images, labels, predicted, probabilities, names, "m.png", indices=1000 + np.arange(40), title="t")
    shown = [(axes.get_title(), axes.get_xlabel()) for axes in figures[0].axes if axes.get_visible()]
    assert len(shown) == 25
    assert shown[0] == ("true 8\nsaid 9", "98 % sure, no. 1038")
    assert [below.split(", ")[1] for _, below in shown] == [f"no. {1038 - i}" for i in range(25)]


def test_mistakes_of_folders_carry_file_names(figures):
    images, labels, predicted, probabilities, names = mistakes(3)
    files = ["cat/1.jpg", "dog/a $very long$ name of a file.jpg", "cat/3.jpg"]
    save_mistakes(images, labels, predicted, probabilities, names, "m.png", indices=[7, 8, 9], title="t", files=files)
    below = [axes.get_xlabel() for axes in figures[0].axes if axes.get_visible()]
    assert below == ["100 % sure, cat/3.jpg", "60 % sure, dog/a $ver…a file.jpg", "20 % sure, cat/1.jpg"]


def test_the_worst_mistakes_come_first_also_among_equally_sure_ones():
    labels = np.array([0, 0, 1, 2, 0])
    probabilities = np.array([[1e-9, 1, 0], [0.9, 0.1, 0], [1, 1e-30, 0], [0.6, 0.1, 0.3], [1e-20, 1, 0]])
    assert pictures.worst_mistakes(labels, probabilities).tolist() == [2, 4, 0, 3]
    assert pictures.worst_mistakes(labels, probabilities, most=1).tolist() == [2]


def test_no_mistakes_is_said(tmp_path, figures):
    save_mistakes(np.zeros((1, 28, 28, 1), np.uint8), [3], [3], [1.0], DIGITS, "m.png", indices=[0], title="t")
    assert any(text.get_text().startswith("No mistakes") for text in figures[0].texts)


@pytest.mark.parametrize(
    "row",
    [
        classified(),
        classified(picture=(28, 28)),
        classified(picture=(40, 3000, 3), seen=(32, 32, 3)),
        classified(classes=2, seen=(28, 28, 1)),
        classified(classes=1000),
    ],
    ids=["photo", "small", "wide colour", "2 classes", "1000 classes"],
)
def test_classified(tmp_path, row):
    picture = pixels(save_classified([row], tmp_path / "c.png"))
    assert share(picture, BLUE) > 0.0005  # the bar of the answer


def test_what_the_net_sees_is_shown_by_its_range(figures):
    seen = np.linspace(-1, 1, 48).reshape(4, 4, 3)
    grey = np.float32([[0, 0.5], [0.25, 1]])
    for image in (seen, 7 * seen + 3, np.full((4, 4, 3), 0.5), grey):
        save_classified([("a.png", np.zeros((9, 9, 3), np.uint8), image, "ab", np.array([0.5, 0.5]))], "c.png")
    shown = [figure.axes[1].images[0].get_array() for figure in figures]
    np.testing.assert_allclose(shown[0], (seen + 1) * 127.5, atol=1)
    np.testing.assert_array_equal(shown[1], shown[0])
    np.testing.assert_allclose(shown[3], [[0, 127], [63, 255]], atol=1)


def test_classified_tells_every_probability(tmp_path, figures):
    name, picture, seen, names, _ = classified("folder/four.jpg", classes=5)
    save_classified([(name, picture, seen, names, np.array([0.0, 0.0004, 0.004, 0.0, 0.9956]))], "c.png")
    original, _, chart = figures[0].axes
    assert original.get_title() == "four.jpg"
    assert chart.get_title(loc="left") == "class 4   99.6 %"
    assert [bar.get_width() for bar in chart.patches] == [0.0, 0.0004, 0.004, 0.0, 0.9956]
    assert [text.get_text() for text in chart.texts] == ["0 %", "<0.1 %", "0.4 %", "0 %", "99.6 %"]


def test_a_wrong_answer_looks_wrong(tmp_path, figures):
    rows = [("a.png", np.zeros((9, 9), np.uint8), np.zeros((4, 4)), ["cat", "dog"], np.array([0.503, 0.497]))] * 3
    save_classified(rows, "c.png", true=["cat", "dog", None])
    right, wrong, unknown = (figures[0].axes[i] for i in (2, 5, 8))
    assert [axes.get_title(loc="left") for axes in (right, unknown)] == ["cat   50.3 %"] * 2
    assert wrong.get_title(loc="left") == "cat   50.3 %\nwrong: it is dog"
    assert [text.get_text() for text in right.texts] == ["50.3 %  true", "49.7 %"]
    assert [text.get_text() for text in wrong.texts] == ["50.3 %", "49.7 %  true"]
    assert [text.get_text() for text in unknown.texts] == ["50.3 %", "49.7 %"]
    colours = [to_hex(axes.patches[0].get_facecolor()) for axes in (right, wrong)]
    assert colours == [pictures.BLUE.lower(), pictures.VERMILION.lower()]
    assert right._left_title.get_color() == pictures.BLUE and wrong._left_title.get_color() == pictures.VERMILION


def test_more_images_than_a_picture_holds(monkeypatch, figures):
    monkeypatch.setattr(pictures, "MOST_ROWS", 2)
    save_classified([classified()] * 5, "c.png")
    assert len(figures[0].axes) == 6
    assert figures[0].get_supxlabel() == "and 3 more, not drawn"
    with pytest.raises(UsageError, match="at least one image"):
        save_classified([], "c.png")


def test_odd_names_are_drawn(tmp_path):
    pixels(save_confusion(confusion(10), ODD_NAMES, tmp_path / "c.png", title="$x_{ 猫"))
    pixels(save_mistakes(*mistakes(10)[:4], ODD_NAMES, tmp_path / "m.png", indices=range(10), title="$$ \udcff"))
    name, picture, seen, _, probabilities = classified("$a_{$ \udcff.png")
    pixels(save_classified([(name, picture, seen, ODD_NAMES, probabilities)], tmp_path / "k.png"))


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"the old one")

    def no_space(source, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", no_space)
        with pytest.raises(RunError, match=r"curves\.png cannot be written: No space left"):
            save_curves(history(2), path, title="t")
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"] and path.read_bytes() == b"the old one"
    with pytest.raises(RunError, match="cannot be written"):
        save_curves(history(2), tmp_path / "nowhere" / "curves.png", title="t")


def test_pyplot_stays_unused(tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    save_curves(history(2), tmp_path / "c.png", title="t")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RawcnnError, match=r'pip install "rawcnn\[plots\]"'):
        save_curves(history(2), tmp_path / "c.png", title="t")
    assert not list(tmp_path.iterdir())
