"""What `import rawcnn` adds to `import tensorflow`, measured in fresh processes in turn.

python -m benchmarks.import_time --rounds=11
"""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.children import run_child
from benchmarks.harness import machine, summarise

CLOCK = "import time; start = time.perf_counter(); import tensorflow; middle = time.perf_counter(); "
TAIL = "end = time.perf_counter(); print(middle - start, end - middle)"
PROGRAMS = {
    "import tensorflow": CLOCK + TAIL,
    "import tensorflow; import all of rawcnn": CLOCK + "import rawcnn.run.session, rawcnn.run.classify; " + TAIL,
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each program's imports by round, and under "rawcnn" those of `import rawcnn` after TensorFlow."""
    seconds: dict[str, list[float]] = {name: [] for name in (*PROGRAMS, "rawcnn")}
    for k in range(rounds + 1):
        for name, program in PROGRAMS.items():
            child = run_child([sys.executable, "-c", program], timeout=120)
            if child.status:
                raise SystemExit(f"`{name}` ended with status {child.status}: {child.stderr[-1000:]}")
            if k == 0:  # this round fills the byte-code caches
                continue
            tensorflow, rest = (float(word) for word in child.stdout.split()[-2:])
            seconds[name].append(tensorflow + rest)
            if "rawcnn" in name:
                seconds["rawcnn"].append(rest)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="how often each program runs")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    plain, both, own = (summarise(values) for values in measure(rounds).values())
    assert plain and both and own
    line = {
        "import_tensorflow_s": round(plain.median, 3),
        "import_both_s": round(both.median, 3),
        "difference_s": round(both.median - plain.median, 3),
        "rawcnn_alone_s": round(own.median, 3),
        "rawcnn_alone_spread_s": [round(own.low, 3), round(own.high, 3)],
        "n": rounds,
        "machine": machine(),
    }
    print(json.dumps(line))
    print(
        f"import tensorflow {plain.median:.2f} s, with rawcnn {both.median:.2f} s (difference of medians "
        f"{both.median - plain.median:+.3f} s); `import rawcnn` after it {own.median:.3f} s "
        f"({own.low:.3f} to {own.high:.3f}, n={rounds})"
    )


if __name__ == "__main__":
    main()
