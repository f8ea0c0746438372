"""Nets whose input is not square: images in memory of exactly that size are taken, all others get a sentence."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import rawcnn as rc
from rawcnn.errors import UsageError
from rawcnn.nets import NETS
from rawcnn.nets.precision import FLOAT32
from rawcnn.run.command import COMMANDS
from rawcnn.train.inputs import Inputs
from rawcnn.train.recipes import Recipe
from tests.command import write_idx

SHAPE = (12, 20, 1)


def build(input_shape=SHAPE, num_classes=3, *, seed=0, policy=FLOAT32):
    """A net for images of 12 x 20 pixels."""
    table = (
        ("conv", rc.row(rc.Conv2D, activation=tf.nn.relu)(4, 3)),
        ("pool", rc.row(rc.MaxPool)(4)),
        ("flat", rc.row(rc.Flatten)()),
        ("logits", rc.row(rc.Dense)(num_classes)),
    )
    return rc.Chain(table, input_shape=input_shape, seed=seed, policy=policy)


@pytest.fixture
def arrays(rng):
    """120 images; the class is where the bright columns are, so it is lost if height and width are exchanged."""
    labels = np.arange(120) % 3
    images = rng.integers(0, 80, (120, *SHAPE), dtype=np.uint8)
    for k in range(3):
        images[labels == k, :, 6 * k : 6 * k + 5] = 250
    return images, labels


def test_fit_takes_images_of_its_size(arrays):
    net, source = build(), rc.Source(*arrays)
    list(rc.fit(net, source, epochs=20, learning_rate=0.01, batch_size=20))
    assert rc.evaluate(net, source).accuracy == 1.0
    probabilities = rc.predict(net, arrays[0][:3])
    np.testing.assert_allclose(probabilities, tf.nn.softmax(net(arrays[0][:3] / np.float32(255))), rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match=r"is not square, so it takes images in memory of exactly 12x20 pixels"):
        rc.fit(net, rc.Source(arrays[0].transpose(0, 2, 1, 3), arrays[1]))


def test_a_run_is_trained_tested_and_asked(arrays, tmp_path):
    source = rc.Source(*arrays)
    result = rc.Run(tmp_path / "run", build(), source, epochs=8, batch_size=16, learning_rate=0.02).train()
    assert result.test.accuracy > 0.8
    trained = rc.load_run(tmp_path / "run", net=build)
    assert trained.image_shape == SHAPE
    np.testing.assert_allclose(trained.probabilities(arrays[0][:2]), rc.predict(trained.net, arrays[0][:2]), rtol=1e-4)
    bright = np.full((120, 300), 20, np.uint8)  # of this only the middle 200 columns are shown
    bright[:, 110:160] = 255
    Image.fromarray(bright).save(tmp_path / "wide.png")
    seen = trained.read(tmp_path / "wide.png").image
    assert seen.shape == SHAPE[:2] and (seen[:, 6:11].mean(axis=0) > 200).all() and seen[:, :5].mean() < 40
    assert trained.probabilities([seen]).argmax() == 1
    resumed = rc.Run(tmp_path / "run", build(), source, resume=True, epochs=9).train()
    assert len(resumed.history) == 9
    with pytest.raises(UsageError, match=r"crops=10 takes square views.*use crops=1"):
        trained.inputs.evaluator(trained.net, rc.softmax_cross_entropy, "10")


def test_a_registered_net_is_built_in_its_own_shape(arrays, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETS, "oblong", None)  # which is forgotten after the test
    del NETS["oblong"]
    rc.register_net("oblong", build)
    for part in ("train", "t10k"):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", arrays[0][..., 0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", arrays[1].astype(np.uint8))
    (tmp_path / "names").write_text("left\nmiddle\nright\n")
    train = ["rawcnn train", "--net=oblong", "--data_dir=.", "--class_names=names", "--epochs=2", "--batch_size=20"]
    COMMANDS["train"].do([*train, "--run=r"])
    for name in ("classify --run=r --random=2", "evaluate --run=r", "evaluate --run=r --crops=6"):
        COMMANDS[name.split()[0]].do(["rawcnn", *name.split()[1:]])
    assert rc.load_run("r").net.input_shape == SHAPE and "12x20x4" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"oblong takes images of 12x20 pixels, and input_size=16 is for square"):
        COMMANDS["train"].do([*train, "--run=s", "--input_size=16"])
    with pytest.raises(UsageError, match=r"takes images in memory of exactly 12x20 pixels"):
        COMMANDS["train"].do(["rawcnn train", "--net=oblong", "--dataset=drawn", "--smoke", "--run=s"])
    with pytest.raises(UsageError, match=r"crops=dense takes square views"):
        COMMANDS["train"].do([*train, "--run=s", "--crops=dense"])
    assert not (tmp_path / "s").exists()


def test_a_net_for_square_images_takes_others_scaled(arrays, tmp_path):
    """Files are cut to the shape of the data in memory, whatever the net's."""
    source = rc.Source(*arrays)
    inputs = Inputs.of(Recipe(), source, 16)
    assert not inputs.oblong and inputs.preprocess.resize == 16 and inputs.image_shape == SHAPE
    Image.fromarray(np.zeros((60, 60), np.uint8)).save(tmp_path / "square.png")
    assert inputs.read(tmp_path / "square.png").image.shape == SHAPE[:2]
