"""`rawcnn find_rate`: a table, a suggestion and a picture, and nothing else that stays."""

import numpy as np
import pytest

from rawcnn.errors import RawcnnError, UsageError
from rawcnn.run.command import COMMANDS
from rawcnn.run.find_rate import save_rates, verdict
from rawcnn.train.find_rate import RateTest


def find_rate(*flags):
    COMMANDS["find_rate"].do(["rawcnn find_rate", *flags])


def test_it_prints_draws_and_keeps_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    find_rate("--net=lenet5_relu", "--smoke", "--lowest=0.0001", "--highest=10", "--steps=60")
    out = capsys.readouterr().out
    assert "lenet5_relu on drawn, adam, batches of 20" in out and "\n      1.0e-04  " in out
    assert "suggestion: --learning_rate=0.0" in out and "rawcnn sweep --learning_rate=0.0" in out
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--learning_rate=0.1", "tries learning rates of its own: leave --learning_rate out"),
        ("--schedule=cosine", "leave --schedule out"),
        ("--steps=3", "steps must be 20 or more, not 3"),
        ("--lowest=2", "The rates must rise from above 0, but lowest is 2 and highest is 1"),
        ("--net=lenet", "There is no net 'lenet'"),
        ("--run=x", "There is no flag --run"),
        ("word", "'word' is not a flag"),
    ],
)
def test_mistakes(flag, message):
    with pytest.raises(UsageError, match=message):
        find_rate(flag)


def test_the_words_say_how_it_ended():
    rates = np.geomspace(1e-3, 1, 31)
    falling = verdict(RateTest(rates, np.linspace(2, 1, 31), exploded=False))
    assert (
        "the loss did not explode up to 1" in falling
        and "the loss still fell at the highest rate: try --highest=10" in falling
    )
    assert "the loss exploded at 1.0e+00" in verdict(RateTest(rates, np.linspace(2, 1, 31), exploded=True))
    assert "no suggestion: the loss did not fall." in verdict(RateTest(rates, np.ones(31), exploded=False))[-1]
    assert "smaller --lowest" in verdict(RateTest(rates[:0], np.zeros(0), exploded=True))[-1]


def test_there_may_be_nothing_to_draw(tmp_path):
    with pytest.raises(RawcnnError, match="no finite loss"):
        save_rates(RateTest(np.zeros(0), np.zeros(0), exploded=True), tmp_path / "rates.png", title="x")
    assert not list(tmp_path.iterdir())
