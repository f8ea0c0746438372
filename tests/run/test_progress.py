"""Lines of progress: they fit the terminal, whole pieces or none, and any encoding."""

import io
import re
import sys
from dataclasses import replace

import pytest

from rawcnn.nets import NETS
from rawcnn.nets.summary import summary
from rawcnn.run import output, progress
from rawcnn.run.progress import Display, columns_of, epoch_line, live_line, narrowed, wrapped
from rawcnn.run.record import Epoch
from rawcnn.train.fit import Progress

NOW = Progress(3, 10, 1234, 500, 64, 60.0, 10000, images_per_second=60520.4, data_share=0.02, seconds_left=72.0)
ROW = Epoch(3, 1500, 0.1234, 0.97, 0.2345, 0.951, 0.001, 12.34, 52103.4)
WHOLE = "epoch  3/10  step 1234/5000  loss 0.2564  acc 66.77%  60,520 img/s  data 2%  eta 1m12s"


@pytest.mark.parametrize("columns", [*range(1, 100), None])
def test_a_line_fits_and_its_pieces_are_whole(columns):
    for line, whole in (
        (live_line(NOW, columns), live_line(NOW)),
        (epoch_line(ROW, 10, ROW, columns), epoch_line(ROW, 10, ROW)),
    ):
        assert set(line.split("  ")) <= set(whole.split("  "))
        assert columns is None or len(line) <= columns or line == "epoch  3/10"
        assert columns is None or columns < len(whole) or line == whole


def test_what_matters_most_stays_longest():
    assert live_line(NOW) == str(NOW) == WHOLE
    assert live_line(NOW, 39) == "epoch  3/10  loss 0.2564  acc 66.77%"
    assert live_line(replace(NOW, seconds_left=None)).endswith("eta ...")
    assert epoch_line(ROW, 10, ROW, 39) == "epoch  3/10  acc 97.00%  val acc 95.10%"


def test_an_epoch_without_validation():
    row = Epoch(3, 1500, 0.1234, 0.97, None, None, 0.001, 12.34, 52103.4)
    assert epoch_line(row, 10, None) == "epoch  3/10  loss 0.1234  acc 97.00%  12s  52,103 img/s"


@pytest.mark.parametrize("columns", [30, 39, 43, 60, 79])
def test_text_breaks_between_words_and_tables_between_columns(columns):
    text = "adam, learning rate 0.003 falling along a cosine, batches of 20\n\ntested at the end: the last epoch"
    lines = wrapped(text, columns).split("\n")
    assert max(map(len, lines)) <= columns and "" in lines and wrapped(text, columns).split() == text.split()
    table = str(summary(NETS["lenet5"]()))
    rows, whole = narrowed(table, columns).split("\n"), table.split("\n")
    assert max(map(len, rows)) <= columns and len(rows) == len(whole)
    for kept, line in zip(rows, whole, strict=True):
        assert re.split("  +", line)[: len(re.split("  +", kept))] == re.split("  +", kept)
    assert len(re.split("  +", rows[0])) == {30: 2, 39: 3, 43: 4, 60: 5, 79: 6}[columns]
    assert wrapped(text, None) == text and narrowed(table, None) == table


class Terminal(io.StringIO):
    """Looks like a terminal of a size."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def isatty(self):
        return True

    def fileno(self):
        return 99


@pytest.mark.parametrize(("size", "columns"), [((80, 24), 79), ((40, 0), 39), ((0, 0), 79)])
def test_terminals_of_every_size(monkeypatch, size, columns):
    monkeypatch.setattr(progress.os, "get_terminal_size", lambda number: progress.os.terminal_size(size))
    monkeypatch.setenv("TERM", "xterm")
    assert columns_of(Terminal(size)) == columns
    assert columns_of(io.StringIO()) is None and columns_of(None) is None


def test_the_time_left_leaves_out_the_first_call(monkeypatch):
    """It took 100 s and made the graph; the steps after it take a tenth of a second each."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    display = Display()
    for step, at, left in ((1, 100.0, None), (11, 101.0, 0.1 * 4989), (21, 102.0, 0.1 * 4979)):
        clock[0] = at
        now = Progress(1, 10, step, 500, 64)
        found = display._seconds_left(now)
        assert found == (left if left is None else pytest.approx(left))


def test_without_stderr_progress_is_silent(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    display = Display(every=0.0)
    display.update(NOW)
    display.say("stays")
    display.close()
    assert "stays" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdout", None)
    display.say("nobody hears it")


def test_letters_that_an_encoding_lacks_are_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    output.tell("classes: Жук café \udce9", stream)
    assert stream.buffer.getvalue().decode("cp1252").strip() == "classes: \\u0416\\u0443\\u043a café \\udce9"
