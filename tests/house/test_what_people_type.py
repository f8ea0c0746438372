"""What users of Keras, PyTorch and timm type first: each gets one sentence, with what to write here."""

import re

import numpy as np
import pytest
import tensorflow as tf

import rawcnn as rc

IMAGES, LABELS = np.zeros((8, 6, 6, 1), np.uint8), np.arange(8) % 2


def net_of(input_shape=(6, 6, 1), classes=2):
    return rc.Chain(
        (("flat", rc.row(rc.Flatten)()), ("logits", rc.row(rc.Dense)(classes))), input_shape=input_shape, seed=0
    )


def source_of():
    return rc.Source(IMAGES, LABELS)


TYPED = {
    "arrays in place of a source": (
        lambda: rc.fit(net_of(), IMAGES, LABELS),
        "fit takes images and their labels together, in a Source, not a ndarray: write rc.fit(net, rc.Source(images, ",
    ),
    "and epochs by name": (lambda: rc.fit(net_of(), IMAGES, LABELS, epochs=5), "write rc.fit(net, rc.Source(images, "),
    "by name": (lambda: rc.fit(net_of(), train=IMAGES), "write rc.fit(net, rc.Source(images, "),
    "arrays to validate on": (
        lambda: rc.fit(net_of(), source_of(), validation=(IMAGES, LABELS)),
        "in a Source, not a tuple",
    ),
    "a tf.data.Dataset": (
        lambda: rc.fit(net_of(), tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2)),
        "in a Source, not a ",
    ),
    "a whole data set": (
        lambda: rc.fit(net_of(), rc.DataSet("x", source_of(), source_of(), source_of())),
        "Give one of its splits, as in data.train.",
    ),
    "arrays to evaluate": (lambda: rc.evaluate(net_of(), IMAGES, LABELS), "write rc.evaluate(net, rc.Source(images, "),
    "the source first": (
        lambda: rc.fit(source_of(), net_of()),
        "fit's first argument is the net, a Chain, not a Source",
    ),
    "a source to predict": (lambda: rc.predict(net_of(), source_of()), "rc.evaluate(net, source).probabilities"),
    "one image": (lambda: rc.predict(net_of(), IMAGES[0]), "not [6, 6, 1]: give one image as image[None]"),
    "one grey image": (lambda: rc.predict(net_of(), IMAGES[0, ..., 0]), "give one image as image[None]"),
    "other classes to validate on": (
        lambda: rc.fit(
            net_of(), rc.Source(IMAGES, LABELS, ["a", "b"]), validation=rc.Source(IMAGES, LABELS, ["a", "c"])
        ),
        "Class 1 of the validation images is 'c', which is called 'b' in training",
    ),
    "a file of class names": (lambda: rc.Source(IMAGES, LABELS, "names.txt"), "and not the text 'names.txt'"),
    "labels first": (lambda: rc.Source(LABELS, IMAGES), "Images come first, then labels: write Source(images, labels)"),
    "one-hot labels": (lambda: rc.Source(IMAGES, np.eye(2)[LABELS]), "Give labels.argmax(axis=1)"),
    "channels first": (
        lambda: rc.Source(np.zeros((8, 3, 6, 6)), LABELS),
        "has its channels first. Give images.transpose(0, 2, 3, 1)",
    ),
    "names as labels": (lambda: rc.Source(IMAGES, ["cat", "dog"] * 4), "np.unique(labels, return_inverse=True)"),
    "a flat net": (
        lambda: rc.fit(net_of((36,)), source_of()),
        "The net's input is (36,), but images are (height, width",
    ),
    "a net without channels": (
        lambda: rc.Run(None, net_of((6, 6)), source_of()),
        "The net's input is (6, 6), but images",
    ),
    "a layer as net": (lambda: rc.Run(None, rc.Dense), "net is a Chain or the name of a net, not a type"),
    "a name with a dash": (lambda: rc.create_net("VGG-16"), "There is no net 'VGG-16'. Did you mean 'vgg16'?"),
    "model.fit": (
        lambda: net_of().fit,
        "A net has no attribute 'fit' and no row of that name. Write: for now in rc.fit(net, ",
    ),
    "model.predict": (lambda: net_of().predict, "Write: rc.predict(net, images)"),
    "model.summary": (lambda: net_of().summary, "Write: print(net)"),
    "model.parameters": (lambda: net_of().parameters(), "Write: net.trainable_variables"),
    "a mistyped row": (lambda: net_of().logit, "Did you mean 'logits'?"),
    "Sequential": (lambda: rc.Sequential, "It is called rc.Chain here."),
    "another case": (lambda: rc.Conv2d, "Did you mean 'Conv2D'?"),
    "rc.train()": (lambda: rc.train(net_of()), "rawcnn.train is a package and not a function: rc.fit(net, source"),
    "rc.run()": (lambda: rc.run(net_of()), "write rc.Run(directory, net, source, epochs=5).train()."),
    "timm's name": (lambda: rc.create_model, "It is called rc.create_net here."),
}


@pytest.mark.parametrize("what", TYPED)
def test_one_sentence_says_what_to_write(what):
    typed, sentence = TYPED[what]
    with pytest.raises((AttributeError, ValueError), match=re.escape(sentence)) as raised:
        typed()
    assert "\n" not in str(raised.value)


def test_copies_and_missing_private_names_are_as_ever():
    """What asks a net for names that it may lack: copy, pickle and notebooks."""
    net = net_of()
    assert not hasattr(net, "_ipython_display_") and not hasattr(net, "__deepcopy__")
    with pytest.raises(AttributeError, match="_nothing"):
        _ = net._nothing


def test_what_is_asked_for_shows_in_a_line():
    net = net_of()
    judged = rc.evaluate(net, source_of())
    assert repr(judged) == f"<Evaluation: loss {judged.loss:.4f}, accuracy {judged.accuracy:.2%}, probabilities [8, 2]>"
    assert repr(rc.Run("runs/x", "lenet5", epochs=3)) == "<Run of lenet5 in runs/x: 0 of 3 epochs>"


LABEL_KINDS = {
    "tf tensor": lambda labels: tf.constant(labels),
    "uint64": lambda labels: labels.astype(np.uint64),
    "float16": lambda labels: labels.astype(np.float16),
    "column of floats": lambda labels: labels.astype(float)[:, None],
    "generator's list": lambda labels: [int(label) for label in labels],
    "bool": lambda labels: labels.astype(bool),
}


@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_labels_of_every_kind_are_taken(kind):
    np.testing.assert_array_equal(rc.Source(IMAGES, LABEL_KINDS[kind](LABELS)).labels, LABELS)
