"""Images that are not square: squeezed, cropped or padded, for files and arrays, against Pillow."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from rawcnn.data.augment import distort
from rawcnn.data.batches import batches, in_order, thumbnails
from rawcnn.data.images.headers import inspect
from rawcnn.data.images.stream import FileSource
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.data.views import random_crop
from rawcnn.errors import UsageError
from rawcnn.layers import Dense, Flatten
from rawcnn.nets.chain import Chain, row
from rawcnn.run.given import data_of
from rawcnn.run.plan import plan, recipe_for, settle
from rawcnn.run.settings import Settings
from rawcnn.train.answers import evaluate, predict
from rawcnn.train.inputs import Inputs
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.recipes import Recipe
from rawcnn.train.simple import fit

SIZE, FITS = 16, ("squeeze", "crop", "pad")
SHAPES = ((48, 96), (96, 48), (60, 80))
"""(height, width) whose padded images have whole numbers of black rows: Pillow rounds others in its own way."""


def pixels_of(shape, rng):
    return rng.integers(1, 256, size=(*shape, 3), dtype=np.uint8)


def by_pillow(pixels, how, size=SIZE):
    image, method = Image.fromarray(pixels), Image.Resampling.BILINEAR
    made = {
        "squeeze": lambda: image.resize((size, size), method),
        "crop": lambda: ImageOps.fit(image, (size, size), method),
        "pad": lambda: ImageOps.pad(image, (size, size), method),
    }[how]()
    return np.asarray(made).astype(float)


def files(directory, shapes, rng):
    """A source of PNG files, and their pixels."""
    images = [pixels_of(shape, rng) for shape in shapes]
    paths = [str(directory / f"{i}.png") for i in range(len(shapes))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    labels = np.arange(len(shapes), dtype=np.int32)
    return FileSource(paths, labels, tuple(map(str, labels)), [inspect(path) for path in paths]), images


@pytest.mark.parametrize("how", FITS)
def test_files_are_what_pillow_makes_of_them(how, tmp_path, rng):
    """The same in training, testing and classifying."""
    source, images = files(tmp_path, SHAPES, rng)
    inputs = Inputs.of(Recipe(fit=how), source, SIZE)
    tested = np.concatenate([x.numpy()[:, 0] for x, _ in in_order(source, 1, inputs.test_crop, SIZE)])
    inside = slice(1, -1) if how == "crop" else slice(None)  # at the edge Pillow looks at pixels beyond it
    for pixels, view in zip(images, tested, strict=True):
        wanted = by_pillow(pixels, how)[inside, inside]
        np.testing.assert_allclose(view[inside, inside].astype(float), wanted, atol=2)
    read = [inputs.read(path).image for path in source.paths]
    np.testing.assert_array_equal(read, tested)
    np.testing.assert_array_equal(inputs.test_images(source), tested)
    np.testing.assert_array_equal(thumbnails(source, np.arange(3), SIZE, crop=inputs.test_crop), tested)
    trained, labels = next(iter(batches(source, 3, seed=1, crop=inputs.crop, size=SIZE)))
    np.testing.assert_array_equal(trained, tested[labels.numpy()])


@pytest.mark.parametrize("how", ("crop", "pad"))
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_are_what_pillow_makes_of_them(shape, how, tmp_path, rng):
    images = np.stack([pixels_of(shape, rng) for _ in range(4)])
    source = Source(images, np.arange(4), tuple("abcd"))
    inputs = Inputs.of(Recipe(fit=how), source, SIZE)
    wanted = np.stack([by_pillow(pixels, how) for pixels in images])
    shown = inputs.shown(images).numpy() * 255
    np.testing.assert_allclose(shown, wanted, atol=1.01)
    trained, labels = next(iter(batches(source, 4, seed=1, crop=inputs.crop, size=SIZE)))
    np.testing.assert_allclose(trained, shown[labels.numpy()], atol=1e-3)
    changed, _ = next(iter(batches(source, 4, seed=1, crop=inputs.crop, size=SIZE, augment=distort)))
    assert changed.shape == (4, SIZE, SIZE, 3)
    Image.fromarray(images[2]).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(inputs.read(tmp_path / "photo.png").image, images[2])


def test_arrays_are_squeezed_where_nothing_is_said(rng):
    source = Source(rng.integers(0, 256, (2, 20, 30, 3), np.uint8), np.arange(2), ("a", "b"))
    for recipe in (Recipe(), Recipe(fit="squeeze")):
        inputs = Inputs.of(recipe, source, SIZE)
        assert inputs.crop is None and inputs.test_crop is None and inputs.preprocess.resize == SIZE


def test_a_file_for_a_net_of_wide_arrays_keeps_their_shape(tmp_path, rng):
    """The file is cut, or padded, to the shape of the arrays; it is not made a square first."""
    pixels = pixels_of((80, 80), rng)
    Image.fromarray(pixels).save(tmp_path / "square.png")
    kept = Inputs(SIZE, Preprocess(resize=SIZE), 1.0, (10, 20, 3)).read(tmp_path / "square.png").image
    wanted = Image.fromarray(pixels[20:60]).resize((20, 10), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(kept.astype(float), np.asarray(wanted).astype(float), atol=2)
    padded = Inputs(SIZE, Preprocess(resize=SIZE), 1.0, (10, 20, 3), fit="pad").read(tmp_path / "square.png").image
    wanted = ImageOps.pad(Image.fromarray(pixels), (20, 10), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(padded.astype(float), np.asarray(wanted).astype(float), atol=2)


def test_a_strip_of_one_row_is_seen(tmp_path, rng):
    """Only what lies in the image is scaled: a square of 9,000 pixels a side is never made."""
    source, (pixels,) = files(tmp_path, [(1, 9000)], rng)
    inputs = Inputs.of(Recipe(fit="pad"), source, SIZE)
    image = inputs.read(source.paths[0]).image
    assert np.count_nonzero(image.any(axis=(1, 2))) == 1
    np.testing.assert_allclose(image.max(axis=0), by_pillow(pixels, "squeeze")[0], atol=2)


def test_padding_shows_all_of_a_turned_photo(tmp_path, rng):
    """EXIF orientation 6, as telephones write it: the file is read turned, and padded at its sides."""
    pixels = pixels_of((48, 96), rng)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    source = FileSource([str(tmp_path / "photo.png")], np.zeros(1, np.int32), ("a",), [inspect(tmp_path / "photo.png")])
    inputs = Inputs.of(Recipe(fit="pad"), source, SIZE)
    ((view, _),) = in_order(source, 1, inputs.test_crop, SIZE)
    np.testing.assert_allclose(view[0, 0], by_pillow(np.rot90(pixels, -1), "pad"), atol=2)


def test_a_net_is_trained_tested_and_asked_about_padded_images(rng):
    images = rng.integers(1, 256, size=(12, 32, 64, 3), dtype=np.uint8)
    source = Source(images, np.arange(12) % 2, ("a", "b"))
    net = Chain((("flat", row(Flatten)()), ("out", row(Dense)(2))), input_shape=(SIZE, SIZE, 3))
    list(fit(net, source, epochs=1, recipe=Recipe(fit="pad", batch_size=4)))
    padded = np.stack([by_pillow(pixels, "pad") for pixels in images]) / 255
    logits = net(padded.astype(np.float32)).numpy().astype(float)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict(net, images), wanted, atol=0.01)
    np.testing.assert_allclose(evaluate(net, source).probabilities, wanted, atol=0.01)


def test_the_record_keeps_it():
    inputs = Inputs(SIZE, Preprocess(), 1.0, (None, None, 3), fit="pad")
    saved = json.loads(json.dumps(inputs.as_dict()))
    assert Inputs.from_dict(saved) == inputs and saved["fit"] == "pad"
    with pytest.raises(ValueError, match="fit is 'stretch'"):
        Inputs.from_dict(saved | {"fit": "stretch"})


def test_it_is_refused_where_it_makes_no_sense():
    with pytest.raises(UsageError, match="fit=pad is for recipes that show whole images, but this one takes crops"):
        recipe_for(Settings("alexnet", recipe="paper", fit="pad"))
    with pytest.raises(UsageError, match="takes crops of its own"):
        Recipe(crop=random_crop(), fit="squeeze")
    with pytest.raises(UsageError, match=r"fit is one of squeeze, crop, pad, not 'pads'\. Did you mean 'pad'"):
        Recipe(fit="pads")
    assert recipe_for(Settings("alexnet", recipe="course", fit="crop")).fit == "crop"
    inputs = Inputs(SIZE, Preprocess(), 1.0, (None, None, 3), fit="pad")
    net = Chain((("flat", row(Flatten)()), ("out", row(Dense)(2))), input_shape=(SIZE, SIZE, 3))
    for crops in ("10", "144", "dense"):
        with pytest.raises(UsageError, match=f"crops={crops} looks at the central square"):
            inputs.evaluator(net, softmax_cross_entropy, crops)


def test_settings_reach_the_inputs_and_the_test_images():
    images, labels = drawn_digits(100)
    wide = Source(np.pad(images, ((0, 0), (0, 0), (0, 28), (0, 0))), labels, tuple("0123456789"))
    settings = Settings("lenet5_relu", batch_size=20, fit="crop", test_sample=0.5, validation=0.2)
    data = data_of((wide, wide), settings)
    assert len(data.test) == 50 and len(data.train) + len(data.validation) == 100
    settings = settle(settings, recipe_for(settings))
    ready = plan(settings, data)
    assert ready.inputs.fit == "crop" and ready.inputs.crop is not None and ready.inputs.size == 28
    view = ready.inputs.shown(wide.images[:1])
    expected = ready.inputs.preprocess(wide.images[:1, :, 14:42])
    np.testing.assert_allclose(view, expected, atol=1e-6)
