"""Sound files of every kind that rawcnn reads, in small, and the ways in which `fuzz.py` damages them."""

import functools
import gzip
import io
import json
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

Content = bytes

# Seeds --------------------------------------------------------------------------------------------------------------


def _drawn(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
    return (np.arange(np.prod(shape)) * 37 % 251).astype(dtype).reshape(shape)


def idx() -> list[Content]:
    images = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 7, 6) + _drawn((5, 7, 6)).tobytes()
    return [images, struct.pack(">BBBBI", 0, 0, 8, 1, 5) + bytes(range(5))]


def cifar() -> list[Content]:
    return [b"".join(bytes([label]) + _drawn((3072,)).tobytes() for label in labels) for labels in ((1, 2), (9,))]


def cifar_folder(folder: Path) -> None:
    for name in [*(f"data_batch_{k}.bin" for k in range(2, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(cifar()[1])


def tar() -> list[Content]:
    contents = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        other = "x" if form == tarfile.USTAR_FORMAT else "é" * 120  # long names have headers of their own
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin", other]:
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = 3073
                archive.addfile(info, io.BytesIO(cifar()[1]))
        contents.append(stream.getvalue())
    return contents


def images(form: str, *modes: str) -> Callable[[], list[Content]]:
    def seeds() -> list[Content]:
        from PIL import Image

        contents = []
        for mode in modes:
            options: dict[str, object] = {}
            if mode == "moving":
                frames = [Image.fromarray(_drawn((20, 30)) // (k + 1)) for k in range(3)]
                mode, options = "L", {"save_all": True, "append_images": frames[1:]}
            picture = Image.fromarray(_drawn((20, 30, 3))).convert(mode)
            exif = Image.Exif()
            exif[0x0112] = 6
            if form in ("JPEG", "PNG", "WEBP"):
                options["exif"] = exif
            if form == "JPEG" and mode == "L":
                options["progressive"] = True
            stream = io.BytesIO()
            picture.save(stream, form, **options)
            contents.append(stream.getvalue())
        return contents

    return seeds


def _arrays() -> dict[str, np.ndarray]:
    return {"logits/w": np.ones((2, 3), np.float32), "logits/b": np.arange(3, dtype=np.float32)}


def npz(save: Callable[..., None], **more: np.ndarray) -> Callable[[], list[Content]]:
    def seeds() -> list[Content]:
        stream = io.BytesIO()
        save(stream, **_arrays(), **more)
        return [stream.getvalue()]

    return seeds


def npy() -> list[Content]:
    """Only the member: `zipped` packs it with right sizes and checksum."""
    stream = io.BytesIO()
    np.save(stream, _drawn((40, 40), "float32"))
    return [stream.getvalue()]


def safetensors() -> list[Content]:
    from rawcnn.files.safetensors import write_safetensors

    with tempfile.TemporaryDirectory() as folder:
        write_safetensors(Path(folder, "w"), _arrays() | {"k": np.array(3), "h": np.ones((2, 2), np.float16)})
        return [Path(folder, "w").read_bytes()]


def h5() -> list[Content]:
    import h5py

    contents = []
    for libver in ("earliest", "latest"):
        stream = io.BytesIO()
        with h5py.File(stream, "w", libver=libver) as file:
            for name, values in _arrays().items():
                file[f"layers/{name}"] = values
            file["layers/link"] = h5py.SoftLink("/layers")
            del file["layers/link"]
            file.attrs["layer_names"] = [b"logits"]
        contents.append(stream.getvalue())
    return contents


# Packing ------------------------------------------------------------------------------------------------------------


@functools.cache
def _packed() -> dict[str, Content]:
    """The files of a directory of packed images: a JPEG and a PNG in one shard."""
    from rawcnn.data.packed.pack import pack

    with tempfile.TemporaryDirectory() as folder:
        for name, form in (("a", "JPEG"), ("b", "PNG")):
            path = Path(folder, "photos", name, "1.jpg")
            path.parent.mkdir(parents=True)
            path.write_bytes(images(form, "RGB")()[0])
        out = pack(Path(folder, "photos"), Path(folder, "out"), log=lambda _: None)
        return {path.name: path.read_bytes() for path in out.iterdir()}


def packed(name: str) -> Callable[[], list[Content]]:
    return lambda: [_packed()[name]]


def packed_around(folder: Path) -> None:
    for name, content in _packed().items():
        (folder / name).write_bytes(content)


def index_checksum(content: Content) -> Content:
    """The last line of an index, made right for the lines above it."""
    end = content.rstrip(b"\n").rfind(b"\n") + 1
    return content[:end] + json.dumps({"crc32": zlib.crc32(content[:end])}).encode() + b"\n"


def gzipped(content: Content) -> Content:
    return gzip.compress(content, 1, mtime=0)


def zipped(content: Content) -> Content:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("w.npy"), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def png_checksums(content: Content) -> Content:
    """The same chunks with right checksums, as far as chunks can be found."""
    fixed, at = bytearray(content), 8
    while at + 12 <= len(fixed):
        end = at + 8 + struct.unpack_from(">I", fixed, at)[0]
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


# Damage -------------------------------------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 7, 8, 9, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63)
DIGITS = (b"0", b"-1", b"7", b"99", b"4294967295", b"99999999999", b"18446744073709551616", b"1e9")


def damaged(content: Content, others: list[Content], rng: np.random.Generator) -> Content:
    """`content` after one to four changes."""
    edited = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not edited:
            break
        at = int(rng.integers(len(edited)))
        if rng.random() < 0.5:  # headers are mostly at the beginning or the end
            at = min(at, int(rng.integers(64))) if rng.random() < 0.7 else max(at, len(edited) - 1 - at % 64)
        length = int(min(rng.integers(1, 65), len(edited) - at))
        change = int(rng.integers(7))
        if change == 0:
            for place in rng.integers(len(edited), size=int(rng.integers(1, 9))):
                edited[place] ^= 1 << int(rng.integers(8))
        elif change == 1:
            del edited[at : len(edited) if rng.random() < 0.5 else at + length]
        elif change == 2:
            edited[at:at] = edited[at : at + length] * int(rng.integers(1, 9))
        elif change == 3:
            other = others[int(rng.integers(len(others)))]
            begin = int(rng.integers(len(other)))
            edited[at : at + length] = other[begin : begin + int(rng.integers(1, 257))]
        elif change == 4:
            _set_number(edited, at, rng)
        elif change == 5:
            _set_digits(edited, at, rng)
        else:
            edited[at : at + length] = bytes([int(rng.integers(256))]) * length
    return bytes(edited)


def _set_number(edited: bytearray, at: int, rng: np.random.Generator) -> None:
    """A field of length, as it may be: 1 to 8 bytes of either order, near a limit or near the file's own length."""
    width, order = int(2 ** rng.integers(4)), "little" if rng.random() < 0.5 else "big"
    numbers = (*NUMBERS, len(edited) - 1, len(edited), len(edited) + 1)
    number = numbers[int(rng.integers(len(numbers)))] % 2 ** (8 * width)
    edited[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]


def _set_digits(edited: bytearray, at: int, rng: np.random.Generator) -> None:
    """The next number that is written in digits: JSON, NumPy's headers, tar's octal fields."""
    if match := re.compile(rb"[0-9]+").search(edited, at):
        digits = DIGITS[int(rng.integers(len(DIGITS)))]
        keep = len(match[0]) if rng.random() < 0.5 else len(digits)  # the same length, or not
        edited[match.start() : match.end()] = digits[:keep].rjust(keep, b"0")
