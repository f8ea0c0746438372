"""Other people's weights there and back: torchvision's and Keras's nets, built independently, give the same logits."""

import numpy as np
import pytest

from benchmarks.fidelity import draw_weights, relative_error
from rawcnn.errors import RunError, UsageError
from rawcnn.files.safetensors import read_safetensors, write_safetensors
from rawcnn.layers.variables import named_variables
from rawcnn.nets import NETS
from rawcnn.nets.weights import load_weights, save_weights

torch = pytest.importorskip("torch")
from tests.oracles import nets_keras, nets_torch, nets_torchvision  # noqa: E402

PRECISION = 1e-5
SIDE = 64


def drawn(module, rng):
    """Weights and running statistics that keep activations near 1, for eval mode."""
    for name, tensor in module.state_dict().items():
        if tensor.dtype == torch.float32:
            low, high = (
                (0.5, 1.5) if name.endswith("running_var") or (tensor.ndim == 1 and "weight" in name) else (-0.1, 0.1)
            )
            values = rng.uniform(low, high, tensor.shape)
            if tensor.ndim > 1:
                values = rng.normal(0, np.sqrt(2 / np.prod(tensor.shape[1:])), tensor.shape)
            tensor.copy_(torch.from_numpy(values))
    return module.eval()


def their_answer(module, x):
    with torch.no_grad():
        y = module(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
    return (y["logits"] if isinstance(y, dict) else y).numpy()


def build(name, classes=7):
    if name == "alexnet_one_tower":
        return NETS[name]((95, 95, 3), classes), nets_torchvision.alexnet(95, classes)
    return NETS[name]((SIDE, SIDE, 3), classes), nets_torchvision.vgg(name, SIDE, classes)


@pytest.mark.parametrize(
    "name",
    ["alexnet_one_tower", "vgg11", "vgg11_bn"]
    + [
        pytest.param(n, marks=pytest.mark.slow) for n in ("vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn")
    ],
)
def test_torchvisions_weights_come_and_go(tmp_path, rng, name):
    """Loaded here, the logits are PyTorch's; saved with its names, `load_state_dict` takes every one."""
    ours, theirs = build(name)
    drawn(theirs, rng)
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file

    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    loaded = load_weights(ours, tmp_path / "theirs.safetensors")
    assert not loaded.left_out and loaded.preprocess is not None
    x = rng.normal(size=(2, *ours.input_shape)).astype(np.float32)
    expected = their_answer(theirs, x)
    assert relative_error(ours(x).numpy(), expected) <= PRECISION
    draw_weights(ours)
    save_weights(ours, tmp_path / "ours.safetensors", names="torch")
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    assert relative_error(their_answer(theirs, x), ours(x).numpy()) <= PRECISION
    assert relative_error(their_answer(theirs, x), expected) > 0.1


def test_torchvisions_weights_without_the_top(tmp_path, rng):
    _, theirs = build("vgg11_bn")
    drawn(theirs, rng)
    arrays = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    write_safetensors(tmp_path / "w.safetensors", arrays)
    ours = NETS["vgg11_bn"]((SIDE, SIDE, 3), include_top=False)
    loaded = load_weights(ours, tmp_path / "w.safetensors", partial=True)
    assert len(loaded.rows) == 16 and not loaded.kept
    x = rng.normal(size=(2, *ours.input_shape)).astype(np.float32)
    expected = their_answer(theirs.features, x).transpose(0, 2, 3, 1)
    assert relative_error(ours(x).numpy(), expected) <= PRECISION
    with pytest.raises(RunError, match=r"has batch normalisation, and the net has none.*It looks like vgg11_bn"):
        load_weights(NETS["vgg11"]((SIDE, SIDE, 3), 7), tmp_path / "w.safetensors", partial=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [("vgg11_bn", 132_868_840), ("alexnet_one_tower", 61_100_840)])
def test_torchvisions_numbers_of_parameters(name, parameters):
    theirs = (
        nets_torchvision.alexnet(224, 1000) if name == "alexnet_one_tower" else nets_torchvision.vgg(name, 224, 1000)
    )
    assert sum(p.numel() for p in theirs.parameters()) == parameters == NETS[name]().num_params()


@pytest.mark.parametrize("name", ["lenet5_relu", "cifar_fast", pytest.param("googlenet", marks=pytest.mark.slow)])
def test_other_nets_go_to_a_module_that_is_named_as_their_rows(tmp_path, rng, name):
    """Batch normalisation without gamma and branches within a row; and back into another net."""
    ours, other = NETS[name](seed=1), NETS[name](seed=2)
    draw_weights(ours)
    save_weights(ours, tmp_path / "w.safetensors", names="torch")
    build_torch, shape, classes = nets_torch.NETS[name]
    theirs = build_torch(shape, classes).eval()
    state = {n: torch.from_numpy(values) for n, values in read_safetensors(tmp_path / "w.safetensors").items()}
    missing = theirs.load_state_dict(state, strict=False)
    assert not missing.missing_keys
    x = rng.normal(size=(2, *ours.input_shape)).astype(np.float32)
    assert relative_error(their_answer(theirs, x), ours(x).numpy()) <= PRECISION
    load_weights(other, tmp_path / "w.safetensors")
    for path, variable in named_variables(ours).items():
        if variable.dtype.is_floating:
            np.testing.assert_array_equal(named_variables(other)[path], variable)


def test_vgg16_goes_to_keras_applications_and_back(tmp_path, rng):
    keras = pytest.importorskip("keras")
    ours, other = (NETS["vgg16"]((32, 32, 3), 7, seed=seed) for seed in (1, 2))
    draw_weights(ours)
    save_weights(ours, tmp_path / "vgg16.h5", names="keras")
    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None)
    theirs.load_weights(tmp_path / "vgg16.h5")
    x = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    assert relative_error(np.asarray(theirs(x[..., ::-1])), ours(x).numpy()) <= PRECISION
    load_weights(other, tmp_path / "vgg16.h5")
    np.testing.assert_array_equal(other(x), ours(x))
    theirs.load_weights(tmp_path / "vgg16.h5", by_name=True)


@pytest.mark.parametrize("name", ["lenet5_tanh", "cifar_wide", pytest.param("googlenet_dogs", marks=pytest.mark.slow)])
def test_other_nets_go_to_keras_and_back(tmp_path, rng, name):
    ours, other = NETS[name](seed=1), NETS[name](seed=2)
    draw_weights(ours)
    save_weights(ours, tmp_path / "w.h5", names="keras")
    build_keras, shape, classes = nets_keras.NETS[name]
    theirs = build_keras(shape, classes)
    theirs.load_weights(tmp_path / "w.h5", by_name=name == "googlenet_dogs")
    x = rng.normal(size=(2, *ours.input_shape)).astype(np.float32)
    assert relative_error(np.asarray(theirs(x)), ours(x).numpy()) <= PRECISION
    if name != "googlenet_dogs":
        load_weights(other, tmp_path / "w.h5")
        np.testing.assert_array_equal(other(x), ours(x))


def test_what_cannot_be_written_for_others(tmp_path):
    for names, path, rule in (
        ("keras", "w.h5", "Row 's2' cannot be written: neither Keras nor PyTorch has a layer like it"),
        ("torch", "w.safetensors", "Row 's2' cannot be written"),
        ("keras", "w.npz", "written as .h5, not '.npz'"),
        ("keras", "w.weights.h5", "Call it w.h5"),
        ("rawcnn", "w.h5", r"Call it w.npz. For Keras, say names='keras'."),
        ("torch", "w.pth", "Call it w.safetensors"),
        ("jax", "w.npz", "names='jax' is unknown: choose one of rawcnn, torch, keras"),
    ):
        with pytest.raises(UsageError, match=rule):
            save_weights(NETS["lenet5"](), tmp_path / path, names=names)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="Only nets that are a Chain"):
        save_weights(NETS["lenet5"]().c1, tmp_path / "w.h5", names="keras")
