"""PyTorch as a contender: the usual training loop over tensors in memory, eager or compiled, with its fast options.

python benchmarks/peers_torch.py --net=lenet5_tanh --batch_size=128 --precision=float32 --mode=compile --json
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import NOT_INSTALLED, contender_parser, cores, drawn_data, report, report_error

Step = Callable[[Any, Any], Any]


def _lenet5(activation: Any, padding: tuple[int, int]) -> list[Any]:
    from torch import nn

    return [
        nn.Conv2d(1, 6, 5, padding=padding),
        activation(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        activation(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, 10),
    ]


def lenet5_tanh() -> list[Any]:
    """The lab's net: truncated normal 0.1, biases 0.1."""
    import torch

    layers = _lenet5(torch.nn.Tanh, padding=(2, 2))
    for layer in layers:
        if hasattr(layer, "weight"):
            torch.nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            torch.nn.init.constant_(layer.bias, 0.1)
    return layers


def lenet5_relu() -> list[Any]:
    """Input padded to 32 x 32 before the data reach the net."""
    import torch

    return _lenet5(torch.nn.ReLU, padding=(0, 0))


# name -> (layers, input shape [C, H, W], classes)
NETS: dict[str, tuple[Callable[[], list[Any]], tuple[int, int, int], int]] = {
    "lenet5_tanh": (lenet5_tanh, (1, 28, 28), 10),
    "lenet5_relu": (lenet5_relu, (1, 32, 32), 10),
}


def make_step(net: Any, args: argparse.Namespace) -> Step:
    """zero_grad, loss, backward, step."""
    import torch

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=args.adam == "fused", foreach=args.adam == "foreach")
    cast: Any = contextlib.nullcontext
    if args.precision == "bfloat16":
        cast = functools.partial(torch.autocast, "cpu", torch.bfloat16)

    def loss_of(images: Any, labels: Any) -> Any:
        with cast():
            logits = net(images)
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    if args.mode == "compile":
        loss_of = torch.compile(loss_of, mode=args.compile_mode)

    def step(images: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def epoch(step: Step, images: Any, labels: Any, batch_size: int) -> list[Any]:
    """One shuffled epoch; the losses of its first and last step."""
    import torch

    order: Any = torch.randperm(len(images))
    losses = []
    for chosen in order.split(batch_size):
        losses.append(step(images[chosen], labels[chosen]).detach())
    return [losses[0], losses[-1]]


def run(args: argparse.Namespace, name: str) -> None:
    """Trains one epoch to warm up, then the timed ones, and reports."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    layers, shape, classes = NETS[args.net]
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    net: Any = torch.nn.Sequential(*layers())
    net = net.to(memory_format=layout)
    images, labels = (torch.from_numpy(a) for a in drawn_data(args.steps * args.batch_size, shape, classes))
    images = images.contiguous(memory_format=layout)
    step = make_step(net, args)
    first = float(epoch(step, images, labels, args.batch_size)[0])
    seconds, last = [], first
    for _ in range(args.blocks):
        start = time.perf_counter()
        last = float(epoch(step, images, labels, args.batch_size)[1])
        seconds.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in net.parameters())
    versions = {"torch": torch.__version__}
    report(name, args, seconds, args.steps, versions, parameters=parameters, loss=[round(first, 4), round(last, 4)])


def main() -> None:
    parser = contender_parser(__doc__ or "")
    parser.add_argument(
        "--mode", choices=("eager", "compile"), default="eager", help="plain, or torch.compile of net and loss"
    )
    parser.add_argument(
        "--compile_mode", choices=("default", "max-autotune"), default="default", help="torch.compile's mode"
    )
    parser.add_argument("--channels_last", action="store_true", help="store the images as [N, H, W, C]")
    parser.add_argument(
        "--adam", choices=("fused", "foreach", "single"), default="fused", help="torch.optim.Adam's implementation"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="torch.set_num_threads")
    args = parser.parse_args()
    name = "torch-" + (f"compile-{args.compile_mode}" if args.mode == "compile" else "eager")
    name += "-channels_last" * args.channels_last + f"-{args.threads}threads"
    if importlib.util.find_spec("torch") is None:
        return report_error(name, NOT_INSTALLED)
    if args.net not in NETS:
        return report_error(name, f"no net {args.net!r} here, only {', '.join(NETS)}")
    try:
        run(args, name)
    except Exception as error:  # inductor raises many kinds when it finds no working C++ compiler
        report_error(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
        sys.exit(1)


if __name__ == "__main__":
    main()
