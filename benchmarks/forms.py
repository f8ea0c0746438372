"""What each faster form gains on each instruction set: training speed with all forms and with all but one, by turns.

python -m benchmarks.forms --turns=21 --out=benchmarks/FORMS.md
python -m benchmarks.forms --turns=21 --sets=AVX2 --forms= --nets=cifar_basic,googlenet

The sets are the processor's own and all below it, to which processes of their own are held (`benchmarks/sets.py`).
Sets without bfloat16 compute in float32, with fewer images. With --nets, whole nets run with the forms that are in use
on the set and without any. A form that gains less than 3 % is marked: it should not be in use there, and one that gains
that much nowhere should go (see `rawcnn/ops/fast/forms.py`).
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Contender, machine_line, markdown_table, put_section, summarise
from benchmarks.sets import HELD, SLOWER, held_to, sets_here
from benchmarks.turns import middle_half, race_by_turns
from rawcnn.machine import AMX, BFLOAT16, instruction_set

WORTH_IT = 0.03
ALL, CHOSEN = "all forms", "the forms in use"


HOW = f"""# What each faster form gains, by instruction set

Gain: training images/s with the form over those without it, minus 1, turn by turn. The other forms are those in use
on the set or, for a form that is not in use there, all that AMX has. "The forms in use": with those that rawcnn uses on
the set over those of no form. The median of the turns, and between which gains half of them lie. (!): in use though it
gains under {WORTH_IT:.0%} here, or the other way round.

{HELD}
"""


class Case(NamedTuple):
    """Where a form counts: a net, a batch, a precision; and as many steps as take about a second with AMX."""

    net: str
    batch_size: int
    precision: str
    steps: int

    def __str__(self) -> str:
        return f"{self.net}, {self.batch_size}, {self.precision}"

    def on(self, isa: str) -> Case:
        """The case as it is measured on an instruction set."""
        if isa in BFLOAT16:
            return self
        small = self.net.startswith("lenet")
        batch_size = self.batch_size if small else self.batch_size // SLOWER
        return Case(self.net, batch_size, "float32", max(1, self.steps // SLOWER))


_lenet, _lenet_bfloat16 = Case("lenet5_tanh", 128, "float32", 60), Case("lenet5_tanh", 256, "bfloat16", 40)
_wide, _alexnet_bn = Case("cifar_wide", 128, "bfloat16", 1), Case("alexnet_bn", 128, "bfloat16", 1)
_alexnet_bn_256 = _alexnet_bn._replace(batch_size=256)
_alexnet, _googlenet = Case("alexnet", 128, "bfloat16", 1), Case("googlenet", 64, "bfloat16", 1)
_fast = Case("cifar_fast", 512, "bfloat16", 2)

CASES: dict[str, Case] = {
    "shards": _lenet,
    "average_pool": _lenet,
    "add_bias": _lenet,
    "conv2d_strips": _lenet,
    "conv2d_rows": _lenet_bfloat16,
    "tanh": _lenet_bfloat16,
    "conv2d_products": _wide,
    "conv2d_interleaved": _wide,
    "conv2d_1x1": _googlenet,
    "conv2d_abreast": _alexnet_bn_256,
    "conv2d_winograd": Case("alexnet_bn", 64, "float32", 1),
    "conv2d_space_to_depth": _alexnet_bn,
    "lrn": _alexnet,
    "gelu": _fast,
    "relu": _googlenet,
    "inception": _googlenet,
}
OF_BFLOAT16 = {"conv2d_rows", "tanh", "conv2d_interleaved", "conv2d_1x1", "conv2d_abreast", "relu"}
"""Forms that suit bfloat16 only."""
OF_INFERENCE = {"conv2d_blocks"}
"""Forms that no training uses: `benchmarks/inference.py` measures them."""
NETS: dict[str, Case] = {
    "lenet5_tanh": _lenet,
    "cifar_basic": Case("cifar_basic", 256, "float32", 20),
    "cifar_wide": _wide,
    "cifar_fast": _fast,
    "alexnet_bn": _alexnet_bn,
    "alexnet": _alexnet,
    "googlenet": _googlenet,
    "vgg19": Case("vgg19", 16, "bfloat16", 1),
}


def what_it_is(form: str) -> str:
    """A form in a few words."""
    from rawcnn.ops.fast.forms import FORMS

    if form == CHOSEN:
        return "all that are in use on this set, against none"
    return "shards of a batch side by side, one thread per op" if form == "shards" else FORMS[form].what


def _step_time(case: Case, isa: str, native: str) -> tuple[str, ...]:
    """The command that measures `case` on an instruction set."""
    flags = (f"--net={case.net}", f"--batch_size={case.batch_size}", f"--precision={case.precision}")
    return (
        *held_to(isa, native),
        sys.executable,
        "-m",
        "benchmarks.step_time",
        *flags,
        f"--steps={case.steps}",
        "--json",
    )


def contenders(case: Case, forms: Sequence[str], isa: str, native: str, chosen: str) -> list[Contender]:
    """`step_time.py` on `case`, with all forms of the set `chosen` first, and then without each of `forms`."""
    shared = (*_step_time(case.on(isa), isa, native), f"--forms={chosen}")
    without = {form: "--shards=1" if form == "shards" else f"--plain={form}" for form in forms}
    return [Contender(ALL, shared), *(Contender(form, (*shared, flag)) for form, flag in without.items())]


def of_net(case: Case, isa: str, native: str) -> list[Contender]:
    """`step_time.py` on `case` with the forms that are in use on the set, and without any."""
    shared = _step_time(case.on(isa), isa, native)
    return [Contender(ALL, (*shared, f"--forms={isa}")), Contender(CHOSEN, (*shared, f"--forms={isa}", "--plain=all"))]


def in_use(form: str, isa: str) -> bool:
    """Whether rawcnn uses the form on that set."""
    from rawcnn.ops.fast.forms import FORMS

    return form not in FORMS or isa in FORMS[form].pays


def raced_together(forms: Sequence[str], isa: str) -> dict[tuple[Case, str], list[str]]:
    """`forms` by their case and by the set whose forms run beside them."""
    groups: dict[tuple[Case, str], list[str]] = {}
    for form in forms:
        chosen = isa if in_use(form, isa) else AMX  # with AMX every form is in use
        groups.setdefault((CASES[form], chosen), []).append(form)
    return groups


def table_row(form: str, isa: str, case: Case, turns: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The form, its speeds and its gain: the median of the turns' ratios, and where half of them lie."""
    by_name = [{result["contender"]: result for result in results} for results in turns]
    pairs = [(found[ALL], found[form]) for found in by_name]
    good = [pair for pair in pairs if not any("error" in result for result in pair)]
    both = [(on["images_per_second"], off["images_per_second"]) for on, off in good]
    gains = [on / off - 1 for on, off in both]
    gain = summarise(gains)
    if gain is None:
        error = next(result["error"] for pair in pairs for result in pair if "error" in result)
        return [form, what_it_is(form), str(case), error, *[""] * 6]
    on, off = (summarise(rates) for rates in zip(*both, strict=True))
    assert on and off
    others = max(result.get("others", 0.0) for pair in good for result in pair)
    used = in_use(form, isa)
    mark = " (!)" if used != (gain.median >= WORTH_IT) and form != CHOSEN else ""
    speeds = [f"{on.median:,.1f}", f"{off.median:,.1f}", f"{gain.median:+.1%}"]
    return [
        form,
        what_it_is(form),
        str(case),
        *speeds,
        "{:+.1%} to {:+.1%}".format(*middle_half(gains)),
        str(gain.n),
        f"{others:.0%}",
        ("yes" if used else "no") + mark,
    ]


def measure(forms: Sequence[str], nets: Sequence[str], isa: str, turns: int, timeout: float) -> str:
    """Races each case with and without its forms on an instruction set, and returns the table."""
    raced, native = [], instruction_set()

    def race(pair: Sequence[Contender]) -> list[list[dict[str, Any]]]:
        some = [Contender(one.name, (*one.command, f"--blocks={turns}")) for one in pair]
        return race_by_turns(some, turns, timeout, lambda text: print(text, file=sys.stderr, flush=True))

    some = [form for form in forms if isa in BFLOAT16 or form not in OF_BFLOAT16]
    for (case, chosen), of_case in raced_together(some, isa).items():
        print(f"{isa}: {case.on(isa)}", file=sys.stderr)
        results = race(contenders(case, of_case, isa, native, chosen))
        raced += [(form, isa, case.on(isa), results) for form in of_case]
    for name in nets:
        print(f"{isa}: {NETS[name].on(isa)}", file=sys.stderr)
        results = race(of_net(NETS[name], isa, native))
        raced.append((CHOSEN, isa, NETS[name].on(isa), results))
    rows = [table_row(*one) for one in raced]
    header = ("form", "what it is", "net, batch, precision", "images/s with", "without", "gain")
    return markdown_table((*header, "half of the turns", "n", "others' CPU use", "in use"), rows, left=3)


def section(isa: str, args: argparse.Namespace) -> str:
    """Measures one instruction set and writes it up."""
    machine, forms = machine_line(), _names(args.forms)  # before we are its load
    table = measure(forms, _names(args.nets), isa, args.turns, args.timeout)
    some = [] if set(forms) == set(CASES) else [f"--forms={args.forms}"]
    flags = [f"--sets={isa}", f"--turns={args.turns}", *some, f"--nets={args.nets}"]
    command = shlex.join(["python", "-m", "benchmarks.forms", *flags])
    return f"## {isa}\n\n{table}\n\nCommand: `{command}`\n\nMachine: {machine}. Date: {datetime.date.today()}."


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> None:
    here = sets_here(instruction_set())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", default=",".join(CASES), help="which of them, with commas between")
    parser.add_argument("--nets", default="", help=f"also whole nets: some of {', '.join(NETS)}")
    parser.add_argument("--sets", default=",".join(here), help="instruction sets, with commas between")
    parser.add_argument("--turns", type=int, default=21, help="timed blocks of every contender")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a race may take")
    parser.add_argument("--out", type=Path, help="put each set's section into this markdown file")
    args = parser.parse_args()
    forms, nets, sets = _names(args.forms), _names(args.nets), _names(args.sets)
    if args.turns < 1 or not (set(forms) <= set(CASES) and set(nets) <= set(NETS) and set(sets) <= set(here)):
        parser.error(
            f"--turns must be at least 1, --forms some of {', '.join(CASES)}, --nets some of {', '.join(NETS)}, "
            f"--sets some of {', '.join(here)}"
        )
    for isa in sets:
        text = section(isa, args)
        print(text, end="\n\n", flush=True)
        if args.out:
            put_section(args.out, text, HOW)


if __name__ == "__main__":
    main()
