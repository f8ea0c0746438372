"""Image files: pixels as Pillow decodes them, all orientations, and a clear word on every file that is no good."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from rawcnn.data.batches import in_order
from rawcnn.data.images.decode import decode_part, read_rgb, undecodable
from rawcnn.data.images.headers import ALPHA, JPEG, OPAQUE, WHOLE_JPEG, examine, inspect
from rawcnn.data.images.stream import FileSource
from rawcnn.errors import DataError


@pytest.fixture
def picture(rng):
    """Smooth, so that JPEG keeps it nearly; not square."""
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 4), np.uint8))
    return small.resize((90, 60), Image.Resampling.BICUBIC)


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def written(path, contents):
    path.write_bytes(contents)
    return path


def on_white(image):
    paper = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB"))


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


# name -> (Pillow's mode, format, options, how far a pixel may be off, kind)
DECODED = {
    "jpeg": ("RGB", "JPEG", {"quality": 95}, 2, JPEG),
    "jpeg 4:4:4": ("RGB", "JPEG", {"quality": 95, "subsampling": "4:4:4"}, 2, JPEG),
    "grey jpeg": ("L", "JPEG", {}, 1, JPEG),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True}, 2, WHOLE_JPEG),
    "cmyk jpeg": ("CMYK", "JPEG", {"quality": 95}, 3, WHOLE_JPEG),
    "png": ("RGB", "PNG", {}, 0, OPAQUE),
    "grey png": ("L", "PNG", {}, 0, OPAQUE),
    "1-bit png": ("1", "PNG", {}, 0, OPAQUE),
    "palette png": ("P", "PNG", {}, 0, OPAQUE),
    "rgba png": ("RGBA", "PNG", {}, 1, ALPHA),
    "grey and alpha png": ("LA", "PNG", {}, 1, ALPHA),
    "transparent palette png": ("P", "PNG", {"transparency": 0}, 1, ALPHA),
    "gif": ("P", "GIF", {}, 0, OPAQUE),
    "bmp": ("RGB", "BMP", {}, 0, OPAQUE),
    "webp": ("RGB", "WEBP", {"quality": 90}, 0, OPAQUE),
    "lossless webp": ("RGB", "WEBP", {"lossless": True}, 0, OPAQUE),
    "rgba webp": ("RGBA", "WEBP", {"quality": 90}, 1, ALPHA),
    "lossless rgba webp": ("RGBA", "WEBP", {"lossless": True}, 1, ALPHA),
}


@pytest.mark.parametrize("name", DECODED)
def test_pixels_are_pillows(name, picture, tmp_path):
    mode, format, options, tolerance, kind = DECODED[name]
    source = picture if mode in ("RGBA", "LA") else picture.convert("RGB")
    path = written(tmp_path / "any.name", encoded(source.convert(mode), format, **options))
    info = inspect(path)
    assert (info.width, info.height, info.kind, info.orientation) == (90, 60, kind, 1)
    assert info.format.upper() == format
    with Image.open(path) as image:
        expected = on_white(image) if kind == ALPHA else np.asarray(image.convert("RGB"))
    got = read_rgb(path)
    assert got.dtype == np.uint8 and got.shape == (60, 90, 3)
    assert np.abs(got.astype(int) - expected).max() <= tolerance


def test_16_bit_png_is_divided_by_256(rng, tmp_path):
    """Pillow itself clips these when it converts them to RGB."""
    values = rng.integers(0, 65536, (5, 7), np.uint16)
    path = written(tmp_path / "deep.png", encoded(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(read_rgb(path), np.repeat((values >> 8)[..., None], 3, axis=2))


def upright(path):
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        return on_white(image) if image.has_transparency_data else np.asarray(image.convert("RGB"))


FRAMES = [Image.new("RGB", (90, 60), colour) for colour in ("red", "blue")]
BY_PILLOW = {
    "moving gif": ("RGB", "GIF", {"save_all": True, "append_images": FRAMES}),
    "transparent gif": ("RGBA", "GIF", {}),
    "moving webp": ("RGB", "WEBP", {"save_all": True, "append_images": FRAMES, "lossless": True}),
    "palette bmp": ("P", "BMP", {}),
    "grey bmp": ("L", "BMP", {}),
    "1-bit bmp": ("1", "BMP", {}),
    "32-bit bmp": ("RGBA", "BMP", {}),
    "tiff": ("RGB", "TIFF", {}),
    "packed tiff": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "cmyk tiff": ("CMYK", "TIFF", {}),
    "transparent tiff": ("RGBA", "TIFF", {}),
    "turned tiff": ("RGB", "TIFF", {"exif": exif(6)}),
    "ppm": ("RGB", "PPM", {}),
    "pgm": ("L", "PPM", {}),
    "pbm": ("1", "PPM", {}),
}


@pytest.mark.parametrize("name", BY_PILLOW)
def test_what_tensorflow_cannot_decode_is_decoded_by_pillow(name, picture, tmp_path):
    mode, format, options = BY_PILLOW[name]
    if mode == "RGBA":
        picture.paste((9, 99, 200, 0), (0, 0, 30, 30))
        picture.paste((9, 99, 200, 255), (30, 30, 60, 60))
    contents = encoded(picture.convert(mode), format, **options)
    path = written(tmp_path / "a", contents)
    expected = upright(path)
    info = inspect(path)
    assert info.png and (info.height, info.width, info.orientation) == (*expected.shape[:2], 1)
    np.testing.assert_array_equal(read_rgb(path), expected)
    assert undecodable(path, info) is None
    file = FileSource([str(path)], [0], ("a",), [info])
    ((views, _),) = in_order(file, 1, fixed_box(expected.shape), 24)
    np.testing.assert_array_equal(views[0, 0], expected[5:29, 7:31])


def fixed_box(shape):
    def crop(heights, widths, seed):
        assert heights.shape == (1,)
        return tf.constant([[[5.0, 7.0, 29.0, 31.0]]]), tf.constant([[False]])

    return crop


def test_a_gif_whose_first_frame_is_smaller_than_its_canvas(tmp_path):
    contents = bytearray(encoded(Image.new("P", (20, 10)), "GIF"))
    contents[6:8] = struct.pack("<H", 40)
    path = written(tmp_path / "small.gif", contents)
    assert inspect(path)[:2] == (40, 10)
    np.testing.assert_array_equal(read_rgb(path), upright(path))


def test_16_bit_tiff_and_pgm_are_divided_by_256(rng, tmp_path):
    values = rng.integers(0, 65536, (5, 7), np.uint16)
    for format in ("TIFF", "PPM"):
        path = written(tmp_path / format, encoded(Image.fromarray(values), format))
        np.testing.assert_array_equal(read_rgb(path), np.repeat((values >> 8)[..., None], 3, axis=2))
    path = written(tmp_path / "float", encoded(Image.fromarray(values.astype(np.float32)), "TIFF"))
    with pytest.raises(DataError, match=r"float has values of 32 bits.*Convert it to 8 bits"):
        read_rgb(path)


@pytest.mark.parametrize("more", [b"\0\0", bytes(5000)])
def test_bytes_after_the_pixels_of_a_bmp_are_not_a_fault(more, picture, tmp_path):
    path = written(tmp_path / "a.bmp", encoded(picture.convert("RGB"), "BMP") + more)
    np.testing.assert_array_equal(read_rgb(path), np.asarray(picture.convert("RGB")))


def tiff_of(entry):
    return b"II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


ORIENTATIONS = {
    "16 bits": tiff_of(struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)),
    "32 bits": tiff_of(struct.pack("<HHII", 0x0112, 4, 1, 6)),
    "8 bits": tiff_of(struct.pack("<HHIBBH", 0x0112, 1, 1, 6, 0, 0)),
    "none": tiff_of(struct.pack("<HHIHH", 0x0112, 3, 1, 9, 0)),
}
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("where", [*ORIENTATIONS, "text", "xmp"])
def test_a_pngs_orientation_wherever_it_stands(where, late, picture, tmp_path):
    """Before the pixels or after them."""
    said = b"Exif\0\0" + ORIENTATIONS["16 bits"]
    text = {
        "text": f"Raw profile type exif\0\nexif\n{len(said):8}\n{said.hex()}\n",
        "xmp": f"XML:com.adobe.xmp\0\0\0\0\0{XMP}",
    }
    name = {"text": b"tEXt", "xmp": b"iTXt"}.get(where, b"eXIf")
    body = text[where].encode() if where in text else ORIENTATIONS[where]
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    contents = encoded(picture.convert("RGB"), "PNG")
    at = contents.index(b"IEND" if late else b"IDAT") - 4
    path = written(tmp_path / "a.png", contents[:at] + chunk + contents[at:])
    expected = upright(path)
    assert expected.shape[:2] == ((60, 90) if where in ("none", "8 bits") else (90, 60))
    info = inspect(path)
    assert (info.height, info.width) == expected.shape[:2]
    np.testing.assert_array_equal(read_rgb(path), expected)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("where", [*ORIENTATIONS, "xmp"])
def test_other_files_orientation_wherever_it_stands(where, format, picture, tmp_path):
    options = {"xmp": XMP.encode()} if where == "xmp" else {"exif": b"Exif\0\0" + ORIENTATIONS[where]}
    path = written(tmp_path / "a", encoded(picture.convert("RGB"), format, **options))
    expected = upright(path)
    assert expected.shape[:2] == ((60, 90) if where in ("none", "8 bits") else (90, 60))
    assert inspect(path)[:2] == expected.shape[1::-1]
    assert np.abs(read_rgb(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation(format, orientation, picture, tmp_path):
    options = {"lossless": True} if format == "WEBP" else {}
    contents = encoded(picture.convert("RGB"), format, exif=exif(orientation), **options)
    path = written(tmp_path / "turned", contents)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    info = inspect(path)
    assert (info.height, info.width, info.orientation) == (*expected.shape[:2], orientation)
    assert np.abs(read_rgb(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("data", [b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"nonsense"])
def test_damaged_exif_data_say_nothing(data, picture, tmp_path):
    path = written(tmp_path / "a.jpg", encoded(picture.convert("RGB"), "JPEG", exif=b"Exif\0\0" + data))
    assert inspect(path).orientation == 1


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}])
def test_part_of_a_jpeg(ratio, options, picture):
    """The window is cut from what Pillow's draft mode, which shrinks in the same way, gives of the whole."""
    big = picture.convert("RGB").resize((400, 301), Image.Resampling.BICUBIC)
    contents = encoded(big, "JPEG", quality=95, **options)
    top, left, height, width = 3, 5, 20, 21
    got = decode_part(contents, tf.constant(JPEG), tf.constant(ratio), tf.constant([top, left, height, width]))
    whole = Image.open(io.BytesIO(contents))
    whole.draft("RGB", (400 // ratio, 301 // ratio))
    expected = np.asarray(whole, int)
    assert expected.shape == (-(-301 // ratio), 400 // ratio, 3)
    assert got.shape == (height, width, 3)
    assert np.abs(expected[top : top + height, left : left + width] - got.numpy()).max() <= 2


@pytest.mark.parametrize("kind", [OPAQUE, ALPHA])
def test_part_of_a_png(kind, picture):
    image = picture.convert("RGBA" if kind == ALPHA else "RGB")
    got = decode_part(encoded(image, "PNG"), tf.constant(kind), tf.constant(1), tf.constant([7, 11, 20, 30]))
    assert np.abs(on_white(image)[7:27, 11:41].astype(int) - got.numpy()).max() <= 1


def test_junk_after_a_jpeg_is_not_a_fault(picture, tmp_path):
    whole = encoded(picture.convert("RGB"), "JPEG")
    path = written(tmp_path / "a.jpg", whole + b"\0" * 5000)
    assert np.abs(read_rgb(path).astype(int) - np.asarray(Image.open(io.BytesIO(whole)))).max() <= 2


def png_of(width, height):
    """A PNG that declares a size and has nearly no data."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def sample(format, mode="RGB", **options):
    gradient = np.linspace(0, 255, 40 * 30 * 4).reshape(30, 40, 4).astype(np.uint8)
    return encoded(Image.fromarray(gradient).convert(mode), format, **options)


# name -> (contents, what the message says)
REFUSED = {
    "empty": (b"", "is empty .*download it again"),
    "text": (b"hello, world", "is not an image"),
    "zeros": (bytes(1000), "is not an image"),
    "page": (b"\n<!DOCTYPE html><html>not found</html>", "is text .HTML.* Download the image itself"),
    "drawing": (b"<svg xmlns=''/>", "is text"),
    "avif": (b"\0\0\0\x20ftypavif\0\0\0\0" + bytes(50), "its AVIF header cannot be read"),
    "heic": (b"\0\0\0\x20ftypheic\0\0\0\0" + bytes(50), "is HEIC, .* Convert it"),
    "jpeg xl": (b"\xff\x0a" + bytes(50), "is JPEG XL, .* Convert it"),
    "cut jpeg": (sample("JPEG")[:-2], "is truncated: .*download it again"),
    "half a jpeg": (sample("JPEG")[:400], "truncated"),
    "jpeg's first bytes": (sample("JPEG")[:3], "truncated"),
    "cut png": (sample("PNG")[:-5], "is truncated"),
    "half a png": (sample("PNG")[: len(sample("PNG")) // 2], "is truncated"),
    "png's first bytes": (sample("PNG")[:20], "truncated"),
    "cut bmp": (sample("BMP")[:-1], "is truncated"),
    "cut webp": (sample("WEBP")[:-1], "truncated"),
    "gif's first bytes": (sample("GIF")[:20], "truncated"),
    "jpeg without a picture": (b"\xff\xd8\xff\xd9", "is (damaged|truncated)"),
    "png of no size": (png_of(0, 5), "its PNG header cannot be read"),
    "bomb": (png_of(20_000, 20_000), r"has 20000x20000 pixels; at most 50,000,000 .* max_pixels"),
    "gif cut within its first frame": (sample("GIF")[:-40], "truncated"),
    "a jpeg of nothing but junk": (b"\xff\xd8\xff" + bytes(2**17 + 9), "is damaged"),
    "a jpeg of empty segments": (b"\xff\xd8" + b"\xff\xfe\0\2" * (2**17 + 9), "truncated"),
    "a png of empty chunks": (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0teXt\0\0\0\0" * (2**17 + 9), "is damaged"),
    "12-bit jpeg": (b"\xff\xd8\xff\xc1\0\x11\x0c\0\x08\0\x08\x03" + bytes(40), "of a rare kind: its JPEG header"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_its_header(name, tmp_path):
    contents, words = REFUSED[name]
    path = written(tmp_path / "it.jpg", contents)
    assert isinstance(examine(path), str)
    for function in (inspect, read_rgb):
        with pytest.raises(DataError, match=rf"it\.jpg .*{words}"):
            function(path)


@pytest.mark.parametrize("process", [3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
def test_jpegs_of_rare_processes(process, tmp_path):
    """Lossless is 3, arithmetic 9 and 10, hierarchical the others: ITU T.81, table B.1."""
    contents = sample("JPEG")
    rare = contents.replace(b"\xff\xc0\0\x11\x08", bytes([0xFF, 0xC0 + process]) + b"\0\x11\x08")
    assert rare != contents and isinstance(inspect(written(tmp_path / "a.jpg", contents)).kind, int)
    with pytest.raises(DataError, match=r"it\.jpg is a lossless, arithmetic-coded or hierarchical JPEG.*Convert it"):
        inspect(written(tmp_path / "it.jpg", rare))


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.io, "decode_image", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(DataError, match="pixels"):
        read_rgb(written(tmp_path / "bomb.png", png_of(20_000, 20_000)))


def test_the_limit_of_pixels_is_a_parameter(tmp_path):
    path = written(tmp_path / "a.png", sample("PNG"))
    assert inspect(path, max_pixels=1200)[:2] == (40, 30)
    with pytest.raises(DataError, match="at most 1,199"):
        inspect(path, max_pixels=1199)


def damaged_within(contents):
    middle = len(contents) // 2
    return contents[:middle] + bytes(20) + contents[middle + 20 :]


@pytest.mark.parametrize("contents", [damaged_within(sample("PNG")), png_of(40, 30)])
def test_damage_that_only_decoding_finds(contents, tmp_path):
    path = written(tmp_path / "a.png", contents)
    info = inspect(path)
    assert "PNG data cannot be decoded" in undecodable(path, info)
    with pytest.raises(DataError, match=r"a.png is damaged, .*its PNG data cannot be decoded\. Copy"):
        read_rgb(path)


def test_a_file_that_changed_since(tmp_path):
    path = written(tmp_path / "a.png", sample("PNG"))
    info = inspect(path)
    assert undecodable(path, info) is None
    assert "has changed: it was 41x30" in undecodable(path, info._replace(width=41))
    path.unlink()
    assert "does not exist" in undecodable(path, info)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = written(tmp_path / "a.png", sample("PNG"))
    os.truncate(path, 2**28 + 1)
    assert "has 268,435,457 bytes; at most" in examine(path)


def test_what_is_no_file(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"nothing\.jpg does not exist"):
        read_rgb(tmp_path / "nothing.jpg")
    with pytest.raises(DataError, match="is a folder"):
        read_rgb(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="is not a regular file"):
        inspect(tmp_path / "pipe.jpg")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert "may not be read" in examine(__file__)


def test_names_need_not_be_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xe4.png")
    with open(path, "wb") as file:
        file.write(sample("PNG"))
    assert read_rgb(os.fsdecode(path)).shape == (30, 40, 3)
