"""Input gradients of convolutions without padding, stride 1, and a convolution of interleaved images.

Each gradient takes (`dy`, `w`, `height`), the gradient of the output, the filter and the height of the input, and gives
the gradient of the input.
"""

import tensorflow as tf

INTERLEAVED = 16  # images; a tile of the processor's matrix unit has as many rows


def suits_strips(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """A few channels, which fill only part of a vector register: LeNet's C3 in float32."""
    size, _, channels, _ = w.shape
    return None not in x.shape[1:3] and x.dtype == tf.float32 and padding == "VALID" and 1 < channels <= 32 // size


def strips(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """The gradient of a convolution's input, rows first: `[N, H', W', K] -> [N, height, W' + size - 1, C]`."""
    return _overlaid(_strips(dy, w, height), w.shape[0])


@tf.function(autograph=False, jit_compile=True)
def _overlaid(strips: tf.Tensor, size: int) -> tf.Tensor:
    """The strip of column j, added to the columns j ... j + size - 1, in one pass: `[N, H, W, size * C]`."""
    parts = tf.split(strips, size, axis=-1)
    return tf.add_n([tf.pad(part, [[0, 0], [0, 0], [k, size - 1 - k], [0, 0]]) for k, part in enumerate(parts)])


def suits_interleaved(x: tf.Tensor, w: tf.Tensor, padding: str) -> bool:
    """Large windows on many channels, and results so narrow that they fill less than half a tile."""
    if None in x.shape or x.dtype != tf.bfloat16 or padding != "VALID":
        return False
    size, _, channels, _ = w.shape
    narrow = x.shape[2] - size + 1 < INTERLEAVED // 2
    return size > 3 and channels >= 256 and x.shape[0] % INTERLEAVED == 0 and narrow


def conv2d_interleaved(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """A convolution without padding of 16 images at once: neighbouring columns of one image lie 16 columns apart."""
    return _apart(tf.nn.conv2d(_interleave(x), w, 1, "VALID", dilations=(1, INTERLEAVED)))


def interleaved(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """The gradient of `conv2d_interleaved`'s input: strips as in `strips`, added up 16 columns apart."""
    size = w.shape[0]
    strips = _strips(_interleave(dy), w, height)
    parts = tf.split(strips, size, axis=-1)
    ends = [[INTERLEAVED * k, INTERLEAVED * (size - 1 - k)] for k in range(size)]
    placed = [tf.pad(part, [[0, 0], [0, 0], end, [0, 0]]) for part, end in zip(parts, ends, strict=True)]
    return _apart(tf.add_n(placed))


def _interleave(x: tf.Tensor) -> tf.Tensor:
    """`[N, H, W, C] -> [N / 16, H, W * 16, C]`: the first columns of 16 images, then their second columns, ..."""
    _, height, width, channels = x.shape
    images = tf.transpose(tf.reshape(x, (-1, INTERLEAVED, height, width, channels)), (0, 2, 3, 1, 4))
    return tf.reshape(images, (-1, height, width * INTERLEAVED, channels))


def _apart(x: tf.Tensor) -> tf.Tensor:
    """Undoes `_interleave`."""
    _, height, width, channels = x.shape
    columns = tf.reshape(x, (-1, height, width // INTERLEAVED, INTERLEAVED, channels))
    return tf.reshape(tf.transpose(columns, (0, 3, 1, 2, 4)), (-1, height, width // INTERLEAVED, channels))


def _strips(dy: tf.Tensor, w: tf.Tensor, height: int) -> tf.Tensor:
    """A convolution transposed along the height alone: of each column of `dy`, a strip of size * C numbers a row."""
    size, _, channels, filters = w.shape
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.stack([tf.shape(dy)[0], height, dy.shape[2], size * channels]),
        filter=tf.reshape(w, (size, 1, size * channels, filters)),
        out_backprop=dy,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
