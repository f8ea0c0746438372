"""Files of weights: round trips, strict loading, and damage that is always noticed."""

import io
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.errors import RunError, UsageError
from rawcnn.files.kinds import kind_of
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets import NETS
from rawcnn.nets.inference import frozen
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.nets.vgg import vgg
from rawcnn.nets.weights import assign, load_arrays, load_weights, save_arrays, save_weights


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


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
    assert twin.conv1.w.dtype == tf.bfloat16 and twin.bn2.moving_mean.dtype == tf.float32
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


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("model.h5", r"written as .npz or .safetensors, not '.h5'. Call it model.npz"),
        ("model.weights.h5", "Call it model.weights.npz"),
        ("model.npy", "not '.npy'"),
        ("ckpt", "not no ending. Call it ckpt.npz"),
        ("folder.npz", "is a directory. Give the name of a file"),
        ("none/w.npz", "none does not exist. Make it first"),
        ("~/w.npz", "~ does not exist"),
    ],
)
def test_names_that_no_written_format_has_are_refused(tmp_path, name, rule):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match=rule):
        save_weights(NETS["lenet5"](), tmp_path / name)
    with pytest.raises((UsageError, OSError)):
        save_arrays(tmp_path / name, {})
    assert os.listdir(tmp_path) == ["folder.npz"]


def test_arrays_alone_are_never_written_as_safetensors(tmp_path):
    with pytest.raises(UsageError, match=r"written as .npz, not '.safetensors'"):
        save_arrays(tmp_path / "w.safetensors", {})


@pytest.mark.parametrize(("name", "kind"), [("W.NPZ", "npz"), ("w.SafeTensors", "safetensors")])
def test_an_ending_in_capitals_is_that_ending(tmp_path, name, kind):
    one, other = NETS["lenet5"](seed=1), NETS["lenet5"](seed=2)
    save_weights(one, tmp_path / name)
    assert kind_of(tmp_path / name) == kind
    load_weights(other, tmp_path / name)
    np.testing.assert_array_equal(one.c3.w, other.c3.w)


def test_what_the_file_is_and_what_to_do_with_it(tmp_path):
    for name, content, words in (
        ("w.pth", zipped("archive/data.pkl"), r"it is a file of PyTorch.*torch.load\('.*w.pth'.*'.*w.safetensors'\)"),
        ("w.keras", zipped("config.json", "model.weights.h5"), r"a .keras archive.*save_weights\('.*w.weights.h5'\)"),
        ("w.csv", b"epoch,loss\n1,2.3\n", "it is text, such as CSV. Give a file of weights"),
        ("w.npz", b"<html>", "it is a web page.*Download the file itself"),
        ("w.h5", b"version https://git-lfs", "a pointer of Git LFS.*git lfs pull"),
        ("w.safetensors", bytes(range(200, 250)), r"not a .safetensors file"),
        ("w.bin", bytes(range(200, 250)), "not a weight file that rawcnn knows"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError, match=words) as error:
            load_weights(NETS["lenet5"](), tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name} cannot be read as weights: ")


def test_checkpoints_and_directories_of_tensorflow(tmp_path):
    tf.train.Checkpoint(w=tf.Variable(tf.zeros((3, 3)))).write(str(tmp_path / "model.ckpt"))
    for name in ("model.ckpt", "model.ckpt.index"):  # the first is a prefix, and no file
        with pytest.raises(RunError, match=r"it is a checkpoint of TensorFlow.*load_checkpoint\('.*model.ckpt'\)"):
            load_weights(NETS["lenet5"](), tmp_path / name)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(RunError, match="it is a SavedModel"):
        load_weights(NETS["lenet5"](), tmp_path / "saved")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights.npz").touch()
    with pytest.raises(RunError, match=r"it is a directory. Give a file in it: weights.npz"):
        load_weights(NETS["lenet5"](), tmp_path / "run")


def test_with_partial_the_rows_that_fit_are_loaded_and_the_others_named(tmp_path):
    ten, seven = NETS["lenet5_relu"](seed=1), NETS["lenet5_relu"](num_classes=7, seed=2)
    save_weights(ten, tmp_path / "w.npz")
    before = seven.c1.w.numpy(), seven.logits.w.numpy()
    with pytest.raises(RunError, match=r"partial=True loads what fits: 4 rows, c1 ... f6."):
        load_weights(seven, tmp_path / "w.npz")
    np.testing.assert_array_equal(seven.c1.w, before[0])
    loaded = load_weights(seven, tmp_path / "w.npz", partial=True)
    assert loaded.rows == ("c1", "c3", "c5", "f6") and loaded.kept == ("logits",)
    assert loaded.left_out == ("logits/b is (10,), not (7,)", "logits/w is (84, 10), not (84, 7)")
    assert str(loaded).startswith("loaded 4 rows, c1 ... f6; kept logits as before (logits/b is (10,), not (7,)")
    for row in ("c1", "c3", "c5", "f6"):
        np.testing.assert_array_equal(getattr(seven, row).w, getattr(ten, row).w)
    np.testing.assert_array_equal(seven.logits.w, before[1])


def test_a_row_is_loaded_whole_or_not_at_all(tmp_path):
    net = NETS["lenet5_relu"](seed=1)
    values = {name: v.numpy() + 1 for name, v in named_variables(net).items() if name != "f6/b"}
    save_arrays(tmp_path / "w.npz", values)
    before = net.f6.w.numpy()
    assert load_weights(net, tmp_path / "w.npz", partial=True).kept == ("f6",)
    np.testing.assert_array_equal(net.f6.w, before)


def test_partial_with_nothing_that_fits_is_an_error(tmp_path):
    save_arrays(tmp_path / "w.npz", {"other/w": np.ones(3, np.float32)})
    with pytest.raises(RunError, match="No row fits"):
        load_weights(NETS["lenet5_relu"](), tmp_path / "w.npz", partial=True)


def test_a_file_of_a_net_fits_the_net_without_its_top(tmp_path):
    whole, convolutions = vgg("A", (32, 32, 3), 5, seed=1), vgg("A", (32, 32, 3), include_top=False, seed=2)
    save_weights(whole, tmp_path / "w.safetensors")
    loaded = load_weights(convolutions, tmp_path / "w.safetensors", partial=True)
    assert len(loaded.rows) == 8 and not loaded.kept and "fc6/w is unexpected" in loaded.left_out
    np.testing.assert_array_equal(convolutions.conv5_2.w, whole.conv5_2.w)


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
