"""Rows that are not trained: equal to Keras's, the same to the bit, free of cost, trained later, resumed exactly."""

import numpy as np
import pytest
import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Source
from rawcnn.errors import UsageError
from rawcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten
from rawcnn.layers.variables import named_variables, named_weights
from rawcnn.nets.chain import Chain, row
from rawcnn.nets.precision import FLOAT32, MIXED_BFLOAT16
from rawcnn.testing import assert_resume_exact
from rawcnn.train.answers import evaluate
from rawcnn.train.fit import train_epochs
from rawcnn.train.lookahead import Lookahead
from rawcnn.train.losses import softmax_cross_entropy
from rawcnn.train.optimizers import OPTIMIZERS, SGD, Adam, Momentum, Muon, Nesterov
from rawcnn.train.simple import fit
from rawcnn.train.step import TrainState, make_train_step

_conv = row(Conv2D, activation=tf.nn.relu)
TABLE = (
    ("conv1", _conv(3, 3)),
    ("bn1", row(BatchNorm)()),
    ("drop1", row(Dropout)(0.5)),
    ("conv2", _conv(4, 3)),
    ("bn2", row(BatchNorm)()),
    ("flat", row(Flatten)()),
    ("logits", row(Dense)(4)),
)
HEAD = (("flat", row(Flatten)()), ("logits", row(Dense)(4)))
LOWER = "conv1..drop1"


def net_of(seed=0, policy=FLOAT32, heads=None):
    """A net whose batch normalisation has seen images."""
    net = Chain(TABLE, input_shape=(8, 8, 1), heads=heads, seed=seed, policy=policy)
    rng = np.random.default_rng(3)
    for norm in (net.bn1, net.bn2):
        norm.moving_mean.assign(rng.normal(size=norm.moving_mean.shape))
        norm.moving_variance.assign(rng.uniform(0.5, 2, size=norm.moving_mean.shape))
        norm.updates.assign(7)
    return net


@pytest.fixture
def batch(rng):
    return rng.integers(0, 255, size=(8, 8, 8, 1), dtype=np.uint8), np.arange(8, dtype=np.int32) % 4


def endless(batch):
    return iter(tf.data.Dataset.from_tensors(tuple(map(tf.constant, batch))).repeat())


def bits(variables):
    return {name: v.numpy().tobytes() for name, v in variables.items()}


def changed(net, before):
    """The rows and heads of which any number moved."""
    return {name.partition("/")[0] for name, now in bits(named_variables(net)).items() if now != before[name]}


def test_it_is_what_keras_computes(batch):
    """A Keras model with `trainable = False` in the same layers ends with the same weights after five steps."""
    keras = pytest.importorskip("keras")
    ours, (images, labels) = net_of(), batch
    theirs = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu", trainable=False, name="conv1"),
            keras.layers.BatchNormalization(trainable=False, name="bn1"),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv2"),
            keras.layers.BatchNormalization(trainable=False, name="bn2"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, name="logits"),
        ]
    )
    order = ("w", "b"), ("gamma", "beta", "moving_mean", "moving_variance")

    def pairs():
        for name, parts in (("conv1", 0), ("bn1", 1), ("conv2", 0), ("bn2", 1), ("logits", 0)):
            yield name, theirs.get_layer(name), [getattr(getattr(ours, name), part) for part in order[parts]]

    for _, layer, variables in pairs():
        layer.set_weights([v.numpy() for v in variables])
    begun = {name: v.numpy() for name, v in named_weights(ours).items()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.SGD(0.1), loss)
    state = TrainState(ours, SGD(ours, 0.1), freeze="conv1..drop1,bn2")
    make_train_step(state, softmax_cross_entropy, Preprocess())(endless(batch), tf.constant(5))
    for _ in range(5):
        theirs.train_on_batch(images.astype(np.float32) / 255, labels)
    for name, layer, variables in pairs():
        for one, other in zip(layer.get_weights(), variables, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(ours.conv2.w - begun["conv2/w"]).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "policy", "shards"),
    [
        (Nesterov, FLOAT32, 1),
        (Muon, FLOAT32, 1),
        (lambda net, **more: Lookahead(Momentum(net, **more), 2), FLOAT32, 1),
        (Adam, MIXED_BFLOAT16, 2),
    ],
)
def test_frozen_rows_stay_the_same_to_the_bit(make, policy, shards, batch):
    """Weights, statistics, the counter of dropout and the averages; decay and moving averages try to move them."""
    net = net_of(policy=policy)
    state = TrainState(net, make(net, weight_decay=0.1), decay=0.9, freeze=LOWER)
    before, averages = bits(named_variables(net)), bits(state.averages)
    make_train_step(state, softmax_cross_entropy, Preprocess(), shards=shards)(endless(batch), tf.constant(4))
    assert changed(net, before) == {"conv2", "bn2", "logits"}
    moved = {name.partition("/")[0] for name, now in bits(state.averages).items() if now != averages[name]}
    assert moved == {"conv2", "bn2", "logits"}
    with state.averaged():
        assert changed(net, before) == {"conv2", "bn2", "logits"}


def test_an_optimizer_of_the_other_rows_does_the_same_without_slots(batch):
    nets = net_of(), net_of()
    states = [
        TrainState(nets[0], Adam(nets[0]), freeze=LOWER),
        TrainState(nets[1], Adam(nets[1].rows_named("conv2..logits")), freeze=LOWER),
    ]
    for state in states:
        make_train_step(state, softmax_cross_entropy, Preprocess())(endless(batch), tf.constant(2))
    one, other = (bits(named_variables(net)) for net in nets)
    assert one == other and len(states[1].optimizer.variables) < len(states[0].optimizer.variables)


def test_a_head_on_a_frozen_row_trains(batch):
    heads = {"aux1": ("bn1", HEAD), "aux2": ("conv2", HEAD)}
    net = net_of(heads=heads)
    before = bits(named_variables(net))
    state = TrainState(net, SGD(net, 0.1), freeze=f"{LOWER},aux2")
    step = make_train_step(state, softmax_cross_entropy, Preprocess(), head_weights={"aux1": 0.3, "aux2": 0.3})
    step(endless(batch), tf.constant(2))
    assert changed(net, before) == {"aux1", "conv2", "bn2", "logits"}


def backward_ops(freeze, batch):
    """How many ops of convolutions' gradients the step's graph has, in all functions that it calls."""
    net = net_of()
    step = make_train_step(TrainState(net, SGD(net), freeze=freeze), softmax_cross_entropy, Preprocess())
    definition = step.get_concrete_function(endless(batch), tf.constant(1)).graph.as_graph_def(add_shapes=False)
    return sum("Backprop" in node.op for function in definition.library.function for node in function.node_def)


def test_no_gradient_goes_below_the_first_trained_row(batch):
    counts = [backward_ops(freeze, batch) for freeze in ("", "conv1", LOWER, "conv1..conv2", "conv1..flat")]
    assert counts[0] > counts[1] >= counts[2] > counts[3] >= counts[4] == 0


def source_of(rng, count=40):
    labels = np.arange(count, dtype=np.int32) % 4
    images = rng.integers(0, 80, size=(count, 8, 8, 1), dtype=np.uint8)
    images[np.arange(count), labels * 2, :, 0] = 255
    return Source(images, labels, tuple("abcd"))


@pytest.mark.parametrize("cut", [5, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (4, 7))])
def test_a_run_that_unfreezes_its_rows_resumes_exactly(rng, cut):
    """Five updates with frozen rows, five without: cut before, at and after the change."""
    source = source_of(rng)

    def train_fn():
        table = (TABLE[1], TABLE[2], TABLE[-2], TABLE[-1])
        net = Chain(table, input_shape=(8, 8, 1))
        state = TrainState(net, Adam(net, 0.01), decay=0.9, freeze="bn1..drop1", frozen_steps=5)
        step = make_train_step(state, softmax_cross_entropy, Preprocess())

        def train_to(last):
            for now in train_epochs(state, step, source, batch_size=8, epochs=2, seed=0, pause_every=last):
                if now.step == last:
                    break

        return state, train_to

    assert_resume_exact(train_fn, steps=10, cut=cut)


def test_rows_train_after_their_steps_and_adam_begins_there(batch):
    """The first update of Adam moves each weight by the learning rate, whenever it comes (Kingma & Ba, section 2.1)."""
    net = net_of()
    before = bits(named_variables(net))
    state = TrainState(net, Adam(net, 0.001), freeze=LOWER, frozen_steps=3)
    step, data = make_train_step(state, softmax_cross_entropy, Preprocess()), endless(batch)
    step(data, tf.constant(3))
    assert changed(net, before) == {"conv2", "bn2", "logits"}
    w = net.conv1.w.numpy()
    step(data, tf.constant(1))
    np.testing.assert_allclose(np.abs(net.conv1.w - w), 0.001, rtol=0.01)
    assert changed(net, before) == {"conv1", "bn1", "drop1", "conv2", "bn2", "logits"}


def test_rates_of_their_own(batch):
    """Plain gradient descent: a tenth of the rate is a tenth of the way."""
    moves = []
    for factors in (None, {"conv1..bn1": 0.1, "logits": 0.5}):
        net = net_of()
        before = {name: v.numpy() for name, v in named_weights(net).items()}
        state = TrainState(net, SGD(net, 0.01, rate_factors=factors), freeze="drop1")
        make_train_step(state, softmax_cross_entropy, Preprocess())(endless(batch), tf.constant(1))
        moves.append({name: v.numpy() - before[name] for name, v in named_weights(net).items()})
    for name, move in moves[0].items():
        factor = {"conv1": 0.1, "bn1": 0.1, "logits": 0.5}.get(name.partition("/")[0], 1.0)
        np.testing.assert_allclose(moves[1][name], factor * move, rtol=1e-3, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_every_optimizer_takes_rate_factors(kind):
    net = net_of()
    with pytest.raises(UsageError, match=r"There is no row 'conv3'. Did you mean 'conv2'\?"):
        kind(net, rate_factors={"conv3": 0.1})
    with pytest.raises(UsageError, match="rate_factors names 'conv1', which this optimizer does not train"):
        kind(named_weights(net.rows_named("conv2")), rate_factors={"conv1": 0.1})
    for factor in (0, -1.0, float("nan"), True):
        with pytest.raises(UsageError, match="The rate factor of conv1 is a number above 0, not"):
            kind(net, rate_factors={"conv1": factor})


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("conv1..conv3", r"freeze=conv1\.\.conv3: There is no row 'conv3'. Did you mean 'conv2'\? The net has conv1, "),
        ("conv2..conv1", r"The range 'conv2\.\.conv1' runs backwards: write conv1\.\.conv2"),
        ("conv1,,bn1", "There is no row ''"),
        ("conv1..aux", r"'conv1\.\.aux' is not a range: aux is a head, which is named alone"),
        ("conv1..logits", r"freeze=conv1\.\.logits leaves no row to train"),
        ("conv1..bn2,logits,aux", "leaves no row to train"),
    ],
)
def test_what_cannot_be_frozen(freeze, message):
    net = net_of(heads={"aux": ("bn1", HEAD)})
    with pytest.raises(UsageError, match=message):
        TrainState(net, SGD(net), freeze=freeze)


def test_an_optimizer_of_frozen_rows_alone_is_refused():
    net = net_of()
    with pytest.raises(UsageError, match="freeze names all rows that the optimizer trains"):
        TrainState(net, SGD(net.conv1), freeze="conv1")


def test_fit_freezes_unfreezes_and_refuses(rng):
    source, net = source_of(rng), net_of()
    before = bits(named_variables(net))
    list(fit(net, source, epochs=1, batch_size=8, freeze="conv1..bn2"))
    assert changed(net, before) == {"logits"}
    before = bits(named_variables(net))
    stages = [changed(net, before) for _ in fit(net, source, epochs=2, batch_size=40, freeze=LOWER, unfreeze_after=1)]
    assert stages == [{"conv2", "bn2", "logits"}, {"conv1", "bn1", "drop1", "conv2", "bn2", "logits"}]
    for wrong in ({"unfreeze_after": 1}, {"freeze": "conv1", "unfreeze_after": 0}):
        with pytest.raises(UsageError, match="unfreeze_after is a number of epochs, 1 or more, and needs freeze"):
            fit(net, source, **wrong)


def test_loaded_weights_are_shown_the_pixels_that_they_expect(rng):
    """`net.expects` is used by all three calls; a `preprocess` that is given comes first, and holds from then on."""
    source, net = source_of(rng), net_of()
    net.expects = Preprocess(low=-1.0)
    x = source.images.astype(np.float32) / 127.5 - 1
    wanted = tf.nn.softmax(net(x)).numpy()
    np.testing.assert_allclose(evaluate(net, source).probabilities, wanted, rtol=1e-4, atol=1e-6)
    (first,) = fit(net, source, epochs=1, batch_size=40)
    assert first.remark.endswith("; pixels as the loaded weights expect them")
    np.testing.assert_allclose(evaluate(net, source).probabilities, tf.nn.softmax(net(x)), rtol=1e-4, atol=1e-6)
    list(fit(net, source, epochs=1, batch_size=40, preprocess=Preprocess()))
    x = source.images.astype(np.float32) / 255
    np.testing.assert_allclose(evaluate(net, source).probabilities, tf.nn.softmax(net(x)), rtol=1e-4, atol=1e-6)
