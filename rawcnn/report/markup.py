"""HTML that escapes by itself: a text becomes markup only through `tag`, so a stranger's name can't become a tag."""

import html
from collections.abc import Iterable
from typing import Any

from rawcnn.run.figures import plain

VOID = ("br", "img", "input", "meta", "hr", "rect", "line", "circle", "polyline", "path")
"""Elements without an end tag, and those of SVG that are empty."""


class Markup(str):
    """Finished HTML. Any other string is text, and is escaped where it enters a page."""


Content = str | int | float | None | Iterable["Content"]


def text(value: Content) -> Markup:
    """A value as HTML: `Markup` as it is, sequences joined, None nothing, all else escaped.

    >>> text(["<b>", Markup("<i>"), None, 3])
    '&lt;b&gt;<i>3'
    """
    if value is None:
        return Markup("")
    if isinstance(value, Markup):
        return value
    if isinstance(value, str | int | float):
        return Markup(html.escape(plain(str(value)), quote=True))
    return Markup("".join(text(one) for one in value))


def tag(name: str, *children: Content, **attributes: Any) -> Markup:
    """One element. Attributes are escaped too; `class_` is class, `data_row` is data-row, None is left out.

    >>> tag("a", "1 < 2", class_="x", href="#y", hidden=True, title=None)
    '<a class="x" href="#y" hidden>1 &lt; 2</a>'
    """
    parts = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {key}")
        elif value is not None and value is not False:
            parts.append(f' {key}="{text(value)}"')
    start = f"<{name}{''.join(parts)}"
    if name in VOID and not children:
        return Markup(f"{start}/>")
    return Markup(f"{start}>{text(children)}</{name}>")


def count(n: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> count(1, "image"), count(12345, "class", "classes")
    ('1 image', '12,345 classes')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
