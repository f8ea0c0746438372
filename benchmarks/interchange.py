"""Weights and nets there and back: how far the answers of other programs are from rawcnn's, for each file and format.

python -m benchmarks.interchange > results/interchange.md
python -m benchmarks.interchange --nets=lenet5,cifar_fast --formats=saved_model,onnx

Weights: an independent net of Keras or PyTorch and one of rawcnn get the same numbers by a file, and answer the same
images; the error is max|ours - theirs| / max|theirs| of the logits. Exports: probabilities in SavedModel, onnxruntime
and LiteRT beside the run's own, the largest difference of one. Weights and images are random. Nets take images as small
as they can, so that all fit into a few minutes.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rawcnn.start  # noqa: F401

import numpy as np

from benchmarks.fidelity import draw_weights, relative_error
from benchmarks.harness import machine_line, markdown_table
from rawcnn.data.preprocess import Preprocess
from rawcnn.nets import NETS, input_shape
from rawcnn.nets.weights import load_weights, save_weights
from rawcnn.run.classify import Classifier
from rawcnn.run.export import FORMATS, export
from rawcnn.train.inputs import Inputs

CLASSES = 10
SMALL = {"alexnet": 99, "alexnet_bn": 99, "alexnet_valid": 227, "alexnet_one_tower": 95, "alexnet_dogs": 67,
         "alexnet_dogs_small": 67, "googlenet": 224, "googlenet_dogs": 214, "lenet5_tanh": 28}  # fmt: skip
"""Pixels a side of the images; 32 for other nets."""
TORCHVISION = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "alexnet_one_tower")
APPLICATIONS = ("vgg16", "vgg19")
"""The nets of `keras.applications`: they take blue, green, red."""
PACKAGES = ("tensorflow", "keras", "torch", "onnxruntime", "tf2onnx", "ai-edge-litert")


def shape_of(name: str) -> tuple[int, int, int]:
    side = SMALL.get(name, 32)
    return side, side, input_shape(name)[2]


def drawn_images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


# Weights: each function gives the error of the logits that the file brought to rawcnn, or took from it


def from_torch(name: str, folder: Path) -> float:
    """A state dict of torchvision's net, written by safetensors, loaded into rawcnn's."""
    from safetensors.torch import save_file

    module = _torchvision(name)
    save_file(module.state_dict(), folder / "theirs.safetensors")
    ours = NETS[name](shape_of(name), CLASSES)
    load_weights(ours, folder / "theirs.safetensors")
    images = drawn_images(shape_of(name))
    return relative_error(ours(images).numpy(), _torch_answers(module, images))


def to_torch(name: str, folder: Path) -> float:
    """rawcnn's weights, taken by `load_state_dict` of an independent PyTorch net."""
    from safetensors.torch import load_file

    ours = NETS[name](shape_of(name), CLASSES)
    draw_weights(ours)
    save_weights(ours, folder / "ours.safetensors", names="torch")
    module = _torchvision(name)
    module.load_state_dict(load_file(folder / "ours.safetensors"))
    images = drawn_images(shape_of(name))
    return relative_error(ours(images).numpy(), _torch_answers(module, images))


def from_keras(name: str, folder: Path) -> float:
    """Weights that a Keras net saved as .weights.h5."""
    theirs = _keras(name)
    rng = np.random.default_rng(1)
    theirs.set_weights([rng.normal(0, 0.1, w.shape) if w.ndim > 1 else rng.uniform(0.5, 1, w.shape)
                        for w in theirs.get_weights()])  # fmt: skip
    theirs.save_weights(folder / "theirs.weights.h5")
    ours = NETS[name](tuple(theirs.input_shape[1:]), CLASSES)
    load_weights(ours, folder / "theirs.weights.h5", bgr=name in APPLICATIONS)
    return _beside_keras(name, ours, theirs)


def to_keras(name: str, folder: Path) -> float:
    """rawcnn's weights, taken by `load_weights` of an independent Keras net."""
    theirs = _keras(name)
    ours = NETS[name](tuple(theirs.input_shape[1:]), CLASSES)
    draw_weights(ours)
    save_weights(ours, folder / "ours.h5", names="keras")
    theirs.load_weights(folder / "ours.h5", by_name=name.startswith("googlenet"))
    return _beside_keras(name, ours, theirs)


def _torchvision(name: str) -> Any:
    import torch

    from tests.oracles import nets_torchvision

    side = shape_of(name)[0]
    module = (
        nets_torchvision.alexnet(side, CLASSES)
        if name == "alexnet_one_tower"
        else nets_torchvision.vgg(name, side, CLASSES)
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.ndim > 1:
                tensor.copy_(torch.randn(tensor.shape) * np.sqrt(2 / np.prod(tensor.shape[1:])))
            elif tensor.dtype == torch.float32:
                tensor.copy_(0.5 + torch.rand(tensor.shape))
    return module.eval()


def _torch_answers(module: Any, images: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        answers: np.ndarray = module(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()
    return answers


def _keras(name: str) -> Any:
    if name in APPLICATIONS:
        import keras

        build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
        return build(weights=None, input_shape=shape_of(name), classes=CLASSES, classifier_activation=None)
    from tests.oracles import nets_keras

    build, shape, _ = nets_keras.NETS[name]
    return build(shape, CLASSES)


def _beside_keras(name: str, ours: Any, theirs: Any) -> float:
    images = drawn_images(ours.input_shape)
    keras_takes = images[..., ::-1] if name in APPLICATIONS else images
    return relative_error(ours(images).numpy(), np.asarray(theirs(keras_takes)))


WEIGHTS: dict[str, tuple[Callable[[str, Path], float], tuple[str, ...]]] = {
    "PyTorch's .safetensors, loaded": (from_torch, TORCHVISION),
    "written for PyTorch": (to_torch, TORCHVISION),
    "Keras's .weights.h5, loaded": (from_keras, (*APPLICATIONS, "lenet5_tanh", "lenet5_relu", "cifar_wide")),
    "written for Keras": (to_keras, (*APPLICATIONS, "lenet5_tanh", "lenet5_relu", "cifar_wide", "googlenet_dogs")),
}

# Exports --------------------------------------------------------------------------------------------------------------


def exported(name: str, format: str, folder: Path) -> float:
    """The largest difference of a probability of `name`, exported as `format`."""
    side, _, channels = shape_of(name)
    pad = 2 if name == "lenet5" else 0
    net = NETS[name]((side, side, channels), CLASSES, seed=3)
    draw_weights(net)
    inputs = Inputs(side - 2 * pad, preprocess=Preprocess(pad=pad, low=-1.0, high=1.0), central_fraction=1.0,
                    data_shape=(side - 2 * pad, side - 2 * pad, channels))  # fmt: skip
    classifier = Classifier(net, inputs, tuple(map(str, range(CLASSES))))
    return export(classifier, folder / format, format=format).largest_difference


def table(
    header: Sequence[str], columns: Sequence[Callable[[str, Path], float] | None], names: Sequence[str]
) -> list[list[str]]:
    """A row for each name, with what each column's function gives; "-" where it gives nothing."""
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for title, function in zip(header[1:], columns, strict=True):
            if function is None or (title in WEIGHTS and name not in WEIGHTS[title][1]):
                row.append("-")
                continue
            with tempfile.TemporaryDirectory() as folder:
                row.append(f"{function(name, Path(folder)):.1e}")
            gc.collect()  # what a converter holds
        print(" | ".join(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="nets, with commas between them")
    parser.add_argument("--formats", default=",".join(FORMATS), help="formats of export; empty: none")
    args = parser.parse_args(arguments)
    names, formats = args.nets.split(","), [one for one in args.formats.split(",") if one]
    versions = ", ".join(f"{one} {importlib.metadata.version(one)}" for one in PACKAGES)
    command = shlex.join(["python", "-m", "benchmarks.interchange", *(arguments or sys.argv[1:])])
    print(f"# Weights and nets, there and back\n\nCommand: `{command}`\n")
    print(f"Machine: {machine_line()}. {versions}. Date: {datetime.date.today()}.\n", flush=True)
    some = [name for name in names if any(name in takes for _, takes in WEIGHTS.values())]
    header = ("net", *WEIGHTS)
    rows = table(header, [function for function, _ in WEIGHTS.values()], some)
    print("Error of the logits, max|ours - theirs| / max|theirs|, after a file of weights was loaded or written:\n")
    print(f"{markdown_table(header, rows)}\n")
    if formats:
        header = ("net", *formats)
        made = [lambda name, folder, format=format: exported(name, format, folder) for format in formats]
        print("Largest difference of a probability between an export and rawcnn (SavedModel; onnxruntime; LiteRT):\n")
        print(markdown_table(header, table(header, made, names)))


if __name__ == "__main__":
    main()
