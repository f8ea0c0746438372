"""`evaluate` answers as `rawcnn evaluate` does: protocols, folded batch norm. Images that break are named."""

import numpy as np
import pytest
import tensorflow as tf

import rawcnn as rc
from rawcnn.data.images.folder import open_folder
from rawcnn.data.images.headers import examine_bytes
from rawcnn.data.source import images_named
from rawcnn.data.views import SIX_WEIGHTS, six_views
from rawcnn.errors import DataError, UsageError
from rawcnn.layers import BatchNorm
from rawcnn.train import inputs as inputs_room
from tests.data.test_folder import fill, quiet


def net_of(*rows, side=8):
    table = (("conv", rc.row(rc.Conv2D)(4, 3)), *rows, ("flat", rc.row(rc.Flatten)()), ("out", rc.row(rc.Dense)(3)))
    return rc.Chain(table, input_shape=(side, side, 3), seed=1)


@pytest.fixture
def source(rng):
    return rc.Source(rng.integers(0, 256, (30, 8, 8, 3)), np.arange(30) % 3)


def test_six_views_are_the_mean_of_six_nets_answers(source):
    """Against the mean of the logits of images moved and mirrored by NumPy, with the weights of the six views."""
    net, scaled = net_of(), source.images.astype(np.float32) / 255
    views = six_views(tf.constant(scaled)).numpy().reshape(30, 6, 8, 8, 3)
    np.testing.assert_array_equal(views[:, 0], scaled)
    logits = np.stack([net(views[:, k]).numpy() for k in range(6)], axis=1)
    mean = (logits * np.asarray(SIX_WEIGHTS)[None, :, None]).sum(axis=1)
    wanted = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rc.evaluate(net, source, crops="6").probabilities, wanted, rtol=1e-4, atol=1e-6)
    one = rc.evaluate(net, source).probabilities
    assert not np.allclose(one, wanted) and np.array_equal(one, rc.evaluate(net, source, crops="1").probabilities)


def test_a_protocol_that_does_not_exist_is_refused(source):
    with pytest.raises(UsageError, match="crops is '12', but must be one of 1, 6, 10, 144, dense"):
        rc.evaluate(net_of(), source, crops="12")


def test_batch_normalisation_is_folded_and_changed_weights_are_seen(source, monkeypatch):
    net = net_of(("norm", rc.row(BatchNorm)(activation=tf.nn.relu)))
    net.norm.moving_mean.assign(tf.linspace(-0.3, 0.4, 4))

    def by_hand():
        return tf.nn.softmax(net(source.images.astype(np.float32) / 255)).numpy()

    wanted, steps = [by_hand()], []
    net.conv.w.assign(net.conv.w * 1.5)
    wanted.append(by_hand())
    net.conv.w.assign(net.conv.w / 1.5)
    make = inputs_room.make_eval_step
    monkeypatch.setattr(inputs_room, "make_eval_step", lambda *args, **more: steps.append(1) or make(*args, **more))
    monkeypatch.setattr(BatchNorm, "__call__", None)
    for factor, expected in ((1.0, wanted[0]), (1.0, wanted[0]), (1.5, wanted[1])):
        net.conv.w.assign(net.conv.w * factor)
        np.testing.assert_allclose(rc.evaluate(net, source).probabilities, expected, atol=1e-5)
    assert len(steps) == 3  # as it is, and folded for either weights: the same weights are not folded twice


def test_few_images_are_not_filled_up_to_a_thousand(source, monkeypatch):
    sizes = []
    told = inputs_room.evaluate

    def listened(step, some, batch_size, **more):
        sizes.append(batch_size)
        return told(step, some, batch_size, **more)

    monkeypatch.setattr(inputs_room, "evaluate", listened)
    for count in (1, 30):
        rc.evaluate(net_of(), source.take(np.arange(count)))
    assert sizes == [1, 32]


# Images that cannot be read


@pytest.fixture
def broken(tmp_path):
    """A folder of sound headers; in one file the pixels are torn."""
    folder = tmp_path / "photos"
    fill(folder, *(f"{kind}/{number}.png" for kind in ("ant", "bee", "cow") for number in range(4)))
    path = folder / "bee" / "2.png"
    contents = bytearray(path.read_bytes())
    middle = len(contents) // 2
    contents[middle : middle + 8] = bytes(8)
    path.write_bytes(contents)
    assert not isinstance(examine_bytes(bytes(contents), 10**6), str)
    return open_folder(folder, log=quiet)[0]["train"]


WORK = {
    "fit": lambda net, source: list(rc.fit(net, source, epochs=1, batch_size=4)),
    "evaluate": rc.evaluate,
    "a loop of one's own": lambda net, source: list(
        rc.train_epochs(
            state := rc.TrainState(net, rc.Adam(net, 0.001)),
            rc.make_train_step(state, rc.softmax_cross_entropy, rc.Preprocess()),
            source, batch_size=4, epochs=1, seed=0, crop=rc.centre(), size=8,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("work", WORK)
def test_a_file_that_breaks_is_named(broken, work):
    with pytest.raises(
        DataError, match=r"1 of 12 image files cannot be used: .*bee/2\.png is damaged.*Or leave"
    ) as told:
        WORK[work](net_of(), broken)
    assert told.value.__cause__ is None and told.value.__suppress_context__


def test_looking_at_a_file_that_breaks_names_it(broken):
    with pytest.raises(DataError, match=r"bee/2\.png is damaged"):
        rc.thumbnails(broken, np.arange(12))


def test_an_error_that_is_not_an_images_stays_as_it_is(source, monkeypatch):
    """Nothing is looked through, and TensorFlow's own error is raised."""
    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"), images_named(source):
        raise tf.errors.InvalidArgumentError(None, None, "mine")
    monkeypatch.setattr(source, "check", lambda: pytest.fail("memory is not an image"), raising=False)
    with pytest.raises(tf.errors.ResourceExhaustedError), images_named(source):
        raise tf.errors.ResourceExhaustedError(None, None, "memory")


def test_files_are_called_by_their_names(broken, source):
    assert broken.file_names(np.array([0, 11])) == ["0.png", "3.png"] and source.file_names(np.array([0])) is None
