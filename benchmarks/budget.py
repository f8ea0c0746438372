"""The budget of one training step: where every millisecond goes, by kind of op and op by op, from a trace.

python -m benchmarks.budget --net=alexnet_bn --batch_size=128 --precision=bfloat16

Ops run one after the other here, each on all cores (on one, where a net's ops are small), so that their times add up to
the step's. A net that computes parts of a batch side by side is traced with one part. An op of a faster form's gradient
(`rawcnn/ops/fast`) has no row's name, and counts by its type alone.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shlex
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import machine_line, markdown_table
from benchmarks.step_time import build, drawn_source, trainer  # starts TensorFlow

# isort: split
import tensorflow as tf

from rawcnn.data.batches import batches
from rawcnn.layers.variables import named_weights
from rawcnn.nets import precision
from rawcnn.nets.summary import summary_rows
from rawcnn.ops.fast.forms import plain
from rawcnn.train.recipes import recipe_of

TOP = 15

# What an op counts as: the kind of the first pattern found in "layer of its row:type of op", with "gradient " before it
# in a gradient. A fused op counts as what it begins with: a convolution's forward form includes its bias and its ReLU.
KINDS = (
    ("fused elementwise (XLA)", r":_?Xla"),
    ("convolution: filter gradient", "BackpropFilter"),
    ("convolution: input gradient", r"BackpropInput"),
    ("local response normalisation", r"LRN:|:LRN"),
    ("convolution: forward", r":(Fused)?(DepthwiseConv2dNative|Conv2D)"),
    ("matrix products", r"MatMul"),
    ("batch normalisation", r":(Fused)?BatchNorm"),
    ("ReLU gradient", r":Relu\w*Grad"),
    ("pooling", r"Pool|Subsample:"),
    ("dropout", r"Dropout:"),
    ("input: preprocessing", r"Preprocess:"),
    ("loss", r":.*(Softmax|CrossEntropy)"),
    ("update of the weights", r":ResourceApply"),
    ("casts", r":Cast$"),
    ("activations and their gradients", r":(Relu|Tanh|Sigmoid)"),
    ("sums: gradients of biases and of parts", r":(BiasAddGrad|Sum|AddN)$"),
    ("copies: pad, slice, join, transpose", r":(Pad|(Strided)?Slice|Split|Concat|Pack|Unpack|Transpose|SpaceTo|Tile)"),
    ("other elementwise", r":(Mul|Add|Sub|BiasAdd|RealDiv|Pow|Square|R?[Ss]qrt|Maximum|Minimum|Select|Neg|Assign)"),
)  # fmt: skip
REST, WAITING, BETWEEN = "the rest", "input: waiting for a batch", "between ops"


class Op(NamedTuple):
    """One op of the step: the row it belongs to ("" for none), whether it is part of a gradient, its type, its name."""

    row: str
    gradient: bool
    type: str
    name: str


def parse_op(event: str, rows: Iterable[str]) -> Op:
    """The op of an event `path/of/name:Type`; paths begin with the name of a row, but for those of custom gradients.

    >>> parse_op("while/body/_1/gradient_tape/conv1/Conv2DBackpropFilter_1:_MklNativeConv2DBackpropFilter", ["conv1"])
    Op(row='conv1', gradient=True, type='Conv2DBackpropFilter', name='conv1/Conv2DBackpropFilter_1')
    """
    path, _, kind = event.rpartition(":")
    kind = re.sub(r"^_?(MklNative|Mkl)?", "", kind)
    parts = [part for part in path.split("/") if not re.fullmatch(r"(while|body|cond)(_\d+)?|_\d+", part)]
    gradient = "gradient_tape" in parts
    name = "/".join(part for part in parts if part != "gradient_tape")
    found = [row for row in rows if name.startswith(f"{row}/")]
    return Op(max(found, key=len, default=""), gradient, kind, name)


def kind_of(op: Op, layer: str) -> str:
    """The kind of an op in a row that is a `layer` ("" in no row)."""
    text = f"{'gradient ' * op.gradient}{layer}:{op.type}"
    return next((kind for kind, pattern in KINDS if re.search(pattern, text)), REST)


def readable(op: Op, weights: list[str]) -> str:
    """What to call an op in the table: its name, or for an update the weight it updates."""
    update = re.fullmatch(r"ResourceApply[A-Za-z]+?(?:_(\d+))?", op.name)
    if update and int(update[1] or 0) < len(weights):
        return weights[int(update[1] or 0)]
    return op.name


# Tracing --------------------------------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """Milliseconds of one step: its ops by event, waiting for data, the whole, and the whole when not traced."""

    ops: Counter[str]
    waited: float
    step: float
    untraced: float


def own_times(events: Iterable[tuple[int, int, str]]) -> Counter[str]:
    """Time of each event `(start, duration, name)` of one thread, without that of the events inside it.

    >>> own_times([(0, 10, "outer"), (2, 3, "inner"), (20, 5, "outer")])
    Counter({'outer': 12, 'inner': 3})
    """
    own: Counter[str] = Counter()
    open_events: list[tuple[int, str]] = []
    for start, duration, name in sorted(events, key=lambda e: (e[0], -e[1])):
        while open_events and open_events[-1][0] <= start:
            open_events.pop()
        if open_events:
            own[open_events[-1][1]] -= duration
        own[name] += duration
        open_events.append((start + duration, name))
    return own


def events_of(plane: Any, line: Any) -> Iterator[tuple[int, int, str]]:
    """The ops that one thread ran: start, duration and `name:Type`; a call of a program of XLA's is `function:Xla`.

    Such a call has no name of its own, but what runs in it names its program: `a_inference__lrn_gradient_504__.1`.
    """
    stats, calls, programs = plane.stat_metadata, [], []
    for event in line.events:
        name = plane.event_metadata[event.metadata_id].name
        if name.startswith("CpuExecutable::"):
            calls.append((event.offset_ps, event.duration_ps))
        elif re.fullmatch(r"[^: ]+:\w+", name):
            yield event.offset_ps, event.duration_ps, name
        modules = (stats[s.ref_value].name for s in event.stats if stats[s.metadata_id].name == "hlo_module")
        programs += [(event.offset_ps, module) for module in modules]
    programs.sort()
    for start, duration in calls:
        later = programs[bisect(programs, (start, "")) :]
        function = re.sub(r"^(a_inference)?_*|_\d+__.*$", "", later[0][1]) if later else "XLA"
        yield start, duration, f"{function}:Xla"


def read_trace(directory: Path) -> Counter[str]:
    """Milliseconds of every op that did not run on the input's threads, from the profiler's file below `directory`."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(directory.rglob("*.xplane.pb")).read_bytes())
    total: Counter[str] = Counter()
    for plane in (plane for plane in space.planes if "CPU" in plane.name):
        for line in (line for line in plane.lines if not line.name.startswith("tf_data")):
            total.update(own_times(events_of(plane, line)))
    return Counter({name: picoseconds / 1e9 for name, picoseconds in total.items()})


def trace_steps(call: Callable[[int], Any], steps: int) -> Trace:
    """Runs `call(steps)` once to warm up, once to measure, and once to trace."""

    def timed() -> tuple[float, Any]:
        start = time.perf_counter()
        results = call(steps)
        return 1000 * (time.perf_counter() - start) / steps, results

    call(steps)
    untraced, _ = timed()
    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            step, results = timed()
        ops = read_trace(Path(directory))
    waited = 1000 * float(results.waited) / steps
    return Trace(Counter({name: ms / steps for name, ms in ops.items()}), waited, step, untraced)


# The tables -----------------------------------------------------------------------------------------------------------


def kinds_table(trace: Trace, ops: dict[str, Op], layers: dict[str, str]) -> str:
    """Milliseconds and share of every kind of op; the rows sum to the step."""
    kinds: Counter[str] = Counter({WAITING: trace.waited})
    for event, ms in trace.ops.items():
        kinds[kind_of(ops[event], layers.get(ops[event].row, ""))] += ms
    ordered = [*kinds.most_common(), (BETWEEN, trace.step - kinds.total()), ("**one step**", trace.step)]
    rows = [(kind, f"{ms:.2f}", f"{ms / trace.step:.1%}") for kind, ms in ordered]
    return markdown_table(("kind of op", "ms/step", "share"), rows)


def ops_table(trace: Trace, ops: dict[str, Op], layers: dict[str, str], weights: list[str]) -> str:
    """The costliest ops, one by one."""
    rows = []
    for event, ms in trace.ops.most_common(TOP):
        op = ops[event]
        kind = kind_of(op, layers.get(op.row, ""))
        rows.append((readable(op, weights), kind, op.type, f"{ms:.2f}", f"{ms / trace.step:.1%}"))
    return markdown_table(("op", "kind", "TensorFlow's op", "ms/step", "share"), rows)


def budget(args: argparse.Namespace) -> str:
    """Trains and traces the net, and writes up both tables."""
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if recipe_of(args.net).small_ops:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    net, recipe, shards = build(args.net, args.batch_size, args.precision, shards=1)
    layers = {row.name: row.kind for row in summary_rows(net)} | {"preprocess": "Preprocess"}
    weights = list(named_weights(net))
    _, source = drawn_source(net, recipe, args)
    _, step = trainer(net, recipe, shards)
    data = iter(batches(source, args.batch_size, seed=0))
    trace = trace_steps(lambda n: step(data, tf.constant(n)), args.steps)
    ops = {event: parse_op(event, layers) for event in trace.ops}
    return "\n\n".join(
        (
            f"Mean of {args.steps} steps: {trace.untraced:.2f} ms before the trace, {trace.step:.2f} ms in it.",
            kinds_table(trace, ops, layers),
            f"The {TOP} costliest ops:",
            ops_table(trace, ops, layers, weights),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="alexnet_bn", help="which net to train")
    parser.add_argument("--batch_size", type=int, default=128, help="images per step")
    parser.add_argument("--precision", choices=precision.NAMES, default="auto", help="of the computation")
    parser.add_argument("--steps", type=int, default=3, help="steps to trace")
    parser.add_argument("--plain", default="", help="faster forms to leave out, or all; see rawcnn/ops/fast/forms.py")
    args = parser.parse_args()
    args.images = 0
    print(f"# The budget of one step: {args.net}, batch {args.batch_size}, {args.precision}\n")
    print(f"Command: `{shlex.join(['python', '-m', 'benchmarks.budget', *sys.argv[1:]])}`\n")
    print(f"Machine: {machine_line()}. Date: {datetime.date.today()}.\n")
    with plain(*filter(None, args.plain.split(","))):
        print(budget(args))


if __name__ == "__main__":
    main()
