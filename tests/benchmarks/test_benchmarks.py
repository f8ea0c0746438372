"""The benchmarks' harness: children, rounds, ratios, tables, on made-up contenders. Nothing here measures a speed."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import blocks, children, harness, whole_command
from benchmarks.children import Child

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PEAK = 64 << 20


def fake(name: str, program: str) -> Any:
    return harness.Contender(name, (sys.executable, "-c", program))


def line(rate: float, **more: Any) -> dict[str, Any]:
    return {"contender": "?", "images_per_second": rate, "ms_per_step": 2.0, "peak_memory_mb": 100.0, **more}


def result(name: str, rate: float) -> dict[str, Any]:
    return {**line(rate), "contender": name}


def failure(name: str) -> dict[str, Any]:
    return {"contender": name, "error": "made up"}


def test_a_race_runs_the_contenders_in_turn_and_reads_their_last_json_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"print('noise'); print('{json.dumps(line(123.0))}'); print('-'); open({str(log)!r}, 'a')"
    contenders = [fake(name, f"{program}.write({name!r})") for name in "AB"]
    logged: list[str] = []
    rounds = harness.race(contenders, rounds=2, timeout=60, log=lambda result: logged.append(result["contender"]))
    assert log.read_text() == "".join(logged) == "ABAB"
    assert [[r["contender"] for r in results] for results in rounds] == [["A", "B"], ["A", "B"]]
    assert all(r["images_per_second"] == 123.0 and 0 <= r["others"] <= 1 for results in rounds for r in results)


def test_failures_become_rows_and_are_not_repeated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    missing = json.dumps({"contender": "torch", "error": harness.NOT_INSTALLED})
    contenders = [
        fake("missing", f"print({missing!r})"),
        fake("broken", f"open({str(log)!r}, 'a').write('x'); raise ValueError('no compiler')"),
        fake("silent", "print('hello')"),
        fake("garbled", "print('{oops')"),
    ]
    rounds = harness.race(contenders, rounds=3, timeout=60)
    assert log.read_text() == "x"
    errors = [r["error"] for r in rounds[2]]
    assert errors[0] == "not installed: pip install 'rawcnn[bench]'"
    assert errors[1] == "exit status 1: ValueError: no compiler"
    assert errors[2] == errors[3] == "exit status 0: no JSON line on stdout"
    table = harness.race_table(rounds).splitlines()
    assert table[2] == "| missing | not installed: pip install 'rawcnn[bench]' |  |  |  |  |  |"


def test_a_child_that_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    late = tmp_path / "late"
    grandchild = f"import time; time.sleep(1.5); open({str(late)!r}, 'w')"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    child = children.run_child((sys.executable, "-c", program), timeout=0.6)
    assert child.status == -9
    assert harness.read_result(child, "slow")["error"].startswith("killed after")
    children.run_child((sys.executable, "-c", "import time; time.sleep(1.5)"), timeout=60)
    assert not late.exists()


def test_run_child_reads_status_output_and_peak_memory() -> None:
    program = f"import sys; held = b'x' * {PEAK}; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    child = children.run_child((sys.executable, "-c", program), timeout=60)
    assert (child.status, child.stdout, child.stderr) == (3, "out\n", "err\n")
    assert child.peak_memory_mb > PEAK / 2**20


def test_ratio_is_taken_per_round_to_the_fastest_peer_of_that_round() -> None:
    rounds = [
        [result("rawcnn", 300), result("keras", 100), result("torch", 200)],
        [result("rawcnn", 300), result("keras", 150), result("torch", 120)],
        [result("rawcnn", 100), result("keras", 50), result("torch", 100)],
    ]
    assert harness.ratios_to_fastest(rounds) == [(1.5, "torch"), (2.0, "keras"), (1.0, "torch")]
    renamed = [[result("ours", 300), *results[1:]] for results in rounds]
    assert harness.ratio_line(renamed, "ours").startswith("**ours / fastest peer of the round: 2.00**")
    sentence = harness.ratio_line(rounds)
    assert "1.50** (spread 1.00 to 2.00, n=3 rounds; fastest peer: keras, torch)" in sentence


def test_a_round_that_lacks_an_able_peer_or_us_gives_no_ratio() -> None:
    rounds = [
        [result("rawcnn", 300), result("torch", 200), failure("absent")],
        [result("rawcnn", 900), failure("torch"), failure("absent")],
        [failure("rawcnn"), result("torch", 200), failure("absent")],
    ]
    assert harness.ratios_to_fastest(rounds) == [(1.5, "torch")]
    killed = {**failure("torch"), "killed": True}
    assert harness.ratios_to_fastest([[result("rawcnn", 300), result("keras", 100), killed]]) == []
    assert harness.ratio_line([[result("rawcnn", 1)]]).startswith("No ratio")
    assert harness.ratio_line([[failure("rawcnn"), result("torch", 1)]]).startswith("No ratio")


def test_race_table_has_median_spread_and_mark_of_disturbance() -> None:
    rounds = [[{**result("rawcnn", rate), "others": others}] for rate, others in ((1000, 0.01), (4000, 0.2), (3000, 0))]
    header, rule, row = harness.race_table(rounds).splitlines()
    assert header.count("|") == rule.count("|") == row.count("|") == 8
    assert row == "| rawcnn | 3,000 | 1,000 to 4,000 | 3 | 2.000 | 100 MB | 20% (!) |"


def test_markdown_cells_cannot_break_the_table() -> None:
    assert harness.markdown_table(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | ---: |\n| x/y | 1 |"


def test_report_prints_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(net="lenet5_tanh", batch_size=10, precision="float32", json=True)
    harness.report("rawcnn", args, [1.0, 2.0, 4.0], steps=100, versions={"tensorflow": "2"}, parameters=7)
    found = json.loads(capsys.readouterr().out)
    assert found.pop("peak_memory_mb") > 1
    assert found == {
        "contender": "rawcnn",
        "net": "lenet5_tanh",
        "batch_size": 10,
        "precision": "float32",
        "images_per_second": 500.0,
        "ms_per_step": 20.0,
        "n": 3,
        "spread": [250.0, 1000.0],
        "rates": [1000.0, 500.0, 250.0],
        "versions": {"tensorflow": "2"},
        "parameters": 7,
    }


def test_rates_of_less_than_an_image_a_second_keep_their_digits(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(net="vgg19", batch_size=8, precision="float32", json=True)
    harness.report("rawcnn", args, [12.0], steps=1, versions={})
    assert json.loads(capsys.readouterr().out)["rates"] == [0.666667]


def test_drawn_data_are_a_function_of_the_seed_and_can_be_learnt() -> None:
    images, labels = harness.drawn_data(400, (8, 8, 1), 10, seed=3)
    again, _ = harness.drawn_data(400, (8, 8, 1), 10, seed=3)
    other, _ = harness.drawn_data(400, (8, 8, 1), 10, seed=4)
    assert np.array_equal(images, again) and not np.array_equal(images, other)
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    means = np.stack([images[:200][labels[:200] == k].mean(0) for k in range(10)])
    distance = ((images[200:, None] - means) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == labels[200:]).mean() > 0.8


@pytest.mark.parametrize(
    ("steps", "images", "shape", "expected"),
    [
        (300, 0, (28, 28, 1), (300 * 128, 1, 300)),  # all fit
        (300, 0, (227, 227, 3), (768, 50, 300)),  # 868 fit: 6 batches, 50 times
        (20, 0, (227, 227, 3), (640, 4, 20)),
        (7, 3 * 128, (8, 8, 1), (384, 3, 9)),  # 7 steps in equal passes of at most 3
        (2, 5, (8, 8, 1), (128, 2, 2)),  # never less than a batch
    ],
)
def test_large_images_are_few_and_used_again(
    steps: int, images: int, shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    args = harness.contender_parser("").parse_args([f"--steps={steps}", f"--images={images}"])
    assert harness.plan(args, shape) == harness.Plan(*expected)


def test_data_of_many_classes_take_no_more_than_the_images() -> None:
    images, labels = harness.drawn_data(4, (64, 64, 3), 100_000)
    assert images.shape == (4, 64, 64, 3) and labels.max() >= 1000


def test_the_first_block_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    lengths = iter((100.0, 1.0, 2.0))
    monkeypatch.setattr(blocks.time, "perf_counter", lambda: now[0])
    assert blocks.timed(2, lambda: now.__setitem__(0, now[0] + next(lengths))) == [1.0, 2.0]


def tiny_keras(shape: Any, classes: int) -> Any:
    """Three outputs named as GoogLeNet's, all near chance."""
    import keras

    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(inputs)
    names = ("logits", "aux1", "aux2")
    return keras.Model(inputs, {name: keras.layers.Dense(classes, kernel_initializer="zeros")(x) for name in names})


def tiny_torch(shape: Any, classes: int) -> Any:
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleDict(
                {name: torch.nn.Linear(64, classes) for name in ("logits", "aux1", "aux2")}
            )
            for value in self.parameters():
                torch.nn.init.zeros_(value)

        def forward(self, x: Any) -> Any:
            return {name: layer(x.flatten(1)) for name, layer in self.layers.items()}

    return Tiny()


def waited_for(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list to which a word is added each time that a contender waits for its turn."""
    turns: list[str] = []
    monkeypatch.setattr(module, "wait_for_turn", lambda: turns.append("turn"))
    return turns


TINY_SHAPE = {"keras": (8, 8, 1), "torch": (1, 8, 8)}


@pytest.mark.parametrize(("peer", "tiny"), [("keras", tiny_keras), ("torch", tiny_torch)])
def test_peers_train_heads_at_their_weight_and_in_passes(
    peer: str, tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first loss is one batch's, when all outputs are 0: ln 100 for the logits, and 0.3 of it for each head."""
    pytest.importorskip(peer)
    nets, script = import_module(f"tests.oracles.nets_{peer}"), import_module(f"benchmarks.peers_{peer}")
    monkeypatch.setitem(nets.NETS, "tiny", (tiny, TINY_SHAPE[peer], 100))
    flags = ("--net=tiny", "--batch_size=8", "--steps=2", "--images=8", "--blocks=3", "--json")
    monkeypatch.setattr(sys, "argv", [f"peers_{peer}.py", *flags])
    turns = waited_for(blocks, monkeypatch)
    script.main()
    assert len(turns) == 3
    found = json.loads(capsys.readouterr().out)
    assert found.get("error") is None
    assert (found["parameters"], found["n"]) == (3 * 65 * 100, 3)
    assert found["loss"][0] == pytest.approx(1.6 * np.log(100), rel=1e-4) and found["loss"][1] < found["loss"][0]


def test_both_peers_build_the_same_nets() -> None:
    pytest.importorskip("torch")
    keras_nets, torch_nets = (
        import_module("tests.oracles.nets_keras").NETS,
        import_module("tests.oracles.nets_torch").NETS,
    )
    assert keras_nets.keys() == torch_nets.keys()
    for name, (_, (height, width, channels), classes) in keras_nets.items():
        assert torch_nets[name][1:] == ((channels, height, width), classes)


def test_versions_and_machine_are_complete() -> None:
    rounds = [[{**result("a", 1), "versions": {"torch": "2.13"}}, failure("b")]]
    assert harness.versions_line(rounds).endswith("torch 2.13")
    facts = harness.machine()
    assert facts["cores"] >= 1 and set(facts["isa"]) <= set(harness.ISA_FLAGS)
    assert facts["cpu"] in harness.machine_line()


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("test accuracy 98.70%\n", 98.7),
        ("test accuracy 11.00%\nTest accuracy: 99.05 %\n", 99.05),
        ("nothing", None),
    ],
)
def test_whole_command_reads_the_test_accuracy(stdout: str, expected: float | None) -> None:
    assert whole_command.accuracy(stdout) == expected


def test_whole_command_compares_round_by_round() -> None:
    def child(seconds: float) -> Any:
        return Child(0, "test accuracy 99.00%", "", seconds, 500.0, 0.0)

    children = {"rawcnn": [child(10), child(30), child(20)], "Keras": [child(40), child(60), child(20)]}
    _, _, ours, keras = whole_command.table(children).splitlines()
    assert ours == "| rawcnn | 20.0 | 10.0 to 30.0 | 3 | 1.00 | 1.00 to 1.00 | 500 MB | 99.00 to 99.00 % | 0% |"
    assert keras == "| Keras | 40.0 | 20.0 to 60.0 | 3 | 0.50 | 0.25 to 1.00 | 500 MB | 99.00 to 99.00 % | 0% |"


@pytest.mark.parametrize("script", ["harness", "children", "turns", "whole_command", "import_time", "soak"])
def test_the_runners_import_only_the_standard_library(script: str) -> None:
    tree = ast.parse((BENCHMARKS / f"{script}.py").read_text())
    names = {
        alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
    }
    assert names <= set(sys.stdlib_module_names) | {"benchmarks"}
