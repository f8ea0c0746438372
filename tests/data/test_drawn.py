"""Drawn digits: a pure function of (seed, index), laid out as MNIST is, legible, varied, and safely cached."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rawcnn.data.sets import drawn
from rawcnn.data.sets.drawn import coloured, draw_digit, drawn_digits
from rawcnn.data.sets.strokes import STYLES, parse, spline
from rawcnn.errors import UsageError


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    images, labels = drawn_digits(1000, seed=1)
    return images[..., 0], labels


def test_same_seed_same_digits_other_seed_others() -> None:
    images, labels = drawn_digits(30, seed=5)
    again, same = drawn_digits(30, seed=5)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, same)
    other, _ = drawn_digits(30, seed=6)
    assert not any(np.array_equal(a, b) for a, b in zip(images, other, strict=True))


def test_any_range_can_be_drawn_alone() -> None:
    images, labels = drawn_digits(14, seed=2)
    part, its_labels = drawn_digits(6, seed=2, start=4)
    np.testing.assert_array_equal(part, images[4:10])
    np.testing.assert_array_equal(its_labels, labels[4:10])
    image, label = draw_digit(2, 11)
    np.testing.assert_array_equal(image, images[11, ..., 0])
    assert label == labels[11]


def test_far_ends_of_the_supply() -> None:
    last = 2**64 - 1
    image, label = draw_digit(last, last)
    assert image.any() and 0 <= label <= 9
    assert not np.array_equal(image, draw_digit(0, last)[0])


def test_numpy_integers_are_as_good_as_pythons() -> None:
    np.testing.assert_array_equal(draw_digit(np.int64(3), np.int32(5))[0], draw_digit(3, 5)[0])


def test_shapes_and_dtypes() -> None:
    images, labels = drawn_digits(3)
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((3, 28, 28, 1), np.uint8, (3,), np.int32)
    assert drawn_digits(0)[0].shape == (0, 28, 28, 1)


@pytest.mark.parametrize(("count", "seed", "start"), [(-1, 0, 0), (1, -1, 0), (1, 2**64, 0), (1, 0, -1), (1, 0, 2**64)])
def test_arguments_out_of_range(count: int, seed: int, start: int) -> None:
    with pytest.raises(UsageError, match=r"must be in 0\.\."):
        drawn_digits(count, seed=seed, start=start)


def test_labels_are_balanced_and_shuffled(sample: tuple[np.ndarray, np.ndarray]) -> None:
    labels = sample[1]
    np.testing.assert_array_equal(np.sort(labels.reshape(-1, 10), axis=1), np.tile(np.arange(10), (100, 1)))
    assert len({tuple(decade) for decade in labels.reshape(-1, 10)}) > 95


def test_ink_fills_the_box_of_20_pixels(sample: tuple[np.ndarray, np.ndarray]) -> None:
    for image in sample[0]:
        sides = [np.ptp(np.flatnonzero(image.max(axis=axis))) + 1 for axis in (0, 1)]
        assert 19 <= max(sides) <= 20
        assert image.max() > 200


def test_centre_of_mass_is_at_the_centre(sample: tuple[np.ndarray, np.ndarray]) -> None:
    from scipy.ndimage import center_of_mass

    centres = np.array([center_of_mass(image.astype(float)) for image in sample[0]])
    # Whole pixels are moved: at most half of one is left over, unless the box already touches the image's edge.
    assert np.abs(centres - 14).max() < 1
    assert (np.abs(centres - 14) <= 0.5 + 1e-9).mean() > 0.95


def test_grey_levels_are_those_of_a_scanned_pen(sample: tuple[np.ndarray, np.ndarray]) -> None:
    images = sample[0]
    # MNIST's training images: 19 % of the pixels carry ink, 39 % of those are (nearly) full, and the mean is 33.
    inked = images > 0
    assert 0.15 < inked.mean() < 0.25
    assert 0.3 < (images >= 250).sum() / inked.sum() < 0.5
    assert 25 < images.mean() < 42


def test_no_two_digits_are_equal(sample: tuple[np.ndarray, np.ndarray]) -> None:
    assert len({image.tobytes() for image in sample[0][:200]}) == 200


def test_pens_and_slants_vary(sample: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = sample
    for digit in range(10):
        ink = images[labels == digit].mean(axis=(1, 2))
        assert np.quantile(ink, 0.9) > 1.3 * np.quantile(ink, 0.1)


def test_digits_are_legible_to_nearest_neighbours(sample: tuple[np.ndarray, np.ndarray]) -> None:
    """One neighbour in pixel space, from another seed, reads most digits: chance is 10 %."""
    images, labels = drawn_digits(300, seed=77)

    def unit(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.reshape(len(pixels), -1).astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    nearest = np.argmax(unit(images) @ unit(sample[0]).T, axis=1)
    right = sample[1][nearest] == labels
    assert right.mean() > 0.7
    for digit in range(10):
        assert right[labels == digit].mean() > 0.4, digit


@pytest.mark.parametrize(("digit", "text"), [(d, text) for d in STYLES for _, text in STYLES[d]])
def test_every_style_is_well_formed(digit: int, text: str) -> None:
    strokes = parse(text)
    assert strokes.points.min() >= -0.1 and strokes.points.max() <= 1.1
    np.testing.assert_allclose(strokes.curve.sum(axis=1), 1, atol=1e-12)
    path = strokes.curve @ strokes.points
    gaps = np.abs(path[None] - strokes.points[:, None]).sum(axis=2).min(axis=1)
    assert gaps.max() < 1e-12, f"style of {digit} misses one of its control points: {text}"
    for piece in strokes.pieces:
        assert np.hypot(*np.diff(path[piece], axis=0).T).max() < 0.2, f"style of {digit} jumps: {text}"


def test_spline_is_scipys() -> None:
    from scipy.interpolate import make_interp_spline

    points = np.array([[0.0, 0.0], [0.25, 0.0], [0.25, 0.25], [0.5, 0.25]])  # equal chords: equal knots
    natural = ([(2, np.zeros(2))], [(2, np.zeros(2))])
    expected = make_interp_spline(np.arange(4), points, bc_type=natural)(np.linspace(0, 3, 19))
    np.testing.assert_allclose(spline(points) @ points, expected, atol=1e-12)


def test_corner_and_lift() -> None:
    corner = parse("0,0 100,0 / 100,100")
    assert len(corner.points) == 3 and len(corner.pieces) == 1
    assert (corner.curve @ corner.points).tolist()[6] == pytest.approx([1, 0])
    lifted = parse("0,0 100,0 ; 0,50 100,50")
    path = lifted.curve @ lifted.points
    assert [path[piece][:, 1].tolist() for piece in lifted.pieces] == [[0.0] * 7, [0.5] * 7]


def test_cache_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn_digits(20, seed=4, start=3, cache_dir=tmp_path / "new" / "folder")
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.name == f"drawn-digits-v{drawn.VERSION}-seed4-start3-count20.npz"

    def no_drawing(*_: object) -> None:
        raise AssertionError("drawn again in spite of the cache")

    monkeypatch.setattr(drawn, "draw_digit", no_drawing)
    second = drawn_digits(20, seed=4, start=3, cache_dir=str(tmp_path / "new" / "folder"))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "garbage", "other count", "pickle", "bad label"])
def test_damaged_cache_is_drawn_anew(tmp_path: Path, damage: str) -> None:
    images, labels = drawn_digits(20, cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    if damage in ("other count", "pickle", "bad label"):
        broken = {"other count": labels[:3], "pickle": labels.astype(object), "bad label": labels + 1}[damage]
        np.savez(file, images=images, labels=broken)
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        file.write_bytes({"empty": b"", "truncated": whole[:-40], "flipped": flipped, "garbage": b"\0" * 999}[damage])
    said: list[str] = []
    again, same = drawn_digits(20, cache_dir=tmp_path, log=said.append)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(same, labels)
    assert len(said) == 1 and file.name in said[0] and "anew" in said[0]
    assert drawn_digits(20, cache_dir=tmp_path, log=said.append)[0].shape == (20, 28, 28, 1)
    assert len(said) == 1, "the redrawn digits were not cached"
    assert list(tmp_path.iterdir()) == [file]


def test_unwritable_cache_is_only_a_line_of_the_log(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    said: list[str] = []
    images, _ = drawn_digits(10, cache_dir=in_the_way / "cache", log=said.append)
    np.testing.assert_array_equal(images, drawn_digits(10)[0])
    assert said and "not cached" in said[-1]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drawn.os, "fsync", full_disk)
    said: list[str] = []
    assert drawn_digits(10, cache_dir=tmp_path, log=said.append)[0].any()
    assert "No space left" in said[-1] and not list(tmp_path.iterdir())


def test_two_at_once_share_a_cache(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: drawn_digits(40, cache_dir=tmp_path)[0], range(4)))
    for images in results:
        np.testing.assert_array_equal(images, results[0])
    assert len(list(tmp_path.iterdir())) == 1


def test_progress_of_a_long_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(drawn.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    drawn_digits(20, log=said.append)
    assert said and all(line.startswith("drawing digits: ") and line.endswith(" of 20") for line in said)


def ink_and_paper(images: np.ndarray, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The colours int [N, 3] that the digits got: of the pixel with the most ink, and of a corner."""
    printed = coloured(images, seed=5, size=size).astype(int)
    corner = printed[:, 0, 0]
    darkest = images.reshape(len(images), -1).argmax(axis=1)
    assert (images.reshape(len(images), -1).max(axis=1) == 255).all()
    margin = (size - 28) // 2
    return printed[np.arange(len(images)), darkest // 28 + margin, darkest % 28 + margin], corner


def test_coloured_pixels_lie_between_ink_and_paper(sample: tuple[np.ndarray, np.ndarray]) -> None:
    images = sample[0][:50, ..., np.newaxis]
    ink, paper = ink_and_paper(images)
    amount = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))) / 255
    expected = (1 - amount) * paper[:, None, None] + amount * ink[:, None, None]
    printed = coloured(images, seed=5)
    assert printed.shape == (50, 32, 32, 3) and printed.dtype == np.uint8
    assert np.abs(printed - expected).max() < 0.51


def test_colours_are_clearly_different_and_say_nothing() -> None:
    images = np.full((20_000, 28, 28, 1), 255, np.uint8)
    ink, paper = ink_and_paper(images)
    apart = np.abs(ink - paper)
    assert apart.min() == 64 and apart.max() == 192
    for colours in (ink, paper):  # as often dark as light, in each of red, green and blue, and nothing left out
        assert colours.min() == 0 and colours.max() == 255
        np.testing.assert_allclose(colours.mean(axis=0), 127.5, atol=4 * 73.9 / np.sqrt(20_000))
    np.testing.assert_allclose((ink > paper).mean(axis=0), 0.5, atol=4 * 0.5 / np.sqrt(20_000))
    assert np.abs(np.corrcoef(paper.T) - np.eye(3)).max() < 4 / np.sqrt(20_000)


def test_coloured_is_a_function_of_image_seed_and_place(
    sample: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sample[0][:300, ..., np.newaxis]
    before = images.copy()
    whole = coloured(images, seed=3)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(coloured(images[:7], seed=3), whole[:7])
    assert not np.array_equal(coloured(images, seed=4)[:, 0, 0], whole[:, 0, 0])
    np.testing.assert_array_equal(coloured(images[::-1], seed=3)[:, 0, 0], whole[:, 0, 0])  # not of what is drawn
    assert len(np.unique(whole[:, 0, 0], axis=0)) > 290
    monkeypatch.setattr(drawn, "CHUNK", 1)  # however it is cut into pieces
    np.testing.assert_array_equal(coloured(images[:40], seed=3), whole[:40])
    assert coloured(images[:0], seed=3).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("size", [16, 28, 33, 64, 227])
def test_coloured_at_other_sizes_is_scaled_as_scipy_scales(sample: tuple[np.ndarray, np.ndarray], size: int) -> None:
    from scipy.ndimage import map_coordinates

    images = sample[0][:6]
    inner = round(size * 28 / 32)
    margin = (size - inner) // 2
    inside = slice(margin, margin + inner)
    at = (np.arange(inner) + 0.5) * 28 / inner - 0.5  # centres of pixels
    places = np.stack(np.meshgrid(at, at, indexing="ij"))
    printed = coloured(images[..., np.newaxis], seed=5, size=size)
    assert printed.shape == (6, size, size, 3)
    plain = [np.full((6, 28, 28, 1), value, np.uint8) for value in (0, 255)]
    papers, inks = (coloured(images, seed=5)[:, 16, 16].astype(int) for images in plain)
    for image, picture, paper, ink in zip(images, printed, papers, inks, strict=True):
        amount = map_coordinates(image.astype(float), places, order=1, mode="nearest") / 255
        expected = np.tile(paper.astype(float), (size, size, 1))
        expected[inside, inside] += amount[..., None] * (ink - paper)
        assert np.abs(picture - expected).max() < 0.51


def test_what_cannot_be_coloured() -> None:
    images = np.zeros((2, 28, 28, 1), np.uint8)
    for wrong in (images[..., 0], images.astype(np.float32), np.zeros((2, 32, 32, 1), np.uint8)):
        with pytest.raises(UsageError, match=r"uint8 \[N, 28, 28, 1\]"):
            coloured(wrong, seed=0)
    with pytest.raises(UsageError, match="size is 15"):
        coloured(images, seed=0, size=15)
    with pytest.raises(UsageError, match="seed is -1"):
        coloured(images, seed=-1)
