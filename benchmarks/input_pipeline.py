"""How fast image files become batches: rawcnn beside Keras's `image_dataset_from_directory` and PyTorch's `DataLoader`.

python -m benchmarks.input_pipeline --rounds=5                    # images/s from JPEG files of 500 x 375, and ratios
python -m benchmarks.input_pipeline --data_dir=DIR                # class folders of one's own
python -m benchmarks.input_pipeline --cifar                       # batches of 32 x 32 from memory
python -m benchmarks.input_pipeline --memory                      # resident memory at 1,000 and 10,000 files
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.children import run_child
from benchmarks.harness import (
    OURS,
    Contender,
    cores,
    machine_line,
    markdown_table,
    peak_memory_mb,
    race,
    race_table,
    read_result,
    report,
    summarise,
    versions_line,
)

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE, SCALED = 224, 256  # AlexNet's view: 224 x 224 of the central 256 x 256 (not mirrored here)
MEMORY_FILES = (1000, 10_000)

HOW = f"""Every row is a process of its own; all run in turn, one round after the other, each going through all files
once untimed and then in timed passes. One image is a JPEG file read, decoded, cut, scaled to {SIZE} x {SIZE} and put
into a batch. The training view is a random {SIZE} x {SIZE} of the central square scaled to {SCALED} x {SCALED}; "whole
square" is that square scaled to {SIZE} x {SIZE}, nothing random. A ratio compares equal views. All shuffle; Keras cuts
a whole batch at one place, rawcnn and PyTorch draw one for each image."""

# Files --------------------------------------------------------------------------------------------------------------


def write_photos(directory: Path, count: int, width: int = 500, height: int = 375) -> None:
    """JPEG files of photo-like content (detail falls with its fineness) in two class folders, some 45 KB each."""
    import numpy as np
    from PIL import Image

    rng = np.random.Generator(np.random.Philox(key=0))
    for number in range(count):
        image = np.full((height, width, 3), 128.0)
        for cells in (4, 8, 16, 32, 64, 128, 256, 500):
            noise = rng.standard_normal((max(2, cells * height // width), cells), np.float32)
            layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            image += np.asarray(layer)[..., None] * rng.uniform(0.5, 1, 3) * 90 / cells**0.5
        path = directory / "ab"[number % 2] / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_links(photos: Path, directory: Path, count: int) -> None:
    """`count` names for the files in `photos`, in the same class folders."""
    files = sorted(photos.glob("*/*"))
    for number in range(count):
        file = files[number % len(files)]
        path = directory / file.parent.name / f"{number:05}{file.suffix}"
        path.parent.mkdir(exist_ok=True, parents=True)
        os.link(file, path)


# Contenders ---------------------------------------------------------------------------------------------------------

Pass = Callable[[], Iterable[int]]
"""Goes through all images once and gives the size of each batch."""


def ours(args: argparse.Namespace) -> tuple[Pass, dict[str, str]]:
    """`batches` of a `FileSource`; "whole": the central square."""
    import rawcnn.start  # noqa: F401

    import tensorflow as tf

    from rawcnn.data.batches import batches
    from rawcnn.data.images.folder import open_folder
    from rawcnn.data.views import centre, random_crop

    source = open_folder(args.data_dir, log=lambda _: None)[0]["train"]
    crop = centre() if args.view == "whole" else random_crop(SIZE / SCALED, mirror=False)
    steps = len(source) // args.batch_size

    endless = iter(batches(source, args.batch_size, seed=0, crop=crop, size=SIZE))
    return lambda: (len(images) for images, _ in itertools.islice(endless, steps)), {"tensorflow": tf.__version__}


def keras_peer(args: argparse.Namespace) -> tuple[Pass, dict[str, str]]:
    """`image_dataset_from_directory`, and for training views `RandomCrop` on its batches."""
    import keras
    import tensorflow as tf

    side = SIZE if args.view == "whole" else SCALED
    dataset = keras.utils.image_dataset_from_directory(
        args.data_dir,
        image_size=(side, side),
        crop_to_aspect_ratio=True,
        batch_size=args.batch_size,
        verbose=False,
    )
    if args.view == "random":
        crop = keras.layers.RandomCrop(SIZE, SIZE)
        dataset = dataset.map(lambda x, y: (crop(x, training=True), y), tf.data.AUTOTUNE)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return lambda: (len(images) for images, _ in dataset), {
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


class TorchPhotos:
    """A PyTorch data set of image files, decoded and scaled by Pillow as torchvision's transforms do."""

    def __init__(self, directory: Path, view: str):
        self.files, self.view = sorted(directory.glob("*/*")), view
        self.classes = sorted({file.parent.name for file in self.files})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import numpy as np
        import torch
        from PIL import Image

        file = self.files[index]
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        side = SIZE if self.view == "whole" else SCALED
        scale = side / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        if self.view == "random":
            left, top = (at + int(torch.randint(side - SIZE + 1, ())) for at in (left, top))
        image = image.crop((left, top, left + SIZE, top + SIZE))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels, self.classes.index(file.parent.name)


def torch_peer(args: argparse.Namespace) -> tuple[Pass, dict[str, str]]:
    """A `DataLoader` with one worker a core; uint8, so that little must pass between the processes."""
    import PIL
    import torch

    torch.set_num_threads(1)
    loader: Any = torch.utils.data.DataLoader(
        TorchPhotos(args.data_dir, args.view),  # type: ignore[arg-type,unused-ignore]
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=max(2, cores()),
        persistent_workers=True,
    )
    return lambda: (len(images) for images, _ in loader), {"torch": torch.__version__, "pillow": PIL.__version__}


def cifar(args: argparse.Namespace) -> tuple[Pass, dict[str, str]]:
    """`batches` of 50,000 images of 32 x 32 in memory: moved by up to 4 pixels and mirrored."""
    import rawcnn.start  # noqa: F401

    import numpy as np
    import tensorflow as tf

    from rawcnn.data.batches import batches
    from rawcnn.data.source import Source
    from rawcnn.data.views import padded_crop

    rng = np.random.Generator(np.random.Philox(key=0))
    images = rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8)
    source = Source(images, rng.integers(0, 10, 50_000).astype(np.int32), tuple("0123456789"))
    steps = len(source) // args.batch_size

    endless = iter(batches(source, args.batch_size, seed=0, crop=padded_crop(), size=32))
    return lambda: (len(images) for images, _ in itertools.islice(endless, steps)), {"tensorflow": tf.__version__}


CONTENDERS: dict[str, Callable[[argparse.Namespace], tuple[Pass, dict[str, str]]]] = {
    OURS: ours,
    "keras": keras_peer,
    "torch": torch_peer,
    "cifar": cifar,
}


def contend(args: argparse.Namespace) -> None:
    """Times `args.passes` passes of one contender and prints the JSON line."""
    args.net, args.precision, args.json = f"{args.view} views", "uint8 or float32", True
    once, versions = CONTENDERS[args.contender](args)
    steps, seconds = sum(1 for _ in once()), []
    for _ in range(args.passes):
        start = time.perf_counter()
        # Keras's last batch is smaller; the time is scaled to what whole batches would have taken.
        images = sum(once())
        seconds.append((time.perf_counter() - start) * steps * args.batch_size / images)
    report(args.contender, args, seconds, steps, versions)


# Memory -------------------------------------------------------------------------------------------------------------


def report_memory(args: argparse.Namespace) -> None:
    """Goes through all files three times and prints the resident memory after each pass, in MiB."""
    import json

    once, _ = ours(args)
    resident = []
    for _ in range(3):
        images = sum(once())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1))
    print(json.dumps({"images": images, "resident_mb": resident, "peak_memory_mb": peak_memory_mb()}))


def memory(photos: Path, args: argparse.Namespace) -> str:
    """A table: resident memory after three passes through 1,000 and through 10,000 files, each in its own process."""
    rows = []
    for count in MEMORY_FILES:
        with tempfile.TemporaryDirectory(dir=photos.parent) as directory:
            write_links(photos, Path(directory), count)
            flags = ("--contender=memory", f"--data_dir={directory}", f"--batch_size={args.batch_size}")
            child = run_child((sys.executable, "-m", "benchmarks.input_pipeline", *flags), args.timeout)
            result = read_result(child, "memory")
        if "error" in result:
            raise SystemExit(f"{count} files: {result['error']}")
        rows.append([f"{count:,}", *(f"{mb:,.0f} MB" for mb in (*result["resident_mb"], result["peak_memory_mb"]))])
    return markdown_table(("files", "after 1 pass", "2 passes", "3 passes", "peak"), rows)


# The race -----------------------------------------------------------------------------------------------------------


def rows_of(directory: Path, args: argparse.Namespace) -> list[Contender]:
    """Training views and whole squares, of each library; or CIFAR's batches."""

    def row(name: str, contender: str, view: str) -> Contender:
        flags = (f"--contender={contender}", f"--view={view}", f"--data_dir={directory}")
        numbers = (f"--batch_size={args.batch_size}", f"--passes={args.passes}")
        return Contender(name, (sys.executable, "-m", "benchmarks.input_pipeline", *flags, *numbers))

    if args.cifar:
        return [row("rawcnn, CIFAR-10's size from memory", "cifar", "random")]
    names = {OURS: OURS, "keras": "Keras", "torch": f"PyTorch, Pillow, {max(2, cores())} workers"}
    views = {"random": "", "whole": ", whole square"}
    return [row(name + suffix, key, view) for view, suffix in views.items() for key, name in names.items()]


def ratios(rounds: list[list[dict[str, Any]]]) -> str:
    """Our rate over each peer's, round by round, for the same views."""
    lines = []
    for k, peer in enumerate(rounds[0]):
        mine = k // 3 * 3
        pairs = [(results[mine], results[k]) for results in rounds if "error" not in results[mine] | results[k]]
        ratio = summarise(a["images_per_second"] / b["images_per_second"] for a, b in pairs)
        if k != mine and ratio:
            spread = f"{ratio.low:.2f} to {ratio.high:.2f}, n={ratio.n} rounds"
            lines.append(f"* {rounds[0][mine]['contender']} / {peer['contender']}: **{ratio.median:.2f}** ({spread})")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="class folders with image files; without it photos are made up")
    parser.add_argument("--files", type=int, default=1000, help="how many photos to make up")
    parser.add_argument("--rounds", type=int, default=3, help="how often every contender runs")
    parser.add_argument("--passes", type=int, default=3, help="timed passes through all images of each process")
    parser.add_argument("--batch_size", type=int, default=64, help="images in a batch")
    parser.add_argument("--cifar", action="store_true", help="only the rate of 32 x 32 images from memory")
    parser.add_argument("--memory", action="store_true", help="resident memory instead of speed")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that one process may take")
    parser.add_argument("--view", choices=("random", "whole"), default="random", help=argparse.SUPPRESS)
    parser.add_argument("--contender", choices=(*CONTENDERS, "memory"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contender:
        return report_memory(args) if args.contender == "memory" else contend(args)
    if args.rounds < 1 or args.passes < 1:
        parser.error("--rounds and --passes must be at least 1")
    command = shlex.join(["python", "-m", "benchmarks.input_pipeline", *sys.argv[1:]])
    print(f"Command: `{command}`\n\nMachine: {machine_line()}.\n", flush=True)
    with contextlib.ExitStack() as stack:
        directory = args.data_dir and args.data_dir.resolve()
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "photos"
            directory.mkdir()
            if not args.cifar:
                write_photos(directory, args.files)
        if args.memory:
            return print(memory(directory, args))
        rows = rows_of(directory, args)
        rounds = race(rows, args.rounds, args.timeout, lambda text: print(text, file=sys.stderr, flush=True))
    table = [race_table(rounds)] if args.cifar else [HOW, race_table(rounds), ratios(rounds)]
    print("\n\n".join([*table, f"Versions: {versions_line(rounds)}."]))


if __name__ == "__main__":
    main()
