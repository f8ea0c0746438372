"""The benchmarks of our own speed: what they count, how they group and what they run. Nothing here measures a speed."""

from __future__ import annotations

import argparse
import doctest
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace as Fake
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import budget, forms, peak, scaling, start_up, step_time
from rawcnn.layers import RBF, BatchNorm, Conv2D, Dense, Flatten
from rawcnn.machine import AMX, AVX2, AVX512, AVX512_BF16, OTHER
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.ops.fast.forms import FORMS, plain
from tests.command import of_module

ROOT = Path(budget.__file__).parents[1]
CONV, DENSE, FLAT = row(Conv2D, padding="VALID")(3, 3), row(Dense), row(Flatten)
AUX = {"aux": ("conv", (("flat", FLAT()), ("out", DENSE(4))))}


def small_net() -> Chain:
    """36 pixels x 3x3 window x 2 channels x 3 filters = 1944 multiply-adds, then 108 x 5; the head has 108 x 4."""
    return Chain((("conv", CONV), ("flat", FLAT()), ("fc", DENSE(5))), input_shape=(8, 8, 2), heads=AUX)


# Arithmetic -----------------------------------------------------------------------------------------------------------


def test_a_step_is_three_times_the_forward_work_but_for_the_image_s_gradient() -> None:
    assert peak.training_flops(small_net()) == 2 * (2 * 1944 + 3 * 108 * 5 + 3 * 108 * 4)


def test_weights_below_need_a_gradient_and_fixed_centres_do_not() -> None:
    centres = np.zeros((7, 108), np.float32)
    table = (("bn", row(BatchNorm)()), ("conv", CONV), ("flat", FLAT()), ("rbf", row(RBF)(centres)))
    assert peak.training_flops(Chain(table, input_shape=(8, 8, 2))) == 2 * (3 * 1944 + 2 * 7 * 108)


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "event", "kind"),
    [
        ("Conv2D", "while/body/_1/r/Relu:_MklNativeFusedConv2D", "convolution: forward"),
        ("Conv2D", "gradient_tape/r/Conv2DBackpropFilter:_MklNativeConv2DBackpropFilterWithBias", "filter gradient"),
        ("Conv2D", "gradient_tape/r/Conv2DBackpropInput:Conv2DBackpropInput", "convolution: input gradient"),
        ("Conv2D", "gradient_tape/r/ReluGrad:ReluGrad", "ReLU gradient"),
        ("Conv2D", "r/Cast:Cast", "casts"),
        ("Conv2D", "r/Pad:Pad", "copies"),
        ("Dense", "gradient_tape/r/MatMul/MatMul_1:_MklMatMul", "matrix products"),
        ("Inception", "r/MaxPool2d:_MklNativeMaxPool", "pooling"),
        ("AveragePool", "gradient_tape/r/concat:ConcatV2", "pooling"),
        ("BatchNorm", "gradient_tape/r/FusedBatchNormGradV3:_MklFusedBatchNormGradV3", "batch normalisation"),
        ("LRN", "r/MatMul:MatMul", "local response normalisation"),
        ("", "lrn_gradient:Xla", "fused elementwise (XLA)"),
        ("", "cluster_1_1/xla_run:_XlaRun", "fused elementwise (XLA)"),
        ("", "while/body/_1/while/ResourceApplyAdam_1:ResourceApplyAdam", "update of the weights"),
        ("Preprocess", "r/Cast:Cast", "input: preprocessing"),
        ("", "TensorArrayV2:TensorListReserve", "the rest"),
    ],
)
def test_ops_are_grouped_by_kind(layer: str, event: str, kind: str) -> None:
    op = budget.parse_op(event, ["r"])
    assert op.row == ("r" if layer else "")
    assert kind in budget.kind_of(op, layer)


def test_an_op_belongs_to_the_longest_name_that_begins_its_path() -> None:
    rows = ["pool", "pool1", "aux1/pool"]
    assert budget.parse_op("while/body/_1/pool1/MaxPool:MaxPool", rows).row == "pool1"
    assert budget.parse_op("while/body/_1/gradient_tape/aux1/pool/MaxPoolGrad:MaxPoolGrad", rows).row == "aux1/pool"


def test_an_update_is_called_by_its_weight() -> None:
    first, second, other = (
        budget.Op("", False, "", name) for name in ("ResourceApplyAdam", "ResourceApplyAdam_1", "c")
    )
    assert [budget.readable(op, ["c1/w", "c1/b"]) for op in (first, second, other)] == ["c1/w", "c1/b", "c"]
    assert budget.readable(second, ["c1/w"]) == "ResourceApplyAdam_1"


def test_the_kinds_and_the_time_between_ops_sum_to_the_step() -> None:
    trace = budget.Trace(Counter({"r/Relu:Relu": 3.0, "gradient_tape/r/ReluGrad:ReluGrad": 1.0}), 0.5, 6.0, 5.0)
    ops = {event: budget.parse_op(event, ["r"]) for event in trace.ops}
    table = budget.kinds_table(trace, ops, {"r": "Conv2D"})
    assert [line.split(" | ")[1] for line in table.splitlines()[2:]] == ["3.00", "1.00", "0.50", "1.50", "6.00"]
    assert "| r/Relu | activations and their gradients | Relu | 3.00 | 50.0% |" in budget.ops_table(
        trace, ops, {"r": "Conv2D"}, []
    )


def test_time_inside_another_event_counts_once() -> None:
    assert doctest.testmod(budget) == doctest.TestResults(failed=0, attempted=2)
    events = [(0, 10, "a"), (1, 8, "b"), (2, 3, "c"), (6, 1, "c"), (10, 5, "d")]
    assert budget.own_times(events) == {"a": 2, "b": 4, "c": 4, "d": 5}


def test_a_program_of_xla_is_called_by_its_function() -> None:
    def event(start: int, duration: int, name: int, module: int = 0) -> Any:
        stats = [Fake(metadata_id=9, ref_value=module)] if module else []
        return Fake(offset_ps=start, duration_ps=duration, metadata_id=name, stats=stats)

    names = {1: "CpuExecutable::ExecuteAsyncOnStream", 2: "fusion", 3: "r/Relu:Relu", 4: "ExecutorState::Process"}
    stats = {9: "hlo_module", 5: "a_inference__tanh_5__.1", 6: "a_inference__lrn_pull_86__.1"}
    named = [{key: Fake(name=name) for key, name in table.items()} for table in (names, stats)]
    plane = Fake(event_metadata=named[0], stat_metadata=named[1])
    line = Fake(events=[event(0, 9, 1), event(2, 3, 2, 5), event(10, 4, 3), event(20, 7, 1), event(21, 2, 2, 6)])
    assert sorted(budget.events_of(plane, line)) == [
        (0, 9, "tanh:Xla"),
        (10, 4, "r/Relu:Relu"),
        (20, 7, "lrn_pull:Xla"),
    ]


def test_ops_are_traced_under_the_names_of_their_rows_and_heads() -> None:
    net = small_net()
    weights = net.trainable_variables

    @tf.function
    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            _, ends = net.endpoints(x, training=True)
            total = tf.reduce_sum(ends["fc"]) + tf.reduce_sum(ends["aux"])
        return list(tape.gradient(total, weights))

    with plain("all"):  # the gradients of faster forms have no row's name
        graph = gradients.get_concrete_function(tf.zeros((2, 8, 8, 2))).graph
    layers = ["conv", "flat", "fc", "aux/flat", "aux/out"]
    ops = [budget.parse_op(f"{op.name}:{op.type}", layers) for op in graph.get_operations()]
    found = {(op.row, op.gradient, op.type) for op in ops}
    assert {(r, g, "MatMul") for r in ("fc", "aux/out") for g in (False, True)} <= found
    assert {("conv", False, "Conv2D"), ("conv", True, "Conv2DBackpropFilter")} <= found
    assert not any(op.row == "" and op.type in ("MatMul", "Conv2D", "Conv2DBackpropFilter") for op in ops)


# What is run ----------------------------------------------------------------------------------------------------------


def test_every_faster_form_has_a_case_on_a_net_that_there_is() -> None:
    assert set(forms.CASES) == {*FORMS, "shards"} - forms.OF_INFERENCE
    assert {case.net for case in (*forms.CASES.values(), *forms.NETS.values())} <= set(NETS)
    assert set(FORMS) > forms.OF_BFLOAT16


def test_a_form_runs_against_itself_turned_off() -> None:
    with_all, *without = forms.contenders(forms.CASES["lrn"], ["lrn", "shards"], AMX, AMX, chosen=AMX)
    assert with_all.name == forms.ALL and "--net=alexnet" in with_all.command
    assert [c.command for c in without] == [(*with_all.command, flag) for flag in ("--plain=lrn", "--shards=1")]
    args = step_time.parse(of_module(without[0].command)[1:])
    assert (args.plain, args.precision, args.shards) == ("lrn", "bfloat16", 0)
    assert args.forms == AMX


def test_a_form_runs_beside_those_of_its_set_and_one_that_is_not_in_use_there_beside_all() -> None:
    alexnet_bn, lenet = forms.CASES["conv2d_space_to_depth"], forms.CASES["shards"]
    some = ["shards", "conv2d_space_to_depth", "add_bias"]
    assert forms.raced_together(some, AVX2) == {
        (lenet, AVX2): ["shards", "add_bias"],
        (alexnet_bn, AMX): ["conv2d_space_to_depth"],
    }


def test_on_a_lower_set_onednn_is_held_to_it_and_nets_without_bfloat16_compute_in_float32() -> None:
    command = forms.contenders(forms.CASES["lrn"], [], AVX2, AMX, chosen=AVX2)[0].command
    assert command[:3] == ("env", "TF_ENABLE_ONEDNN_OPTS=1", "ONEDNN_MAX_CPU_ISA=AVX2")
    args = step_time.parse(of_module(command)[1:])
    assert (args.precision, args.batch_size, args.steps, args.forms) == ("float32", 32, 1, AVX2)
    assert forms.contenders(forms.CASES["lrn"], [], AVX2, AVX2, chosen=AVX2)[0].command[2] == sys.executable
    assert forms.CASES["lrn"].on(AVX512_BF16) == forms.CASES["lrn"]
    assert forms.sets_here(AMX) == [AMX, AVX512_BF16, AVX512, AVX2] and forms.sets_here(OTHER) == [OTHER]


def test_a_net_runs_with_the_forms_in_use_and_without_any() -> None:
    chosen, plain_one = forms.of_net(forms.NETS["cifar_basic"], AVX512, AMX)
    assert "--forms=AVX512" in chosen.command and plain_one.command == (*chosen.command, "--plain=all")


def test_the_gain_is_taken_turn_by_turn() -> None:
    def results(on: float, off: float) -> list[dict[str, Any]]:
        return [{"contender": name, "images_per_second": rate} for name, rate in ((forms.ALL, on), ("lrn", off))]

    case = forms.CASES["lrn"]
    found = forms.table_row("lrn", AMX, case, [results(110, 100), results(300, 200), results(90, 90)])
    shown = ["alexnet, 128, bfloat16", "110.0", "100.0", "+10.0%", "+0.0% to +50.0%", "3", "0%", "yes"]
    assert found[2:] == shown
    assert forms.table_row("lrn", AMX, case, [results(102, 100)])[-1] == "yes (!)"
    assert forms.table_row("lrn", OTHER, case, [results(110, 100)])[-1] == "no (!)"
    assert forms.table_row("lrn", OTHER, case, [results(102, 100)])[-1] == "no"
    broken = [[{"contender": forms.ALL, "images_per_second": 1.0}, {"contender": "lrn", "error": "killed"}]]
    assert "killed" in forms.table_row("lrn", AMX, case, broken)
    assert len(forms.table_row("lrn", AMX, case, broken)) == len(found)


def test_a_block_of_any_batch_has_as_many_images() -> None:
    args = argparse.Namespace(precision="auto", blocks=3)
    few, one = (scaling.command("alexnet_bn", batch_size, args)[3:] for batch_size in (32, 512))
    assert "--steps=4" in few and "--steps=1" in one
    assert step_time.parse(one).precision == "auto"


def test_scaling_shows_the_time_of_one_image() -> None:
    speed = {
        "images_per_second": 4000.0,
        "ms_per_step": 8.0,
        "ms_spread": [4.0, 16.0],
        "n": 3,
        "peak_memory_mb": 1234.5,
    }
    found = scaling.table_row(32, {**speed, "gflop_per_second": 1500.0, "share_of_peak": 0.42, "others": 0.01})
    assert found == ["32", "0.25", "0.125 to 0.5", "3", "4,000", "1,500", "42%", "1,234 MB", "1%"]
    failed = scaling.table_row(512, {"error": "out of memory"})
    assert failed[:2] == ["512", "out of memory"] and len(failed) == len(found) == len(scaling.HEADER)


def test_parents_of_measured_processes_import_neither_tensorflow_nor_numpy() -> None:
    heavy = "{'tensorflow', 'numpy'} & set(sys.modules)"
    program = f"from benchmarks import forms, scaling, vs_peers; import sys; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_each_set_has_its_section_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is made up; a second run takes the place of the first one's section."""
    monkeypatch.setattr(forms, "sets_here", lambda _: [AMX, AVX2])
    monkeypatch.setattr(forms, "instruction_set", lambda: AMX)
    out = tmp_path / "FORMS.md"
    for rate in (110, 130):
        rounds = [[{"contender": forms.ALL, "images_per_second": rate}, {"contender": "lrn", "images_per_second": 100}]]
        monkeypatch.setattr(forms, "race_by_turns", lambda *_, rounds=rounds: rounds)
        monkeypatch.setattr(sys, "argv", ["forms", "--forms=lrn", "--turns=1", f"--out={out}"])
        forms.main()
    text = out.read_text()
    assert text.startswith("# What each faster form gains") and text.index("## AMX") < text.index("## AVX2")
    assert text.count("| +30.0% |") == 2 and "+10.0%" not in text
    assert "`python -m benchmarks.forms --sets=AVX2 --turns=1 --forms=lrn --nets=`" in text


def test_start_up_tells_every_stage_of_a_real_run() -> None:
    """A fresh process: its stages are all there, in order, and add up to no more than it took."""
    command = [sys.executable, "-m", "benchmarks.start_up", "--net=lenet5_relu", "--smoke"]
    began = time.time()
    done = subprocess.run([*command, f"--child={began}"], cwd=ROOT, capture_output=True, text=True, check=True)
    stages = json.loads(done.stdout.splitlines()[-1])
    assert tuple(stages) == start_up.STAGES and min(stages.values()) >= 0
    assert 0.5 < sum(stages.values()) < time.time() - began
    rows = start_up.table([stages, {**stages, start_up.PYTHON: 100.0}]).splitlines()
    assert len(rows) == 2 + len(start_up.STAGES) + 1 and rows[-1].startswith("| **all** | ")
