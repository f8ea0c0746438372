"""PyTorch as a contender, eager or compiled, with its fast options: the usual training loop.

python -m benchmarks.peers_torch --net=lenet5_tanh --batch_size=128 --precision=float32 --mode=compile --json
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.blocks import timed
from benchmarks.harness import NOT_INSTALLED, contender_parser, cores, drawn_data, plan, report, report_error

Step = Callable[[Any, Any], Any]

HEAD_WEIGHT = 0.3  # of an auxiliary head's loss; Szegedy et al. 2014, section 5


def layout(args: argparse.Namespace) -> Any:
    """How images and filters lie in memory."""
    import torch

    return torch.channels_last if args.channels_last else torch.contiguous_format


def autocast(args: argparse.Namespace) -> Callable[[], Any]:
    """A context in which PyTorch computes in the precision asked for; the parameters stay as they are."""
    import torch

    if args.precision == "float32":
        return contextlib.nullcontext
    return functools.partial(torch.autocast, "cpu", torch.bfloat16)


def make_step(net: Any, args: argparse.Namespace) -> Step:
    """zero_grad, loss, backward, step."""
    import torch
    from torch.nn.functional import cross_entropy

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=args.adam == "fused", foreach=args.adam == "foreach")
    cast = autocast(args)

    def loss_of(images: Any, labels: Any) -> Any:
        with cast():
            outputs = net(images)
        if not isinstance(outputs, dict):
            return cross_entropy(outputs.float(), labels)
        heads = sum(cross_entropy(logits.float(), labels) for name, logits in outputs.items() if name != "logits")
        return cross_entropy(outputs["logits"].float(), labels) + HEAD_WEIGHT * heads

    if args.mode == "compile":
        loss_of = torch.compile(loss_of, mode=args.compile_mode)

    def step(images: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def block(passes: int, step: Step, images: Any, labels: Any, batch_size: int) -> list[Any]:
    """Shuffled passes over the images; the losses of the first and the last step."""
    import torch

    losses = []
    for _ in range(passes):
        order: Any = torch.randperm(len(images))
        for chosen in order.split(batch_size):
            losses.append(step(images[chosen], labels[chosen]).detach())
    return [losses[0], losses[-1]]


def load(args: argparse.Namespace) -> tuple[Any, tuple[int, ...], int]:
    """The net in the layout asked for, the shape of an image and the number of classes."""
    import torch

    from tests.oracles.nets_torch import NETS

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    build, shape, classes = NETS[args.net]
    return build(shape, classes).to(memory_format=layout(args)), shape, classes


def train(args: argparse.Namespace, name: str) -> None:
    """Trains one block to warm up, then the timed ones, and reports."""
    import torch

    net, shape, classes = load(args)
    todo = plan(args, shape)
    images, labels = (torch.from_numpy(a) for a in drawn_data(todo.images, shape, classes))
    images = images.contiguous(memory_format=layout(args))
    step = make_step(net, args)
    losses: list[Any] = []

    def train_block() -> None:
        losses.extend(block(todo.passes, step, images, labels, args.batch_size))

    seconds = timed(args.blocks, train_block)
    parameters = sum(p.numel() for p in net.parameters())
    loss = [round(float(losses[0]), 4), round(float(losses[-1]), 4)]
    report(name, args, seconds, todo.steps, {"torch": torch.__version__}, parameters=parameters, loss=loss)


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
    from tests.oracles.nets_torch import NETS  # needs PyTorch

    if args.net not in NETS:
        return report_error(name, f"no net {args.net!r} here, only {', '.join(NETS)}")
    try:
        train(args, name)
    except Exception as error:  # inductor raises many kinds when it finds no working C++ compiler
        report_error(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
        sys.exit(1)


if __name__ == "__main__":
    main()
