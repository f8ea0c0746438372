"""The doctor: what it says of facts that are made up, and of this machine, natively and held to a lower set."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from rawcnn import machine
from rawcnn.machine import Cores
from rawcnn.nets import NETS
from rawcnn.ops.fast.forms import FORMS, NONE, chosen_for
from rawcnn.run import doctor
from rawcnn.run.doctor import Choice, Facts, advice, report
from rawcnn.run.progress import wrapped
from tests.command import ROOT

WELL = Facts(
    processor="Some processor (family/model/stepping 6/1/2)",
    instruction_set="AMX",
    cap="",
    onednn="on, oneDNN v3.7.1, Intel AVX-512 with AMX",
    late=False,
    cores=Cores(2, 2, 2, 2, None),
    numa_nodes=1,
    gpus=(),
    matrix_hardware=("AMX", True),
    memory=(24 << 30, 20 << 30, None),
    load=0.1,
    speeds={"float32": (200.0, 180.0), "bfloat16": (2000.0, 900.0)},
    fsync=0.001,
    versions={"rawcnn": "0.1.0", "tensorflow": "2.21.0", "python": "3.11.2"},
    system="Linux 6.1, x86_64, glibc 2.36",
    tensorflow=(2, 21),
    nets={"a": Choice("float32 (why)", ()), "b": Choice("float32 (why)", ("lrn",)), "c": Choice("float32 (why)", ())},
)


def test_where_nothing_is_wrong_there_is_no_advice():
    assert advice(WELL) == [] and report(WELL).endswith("\n\nNothing is wrong.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tensorflow": (2, 19)}, "TensorFlow 2.21.0 is older than 2.20"),
        ({"late": True}, "import rawcnn first"),
        ({"onednn": ""}, "oneDNN is off, so convolutions take"),
        ({"cap": "AVX2", "instruction_set": "AVX2"}, "ONEDNN_MAX_CPU_ISA=AVX2 holds oneDNN to AVX2: unset it"),
        ({"matrix_hardware": ("AVX2", False)}, "AVX2 does not multiply bfloat16"),
        (
            {"speeds": {"float32": (220.0, 190.0), "bfloat16": (130.0, 120.0)}},
            "slower in bfloat16 than in float32",
        ),
        ({"cores": Cores(4, 4, 4, 4, 1.5)}, "quota of 1.5 is lower than its 4 cores"),
        ({"cores": Cores(4, 2, 2, 2, None)}, "may use 2 of 4 processors"),
        ({"cores": Cores(8, 8, 8, 4, None), "numa_nodes": 2}, "There are 2 NUMA nodes"),
        ({"load": 1.6}, "Other programs keep 1.6 processors busy"),
        ({"memory": (24 << 30, 1 << 30, None)}, "Only 1.0 GB of memory are free"),
        ({"memory": (24 << 30, 20 << 30, 1 << 30)}, "Only 1.0 GB of memory are free"),
        ({"fsync": None}, "The current directory takes no files"),
        ({"fsync": 0.2}, "The disk takes 200 ms to keep a file"),
    ],
)
def test_each_thing_that_is_wrong_gets_one_line_of_advice(wrong, words):
    (found,) = advice(replace(WELL, **wrong))
    assert words in found and "\n" not in found
    assert report(replace(WELL, **wrong)).endswith(f"\n\nAdvice: {found}")


def test_two_threads_of_a_core_are_nothing_wrong_and_are_explained():
    facts = replace(WELL, cores=Cores(8, 8, 4, 4, None))
    assert advice(facts) == []
    assert "threads: 4: 8 of 8 processors may be used, they are 4 cores with 8 logical processors, no" in report(facts)


def test_with_a_gpu_the_processor_gets_no_advice():
    gpu = replace(WELL, gpus=("/physical_device:GPU:0",), onednn="", cap="AVX2", matrix_hardware=("the GPU", True))
    assert advice(gpu) == [] and "GPU: /physical_device:GPU:0" in report(gpu)


def test_nets_with_the_same_choice_share_a_line():
    lines = report(WELL).splitlines()
    assert "a, c: float32 (why); forms: none" in lines and "b: float32 (why); forms: lrn" in lines


def test_it_fits_a_narrow_terminal():
    lines = wrapped(report(WELL), 40).splitlines()
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "cifar_fast"])
def test_the_choice_of_a_net_is_that_of_the_net_itself(name):
    """A trace with symbols in the place of weights, against a net with weights."""
    import tensorflow as tf

    from rawcnn.ops.fast import forms
    from rawcnn.train.recipes import choose_precision, recipe_of

    recipe = recipe_of(name)
    policy, why = choose_precision("auto", recipe)
    with chosen_for("AMX"):
        found = doctor._choice(name)
        with forms.recorded() as used:
            net = NETS[name](policy=policy)
            shape = tf.TensorSpec((recipe.batch_size, *net.input_shape))
            tf.function(net, autograph=False).get_concrete_function(shape)
    assert set(found.forms) == used and used
    assert found.precision == f"{policy.compute.name} ({why.split(': ')[1]})"
    with chosen_for(NONE):
        assert doctor._choice(name).forms == ()


def told(**environment):
    """What the command prints."""
    words = [sys.executable, "-m", "rawcnn", "doctor"]
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_the_command_held_to_avx2():
    text = told(ONEDNN_MAX_CPU_ISA="AVX2")
    if machine.instruction_set() == "other":
        pytest.skip("this processor has no AVX2")
    assert "instruction set: AVX2 (ONEDNN_MAX_CPU_ISA=AVX2)\n" in text
    assert re.search(r"^oneDNN: on, oneDNN v\d+\.\d+\.\d+, Intel AVX2", text, re.MULTILINE), text
    assert re.search(r"^float32: convolution [\d,]+ GFLOP/s, product [\d,]+ GFLOP/s$", text, re.MULTILINE)
    assert "\nbfloat16: " not in text and "AVX2 does not multiply bfloat16" in text
    assert "onednn_verbose" not in text and os.path.expanduser("~") not in text and str(ROOT) not in text
    for name in ("tensorflow", "numpy", "python", "rawcnn"):
        assert re.search(rf"\b{name} \d+\.\d+", text), name
    assert all(re.search(rf"\b{name}\b", text) for name in NETS)
    assert not any(f" {name}" in text for name, about in FORMS.items() if "AVX2" not in about.pays)


@pytest.mark.slow
def test_the_command_where_onednn_is_off():
    text = told(TF_ENABLE_ONEDNN_OPTS="0")
    assert "\noneDNN: off\n" in text and "Advice: oneDNN is off" in text
