"""Examples of docstrings (`>>> ...`) as code on the site: Markdown alone would take them for quotations."""

from typing import Any

import griffe


def fenced(text: str) -> str:
    """Each block that begins with `>>>`, up to the next empty line, between fences."""
    lines, inside = [], False
    for line in [*text.splitlines(), ""]:
        if line.lstrip().startswith(">>>") and not inside:
            lines, inside = [*lines, "```pycon"], True
        elif not line.strip() and inside:
            lines, inside = [*lines, "```"], False
        lines.append(line)
    return "\n".join(lines)


class Doctests(griffe.Extension):
    """Hands every docstring through `fenced`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
