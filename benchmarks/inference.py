"""Inference as users call it, beside PyTorch, Keras and LiteRT: from uint8 images in memory to probabilities.

python -m benchmarks.inference --nets=lenet5_tanh,alexnet_bn --batch_sizes=1,64 --turns=30

Every way does the same work, a batch a call: pixels scaled, the net, softmax, probabilities as a NumPy array. rawcnn's
ways are `rc.predict` and what `rc.load_run` gives; nothing is prepared by hand. Weights are drawn: they do not change
the time. Each way has a process of its own, and makes its blocks in turn with the others.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import platform
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.blocks import timed
from benchmarks.harness import (
    NOT_INSTALLED,
    OURS,
    Contender,
    contender_parser,
    drawn_data,
    machine_line,
    publish,
    race_table,
    report,
    report_error,
    versions_line,
)
from benchmarks.turns import race_by_turns, ratio_to_fastest

LOW, HIGH = -0.4242, 2.8215  # what pixels 0 and 255 become
CALLS = {1: 500, 64: 20}  # of a timed block of a LeNet, by batch size; other nets make a twentieth
SHAPES = {"lenet5_tanh": (28, 28, 1), "cifar_basic": (32, 32, 3), "alexnet_bn": (227, 227, 3)}
"""Nets that all ways have -> an image."""
Answer = Callable[[Any], Any]
"""Images uint8 `[N, H, W, C]` -> probabilities float32 `[N, K]`, as NumPy arrays."""


# rawcnn ---------------------------------------------------------------------------------------------------------------


def _ours(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The net, its recipe and how images are shown to it."""
    import rawcnn as rc
    from rawcnn.nets import precision
    from rawcnn.train.inputs import Inputs

    net = rc.create_net(args.net, num_classes=10, policy=precision.parse(args.precision))
    recipe = rc.Recipe(preprocess=rc.Preprocess(low=LOW, high=HIGH))
    height, width, channels = net.input_shape
    return net, recipe, Inputs(height, recipe.preprocess, 1.0, (height, width, channels))


def predict(args: argparse.Namespace) -> Answer:
    """`rc.predict`, as after `rc.fit`."""
    import rawcnn as rc

    net, recipe, _ = _ours(args)
    rc.predict(net, drawn_images(args)[:1], recipe=recipe)  # notes the recipe on the net, as `fit` does
    return lambda images: rc.predict(net, images)


def classifier(args: argparse.Namespace) -> Answer:
    """`rc.load_run(...).probabilities`."""
    from rawcnn.run.classify import Classifier

    net, _, inputs = _ours(args)
    return Classifier(net, inputs, tuple(map(str, range(10)))).probabilities


# Peers ----------------------------------------------------------------------------------------------------------------


def _torch(args: argparse.Namespace) -> tuple[Any, Any]:
    import torch

    from tests.oracles.nets_torch import NETS

    if args.threads:
        torch.set_num_threads(args.threads)
    build, shape, _ = NETS[args.net]
    net = build(shape, 10).eval()
    dtype = torch.bfloat16 if args.precision == "bfloat16" else torch.float32

    class Whole(torch.nn.Module):
        """Scaled pixels, net, softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net.to(dtype=dtype, memory_format=torch.channels_last)

        def forward(self, images: Any) -> Any:
            x = images.permute(0, 3, 1, 2).float() * ((HIGH - LOW) / 255) + LOW
            return torch.softmax(self.net(x.to(dtype)).float(), 1)

    return torch, Whole().eval()


def _of_torch(torch: Any, net: Any) -> Answer:
    def answer(images: Any) -> Any:
        with torch.inference_mode():
            return net(torch.from_numpy(images)).numpy()

    return answer


def torch_eager(args: argparse.Namespace) -> Answer:
    """The module, called."""
    return _of_torch(*_torch(args))


def torch_frozen(args: argparse.Namespace) -> Answer:
    """Traced and frozen: constants, batch normalisation folded, fused."""
    torch, net = _torch(args)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # still the fastest on one image
        traced = torch.jit.freeze(torch.jit.trace(net, torch.from_numpy(drawn_images(args))))
    return _of_torch(torch, traced)


def torch_compiled(args: argparse.Namespace) -> Answer:
    """Compiled with constant weights."""
    torch, net = _torch(args)
    import torch._inductor.config as inductor

    inductor.freezing = True
    return _of_torch(torch, torch.compile(net))


def _keras(args: argparse.Namespace) -> Any:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import keras

    from tests.oracles.nets_keras import NETS

    if args.precision == "bfloat16":
        keras.config.set_dtype_policy("bfloat16")
    build, shape, _ = NETS[args.net]
    model = build(shape, 10)
    images = keras.Input(shape, dtype="uint8")
    scaled = keras.layers.Rescaling((HIGH - LOW) / 255, LOW)(images)
    return keras.Model(images, keras.layers.Softmax(dtype="float32")(model(scaled)))


def keras_predict(args: argparse.Namespace) -> Answer:
    """`predict_on_batch`, Keras's own fastest call."""
    model = _keras(args)
    return lambda images: model.predict_on_batch(images)


def keras_function(args: argparse.Namespace) -> Answer:
    """The model in a `tf.function`, with XLA if asked."""
    import tensorflow as tf

    model = _keras(args)
    call = tf.function(lambda images: model(images, training=False), jit_compile=args.jit)
    return lambda images: call(tf.constant(images)).numpy()


def litert(args: argparse.Namespace) -> Answer:
    """What `rawcnn export --format=tflite` writes, in LiteRT: for those who need more."""
    from ai_edge_litert.interpreter import Interpreter

    import rawcnn as rc
    from rawcnn.run.classify import Classifier

    net, _, inputs = _ours(args)
    path = Path(tempfile.mkdtemp(), "net.tflite")
    rc.export(Classifier(net, inputs, tuple(map(str, range(10)))), path, format="tflite")
    interpreter = Interpreter(str(path), num_threads=args.threads or None)
    run = interpreter.get_signature_runner()
    return lambda images: run(images=images)["probabilities"]


WAYS: dict[str, tuple[Callable[[argparse.Namespace], Answer], tuple[str, ...], str]] = {
    OURS: (predict, (), ""),
    "rawcnn, load_run": (classifier, (), ""),
    "rawcnn, TensorFlow's own convolutions": (predict, ("--plain=conv2d_blocks",), ""),
    "PyTorch eager": (torch_eager, (), "torch"),
    "PyTorch eager, 1 thread": (torch_eager, ("--threads=1",), "torch"),
    "PyTorch traced, frozen": (torch_frozen, (), "torch"),
    "PyTorch traced, frozen, 1 thread": (torch_frozen, ("--threads=1",), "torch"),
    "PyTorch compiled, frozen": (torch_compiled, (), "torch"),
    "Keras predict_on_batch": (keras_predict, (), "keras"),
    "Keras tf.function": (keras_function, (), "keras"),
    "Keras tf.function, XLA": (keras_function, ("--jit",), "keras"),
    "LiteRT, exported by rawcnn": (litert, (), "ai_edge_litert"),
}
"""Name -> what makes the way, its flags, and the package that it needs."""
NOT_PEERS = ("rawcnn, load_run", "rawcnn, TensorFlow's own convolutions", "LiteRT, exported by rawcnn")
"""Shown in the tables, and in no ratio: they are rawcnn's own."""


# Measuring ------------------------------------------------------------------------------------------------------------


def drawn_images(args: argparse.Namespace) -> Any:
    """A batch of images, uint8 `[N, H, W, C]`."""
    images, _ = drawn_data(args.batch_size, SHAPES[args.net], 10)
    return (255 * images).astype("uint8")


def calls_of(net: str, batch_size: int) -> int:
    """Calls of a timed block."""
    calls = next(count for size, count in sorted(CALLS.items(), reverse=True) if batch_size >= size)
    return calls if net.startswith("lenet") else max(1, calls // 20)


def _plain(form: str) -> AbstractContextManager[None]:
    """Without a faster form, if one is named. Only rawcnn's ways name one: peers' processes load no rawcnn."""
    if not form:
        return nullcontext()
    from rawcnn.ops.fast.forms import plain

    return plain(form)


def measure(args: argparse.Namespace) -> None:
    """Time one way and report it."""
    make, _, package = WAYS[args.way]
    if package and importlib.util.find_spec(package) is None:
        return report_error(args.way, NOT_INSTALLED)
    images, calls = drawn_images(args), calls_of(args.net, args.batch_size)
    with _plain(args.plain):
        answer = make(args)
        found = answer(images)
        assert found.shape == (args.batch_size, 10) and abs(float(found[0].sum()) - 1) < 0.01
        seconds = timed(args.blocks, lambda: [answer(images) for _ in range(calls)])
    versions = {"python": platform.python_version()}
    for name in ("tensorflow", "keras", "torch"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    report(args.way, args, seconds, calls, versions)


def contender(way: str, net: str, batch_size: int, precision: str, turns: int) -> Contender:
    """The process that measures a way."""
    shared = (f"--net={net}", f"--batch_size={batch_size}", f"--precision={precision}", f"--blocks={turns}", "--json")
    return Contender(way, (sys.executable, "-m", "benchmarks.inference", f"--way={way}", *shared, *WAYS[way][1]))


def section(net: str, batch_size: int, args: argparse.Namespace) -> str:
    """One net at one batch size: the ratio and the table."""
    ways = [way for way in WAYS if way in (args.only or WAYS)]
    rounds = race_by_turns(
        [contender(way, net, batch_size, args.precision, args.turns) for way in ways],
        args.turns,
        args.timeout,
        lambda text: print(net, batch_size, text, file=sys.stderr, flush=True),
    )
    peers = [[result for result in results if result["contender"] not in NOT_PEERS] for results in rounds]
    title = f"## {net}, {batch_size} image{'s' if batch_size > 1 else ''} a call, {args.precision}"
    return "\n\n".join((title, ratio_to_fastest(peers, OURS), race_table(rounds), versions_line(rounds)))


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument("--way", choices=tuple(WAYS), help="measure this one, in this process")
    parser.add_argument("--plain", default="", help="rawcnn: without this faster form")
    parser.add_argument("--jit", action="store_true", help="Keras: compile with XLA")
    parser.add_argument("--threads", type=int, default=0, help="PyTorch, LiteRT: threads of an op; 0: their own choice")
    parser.add_argument("--nets", default="lenet5_tanh,alexnet_bn", help=f"some of {', '.join(SHAPES)}")
    parser.add_argument("--batch_sizes", default="1,64", help="images a call, with commas between")
    parser.add_argument("--turns", type=int, default=30, help="timed blocks of every way")
    parser.add_argument("--only", action="append", help="race only this way; may be given again")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a race may take")
    parser.add_argument("--out", type=Path, help="also write the result to this markdown file")
    args = parser.parse_args()
    if args.way:
        return measure(args)
    sizes = [int(size) for size in args.batch_sizes.split(",")]
    sections = [section(net, size, args) for net in args.nets.split(",") for size in sizes]
    publish(
        (
            "# Inference from uint8 images to probabilities",
            f"Command: `{shlex.join(['python', '-m', 'benchmarks.inference', *sys.argv[1:]])}`",
            f"Machine: {machine_line()}. Date: {datetime.date.today()}.",
            *sections,
        ),
        args.out,
    )
    return None


if __name__ == "__main__":
    main()
