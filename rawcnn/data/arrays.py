"""Arrays as people have them, made into what a `Source` holds: images in 0 ... 255, labels int32 `[N]`."""

from collections import Counter
from numbers import Real
from typing import Any

import numpy as np

from rawcnn.errors import DataError

MAX_CLASSES = 100_000
"""A label above this is a mistake (an id, a pixel), not a class."""

CHUNK = 2**24  # pixels that are looked at together, so that tests of large arrays take little memory


def as_images(images: Any) -> np.ndarray:
    """Images as uint8 or float32 `[N, H, W, C]` in 0 ... 255, from arrays or lists `[N, H, W]` or `[N, H, W, C]`.

    Whole numbers must be in 0 ... 255. Floats that are all in 0 ... 1 are multiplied by 255; other floats must be in
    0 ... 255. Floats that are whole numbers then become uint8. Booleans become 0 and 255.

    Raises `DataError` for other shapes, types and values.

    >>> as_images([[[0.0, 1.0]]]).ravel(), as_images([[[0, 7]]]).shape
    (array([  0, 255], dtype=uint8), (1, 1, 2, 1))
    """
    images = _with_channels(as_array(images, "images"))
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return np.uint8(255) * images
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 255):  # so that NaN is refused too
        raise DataError(
            f"Images are in 0 ... 255 or, as floats, in 0 ... 1, but these are in {low:.4g} ... {high:.4g}. "
            "Give the pixels before they were standardised, or scale them to 0 ... 1."
        )
    if images.dtype.kind in "iu":
        return images.astype(np.uint8)
    images = images.astype(np.float32) * np.float32(255 if high <= 1 else 1)
    return np.rint(images).astype(np.uint8) if _whole(images) else images


def as_labels(labels: Any, count: int) -> np.ndarray:
    """Labels of `count` images as int32 `[N]`, from whole numbers of any type, in arrays or lists `[N]` or `[N, 1]`.

    Raises `DataError` for other shapes and values; one-hot labels are named as such.

    >>> as_labels([[2.0], [0.0]], 2)
    array([2, 0], dtype=int32)
    """
    labels = as_array(labels, "labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == count:
        raise DataError(
            f"Labels are one whole number an image, [N], but these are {list(labels.shape)}, which looks one-hot. "
            "Give labels.argmax(axis=1)."
        )
    if labels.shape != (count,):
        raise DataError(f"There are {count} images but labels of shape {list(labels.shape)}. Give one label an image.")
    if labels.dtype == bool:
        return labels.astype(np.int32)
    wrong = np.flatnonzero(~(np.abs(labels.astype(np.float64)) < 2**31) | (labels % 1 != 0))
    if len(wrong):
        raise DataError(f"Label {labels[wrong[0]]} of image {wrong[0]} is not a whole number 0, 1, 2, ... of a class.")
    return labels.astype(np.int32)


def check_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...]) -> None:
    """Raise `DataError` unless there are `count` labels, all of classes that have a name."""
    if labels.shape != (count,):
        raise DataError(f"There are {count} images but labels of shape {labels.shape}.")
    if twice := [name for name, count in Counter(class_names).items() if count > 1]:
        raise DataError(f"Two classes are called {twice[0]!r}: give each class a name of its own.")
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(outside):
        counted_from_1 = labels.min() == 1 and labels.max() == len(class_names)
        remedy = "labels count from 0: give labels - 1" if counted_from_1 else "check that labels and names go together"
        raise DataError(
            f"Label {labels[outside[0]]} of image {outside[0]} is outside 0 ... {len(class_names) - 1}, the classes "
            f"that have a name: {remedy}."
        )


def numbered(labels: np.ndarray) -> tuple[str, ...]:
    """Class names "0", "1", ... up to the largest label."""
    if not len(labels) or labels.min() < 0 or labels.max() >= MAX_CLASSES:
        wrong = "none" if not len(labels) else labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"Labels are 0, 1, 2, ... (up to {MAX_CLASSES - 1:,}), but there is {wrong}.")
    return tuple(map(str, range(labels.max() + 1)))


def as_array(values: Any, what: str) -> np.ndarray:
    """`values` as an array of numbers; raises `DataError` that calls them `what`."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        raise DataError(f"The {what} differ in shape, so they make no array. Make them all of one shape.") from None
    except RuntimeError as error:  # tensors of PyTorch that want gradients
        raise DataError(f"The {what} cannot be made an array: {error}") from None
    if array.ndim == 0:
        raise DataError(f"The {what} must be an array or a list of numbers, not {type(values).__name__}.")
    if array.dtype == object and all(isinstance(value, Real) for value in array.flat):  # as pandas keeps some numbers
        array = np.array(array.tolist())
    if array.dtype.kind not in "buif":
        remedy = "names, labels = np.unique(labels, return_inverse=True) makes numbers of names"
        raise DataError(
            f"The {what} must be numbers, not {array.dtype}: "
            f"{remedy if what == 'labels' else 'convert them to uint8 or float32'}."
        )
    return array


def _with_channels(images: np.ndarray) -> np.ndarray:
    """`[N, H, W]` with a channel axis, `[N, H, W, C]` as it is."""
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or not images.size:
        raise DataError(
            f"Images must be [N, H, W, C] or, if grey, [N, H, W], and at least one, but they are {list(images.shape)}. "
            "Reshape them, as in images.reshape(-1, 28, 28, 1)."
        )
    _, channels, height, width = images.shape
    if channels in (1, 3) and min(height, width) > 4 and (height == width or channels == 3):
        raise DataError(
            f"Images must be [N, H, W, C], but {list(images.shape)} has its channels first. "
            "Give images.transpose(0, 2, 3, 1)."
        )
    return images


def _whole(images: np.ndarray) -> bool:
    """Whether all values are whole numbers, but for the rounding of a division by 255."""
    flat = images.reshape(-1)
    pieces = (flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK))
    return all(np.abs(piece - np.rint(piece)).max() < 1e-3 for piece in pieces)
