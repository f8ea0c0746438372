"""Files of weights: round trips, strict loading, and damage that is always noticed."""

import os

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import RunError
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets import NETS
from rawcnn.nets.inference import frozen
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.nets.weights import assign, load_arrays, load_weights, save_arrays, save_weights


def test_names_are_paths_in_the_order_of_the_table():
    names = list(named_weights(NETS["lenet5"]()))
    assert names == [f"{row}/{v}" for row in ("c1", "s2", "c3", "s4", "c5", "f6") for v in "wb"]


def test_a_file_gives_the_same_net(tmp_path, rng):
    one, other = NETS["lenet5"](seed=1), NETS["lenet5"](seed=2)
    x = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    assert not np.array_equal(one(x), other(x))
    save_weights(one, tmp_path / "w.npz")
    load_weights(other, tmp_path / "w.npz")
    np.testing.assert_array_equal(one(x), other(x))
    with np.load(tmp_path / "w.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["c3/w"], one.c3.w)
    assert os.listdir(tmp_path) == ["w.npz"]


@pytest.mark.parametrize("name", ["lenet5", "cifar_fast", "googlenet_dogs"])
@pytest.mark.parametrize("policy", [FLOAT32, MIXED_BFLOAT16])
def test_a_frozen_net_answers_the_same_and_holds_no_variable(name, policy, rng):
    net = NETS[name](policy=policy)
    x = rng.normal(size=(2, *net.input_shape)).astype(np.float32)
    before, variables = net(x).numpy(), named_variables(net)
    twin = frozen(net)
    np.testing.assert_array_equal(twin(x), before)
    assert not named_variables(twin) and named_variables(net).keys() == variables.keys()
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(twin(x), before)
    assert not np.array_equal(net(x), before)


def test_freezing_casts_weights_and_leaves_statistics(rng):
    net = NETS["cifar_fast"](policy=MIXED_BFLOAT16)
    twin = frozen(net)
    assert twin.conv1.w.dtype == tf.bfloat16 and twin.bn1.moving_mean.dtype == tf.float32
    assert net.conv1.w.dtype == tf.float32 and isinstance(net.conv1.w, tf.Variable)


def test_all_that_does_not_fit_is_listed_and_nothing_assigned():
    net = NETS["lenet5"]()
    before = net.c1.w.numpy()
    values = {name: v.numpy() + 1 for name, v in named_variables(net).items()}
    values["c9/w"] = values.pop("c3/w")
    values["f6/b"] = values["f6/b"][:-1]
    with pytest.raises(RunError) as error:
        assign(named_variables(net), values, "w.npz")
    for part in ("w.npz", "c3/w is missing", "c9/w is unexpected", r"f6/b is (83,), not (84,)"):
        assert part in str(error.value)
    np.testing.assert_array_equal(net.c1.w, before)


def test_damage_is_noticed_wherever_it_is(tmp_path):
    path = tmp_path / "w.npz"
    save_arrays(path, {"a/w": np.arange(300, dtype=np.float32), "b": np.ones(7)})
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(RunError, match=r"w\.npz cannot be read as weights"):
            load_arrays(path)
    unnoticed = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            loaded = load_arrays(path)
        except RunError:
            continue
        # A flip in the archive's own bookkeeping may go unnoticed, but never one that changes a value or a name.
        unnoticed += 1
        assert list(loaded) == ["a/w", "b"]
        np.testing.assert_array_equal(loaded["a/w"], np.arange(300, dtype=np.float32))
    assert unnoticed < len(whole) / 7 / 10


def test_a_missing_file_and_a_directory(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(RunError, match="cannot be read as weights"):
            load_arrays(path)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.array([{"not": "numbers"}], dtype=object))
    with pytest.raises(RunError, match="cannot be read as weights"):
        load_arrays(tmp_path / "w.npz")


def test_variables_of_dicts_and_nested_modules_are_found():
    module = tf.Module()
    module.slots = {"m": {"c1/w": tf.Variable(1.0)}}
    module.inner = tf.Module()
    module.inner.step = tf.Variable(2, trainable=False)
    assert {name: int(v) for name, v in named_variables(module).items()} == {"slots/m/c1/w": 1, "inner/step": 2}
    assert list(named_weights(module)) == ["slots/m/c1/w"]
