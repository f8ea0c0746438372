"""Nothing that is done to images makes TensorFlow write to stderr: there oneDNN tells what it cannot do.

oneDNN complains on processors without AVX512, once a process: on others the test cannot fail.
"""

from tests.command import of_program

PROGRAM = """
import numpy as np
import rawcnn as rc
from rawcnn.data import augment, batches, mixing, trivial, views

crops = (None, views.random_crop(), views.padded_crop(), views.area_crop(), views.scale_jitter(), views.letterboxed())
augments = (
    None, augment.distortion(), augment.random_erasing, augment.reflected_shift, augment.photometric,
    augment.pca_lighting, trivial.trivial_augment, lambda images, seed: augment.cutout(images, seed, 8),
)
rng = np.random.default_rng(0)
source = rc.Source(rng.integers(0, 256, (32, 32, 32, 3), np.uint8), np.arange(32) % 10)
changes = [{"crop": crop, "size": 32} for crop in crops] + [{"augment": one, "alternate": True} for one in augments]
for change in (*changes, {"mix": mixing.mixup}, {"mix": mixing.cutmix}):
    for _ in batches.batches(source, 16, seed=0, **change).take(2):
        pass
for crops_of_test in ("1", "10", "144"):
    for _ in batches.in_order(source, 16, views.protocol(crops_of_test), 32):
        pass
batches.thumbnails(source, np.arange(3))
"""


def test_crops_and_augmentations_write_nothing_to_stderr():
    done = of_program(PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
