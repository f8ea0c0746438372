"""How TensorFlow starts for a program that imports rawcnn first: with oneDNN, unless the user says otherwise."""

import platform

import pytest

from tests.command import of_program

X86 = platform.machine().lower() in ("x86_64", "amd64")
SAYS = "import os, rawcnn; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"


def said(program, **more):
    done = of_program(program, **more)
    done.check_returncode()
    return done.stdout.strip()


@pytest.mark.skipif(not X86, reason="oneDNN is switched on for x86-64 processors")
def test_onednn_is_on():
    assert said(SAYS) == "1"


def test_what_the_user_sets_stays():
    assert said(SAYS, TF_ENABLE_ONEDNN_OPTS="0") == "0"


def test_nothing_is_set_where_tensorflow_was_imported_before():
    assert said(f"import sys; sys.modules['tensorflow'] = sys\n{SAYS}") == "None"


def test_tensorflow_is_its_own_module_after_the_quiet_import():
    program = """
import sys, rawcnn
import tensorflow
ours = [finder for finder in sys.meta_path if type(finder).__module__.startswith('rawcnn')]
print(ours, tensorflow.__spec__.loader is tensorflow.__loader__, type(tensorflow.__loader__).__module__)
"""
    assert said(program).startswith("[] True _frozen_importlib")
