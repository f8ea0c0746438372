"""How far rawcnn's nets are from Keras's and PyTorch's: the same random weights and images, logits and input gradients.

python -m benchmarks.fidelity --nets=alexnet,googlenet

The error is max|a - b| / max|b|, b being the peer, over all numbers of one batch. The gradient is that of the logits'
sum with fixed random factors, auxiliary heads included. Batch normalisation uses random moving statistics, and dropout
is off.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import platform
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import rawcnn.start  # noqa: F401

import numpy as np
import tensorflow as tf

from benchmarks.harness import NOT_INSTALLED, machine_line, markdown_table
from rawcnn.layers import LRN
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from rawcnn.nets.precision import Policy
from rawcnn.nets.weights import assign

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """What a net says to a batch: each output by name `[N, classes]`, and the gradient of the images `[N, H, W, C]`."""

    outputs: Arrays
    gradient: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Relative errors against one peer."""

    forward: float
    gradient: float


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """`max|ours - theirs| / max|theirs|`; infinite if the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def compare(ours: Answer, theirs: Answer) -> Errors:
    """The largest error of any output, infinite if one is missing, and that of the gradient."""
    if ours.outputs.keys() != theirs.outputs.keys():
        return Errors(float("inf"), float("inf"))
    forward = max(relative_error(ours.outputs[name], theirs.outputs[name]) for name in theirs.outputs)
    return Errors(forward, relative_error(ours.gradient, theirs.gradient))


# What is asked --------------------------------------------------------------------------------------------------------


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))


def drawn_value(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """A random value of a variable, of a size that keeps activations near 1 from row to row."""
    normal = _generator(path).standard_normal(shape, np.float32)
    kind = path.rsplit("/", 1)[-1]
    if kind == "w":
        return normal * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
    return np.exp(normal / 4) if kind in ("gamma", "moving_variance") else normal / 10


def draw_weights(net: tf.Module) -> Arrays:
    """Sets all weights and moving statistics of a rawcnn net to random numbers, and returns them by path."""
    variables = {path: v for path, v in named_variables(net).items() if v.dtype.is_floating}
    values = {path: drawn_value(path, tuple(v.shape)) for path, v in variables.items()}
    assign(variables, values, "the drawn weights")
    return values


def draw_batch(net: Any, count: int) -> np.ndarray:
    """Images `[count, H, W, C]`, near 1 in size; for nets with LRN near 60, the size of pixels, as LRN is tuned to it.

    With numbers near 1, LRN's alpha would change the last digits only, and a wrong alpha would pass.
    """
    size = np.float32(60 if any(isinstance(layer, LRN) for _, layer in net.rows) else 1)
    return size * _generator("images").standard_normal((count, *net.input_shape), np.float32)


def _factors(outputs: Mapping[str, Any]) -> Arrays:
    return {name: _generator(name).standard_normal(tuple(y.shape), np.float32) for name, y in outputs.items()}


def wide(build: Callable[..., Any], weights: Arrays) -> Any:
    """The net that `build(policy=...)` gives, with these weights, computing in float64."""
    net = build(policy=Policy(tf.float64, tf.float64))
    assign({path: v for path, v in named_variables(net).items() if path in weights}, weights, "the drawn weights")
    return net


# Who is asked ---------------------------------------------------------------------------------------------------------


def ask_rawcnn(net: Any, images: np.ndarray) -> Answer:
    """The heads compute in training only, so they are run here on the rows they hang on."""

    def outputs_of(x: tf.Tensor) -> dict[str, tf.Tensor]:
        logits, ends = net.endpoints(x)
        return {"logits": logits, **{name: head(ends[at]) for name, at, head in net.heads}}

    return _ask_tensorflow(outputs_of, images)


def ask_keras(model: Any, images: np.ndarray) -> Answer:
    def outputs_of(x: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(x, training=False)
        return outputs if isinstance(outputs, dict) else {"logits": outputs}

    return _ask_tensorflow(outputs_of, images)


def _ask_tensorflow(outputs_of: Any, images: np.ndarray) -> Answer:
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = outputs_of(x)
        total = tf.add_n([tf.reduce_sum(outputs[name] * tf.cast(f, x.dtype)) for name, f in _factors(outputs).items()])
    return Answer({name: y.numpy() for name, y in outputs.items()}, tape.gradient(total, x).numpy())


def ask_torch(net: Any, images: np.ndarray) -> Answer:
    import torch

    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).requires_grad_()
    outputs = net.eval()(x)
    outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
    total = sum((outputs[name] * torch.from_numpy(f)).sum() for name, f in _factors(outputs).items())
    (gradient,) = torch.autograd.grad(total, x)
    return Answer({name: y.detach().numpy() for name, y in outputs.items()}, gradient.numpy().transpose(0, 2, 3, 1))


def against_keras(name: str, weights: Arrays, images: np.ndarray, ours: Answer) -> Errors:
    """Builds the Keras net with the same weights, and compares. VGG16 and VGG19 are those of `keras.applications`.

    Computes in the dtype of `images`.
    """
    import keras

    from tests.oracles import nets_keras

    build = nets_keras.APPLICATIONS.get(name) or nets_keras.NETS[name][0]
    usual = keras.config.floatx()
    keras.config.set_floatx(str(images.dtype))
    try:
        model = build(images.shape[1:], ours.outputs["logits"].shape[1])
        nets_keras.assign(model, weights)
        return compare(ours, ask_keras(model, images))
    finally:
        keras.config.set_floatx(usual)
        keras.backend.clear_session()


def against_torch(name: str, weights: Arrays, images: np.ndarray, ours: Answer) -> Errors:
    """Builds the PyTorch net with the same weights, and compares. Computes in the dtype of `images`."""
    from tests.oracles import nets_torch

    height, width, channels = images.shape[1:]
    net = nets_torch.NETS[name][0]((channels, height, width), ours.outputs["logits"].shape[1])
    nets_torch.assign(net, weights)
    net = net.double() if images.dtype == np.float64 else net
    return compare(ours, ask_torch(net, images))


# The table ------------------------------------------------------------------------------------------------------------

PARTS = "forward", "gradient"
HEADER = ("net", "input", "parameters", *(f"{peer} {part}" for peer in ("Keras", "PyTorch") for part in PARTS))
HEADER += tuple(f"{column}, float64" for column in HEADER[3:])

NOTE = """Largest relative errors, float32 unless said otherwise. The gradient of a net with ReLU or max pooling jumps
where a number is 0 or two numbers tie. Among millions of numbers, some are so close to it that rounding decides, and
then two float32 gradients differ although the nets are the same: an error of 1e-3 or more is such a jump if float64
agrees, which rounds too finely to meet one by chance. Without LRN, Keras shares rawcnn's forward kernels, and so the
rounding; PyTorch has its own. VGG16 and VGG19 are those of `keras.applications`."""


def table_row(name: str, count: int) -> list[str]:
    """The errors of one net at its own input size."""
    net = NETS[name]()
    weights, images = draw_weights(net), draw_batch(net, count)
    cells = [name, "x".join(map(str, net.input_shape)), f"{net.num_params():,}"]
    has_torch = importlib.util.find_spec("torch") is not None
    for ask, batch in ((net, images), (wide(NETS[name], weights), images.astype(np.float64))):
        ours = ask_rawcnn(ask, batch)
        for against in (against_keras, against_torch):
            if against is against_torch and not has_torch:
                cells += [NOT_INSTALLED] * 2
                continue
            errors = against(name, weights, batch, ours)
            cells += [f"{errors.forward:.1e}", f"{errors.gradient:.1e}"]
    return cells


def versions() -> str:
    import keras

    found = {"python": platform.python_version(), "numpy": np.__version__}
    found |= {"tensorflow": tf.__version__, "keras": keras.__version__}
    if importlib.util.find_spec("torch"):
        import torch

        found["torch"] = torch.__version__
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def main() -> None:
    from tests.oracles import nets_keras

    names = [name for name in NETS if name in nets_keras.NETS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(names), help="nets, with commas between them")
    parser.add_argument("--images", type=int, default=1, help="images in the batch")
    args = parser.parse_args()
    rows = []
    print(f"Machine: {machine_line()}.\nVersions: {versions()}. Images: {args.images}.\n", flush=True)
    for name in args.nets.split(","):
        if name not in names:
            parser.error(f"no peer has a net {name!r}: choose from {', '.join(names)}")
        rows.append(table_row(name, args.images))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
        gc.collect()
    print(f"{markdown_table(HEADER, rows)}\n\n{NOTE}")


if __name__ == "__main__":
    main()
