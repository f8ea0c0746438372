"""Links out of `docs/`, to tests, code and results, are names on the site: there those files are not."""

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[name](../tests/x.py)` becomes `name`, in code style where it is a file or a function."""
    outside = r"(?:\.\./)+(?:tests/|results/|benchmarks/|rawcnn/|examples/|SECURITY)[^)]*"
    return re.sub(rf"\[`?([^\]`]+)`?\]\({outside}\)", r"`\1`", markdown)
