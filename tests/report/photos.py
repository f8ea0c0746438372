"""A small folder of photos whose classes are named in Korean, and like an attack; and a run that learnt from them."""

import numpy as np
from PIL import Image

from tests.command import ROOT, call

EVIL = "<script>alert(1)<\u2215script>"
"""A folder's name cannot hold a slash; U+2215 looks like one."""
NAMES = ("고양이", EVIL, "사과 & 배")


def evil_photos(directory):
    """Twelve pictures of each class, each class of a colour of its own, with unkind file names."""
    rng = np.random.default_rng(4)
    for k, name in enumerate(NAMES):
        (directory / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 80, (40, 44, 3)) + np.array([160, 20, 90]) * (k == np.arange(3))
            Image.fromarray(pixels.astype(np.uint8)).save(directory / name / f"그림 {i} <b>.png")
    return directory


def train_on(photos, run):
    """One epoch of cifar_basic."""
    call(
        ROOT / "examples" / "train_cifar.py", f"--run={run}", f"--data_dir={photos}", "--net=cifar_basic",
        "--dataset=folder", "--input_size=32", "--epochs=1", "--batch_size=6", "--validation=0.2", home=photos.parent,
    )  # fmt: skip
    return run
