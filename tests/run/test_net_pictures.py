"""Pictures of what a net computes: they show its own numbers, whatever the net."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain
from rawcnn.nets.summary import summary_rows
from rawcnn.run import drawing, inside, net_pictures
from rawcnn.run.figures import BLUE, VERMILION, png_of
from tests.run.test_inside import branched_net, drawn
from tests.run.test_pictures import DIGITS, pixels

LENET = NETS["lenet5"](seed=1)


@pytest.fixture
def figures(monkeypatch):
    """The figures drawn by the test, which are not written."""
    made = []
    for module in (net_pictures, drawing):
        monkeypatch.setattr(module, "save", lambda figure, path: made.append(figure))
    return made


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "cifar_fast", "alexnet_bn"])
def test_every_net_has_filters_and_a_drawing(tmp_path, name):
    net = NETS[name](num_classes=10)
    pixels(net_pictures.save_filters(net, tmp_path / "filters.png", title=name))
    assert max(pixels(drawing.save_drawing(net, tmp_path / "net.png", title=name)).shape) < 2000


def test_filters_of_grey_nets_are_blue_above_zero_and_orange_below(figures):
    net_pictures.save_filters(LENET, "f.png", title="t")
    board, w = figures[0].axes[0].images[0].get_array(), LENET.c1.w.numpy()[:, :, 0]
    assert board.shape == (5, 6 * 6 - 1, 3)
    for k in range(6):
        cell, weights = board[:, 6 * k : 6 * k + 5], w[..., k] / np.abs(w[..., k]).max()
        blue, orange, white = np.array(to_rgb(BLUE)), np.array(to_rgb(VERMILION)), np.ones(3)
        wanted = [[white + abs(x) * ((blue if x > 0 else orange) - white) for x in line] for line in weights]
        np.testing.assert_allclose(cell, wanted, atol=1e-6)


def test_filters_for_colour_are_grey_at_zero(figures):
    net = NETS["alexnet_bn"](num_classes=10)
    w = np.zeros(net.conv1.w.shape, np.float32)
    w[0, 0, :, 0], w[3, 2, 1, 0] = (0.5, 0, 0), -1
    net.conv1.w.assign(w)
    net_pictures.save_filters(net, "f.png", title="t")
    cell = figures[0].axes[0].images[0].get_array()[:11, :11]
    np.testing.assert_allclose(cell[0, 0], (0.75, 0.5, 0.5))
    np.testing.assert_allclose(cell[3, 2], (0.5, 0, 0.5))
    np.testing.assert_allclose(cell[5, 5], 0.5)


def test_maps_of_every_row_that_computes(figures):
    images = drawn(2, 32, 32, 1)
    net_pictures.save_maps(LENET, images, "m.png", title="t")
    labels = [axes.get_ylabel().split("\n")[0] for axes in figures[0].axes]
    assert labels == ["input", "c1", "s2", "c3", "s4", "c5", "f6", "logits"]
    board, c3 = figures[0].axes[3].images[0].get_array(), inside.feature_maps(LENET, images)["c3"]
    assert board.shape == (21, 16 * 11 - 1)
    for n in range(2):
        for k in range(16):
            low, high = c3[..., k].min(), c3[..., k].max()
            cell = board[11 * n : 11 * n + 10, 11 * k : 11 * k + 10]
            np.testing.assert_allclose(cell, (c3[n, ..., k] - low) / (high - low), atol=1e-5)
    assert figures[0].axes[5].images[0].get_array().shape == (2, 120)  # 1x1 maps are drawn as flat rows are


def test_maps_name_dead_units_and_how_many_are_drawn(figures):
    net = NETS["lenet5_relu"]()
    net.c3.b.assign(np.where(np.arange(16) < 3, -1e6, 100.0).astype(np.float32))
    net_pictures.save_maps(net, drawn(2, 32, 32, 1), "m.png", title="t")
    by_row = {axes.get_ylabel().split("\n")[0]: texts(axes) for axes in figures[0].axes}
    assert by_row["c3"] == ["3 always 0"] and by_row["c1"] == [] and by_row["input"] == []


def test_maps_and_grad_cam_are_written(tmp_path):
    net, images = branched_net(), drawn(9, 6, 6, 2)
    pixels(net_pictures.save_maps(LENET, drawn(1, 32, 32, 1), tmp_path / "m.png", title="t"))
    cam = {"title": "t", "row": "c3"}
    path = net_pictures.save_grad_cam(
        LENET, drawn(2, 32, 32, 1), [1, 2], ["고양이", *DIGITS[1:]], tmp_path / "g.png", **cam
    )
    assert path == tmp_path / "g.png" and pixels(path).size
    for draw in (net_pictures.save_maps, net_pictures.save_grad_cam):
        more = ([], "abc") if draw is net_pictures.save_grad_cam else ()
        with pytest.raises(UsageError, match="at least one image"):
            draw(net, images[:0], *more, tmp_path / "x.png", title="t")


def test_grad_cam_lies_over_its_image(figures):
    images, classes = drawn(8, 32, 32, 1), np.arange(8)
    net_pictures.save_grad_cam(LENET, images, classes, DIGITS, "g.png", title="t")
    heat = inside.grad_cam(LENET, images, classes)
    below = figures[0].axes[net_pictures.MOST_IMAGES :]
    assert [axes.get_title() for axes in figures[0].axes[: net_pictures.MOST_IMAGES]] == DIGITS[:6]
    for axes, wanted in zip(below, heat, strict=False):
        image, over = axes.images
        np.testing.assert_allclose(over.get_array(), wanted / wanted.max(), rtol=1e-4, atol=1e-6)
        assert over.get_extent() == image.get_extent()
    assert "c3 (10x10)" in figures[0].get_supxlabel()


def test_grad_cam_of_a_wrong_answer_looks_wrong(figures):
    net_pictures.save_grad_cam(LENET, drawn(2, 32, 32, 1), [3, 4], DIGITS, "g.png", title="t", true=[3, 9])
    right, wrong = figures[0].axes[:2]
    assert right.get_title() == "3" and wrong.get_title() == "4\nit is 9"
    assert wrong.title.get_color() == VERMILION != right.title.get_color()


def test_the_connection_table_is_table_i(figures):
    net_pictures.save_connections(LENET, "c.png", title="t")
    (axes,) = figures[0].axes
    np.testing.assert_array_equal(axes.images[0].get_array(), LENET.c3.table)
    assert axes.get_title() == "60 of 96 pairs of maps are connected"
    png_of(figures[0])
    with pytest.raises(UsageError, match="'c1' has no connection table"):
        net_pictures.save_connections(LENET, "c.png", title="t", row="c1")


def test_bitmaps_and_what_f6_draws(figures):
    images = drawn(2, 32, 32, 1)
    net_pictures.save_bitmaps(LENET, images, DIGITS, "b.png", title="t")
    shown = [axes for axes in figures[0].findobj(lambda artist: hasattr(artist, "get_images")) if axes.get_images()]
    assert len(shown) == 10 + 4
    np.testing.assert_array_equal(shown[3].images[0].get_array().ravel(), LENET.logits.centres[3])
    maps = inside.feature_maps(LENET, images)
    np.testing.assert_allclose(shown[11].images[0].get_array().ravel(), maps["f6"][0])
    nearest = ((maps["f6"][0] - LENET.logits.centres) ** 2).sum(axis=1)
    assert shown[11].get_title() == f"{nearest.argmin()}: {nearest.min():.1f}"
    png_of(figures[0])
    with pytest.raises(UsageError, match="is Dense and has no bitmaps"):
        net_pictures.save_bitmaps(NETS["lenet5_relu"](), images, DIGITS, "b.png", title="t")


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "vgg11"])
def test_the_drawing_says_what_the_summary_says(figures, name):
    net = NETS[name](num_classes=10)
    drawing.save_drawing(net, "d.png", title=name)
    said = texts(figures[0].axes[0])
    rows = [row for row in summary_rows(net) if row.kind not in ("Flatten", "Dropout")]
    for row in rows:
        shape = f"{row.out_shape[-1]:,}" if row.out_shape[:-1] in ((), (1, 1)) else (
            f"{row.out_shape[0]}x{row.out_shape[1]}x{row.out_shape[2]:,}")  # fmt: skip
        params = f"{row.params:,} parameters" if row.params else "no parameters"
        below = said[said.index(row.name.split("/")[-1]) + 1 :]
        assert any(text.endswith(f"{shape}\n{params}") for text in below), row
    assert len(figures[0].axes[0].patches) == 3 * (1 + len(rows))
    assert f"{net.num_params():,} parameters" in figures[0].get_suptitle()


def test_boxes_are_to_scale(figures):
    drawing.save_drawing(LENET, "d.png", title="t")
    fronts = [patch.get_xy() for patch in figures[0].axes[0].patches[::3]]
    heights = [np.ptp(front[:, 1]) for front in fronts]
    widths = [np.ptp(front[:, 0]) for front in fronts]
    sides, channels = np.array([32, 28, 14, 10, 5, 1, 1, 1]), np.array([1, 6, 6, 16, 16, 120, 84, 10])
    np.testing.assert_allclose(heights, np.sqrt(sides / 32) * drawing.HIGHEST, rtol=1e-6)
    np.testing.assert_allclose(widths, np.sqrt(channels / 120) * drawing.WIDEST, rtol=1e-6)


def test_a_net_of_ones_own_is_drawn(tmp_path):
    net = branched_net()
    assert isinstance(net, Chain)
    pixels(drawing.save_drawing(net, tmp_path / "d.png", title="my net"))
