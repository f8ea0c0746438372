"""One file out of many: sections, style, scripts and data, under a Content-Security-Policy that allows nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rawcnn.report.markup import Markup, tag, text

HERE = Path(__file__).parent
SCRIPTS = ("lenet.js", "digit.js", "colours.js", "arithmetic.js", "lab.js", "draw.js", "page.js")


def assemble(
    title: str, head: Markup, sections: Sequence[tuple[str, Markup]], data: Any, thumbs: Sequence[str] = ()
) -> str:
    """The whole page. `sections` are (what the contents call it, markup with an id); `data` is for the scripts.

    `thumbs` are the chosen images, used in many places: each is kept once, in the style sheet.
    """
    style = "\n" + _source("page.css")
    pictures = "".join(f".in{i}{{background-image:url({address})}}" for i, address in enumerate(thumbs))
    script = "\n" + "\n".join(["'use strict';", *map(_source, SCRIPTS)])
    known = {
        "title": text(title), "head": head, "contents": _contents(sections), "style": style, "thumbs": pictures,
        "sections": Markup("\n".join(markup for _, markup in sections)), "data": as_json(data), "script": script,
        "policy": text(policy([script], [style, pictures])),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda found: known[found[1]], _source("page.html"))


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A Content-Security-Policy by which a browser runs these scripts and styles, shows data: images, and no more."""
    allowed = (" ".join(f"'sha256-{digest(one)}'" for one in kind) for kind in (scripts, styles))
    names = ("script-src", "style-src")
    rules = [f"{name} {hashes}" for name, hashes in zip(names, allowed, strict=True)]
    return "; ".join(["default-src 'none'", *rules, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def digest(content: str) -> str:
    """The base64 of a text's SHA-256, as a policy names it."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def as_json(data: Any) -> str:
    """JSON that can stand inside a script element: no `<` in it, so nothing can end the element.

    >>> as_json({"name": "</script><!--"})
    '{"name":"\\\\u003c/script>\\\\u003c!--"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _contents(sections: Sequence[tuple[str, Markup]]) -> Markup:
    links = []
    for name, markup in sections:
        found = re.search(r' id="([a-z]+)"', markup)
        if found:
            links.append(tag("li", tag("a", name, href=f"#{found[1]}")))
    return tag("nav", tag("ul", links), aria_label="Contents")


def _source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
