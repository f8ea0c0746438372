"""A user's own image files: what is read, what is refused, and what as_mnist makes of them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from rawcnn.data.images.digit_photo import as_mnist, read_digit, read_grey
from rawcnn.errors import DataError

FOUR = [[(0.35, 0.0), (0.0, 0.62), (0.8, 0.62)], [(0.6, 0.3), (0.6, 1.0)]]
FIVE = [[(0.1, 0.0), (0.7, 0.0)], [(0.1, 0.12), (0.05, 0.5), (0.5, 0.45), (0.65, 0.7), (0.45, 0.97), (0.0, 0.95)]]


def draw(strokes, height=150, at=(90, 60), pen=16, shape=(300, 400)):
    """The strokes as ink, float `[H, W]`, 0 paper to 1 ink."""
    picture = Image.new("L", shape[::-1])
    pencil = ImageDraw.Draw(picture)
    for stroke in strokes:
        points = [(at[0] + height * x, at[1] + height * y) for x, y in stroke]
        pencil.line(points, fill=255, width=pen, joint="curve")
        for x, y in points:
            pencil.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    return np.asarray(picture) / 255


def photograph(ink, *, dark=0.7, slope=0.5, noise=6.0, quality=60):
    """Ink on paper under light that falls off to the right and below, as a JPEG would show it."""
    height, width = ink.shape
    light = 235 * (1 - slope * (np.linspace(0, 1, width) + np.linspace(0, 1, height)[:, None]) / 2)
    grain = np.random.Generator(np.random.Philox(key=1)).normal(0, noise, ink.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(light * (1 - dark * ink) + grain, 0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file))


def scan(ink):
    return np.uint8(255 - 255 * ink)


def alike(one, other):
    """Correlation, one pixel of displacement forgiven: the centre of mass is rounded to whole pixels, as in MNIST."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)] if one.shape == (28, 28) else [(0, 0)]
    return max(np.corrcoef(np.roll(one, move, (0, 1)).ravel(), other.ravel())[0, 1] for move in moves)


def box(digit):
    rows, columns = np.nonzero(digit)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize("strokes", [FOUR, FIVE], ids=["4", "5 in two strokes"])
@pytest.mark.parametrize(
    "render",
    [
        lambda strokes: scan(draw(strokes)),
        lambda strokes: 255 - scan(draw(strokes)),
        lambda strokes: photograph(draw(strokes)),
        lambda strokes: 255 - photograph(draw(strokes)),
        lambda strokes: photograph(draw(strokes), dark=0.3),
        lambda strokes: photograph(draw(strokes), noise=20, quality=30),
        lambda strokes: photograph(draw(strokes, height=60, at=(300, 220), pen=6)),
        lambda strokes: photograph(draw(strokes, height=900, at=(900, 150), pen=96, shape=(1200, 1600))),
    ],
    ids=["scan", "light on dark", "photo", "negative", "pencil", "noisy", "small in a corner", "large"],
)
def test_every_rendition_gives_the_same_digit(strokes, render):
    digit = as_mnist(render(strokes))
    assert digit.shape == (28, 28) and digit.dtype == np.uint8
    assert digit[0].max() == digit[:, 0].max() == 0 and digit.max() == 255  # light on dark
    assert max(box(digit)) == 20
    np.testing.assert_allclose(ndimage.center_of_mass(digit), (14, 14), atol=0.75)
    assert alike(digit, as_mnist(scan(draw(strokes)))) > 0.9


def test_the_aspect_ratio_is_kept():
    ink = np.zeros((300, 300))
    ink[50:250, 100:150] = 1
    assert box(as_mnist(scan(ink))) == (20, 5)


@pytest.mark.parametrize("pen", [3, 6, 16, 36])
def test_strokes_are_as_wide_as_in_mnist(pen):
    ink = draw([[(0, 0), (0, 1)], [(0, 1), (0.7, 1)]], height=800, at=(400, 200), pen=pen, shape=(1200, 1600))
    digit = as_mnist(photograph(ink, noise=2, quality=90)) / 255
    assert 1.7 <= digit[8:14].sum(axis=1).mean() <= 3.2  # six rows that cross the upright stroke only


def test_specks_table_and_ruled_lines_are_left_out():
    ink = draw(FOUR)
    alone = as_mnist(photograph(ink))
    dirty = ink.copy()
    dirty[20:26, 330:336] = dirty[250:255, 40:44] = 1
    dirty[:, :30] = 1  # the table beside the paper
    assert alike(as_mnist(photograph(dirty)), alone) > 0.9
    ruled = ink.copy()
    ruled[30::40] = np.maximum(ruled[30::40], 0.35)
    assert alike(as_mnist(photograph(ruled)), alone) > 0.9


def test_a_shadow_is_not_ink():
    ink = draw(FOUR)
    shadow = np.where(np.add.outer(np.arange(300), np.arange(400)) > 330, 0.55, 1.0)
    picture = np.uint8(photograph(ink) * ndimage.gaussian_filter(shadow, 4))
    assert alike(as_mnist(picture), as_mnist(scan(ink))) > 0.9


def test_an_mnist_picture_comes_back_as_it_is():
    digit = as_mnist(photograph(draw(FOUR)))
    again = as_mnist(digit)
    np.testing.assert_array_equal(again, digit)
    assert again is not digit
    assert alike(as_mnist(255 - digit), digit) > 0.9


def blank(light):
    return photograph(np.zeros((300, 400)), slope=light)


@pytest.mark.parametrize(
    "picture",
    [
        np.full((300, 400), 255, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.zeros((1, 1), np.uint8),
        blank(0),
        blank(0.7),
    ],
    ids=["white", "black 28x28", "one pixel", "photo", "photo in slanting light"],
)
def test_a_blank_picture_is_refused(picture):
    with pytest.raises(DataError, match="no digit found: the picture is blank"):
        as_mnist(picture)


@pytest.mark.parametrize("picture", [np.zeros((5, 5)), np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.uint8)])
def test_a_picture_of_another_kind_is_refused(picture):
    with pytest.raises(DataError, match="needs a uint8 picture"):
        as_mnist(picture)


def save(path, mode, grey, **options):
    Image.fromarray(grey).convert(mode).save(path, **options)
    return path


GREY = photograph(draw(FOUR), noise=0, quality=95)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("grey.png", "L"),
        ("colour.png", "RGB"),
        ("palette.bmp", "P"),
        ("grey.bmp", "L"),
        ("cmyk.jpg", "CMYK"),
        ("colour.jpg", "RGB"),
        ("palette.gif", "P"),
        ("opaque.png", "RGBA"),
        ("grey.tiff", "L"),
        ("cmyk.tiff", "CMYK"),
        ("colour.webp", "RGB"),
        ("wrong_ending.txt", "L"),
    ],
)
def test_common_formats_give_the_same_grey(tmp_path, name, mode):
    path = tmp_path / name
    options = {"format": "PNG"} if name.endswith("txt") else {}
    read = read_grey(save(path, mode, GREY, **options))
    assert read.shape == GREY.shape and read.dtype == np.uint8
    # Palettes of 8 bits hold 216 colours, few of them grey; everything else is within a lossy codec's error.
    assert np.abs(read.astype(int) - GREY).mean() < (20 if mode == "P" else 3)
    assert alike(as_mnist(read), as_mnist(GREY)) > 0.9


def test_the_palette_of_a_bmp_is_looked_up(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1], [1, 0]]))
    image.putpalette([250, 250, 250, 10, 10, 10])
    image.save(tmp_path / "two.bmp")
    np.testing.assert_array_equal(read_grey(tmp_path / "two.bmp"), [[250, 10], [10, 250]])


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bits_keep_their_high_byte(tmp_path, name):
    deep = GREY.astype(np.uint16) * 256 + 77
    Image.fromarray(deep).save(tmp_path / name)
    np.testing.assert_array_equal(read_grey(tmp_path / name), GREY)


def test_float_tiff_is_stretched(tmp_path):
    Image.fromarray(np.float32([[-1.0, 0.0], [1.0, np.nan]])).save(tmp_path / "float.tiff")
    np.testing.assert_array_equal(read_grey(tmp_path / "float.tiff"), [[0, 127], [255, 0]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white_paper(tmp_path, mode):
    ink = Image.fromarray(np.uint8(255 * draw(FOUR)))
    image = Image.new("L", ink.size, 0).convert(mode)
    image.putalpha(ink)
    image.save(tmp_path / "ink.png")
    np.testing.assert_allclose(read_grey(tmp_path / "ink.png").astype(int), scan(draw(FOUR)), atol=1)


def test_exif_rotation_is_applied(tmp_path):
    for orientation, turned in ((6, np.rot90(GREY)), (3, np.rot90(GREY, 2)), (8, np.rot90(GREY, -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / f"{orientation}.png", "L", np.ascontiguousarray(turned), exif=exif)
        np.testing.assert_array_equal(read_grey(path), GREY)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (40, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_grey(tmp_path / "two.gif"), 40)


def one_bit_png(path: Path, side: int) -> Path:
    """A well-formed PNG of side x side white pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xff" * (side // 8)) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, monkeypatch, side):
    def decode(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    path = one_bit_png(tmp_path / "bomb.png", side)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"bomb\.png has .*; at most 50,000,000 are read\. Crop it"):
        read_grey(path)


def test_the_limit_is_the_callers(tmp_path):
    path = one_bit_png(tmp_path / "small.png", 64)
    assert read_grey(path, max_pixels=64 * 64).shape == (64, 64)
    with pytest.raises(DataError, match="64x64 pixels; at most 4,095"):
        read_grey(path, max_pixels=64 * 64 - 1)


def encoded(kind):
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.png", b"", "it is empty"),
        ("text.jpg", b"this is no picture\n" * 20, "it is damaged"),
        ("page.png", b"<!doctype html><html>", "it is damaged"),
        ("half.png", encoded("PNG")[:4000], "it is damaged"),
        ("half.jpg", encoded("JPEG")[:4000], "it is damaged"),
        ("half.bmp", encoded("BMP")[:4000], "it is damaged"),
        ("half.gif", encoded("GIF")[:4000], "it is damaged"),
        ("half.webp", encoded("WEBP")[:1000], "it is damaged"),
        ("half.tiff", encoded("TIFF")[:4000], "it is damaged"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "it is damaged"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_grey(path)
    assert str(path) in str(error.value) and why in str(error.value) and "Save it again as PNG" in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png: no such file"):
        read_grey(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="is a folder"):
        read_grey(tmp_path)


def test_read_digit(tmp_path):
    path = save(tmp_path / "four.png", "L", photograph(draw(FOUR, 900, (900, 150), 96, (1200, 1600))))
    digit, preview = read_digit(path)
    np.testing.assert_array_equal(digit, as_mnist(read_grey(path)))
    assert preview.shape == (384, 512) and preview.dtype == np.uint8
    with pytest.raises(DataError, match=r"white\.png: no digit found"):
        read_digit(save(tmp_path / "white.png", "L", np.full((50, 50), 255, np.uint8)))
