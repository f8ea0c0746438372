"""rawcnn layers in TensorFlow code of your own: two layers, a plain GradientTape, no table.

python examples/use_layers.py
"""

import rawcnn.start  # noqa: F401

import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.layers import LRN, Conv2D, PartialConv2D

# A layer needs nothing but the shape it follows, and is complete at once: no lazy build, no dummy batch.
conv = Conv2D(4, 5, stride=2, input_shape=(28, 28, 1), activation=tf.nn.relu)
norm = LRN(n=3, input_shape=conv.out_shape)
partial = PartialConv2D(
    """
    X . . . X X X . X X
    X X . . . X X X . X
    . X X X . . X X X .
    . . X X X . . X X X
    """,
    14,
    input_shape=norm.out_shape,
)  # each of the 10 outputs sees its own choice of the 4 maps
weights = [*conv.trainable_variables, *partial.trainable_variables]

images, labels = drawn_digits(500)
x, y = tf.constant(images / 255.0, tf.float32), tf.constant(labels)
for step in range(60):
    with tf.GradientTape() as tape:
        logits = tf.reshape(partial(norm(conv(x))), (-1, 10))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        weight.assign_sub(0.1 * gradient)
    if step % 20 == 19:
        print(f"step {step + 1}  loss {loss:.3f}")
