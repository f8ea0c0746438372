"""LeNet-5 on MNIST as a good Keras user writes it: the script that benchmarks/whole_command.py times rawcnn against.

python -m benchmarks.keras_lenet_script --data_dir=DIR --epochs=10
"""

import argparse
import gzip
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib
import numpy as np
from keras import layers

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or gz."""
    packed = path.with_name(path.name + ".gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    rank = data[3]
    shape = np.frombuffer(data, ">u4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, 32, 32, 1]` in [0, 1] and labels `[N]`."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte").astype("float32") / 255
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte").astype("int64")
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], labels


def plot(history: dict[str, list[float]], path: Path) -> None:
    """Loss and accuracy by epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(history[name], label="training")
        axis.plot(history[f"val_{name}"], label="validation")
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with the four MNIST files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps_per_execution", type=int, default=1)
    parser.add_argument(
        "--run", type=Path, default=Path("keras_lenet"), help="where to save the weights and the curves"
    )
    args = parser.parse_args()

    keras.utils.set_random_seed(0)
    train_images, train_labels = load(args.data_dir, "train")
    test_images, test_labels = load(args.data_dir, "t10k")
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.summary()
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=args.steps_per_execution,
    )
    history = model.fit(
        train_images,
        train_labels,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_split=1 / 30,
        verbose=2,
    )
    _, accuracy = model.evaluate(test_images, test_labels, batch_size=args.batch_size, verbose=0)
    args.run.mkdir(parents=True, exist_ok=True)
    model.save_weights(args.run / "lenet.weights.h5")
    plot(history.history, args.run / "curves.png")
    print(f"test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
