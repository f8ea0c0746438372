"""The switch of the faster forms: what it turns off, and that everything is on again afterwards."""

import pytest

from rawcnn.errors import UsageError
from rawcnn.ops.fast.forms import FORMS, fast, plain


def slow():
    """The names of all forms that are switched off."""
    return {name for name in FORMS if not fast(name)}


def test_all_forms_are_in_use_by_default():
    assert slow() == set()


def test_plain_switches_off_what_it_names():
    with plain("lrn", "relu"):
        assert slow() == {"lrn", "relu"}
    assert slow() == set()
    with plain("all"):
        assert slow() == set(FORMS)
    assert slow() == set()
    with plain():
        assert slow() == set()


def test_blocks_within_blocks():
    with plain("lrn"):
        with plain("lrn", "tanh"):
            assert slow() == {"lrn", "tanh"}
        assert slow() == {"lrn"}
        with plain("all"):
            assert slow() == set(FORMS)
        assert slow() == {"lrn"}
    assert slow() == set()


def test_an_error_within_the_block_leaves_nothing_switched_off():
    with pytest.raises(ZeroDivisionError), plain("all"):
        raise ZeroDivisionError
    assert slow() == set()


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError) as error, plain("lrn", "fused"):
        pass
    assert "'fused'" in str(error.value) and all(name in str(error.value) for name in ("all", *FORMS))
    assert slow() == set()
