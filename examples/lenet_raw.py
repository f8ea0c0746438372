"""LeNet-5 of 1998 with every op in sight: no layer, no table, no training loop of rawcnn's, drawn digits as data.

python examples/lenet_raw.py
"""

import rawcnn.start  # noqa: F401

import tensorflow as tf

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.layers.variables import bias_variable, lecun_uniform, weight_variable
from rawcnn.nets.lenet import C3_TABLE, DIGIT_BITMAPS
from rawcnn.ops import connections, partial_conv2d, rbf_distance, scaled_tanh, subsample
from rawcnn.seeds import fold

C3 = connections(C3_TABLE)  # [6, 16]: True where a map of C3 sees a map of S2
C3_FAN_IN = 25 * C3.sum(axis=0)  # [16]: 75, 100 or 150 inputs


def variables(seed: int = 0) -> dict[str, tf.Variable]:
    """All 60,000 weights, uniform in +-2.4 / fan-in (section III.C)."""
    table = {  # weights, outputs, fan-in
        "c1": ((5, 5, 1, 6), 6, 25),
        "s2": ((6,), 6, 4),
        "c3": ((5, 5, 60), 16, C3_FAN_IN),
        "s4": ((16,), 16, 4),
        "c5": ((5, 5, 16, 120), 120, 400),
        "f6": ((120, 84), 84, 120),
    }
    v = {}
    for name, (shape, outputs, fan_in) in table.items():
        of_weights = fan_in[C3.nonzero()[1]] if name == "c3" else fan_in
        v[f"{name}/w"] = weight_variable(shape, lecun_uniform(), fan_in=of_weights, seed=fold(seed, f"{name}/w"))
        v[f"{name}/b"] = bias_variable((outputs,), lecun_uniform(), fan_in=fan_in, seed=fold(seed, f"{name}/b"))
    return v


def lenet5(x: tf.Tensor, v: dict[str, tf.Variable]) -> tf.Tensor:
    """Images [N, 32, 32, 1], background -0.1 and ink 1.175, to the distance of each digit's bitmap [N, 10]."""
    c1 = scaled_tanh(tf.nn.conv2d(x, v["c1/w"], 1, "VALID") + v["c1/b"])  # [N, 28, 28, 6]
    s2 = scaled_tanh(subsample(c1, v["s2/w"], v["s2/b"]))  # [N, 14, 14, 6]
    c3 = scaled_tanh(partial_conv2d(s2, v["c3/w"], C3) + v["c3/b"])  # [N, 10, 10, 16]
    s4 = scaled_tanh(subsample(c3, v["s4/w"], v["s4/b"]))  # [N, 5, 5, 16]
    c5 = scaled_tanh(tf.nn.conv2d(s4, v["c5/w"], 1, "VALID") + v["c5/b"])  # [N, 1, 1, 120]
    f6 = scaled_tanh(tf.matmul(c5[:, 0, 0], v["f6/w"]) + v["f6/b"])  # [N, 84]
    return rbf_distance(f6, tf.constant(DIGIT_BITMAPS))


def main(count: int = 2000, epochs: int = 12, batch_size: int = 20, learning_rate: float = 0.01) -> None:
    images, labels = drawn_digits(count)
    x = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]])
    x, y = tf.cast(x, tf.float32) * (1.275 / 255) - 0.1, tf.constant(labels)
    v = variables()

    @tf.function(autograph=False)
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            distances = lenet5(x, v)
            right = tf.gather(distances, y, batch_dims=1)
            loss = tf.reduce_mean(
                right + tf.math.log(tf.exp(-5.0) + tf.reduce_sum(tf.exp(-distances), axis=1))
            )  # eq. 9
        for weight, gradient in zip(v.values(), tape.gradient(loss, list(v.values())), strict=True):
            weight.assign_sub(learning_rate * gradient)
        return tf.reduce_mean(tf.cast(tf.argmin(distances, axis=1, output_type=tf.int32) == y, tf.float32))

    for epoch in range(epochs):
        accuracy = [step(x[k : k + batch_size], y[k : k + batch_size]) for k in range(0, count, batch_size)]
        print(f"epoch {epoch + 1:2}  training accuracy {sum(accuracy) / len(accuracy):.1%}")


if __name__ == "__main__":
    main()
