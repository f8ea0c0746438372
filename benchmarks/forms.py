"""What each faster form gains: training speed with all forms, and with all but one, in turn on the same machine.

python -m benchmarks.forms --rounds=3 --forms=lrn,average_pool

A form that gains less than 3 % is marked: it should go (see `rawcnn/ops/fast/forms.py`).
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.harness import Contender, machine_line, markdown_table, race, summarise

WORTH_IT = 0.03
ALL = "all forms"


class Case(NamedTuple):
    """Where a form counts: a net, a batch, a precision; and as many steps as take a second or two."""

    net: str
    batch_size: int
    precision: str
    steps: int

    def __str__(self) -> str:
        return f"{self.net}, {self.batch_size}, {self.precision}"


_lenet, _lenet_bfloat16 = Case("lenet5_tanh", 128, "float32", 300), Case("lenet5_tanh", 256, "bfloat16", 200)
_wide, _alexnet_bn = Case("cifar_wide", 128, "bfloat16", 4), Case("alexnet_bn", 128, "bfloat16", 4)
_alexnet_bn_256 = _alexnet_bn._replace(batch_size=256)
_alexnet, _googlenet = Case("alexnet", 128, "bfloat16", 4), Case("googlenet", 64, "bfloat16", 4)

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
    "conv2d_space_to_depth": _alexnet_bn,
    "lrn": _alexnet,
    "gelu": Case("cifar_fast", 512, "bfloat16", 4),
    "relu": _googlenet,
    "inception": _googlenet,
}


def what_it_is(form: str) -> str:
    """A form in a few words. Imports TensorFlow, so it is asked when all is measured."""
    from rawcnn.ops.fast.forms import FORMS

    return "shards of a batch side by side, one thread per op" if form == "shards" else FORMS[form]


def contenders(case: Case, forms: Sequence[str]) -> list[Contender]:
    """`step_time.py` on `case`, with all forms first, and then without each of `forms`."""
    flags = (f"--net={case.net}", f"--batch_size={case.batch_size}", f"--precision={case.precision}")
    shared = (sys.executable, "-m", "benchmarks.step_time", *flags, f"--steps={case.steps}", "--json")
    without = {form: "--shards=1" if form == "shards" else f"--plain={form}" for form in forms}
    return [Contender(ALL, shared), *(Contender(form, (*shared, flag)) for form, flag in without.items())]


def table_row(form: str, case: Case, rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The form, its speeds and its gain: the median of the rounds' ratios, with their spread."""
    by_name = [{result["contender"]: result for result in results} for results in rounds]
    pairs = [(found[ALL], found[form]) for found in by_name]
    good = [pair for pair in pairs if not any("error" in result for result in pair)]
    both = [(on["images_per_second"], off["images_per_second"]) for on, off in good]
    gain = summarise(on / off - 1 for on, off in both)
    if gain is None:
        error = next(result["error"] for pair in pairs for result in pair if "error" in result)
        return [form, what_it_is(form), str(case), error, *[""] * 5]
    on, off = (summarise(rates) for rates in zip(*both, strict=True))
    assert on and off
    others = max(result.get("others", 0.0) for pair in good for result in pair)
    mark = " (!)" if gain.median < WORTH_IT else ""
    speeds = [f"{on.median:,.1f}", f"{off.median:,.1f}", f"{gain.median:+.1%}{mark}"]
    return [
        form,
        what_it_is(form),
        str(case),
        *speeds,
        f"{gain.low:+.1%} to {gain.high:+.1%}",
        str(gain.n),
        f"{others:.0%}",
    ]


def measure(forms: Sequence[str], rounds: int, timeout: float) -> str:
    """Races each case with and without its forms, and returns the table."""
    raced = []
    for case in dict.fromkeys(CASES[form] for form in forms):
        of_case = [form for form in forms if CASES[form] == case]
        print(case, file=sys.stderr)
        results = race(contenders(case, of_case), rounds, timeout, lambda text: print(text, file=sys.stderr))
        raced += [(form, case, results) for form in of_case]
    rows = [table_row(*one) for one in raced]
    header = ("form", "what it is", "net, batch, precision", "images/s with", "without", "gain", "spread", "n")
    return markdown_table((*header, "others' CPU use"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", default=",".join(CASES), help="which of them, with commas between")
    parser.add_argument("--rounds", type=int, default=3, help="how often every contender runs")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that one process may take")
    args = parser.parse_args()
    forms = args.forms.split(",")
    if args.rounds < 1 or not set(forms) <= set(CASES):
        parser.error(f"--rounds must be at least 1, and --forms some of {', '.join(CASES)}")
    print(f"Command: `{shlex.join(['python', '-m', 'benchmarks.forms', *sys.argv[1:]])}`\n")
    print(f"Machine: {machine_line()}. Date: {datetime.date.today()}.\n")
    print(measure(forms, args.rounds, args.timeout))
    print(f"\nGain: images/s with the form over those without it, minus 1, round by round. (!): under {WORTH_IT:.0%}.")


if __name__ == "__main__":
    main()
