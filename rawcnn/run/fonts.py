"""Letters of any script in the pictures: installed fonts that have what matplotlib's own font lacks.

matplotlib brings one font, for Latin, Greek, Cyrillic, Arabic and Hebrew. Class names and file names may be Korean.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from typing import Any

from rawcnn.run.output import tell

PACKAGES = {"HANGUL": "fonts-nanum", **dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC"), "fonts-noto-cjk")}
"""Debian's package with a font for a script; those that are not here are in fonts-noto-core."""
_told: set[str] = set()  # scripts


def fit(figure: Any) -> None:
    """Give each text of a figure an installed font for letters that its own font lacks.

    Where no font has them, they become boxes, and a line on stderr says once for each script which package to install.
    """
    from matplotlib.font_manager import findfont
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        letters = set(text.get_text()) - {"\n"}
        if not letters or max(letters) < "\u0250":  # Latin: every font has it
            continue
        known = _letters(findfont(text.get_fontproperties()))
        lacking = frozenset(letter for letter in letters if ord(letter) not in known)
        families, missing = fonts_for(lacking) if lacking else ((), "")
        if families:
            text.set_fontfamily([*text.get_fontfamily(), *families])  # matplotlib looks for each letter in this order
        if missing:
            _tell_once(missing, text.get_text())


@functools.lru_cache(maxsize=1000)
def fonts_for(lacking: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """(font families that have the letters together, the letters that no installed font has).

    The families are known to matplotlib from then on.
    """
    families, wanted = [], {ord(letter) for letter in lacking}
    while wanted:
        # The first of equals: `_candidates` has plain upright fonts first.
        best = max(_candidates(), key=lambda path: len(wanted & _letters(path)), default=None)
        if best is None or not wanted & _letters(best):
            break
        wanted -= _letters(best)
        families.append(_register(best))
    return tuple(families), "".join(sorted(map(chr, wanted)))


def package_for(letter: str) -> tuple[str, str]:
    """(the script of a letter, Debian's package with a font for it).

    >>> package_for("한"), package_for("猫"), package_for("ไ")
    (('Hangul', 'fonts-nanum'), ('CJK', 'fonts-noto-cjk'), ('Thai', 'fonts-noto-core'))
    """
    script = unicodedata.name(letter, "UNKNOWN").replace("-", " ").split()[0]
    return script if script == "CJK" else script.capitalize(), PACKAGES.get(script, "fonts-noto-core")


def _tell_once(missing: str, text: str) -> None:
    for letter in missing:
        script, package = package_for(letter)
        if script not in _told:
            _told.add(script)
            name = " ".join(text.split())
            tell(
                f"Pictures show boxes in {name[:40]!r}: no installed font has its {script} letters. Install a font, "
                f"on Debian or Ubuntu with: apt install {package}",
                sys.stderr,
            )


@functools.cache
def _candidates() -> tuple[str, ...]:
    """All installed fonts, those that suit a picture first: sans-serif, upright, of normal weight and width."""
    # matplotlib's own list is a file that it made once: fonts installed later are not in it.
    from matplotlib.font_manager import findSystemFonts

    def oddity(path: str) -> tuple[int, int, str]:
        name = path.replace("\\", "/").rsplit("/", 1)[-1].lower()
        sans = any(word in name for word in ("gothic", "sans"))
        odd = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "coding", "condensed", "serif", "eco")
        return sum(word in name for word in odd) + (not sans), len(name), path

    return tuple(sorted(findSystemFonts(), key=oddity))


@functools.cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font draws; none for files that matplotlib cannot use, as fonts of coloured bitmaps."""
    try:
        font = _open(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _open(path: str) -> Any:
    from matplotlib.ft2font import FT2Font

    return FT2Font(path)


def _register(path: str) -> str:
    """Tell matplotlib of a font and its other weights; returns the name of their family."""
    from matplotlib.font_manager import fontManager

    family, known = str(_open(path).family_name), {font.fname for font in fontManager.ttflist}
    for other in _candidates():
        if other not in known and _letters(other) and _open(other).family_name == family:
            fontManager.addfont(other)
    return family
