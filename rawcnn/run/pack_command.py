"""`rawcnn pack`: a folder of images as a few large files, on the command line."""

from dataclasses import dataclass

from rawcnn.data.images.headers import MAX_PIXELS
from rawcnn.data.packed.pack import SHARD_MEGABYTES, pack
from rawcnn.errors import UsageError
from rawcnn.run.fields import DATA, FIRST, check_all, setting
from rawcnn.run.flags import no_words, read_flags
from rawcnn.run.output import tell

USAGE = (
    "usage: rawcnn pack --data_dir=DIR --out=DIR\n"
    "Writes the images of a folder into a few large TFRecord files, from which `rawcnn train --data_dir=OUT` trains\n"
    "as from the folder. A stopped or killed pack goes on with the same command."
)


@dataclass(frozen=True)
class PackFlags:
    """What `rawcnn pack` is told."""

    data_dir: str | None = setting(None, FIRST, "The folder of images.", path=True)
    out: str | None = setting(None, FIRST, "The directory to write: new, empty, or of a pack that stopped.", path=True)
    shard_megabytes: float = setting(
        float(SHARD_MEGABYTES), DATA, "The most that one file has, in millions of bytes.", low=0.001
    )  # fmt: skip
    bad_images: str = setting("error", DATA, "What to do about images that cannot be read.", choices=("error", "skip"))
    max_pixels: int = setting(MAX_PIXELS, DATA, "Refuse image files that declare more pixels.", low=1)

    def __post_init__(self) -> None:
        check_all(self)


def command(argv: list[str]) -> None:
    """Pack the folder that `argv` names."""
    told, words = read_flags(argv, PackFlags, usage=USAGE)
    flags = PackFlags(**told)
    no_words(words, "pack")
    if flags.data_dir is None or flags.out is None:
        raise UsageError("Pack what, and where to? Name a folder with --data_dir=DIR and a directory with --out=DIR.")
    pack(
        flags.data_dir,
        flags.out,
        shard_megabytes=flags.shard_megabytes,
        bad_images=flags.bad_images,
        max_pixels=flags.max_pixels,
        log=tell,
    )
