"""Letters of any script: an installed font that has them is taken, and a missing one is named once."""

import unicodedata

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image

from rawcnn.run import fonts
from rawcnn.run.figures import new_figure, plain, png_of, save
from rawcnn.run.pictures import save_confusion

CAT, DOG = "고양이", "강아지"


def write_font(path, family, letters):
    """A font with full blocks for its letters: no font of the machine is needed, and a drawn letter is dark."""
    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
        (pen.moveTo if point == (0, 0) else pen.lineTo)(point)
    pen.closePath()
    block = pen.glyph()
    names = {ord(letter): f"uni{ord(letter):04X}" for letter in letters}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **dict.fromkeys(names.values(), block)})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in (".notdef", *names.values())})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "fullName": family, "psName": family})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """Only the fonts that the test names are installed; what matplotlib knew before, it knows after."""
    from matplotlib.font_manager import fontManager

    search = fonts.fonts_for

    def install(*paths):
        monkeypatch.setattr(fonts, "_candidates", lambda: paths)
        search.cache_clear()

    monkeypatch.setattr(fonts, "_told", set())
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    yield install
    search.cache_clear()


def titled(text):
    figure = new_figure(4, 3, text)
    figure.subplots()
    return figure


def ink(png_file):
    with Image.open(png_file) as image:
        return int((np.asarray(image.convert("L"))[:50] < 60).sum())  # in the title


def test_a_font_that_has_the_letters_is_taken(tmp_path, installed, capsys):
    installed(
        write_font(tmp_path / "a.ttf", "Nothing", "xyz"),
        write_font(tmp_path / "b.ttf", "Cats", CAT),
        write_font(tmp_path / "c.ttf", "Both", CAT + DOG),
    )
    assert fonts.fonts_for(frozenset(CAT)) == (("Cats",), "")
    assert fonts.fonts_for(frozenset(CAT + DOG)) == (("Both",), "")
    figure = titled(f"{DOG} and dogs")
    with_font = ink(save(figure, tmp_path / "with.png"))
    assert figure._suptitle.get_fontfamily()[-1] == "Both"  # after matplotlib's own, which draws the Latin letters
    assert with_font > 3 * 150 + ink(save(titled("and dogs"), tmp_path / "latin.png"))
    assert capsys.readouterr().err == ""


def test_letters_that_no_single_font_has_come_from_several(tmp_path, installed):
    installed(write_font(tmp_path / "a.ttf", "Cats", CAT), write_font(tmp_path / "b.ttf", "Dogs", DOG + "猫"))
    assert fonts.fonts_for(frozenset(CAT + "강")) == (("Cats", "Dogs"), "")
    assert fonts.fonts_for(frozenset("猫あ")) == (("Dogs",), "あ")


def test_what_no_font_has_is_said_once_for_a_script(tmp_path, installed, capsys):
    installed()
    for name in (CAT, DOG, CAT, "猫"):
        save(titled(f"a {name}"), tmp_path / "boxes.png")
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        "Pictures show boxes in 'a 고양이': no installed font has its Hangul letters. Install a font, on Debian or "
        "Ubuntu with: apt install fonts-nanum"
    )
    assert "CJK letters" in second and second.endswith("fonts-noto-cjk")


def test_matplotlibs_own_letters_need_no_search(installed, monkeypatch):
    monkeypatch.setattr(fonts, "fonts_for", lambda lacking: pytest.fail(f"searched for {lacking}"))
    for text in ("cat and dog", "Ångström", "αβγ Ж", "", "a\nb"):
        png_of(titled(text))


def test_every_text_of_a_picture_is_looked_at(tmp_path, installed, monkeypatch):
    installed(write_font(tmp_path / "a.ttf", "Both", CAT + DOG))
    drawn = []
    monkeypatch.setattr("rawcnn.run.confusion.save", lambda figure, path: drawn.append(figure) or png_of(figure))
    save_confusion(np.array([[3, 1], [0, 2]]), [CAT, DOG], "c.png", title="t")
    (axes,) = [axes for axes in drawn[0].axes if axes.get_xlabel() == "predicted"]
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        assert label.get_fontfamily()[-1] == "Both", label


def test_files_that_are_no_font_are_passed_over(tmp_path, installed):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    installed(str(broken), str(tmp_path / "gone.ttf"), write_font(tmp_path / "b.ttf", "Cats", CAT))
    assert fonts.fonts_for(frozenset(CAT)) == (("Cats",), "")


def test_korean_names_as_macos_writes_them_become_one_letter_a_syllable():
    assert plain(unicodedata.normalize("NFD", CAT)) == CAT


@pytest.mark.parametrize(
    ("letter", "script", "package"),
    [
        ("고", "Hangul", "fonts-nanum"),
        ("猫", "CJK", "fonts-noto-cjk"),
        ("あ", "Hiragana", "fonts-noto-cjk"),
        ("ー", "Katakana", "fonts-noto-cjk"),
        ("々", "Ideographic", "fonts-noto-cjk"),
        ("ไ", "Thai", "fonts-noto-core"),
        ("\ue000", "Unknown", "fonts-noto-core"),
    ],
)
def test_scripts_are_told_by_their_letters(letter, script, package):
    assert fonts.package_for(letter) == (script, package)


def test_plain_fonts_come_first(monkeypatch):
    names = ["NanumPen.ttf", "NanumMyeongjo.ttf", "NanumGothicBold.ttf", "NanumGothicCoding.ttf", "NanumGothic.ttf"]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [f"/fonts/{name}" for name in names])
    fonts._candidates.cache_clear()
    try:
        assert fonts._candidates()[0] == "/fonts/NanumGothic.ttf"
    finally:
        fonts._candidates.cache_clear()


def test_with_the_fonts_of_this_machine_no_text_fails(tmp_path):
    save(titled("고양이 猫 あ ไทย हिन्दी 😀 \U0001f9ff"), tmp_path / "any.png")
