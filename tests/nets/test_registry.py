"""Nets by name: listing, creating, and registering one's own."""

import numpy as np
import pytest

from rawcnn import nets
from rawcnn.errors import UsageError
from rawcnn.layers import Dense, Flatten
from rawcnn.nets import NETS, create_net, list_nets, register_net
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16


def linear(input_shape=(4, 4, 1), num_classes=3, *, seed=0, policy=FLOAT32):
    table = (("flat", row(Flatten)()), ("logits", row(Dense)(num_classes)))
    return Chain(table, input_shape=input_shape, seed=seed, policy=policy)


@pytest.fixture(autouse=True)
def same_nets_after(monkeypatch):
    monkeypatch.setattr(nets, "NETS", dict(NETS))


def test_a_created_net_is_the_functions():
    one, other = create_net("lenet5_relu", seed=3), NETS["lenet5_relu"](seed=3)
    np.testing.assert_array_equal(one.c1.w, other.c1.w)
    assert create_net("alexnet_dogs_small").out_shape == (2,) and create_net("lenet5").input_shape == (32, 32, 1)
    small = create_net("vgg11", 7, (32, 32, 3), policy=MIXED_BFLOAT16, include_top=True)
    assert small.out_shape == (7,) and small.input_shape == (32, 32, 3) and small.policy == MIXED_BFLOAT16


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VGG19", "vgg19"),
        ("vgg-16", "vgg16"),
        ("LeNet", "lenet5"),
        ("GoogLeNet", "googlenet"),
        ("cifar-fast", "cifar_fast"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name, meant):
    with pytest.raises(UsageError, match=rf"no net '{name}'\. Did you mean '{meant}'\? Choose one of lenet5, "):
        create_net(name)


@pytest.mark.parametrize("name", ["resnet50", "", 7, None])
def test_a_name_like_no_other_gets_the_list(name):
    with pytest.raises(UsageError, match=r"There is no net .*\. Choose one of lenet5, lenet5_tanh, .*, cifar_fast\."):
        create_net(name)


def test_an_unknown_argument_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"vgg16 has no argument 'includetop'\. Did you mean 'include_top'\?"):
        create_net("vgg16", includetop=False)
    with pytest.raises(UsageError, match=r"lenet5 has no argument 'aux_heads'\. It takes input_shape, num_classes"):
        create_net("lenet5", aux_heads=False)


def test_a_registered_net_is_one_among_the_others():
    register_net("linear", linear)
    assert list_nets()[-1] == "linear" and nets.input_shape("linear") == (4, 4, 1)
    assert create_net("linear", 5).out_shape == (5,)
    register_net("linear", linear)  # a notebook cell that runs again


def test_names_do_not_clash():
    with pytest.raises(UsageError, match="already a net called 'vgg16': choose another"):
        register_net("vgg16", linear)
    register_net("mine", lambda input_shape=(4, 4, 1), num_classes=3, seed=0, policy=FLOAT32: linear())
    with pytest.raises(UsageError, match="already a net called 'mine'"):
        register_net("mine", lambda input_shape=(4, 4, 1), num_classes=3, seed=0, policy=FLOAT32: linear())


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [
        ("my net", linear, "'my net' cannot name a net"),
        (3, linear, "3 cannot name a net"),
        ("a", linear(), "needs a function that builds the net|must be like build"),
        ("a", 5, "needs a function that builds the net, not 5"),
        ("a", lambda num_classes: None, "it lacks input_shape, seed, policy"),
        ("a", lambda input_shape, num_classes, seed, policy: None, "its input_shape has no default"),
    ],
)
def test_what_cannot_be_registered(name, build, message):
    with pytest.raises(UsageError, match=message):
        register_net(name, build)
    assert list_nets() == list(nets.NETS) and name not in nets.NETS
