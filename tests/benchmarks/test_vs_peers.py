"""`benchmarks/vs_peers.py`: who is run, who races, what is written. The results are made up; nothing is measured."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, vs_peers
from benchmarks.vs_peers import PLAIN_KERAS, Bench
from rawcnn.machine import AMX, AVX512_BF16
from tests.command import of_module

RATES = {
    "rawcnn bfloat16": 300.0,
    "rawcnn float32": 100.0,
    PLAIN_KERAS: 50.0,
    "fast": 200.0,
    "near": 200.0,
    "far": 140.0,
}


def result(rate: float, **more: Any) -> dict[str, Any]:
    return {"images_per_second": rate, "ms_per_step": 2.0, "peak_memory_mb": 100.0, "others": 0.0, **more}


@pytest.fixture(autouse=True)
def a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AMX, whatever the tests run on."""
    monkeypatch.setattr(vs_peers, "instruction_set", lambda: AMX)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Contenders with made-up rates, which grow with the batch size but for `near`'s; gives the list of who ran."""
    ran: list[str] = []

    def measure(bench: Bench, stage: str, entries: Any, turns: int) -> Any:
        ran.extend(f"{stage} {vs_peers.label(entry)}" for entry in entries)

        def one(name: str, size: int) -> dict[str, Any]:
            grown = RATES[name] * (1 - size / 1000 if name == "near" else 1 + size / 1000)
            return {**result(grown), "contender": vs_peers.label((name, size))}

        return [[one(*entry) for entry in entries] for _ in range(turns)]

    monkeypatch.setattr(Bench, "ways", lambda bench: dict.fromkeys(RATES, ("x.py",)))
    monkeypatch.setattr(Bench, "measure", measure)
    return ran


@pytest.mark.parametrize(("by_turns", "steps"), [(True, 1), (False, 4)])
def test_every_configuration_is_a_command_of_its_own_with_the_same_work(by_turns: bool, steps: int) -> None:
    bench = Bench("googlenet", every=True)
    shared = {"--net=googlenet", "--batch_size=64", "--json", "--blocks=2", f"--steps={steps}"}
    commands = [bench.contender((name, 64), 2, by_turns=by_turns).command for name in bench.ways()]
    assert all(shared <= set(command) and find_spec(of_module(command)[0]) for command in commands)
    assert len(set(commands)) == len(commands) > len(Bench("googlenet").ways())
    assert all(sum(flag.startswith("--precision=") for flag in command) == 1 for command in commands)
    assert all(("float32" in name) == (vs_peers.FLOAT32 in flags) for name, flags in bench.ways().items())


@pytest.mark.parametrize("peer", ["keras", "torch"])
def test_the_peers_understand_their_flags(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peer's package, every configuration gets as far as to say so."""
    script = import_module(f"benchmarks.peers_{peer}")
    said: list[str] = []
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(script, "report_error", lambda name, error: said.append(error))
    bench = Bench("lenet5_tanh")
    commands = [of_module(bench.contender((name, 8), 1).command) for name in bench.ways()]
    mine = [command for command in commands if command[0] == f"benchmarks.peers_{peer}"]
    for command in mine:
        monkeypatch.setattr(sys, "argv", list(command))
        script.main()
    assert said == [harness.NOT_INSTALLED] * len(mine) and len(mine) > 6


def test_a_block_has_about_the_same_images_at_every_batch_size() -> None:
    assert [vs_peers.steps_of(512, size, 4) for size in (64, 128, 256, 300)] == [8, 4, 4, 4]
    assert [vs_peers.steps_of(128, size, 1) for size in (64, 128, 256)] == [2, 1, 1]
    for setting in vs_peers.SETTINGS.values():
        assert max(setting.batch_sizes) <= 256 and setting.batch_sizes == tuple(sorted(setting.batch_sizes))


@pytest.mark.parametrize(("isa", "steps"), [(AMX, 8), ("AVX2", 2)])
def test_a_block_is_shorter_without_bfloat16_in_hardware(isa: str, steps: int) -> None:
    block = Bench("cifar_wide", isa=isa).contender((PLAIN_KERAS, 32), 1, by_turns=True)
    assert f"--steps={steps}" in block.command


def test_our_best_precision_and_the_few_fastest_peers_race() -> None:
    rates = {
        "rawcnn float32": 9.0,
        "rawcnn bfloat16": 5.0,
        "a": 70,
        "b": 100,
        "c": 76,
        "d": 74,
        "e": 99,
        "f": 98,
        "g": 97,
    }
    trials: vs_peers.Trials = {(name, 8): result(rate) for name, rate in rates.items()}
    trials["broken", 8] = {"error": "made up"}
    trials["g", 16] = result(1000.0)
    assert vs_peers.finalists(trials, 8) == ["rawcnn float32", "b", "e"]
    few = {key: trials[key] for key in trials if key[0] in ("rawcnn bfloat16", "a", "b", "c", "broken")}
    assert vs_peers.finalists(few, 8) == ["rawcnn bfloat16", "b", "c"]
    assert vs_peers.finalists({("rawcnn float32", 8): {"error": "no"}}, 8) == ["rawcnn float32"]


def test_the_best_batch_size_is_one_that_ran() -> None:
    trials: vs_peers.Trials = {("a", 32): result(5.0), ("a", 64): {"error": "out of memory"}, ("b", 64): result(9.0)}
    assert vs_peers.best_batch(trials, "a") == 32


def test_training_scouts_at_the_middle_batch_tries_the_others_and_races_with_plain_keras(made_up: list[str]) -> None:
    told, rounds = vs_peers.training(Bench("alexnet"), (64, 128, 256), turns=3)
    assert made_up[:6] == [f"scouting {name}, batch 128" for name in RATES]
    assert made_up[6:12] == [
        f"scouting {name}, batch {n}" for name in ("rawcnn bfloat16", "fast", "near") for n in (64, 256)
    ]
    racing = ["rawcnn bfloat16, batch 256", "fast, batch 256", "near, batch 64", f"{PLAIN_KERAS}, batch 128"]
    assert made_up[12:] == [f"race by turns {entry}" for entry in racing] and len(rounds) == 3 + 1
    ratio = "**rawcnn bfloat16, batch 256 / fast, batch 256: 1.50** (half of the turns 1.50 to 1.50, n=3 turns)"
    assert told[0] == f"Fastest peer: fast, batch 256. {ratio}"
    assert told[1].startswith("**rawcnn bfloat16, batch 256 / Keras fit float32, batch 128: 6.68** ")
    assert "| far |  | 157.9 |  |" in told[4] and "| near | **187.2** | 174.4 | 148.8 |" in told[4]


def test_those_that_do_not_fit_into_memory_together_race_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vs_peers, "machine", lambda: {"memory_gb": 10.0})
    trials: vs_peers.Trials = {
        ("a", 8): result(1.0, peak_memory_mb=5000.0),
        ("b", 8): result(1.0),
        ("c", 8): {"error": ""},
    }
    assert vs_peers.stage_of(trials, list(trials)) == vs_peers.BY_TURNS
    trials["b", 8]["peak_memory_mb"] = 4000.0
    assert vs_peers.stage_of(trials, list(trials)) == vs_peers.ALONE


def test_the_share_of_the_peak_is_told() -> None:
    turns = [
        [{"contender": "ours", "share_of_peak": share, "peak_gflop_per_second": 2000.0}] for share in (0.2, 0.4, 0.3)
    ]
    assert vs_peers.share_of_peak(turns, "ours").startswith("ours: 30% of the 2,000 GFLOP/s that ")
    assert vs_peers.share_of_peak(turns, "peer") == ""


def test_only_those_that_are_named_run() -> None:
    some = ["rawcnn float32", "Keras fit bfloat16"]  # the first is tried only with --all otherwise
    args = vs_peers.parse(["--nets=vgg19", *(f"--only={name}" for name in some)])
    assert list(Bench("vgg19", only=args.only).ways()) == some[::-1]
    assert vs_peers.command_line("vgg19", args).endswith("'--only=rawcnn float32' '--only=Keras fit bfloat16'")


def test_plain_keras_races_only_where_it_was_tried(made_up: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "ways", lambda bench: dict.fromkeys(["rawcnn bfloat16", "fast"], ("x.py",)))
    told, _ = vs_peers.training(Bench("alexnet"), (64,), turns=1)
    assert made_up[2:] == ["race by turns rawcnn bfloat16, batch 64", "race by turns fast, batch 64"]
    assert "fast, batch 64" in told[0] and "contender" in told[2]


def test_scouting_shows_errors_disturbance_and_who_was_chosen() -> None:
    trials: vs_peers.Trials = {
        ("a", 64): result(1234.6, others=0.2),
        ("b", 64): {"error": "killed after 300 s"},
        ("a", 128): result(12.3),
    }
    _, _, a, b = vs_peers.scouting_table(trials, [("a", 128)]).splitlines()
    assert a == "| a | 1,235 (!) | **12.3** |"
    assert b == "| b | killed after 300 s |  |"


def test_a_section_replaces_its_own_kind_and_nothing_else() -> None:
    put = harness.with_section
    one = put("# Other\n\nkept\n", "## alexnet\n\nold", "# Training\n\nhow\n")
    two = put(one + "\n# Later\n\n## Own\n", "## alexnet_bn\n\nnew", "# Training\n\nhow changed\n")
    three = put(two, "## alexnet\n\nnewer", "# Training\n\nhow\n")
    assert three == (
        "# Other\n\nkept\n\n# Training\n\nhow\n\n## alexnet\n\nnewer\n\n## alexnet_bn\n\nnew\n\n# Later\n\n## Own\n"
    )
    assert put("", "## a\n\nb", "# T\n") == "# T\n\n## a\n\nb\n"


def test_the_command_names_what_matters_and_no_files() -> None:
    args = vs_peers.parse(["--nets=vgg19,alexnet", "--turns=4", "--all", "--batch_sizes=8,16", "--out=/x", "--log=/y"])
    command = "python -m benchmarks.vs_peers --nets=vgg19 --set=AMX --turns=4 --timeout=300 --batch_sizes=8,16 --all"
    assert vs_peers.command_line("vgg19", args) == command


def test_on_a_lower_set_all_are_held_to_it_and_those_of_float32_race() -> None:
    bench = Bench("vgg19", isa=vs_peers.parse(["--nets=vgg19", "--set=AVX2"]).set)
    assert PLAIN_KERAS in bench.ways() and "rawcnn float32" in bench.ways()
    assert not [name for name in bench.ways() if "bfloat16" in name]
    command = bench.contender((PLAIN_KERAS, 8), 1).command
    assert command[:3] == ("env", "TF_ENABLE_ONEDNN_OPTS=1", "ONEDNN_MAX_CPU_ISA=AVX2")
    assert command[5:7] == (sys.executable, "-m")
    assert "rawcnn bfloat16" in Bench("vgg19", isa=AVX512_BF16).ways()
    with pytest.raises(SystemExit):
        vs_peers.parse(["--nets=vgg19", "--set=AVX2", "--only=rawcnn bfloat16"])


@pytest.mark.parametrize(
    "flags",
    [
        ["--turns=0"],
        ["--nets=vgg19,nonsense"],
        ["--only=rawcnn bfloat16", "--only=nonsense"],
        ["--only=Keras fit bfloat16"],  # whom would it race with?
    ],
)
def test_wrong_flags_end_at_once(flags: list[str]) -> None:
    with pytest.raises(SystemExit):
        vs_peers.parse(flags)


def test_each_net_is_written_as_soon_as_it_is_done_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = json.dumps({**result(100.0), "batch_size": 8, "rates": [100.0], "versions": {"torch": "9"}})
    program = (sys.executable, "-S", "-c", f"print({printed!r})")
    monkeypatch.setattr(Bench, "ways", lambda bench: dict.fromkeys(["rawcnn float32", PLAIN_KERAS], ("x.py",)))
    monkeypatch.setattr(
        Bench, "contender", lambda bench, entry, *_, **__: harness.Contender(vs_peers.label(entry), program)
    )
    out, log = tmp_path / "RESULTS.md", tmp_path / "log"
    flags = ["--nets=vgg19,alexnet", "--turns=1", "--batch_sizes=8", f"--out={out}", f"--log={log}"]
    monkeypatch.setattr(sys, "argv", ["vs_peers.py", *flags])
    vs_peers.main()
    text = out.read_text()
    assert text.count("# Training speed") == 1 and text.index("## vgg19, AMX\n") < text.index("## alexnet, AMX\n")
    assert "Machine: " in text and "torch 9" in text and "n=1 turns" in text and str(tmp_path) not in text
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["stage"] for line in lines] == [vs_peers.SCOUTING] * 2 + [vs_peers.BY_TURNS] * 2 + [
        vs_peers.SCOUTING
    ] * 2 + [vs_peers.BY_TURNS] * 2
    assert lines[0]["net"] == "vgg19" and lines[0]["contender"] == "rawcnn float32, batch 8"
