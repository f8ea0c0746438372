"""The switches of the faster forms: what turns them off, and that everything is on again afterwards."""

import pytest
import tensorflow as tf

from rawcnn import ops
from rawcnn.errors import UsageError
from rawcnn.machine import AMX, AVX2, AVX512_BF16, OTHER, SETS
from rawcnn.nets import NETS
from rawcnn.nets.precision import MIXED_BFLOAT16
from rawcnn.ops.fast import forms
from rawcnn.ops.fast.forms import FORMS, NONE, chosen_for, fast, here, in_use, plain, recorded, state, under


@pytest.fixture(autouse=True)
def all_of_them():
    """As on a processor with AMX, whichever this is."""
    with chosen_for(AMX):
        yield


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


# By instruction set ---------------------------------------------------------------------------------------------------


def test_with_amx_all_forms_are_in_use_and_without_a_known_set_none():
    """`benchmarks/forms.py` measures every form with those of AMX on."""
    assert slow() == set()
    with chosen_for(NONE):
        assert slow() == set(FORMS)


@pytest.mark.parametrize("isa", SETS[:-1])
def test_the_table_says_where_a_form_is_in_use(isa):
    with chosen_for(isa):
        assert slow() == {name for name, about in FORMS.items() if isa not in about.pays}
        assert in_use() == isa
    assert in_use() == AMX


def test_forms_of_bfloat16_are_not_in_use_where_nets_train_in_float32():
    only = {"conv2d_rows", "tanh", "relu", "conv2d_1x1", "conv2d_interleaved", "conv2d_abreast"}
    assert all(FORMS[name].pays <= {AMX, AVX512_BF16} for name in only)


def test_the_machine_decides_where_nothing_else_does(monkeypatch):
    monkeypatch.setattr(forms, "_chosen", [])
    monkeypatch.setattr(forms, "gpus", list)
    monkeypatch.setattr(forms, "instruction_set", lambda: AVX2)
    assert here() == in_use() == AVX2 and not fast("relu")
    monkeypatch.setattr(forms, "instruction_set", lambda: OTHER)
    assert here() == in_use() == NONE and slow() == set(FORMS)


def test_an_unknown_set_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="AMX, AVX512_BF16, AVX512, AVX2, none, not 'SSE'"), chosen_for("SSE"):
        pass


def test_a_function_is_traced_under_the_set_it_was_given():
    seen = []
    traced = under(AVX2, tf.function(lambda x: seen.append(in_use()) or x, autograph=False))
    assert traced(3) == 3 and seen == [AVX2] and in_use() == AMX


def test_forms_in_use_are_recorded_where_they_suit():
    with recorded() as used:
        ops.relu(tf.zeros((1, 2, 2, 1), tf.bfloat16))
        ops.tanh(tf.zeros((1, 2, 2, 1)))  # float32
        with chosen_for(AVX2), recorded() as inner:
            ops.relu(tf.zeros((1, 2, 2, 1), tf.bfloat16))
    assert used == {"relu"} and inner == set()


def test_the_state_tells_one_trace_from_another():
    states = [state()]
    with plain("lrn"):
        states.append(state())
        with chosen_for(AVX2):
            states.append(state())
    assert len(set(states)) == 3 and state() == states[0]


# GPUs -----------------------------------------------------------------------------------------------------------------


def graph_of(name):
    """The types of the ops of a net's logits and gradients, and of the functions that they call."""
    net = NETS[name](policy=MIXED_BFLOAT16)

    def gradients(x):
        with tf.GradientTape() as tape:
            logits = net(x)
        return tape.gradient(logits, net.trainable_variables)

    x = tf.TensorSpec((32, *net.input_shape))
    graph = tf.function(gradients, autograph=False).get_concrete_function(x).graph.as_graph_def()
    return {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}


def test_with_a_gpu_the_graph_is_plain_tensorflow(monkeypatch):
    """TensorFlow is made to report one: what cuDNN then does cannot be tested here."""
    monkeypatch.setattr(forms, "_chosen", [])
    monkeypatch.setattr(forms, "instruction_set", lambda: AMX)
    with_forms = graph_of("lenet5_tanh")
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    visible = tf.config.get_visible_devices
    monkeypatch.setattr(
        tf.config, "get_visible_devices", lambda kind=None: [gpu] if kind == "GPU" else visible(kind)
    )  # fmt: skip
    assert here() == NONE
    on_gpu = graph_of("lenet5_tanh")
    with plain("all"):
        assert on_gpu == graph_of("lenet5_tanh")
    assert "TanhGrad" in on_gpu - with_forms and "Conv2DBackpropFilter" in on_gpu
