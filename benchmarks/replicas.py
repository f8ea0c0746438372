"""Does training depend on the number of replicas? Losses of 20 steps on 1, 2 and 4 virtual devices, 2 and 3 processes.

    python -m benchmarks.replicas [--nets=lenet5,...] [--steps=20]
    python -m benchmarks.replicas --kill --data_dir=MNIST

Prints the largest relative difference of the loss from that on one device: over the first step, and over all. The
control is one device with other kernels: where a recipe makes rounding larger from step to step, it shows there. With
`--kill`: of two workers one is killed; how and when the other ends, and whether the restart's weights are those of an
undisturbed run. The processes talk over the loopback device of this machine.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 12
NETS = {"lenet5": (28, 1), "cifar_fast": (32, 3), "alexnet_bn": (67, 3), "googlenet": (193, 3)}
"""The pixels a side and channels of the images: the smallest that the last two nets take."""
RATES = {"cifar_fast": 0.012, "alexnet_bn": 1e-5}
"""Learning rates in the place of the recipe's, with which rounding alone would become percents of the loss in 20 steps
of batches as small as these: two kernels on one device differ as much."""
DEVICES, PROCESSES = (1, 2, 4), (2, 3)
CONTROL = {"TF_ENABLE_ONEDNN_OPTS": "0"}
"""Other kernels on one device: how far rounding alone goes in so many steps of this net and its recipe."""


def child(name: str, steps: int, devices: int) -> None:
    """Train `name` for `steps` steps on `devices` virtual devices, 0: as one of the workers; print the losses."""
    import numpy as np
    import tensorflow as tf

    import rawcnn as rc

    strategy: str | tf.distribute.Strategy = "none"
    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    if devices != 1:
        strategy = rc.make_strategy("mirrored" if devices else "multi_worker")
    side, channels = NETS[name]
    draws = np.random.Generator(np.random.Philox(key=1))
    labels = np.arange(10 * BATCH) % 10
    means = draws.integers(64, 192, (10, side, side, channels))
    images = np.clip(means[labels] + draws.normal(0, 32, (len(labels), side, side, channels)), 0, 255).astype(np.uint8)
    source = rc.Source(images, labels, tuple("0123456789"))
    if name in ("lenet5", "cifar_fast"):
        net = rc.create_net(name)
    else:
        net = rc.create_net(name, input_shape=(side, side, channels), num_classes=10)
    recipe = rc.recipe_of(name)
    losses: list[float] = []
    before = 0.0
    for now in rc.fit(net, source, -(-steps // 10), recipe=recipe, batch_size=BATCH, shards=1, pause_every=1,
                      learning_rate=RATES.get(name), precision="float32", strategy=strategy):  # fmt: skip
        losses.append(now.loss_sum - before)
        before = 0.0 if now.epoch_ended else now.loss_sum
        if len(losses) == steps:
            break
    print(json.dumps(losses))


def run(name: str, steps: int, devices: int, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A process of its own that is `child`."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.replicas",
        f"--child={name}",
        f"--steps={steps}",
        f"--devices={devices}",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})


def losses_of(process: subprocess.Popen[str]) -> list[float]:
    """What a child printed."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"a child ended with status {process.returncode}")
    losses: list[float] = json.loads(out)
    return losses


def cluster(count: int) -> list[dict[str, str]]:
    """TF_CONFIG for `count` workers on this machine."""
    tried = [socket.socket() for _ in range(count)]
    for one in tried:
        one.bind(("localhost", 0))
    workers = [f"localhost:{one.getsockname()[1]}" for one in tried]
    for one in tried:
        one.close()
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}} for i in range(count)]
    return [{"TF_CONFIG": json.dumps(task)} for task in tasks]


def difference(losses: list[float], wanted: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(one / other - 1) for one, other in zip(losses, wanted, strict=True))


def table(nets: list[str], steps: int) -> None:
    """A row for each net and each number of replicas."""
    print(f"| net | replicas | loss of step {steps} | relative difference: of step 1 | of all {steps} steps |")
    print("|---|---|--:|--:|--:|")
    for name in nets:
        wanted = losses_of(run(name, steps, 1))
        print(f"| {name} | one device | {wanted[-1]:.6f} | | |", flush=True)
        row(name, "one device, without oneDNN", losses_of(run(name, steps, 1, CONTROL)), wanted)
        for count in DEVICES[1:]:
            row(name, f"{count} virtual devices", losses_of(run(name, steps, count)), wanted)
        for count in PROCESSES:
            every = [losses_of(one) for one in [run(name, steps, 0, told) for told in cluster(count)]]
            assert all(losses == every[0] for losses in every), "workers print different losses"
            row(name, f"{count} processes", every[0], wanted)


def row(name: str, what: str, losses: list[float], wanted: list[float]) -> None:
    """Print a row of the table."""
    first, all_steps = difference(losses[:1], wanted[:1]), difference(losses, wanted)
    print(f"| {name} | {what} | {losses[-1]:.6f} | {first:.1e} | {all_steps:.1e} |", flush=True)


def kill(data_dir: str) -> None:
    """Two workers train LeNet-5, one is killed; how the other ends, and what the restart comes to."""
    import numpy as np

    with tempfile.TemporaryDirectory() as home:
        flags = ["--net=lenet5_relu", f"--data_dir={data_dir}", "--sample=0.02", "--test_sample=0.1", "--epochs=10",
                 "--batch_size=20", "--save_every=10"]  # fmt: skip
        whole, cut = Path(home, "whole"), Path(home, "cut")
        finish(workers([*flags, f"--run={whole}", "--strategy=multi_worker"]))
        chief, other = workers([*flags, f"--run={cut}", "--strategy=multi_worker"])
        while not list(cut.glob("ckpt-*[1-9]0.npz")):
            time.sleep(0.05)
        began = time.monotonic()
        other.kill()
        _, err = chief.communicate()
        seconds = time.monotonic() - began
        print(
            f"one of two workers killed: the chief ended after {seconds:.1f} s with status {chief.returncode}:\n{err}"
        )
        other.communicate()
        finish(workers([f"--run={cut}", "--resume"]))
        with np.load(cut / "weights.npz") as one, np.load(whole / "weights.npz") as wanted:
            same = all(one[name].tobytes() == wanted[name].tobytes() for name in wanted.files)
        print(f"restarted: the weights are {'bit for bit' if same else 'NOT'} those of the undisturbed run")


def workers(flags: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes of `rawcnn train`."""
    command = [sys.executable, "-m", "rawcnn", "train", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, env={**os.environ, **told}, **pipes) for told in cluster(2)]  # type: ignore[call-overload]


def finish(processes: list[subprocess.Popen[str]]) -> None:
    """Wait for both."""
    for process in processes:
        out, err = process.communicate()
        if process.returncode:
            sys.exit(f"status {process.returncode}\n{out}\n{err}")


def main() -> None:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help="with commas between")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--kill", action="store_true", help="kill one of two workers instead")
    parser.add_argument("--data_dir", help="directory with MNIST's files, for --kill")
    parser.add_argument("--child", choices=NETS, help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.steps, args.devices)
    elif args.kill:
        kill(args.data_dir)
    else:
        table(args.nets.split(","), args.steps)


if __name__ == "__main__":
    main()
