"""From pixels 0 ... 255 to what a net is given."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from rawcnn.errors import UsageError

Level = float | tuple[float, ...]
"""A number, or one per channel."""


@dataclass(frozen=True)
class Preprocess:
    """From pixels 0 ... 255 to what a net is given.

    Images are scaled to `resize` pixels a side (bilinear; 0: left as they are), then get `pad` pixels of 0 on every
    side, and finally 0 becomes `low` and 255 `high`, numbers for all channels or one for each.

    >>> Preprocess(pad=1, low=-1.0, high=1.0)(tf.fill((1, 1, 1, 1), 255)).numpy()[0, :, :, 0]
    array([[-1., -1., -1.],
           [-1.,  1., -1.],
           [-1., -1., -1.]], dtype=float32)
    """

    pad: int = 0
    low: Level = 0.0
    high: Level = 1.0
    resize: int = 0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.resize < 0:
            raise UsageError(f"pad and resize are numbers of pixels from 0 on, not {self.pad} and {self.resize}.")

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        if self.resize and images.shape[1:3] != (self.resize, self.resize):
            images = tf.image.resize(images, (self.resize, self.resize))
        images = tf.cast(images, tf.float32)  # before padding: TFLite has no padding of uint8
        if self.pad:
            images = tf.pad(images, [[0, 0], [self.pad] * 2, [self.pad] * 2, [0, 0]])
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return images * ((high - low) / np.float32(255.0)) + low

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint: `Preprocess(**saved)` makes it again."""
        return asdict(self)

    @staticmethod
    def standardised(mean: Sequence[float], deviation: Sequence[float], **more: Any) -> "Preprocess":
        """The one that gives each channel mean 0 and deviation 1, from those of its pixels in 0 ... 255.

        >>> Preprocess.standardised((127.5,), (127.5,)).high
        (1.0,)
        """
        low = tuple(-m / d for m, d in zip(mean, deviation, strict=True))
        high = tuple((255.0 - m) / d for m, d in zip(mean, deviation, strict=True))
        return Preprocess(low=low, high=high, **more)
