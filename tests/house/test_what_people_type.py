"""What users of Keras, PyTorch and timm type first: each gets one sentence, with what to write here."""

import gc
import re

import numpy as np
import pytest
import tensorflow as tf

import rawcnn as rc
from rawcnn.errors import RunError

IMAGES, LABELS = np.zeros((8, 6, 6, 1), np.uint8), np.arange(8) % 2


def net_of(input_shape=(6, 6, 1), classes=2):
    return rc.Chain(
        (("flat", rc.row(rc.Flatten)()), ("logits", rc.row(rc.Dense)(classes))), input_shape=input_shape, seed=0
    )


def soft():
    dense = rc.row(rc.Dense, activation=tf.nn.softmax)
    return rc.Chain((("flat", rc.row(rc.Flatten)()), ("logits", dense(2))), input_shape=(6, 6, 1))


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
    "softmax in the last row": (
        lambda: rc.fit(soft(), source_of()),
        "The last row, 'logits', has activation=tf.nn.softmax: leave it out. The net gives logits",
    ),
    "softmax by name": (
        lambda: rc.Dense(2, input_shape=(4,), activation="softmax"),
        "activation is a function, not 'softmax': leave it out; a net gives logits, and the loss applies softmax",
    ),
    "sigmoid by name": (lambda: rc.Dense(2, input_shape=(4,), activation="sigmoid"), "write activation=tf.nn.sigmoid"),
    "keep_prob": (lambda: rc.Dropout(keep_prob=0.5, input_shape=(4,)), "Give rate, which is 1 - keep_prob."),
    "the layer first": (
        lambda: rc.Chain([(rc.row(rc.Flatten)(), "flat")], input_shape=(4,)),
        "in entry 1 the name comes",
    ),
    "no input_shape": (lambda: rc.Chain([("flat", rc.row(rc.Flatten)())]), "input_shape is that of one image, (height"),
    "a layer that is made": (
        lambda: rc.row(rc.Flatten(input_shape=(4, 4, 1))),
        "row takes a layer's class, not <Flatten",
    ),
    "half an epoch": (lambda: rc.fit(net_of(), source_of(), 1.5), "epochs is a whole number from 1 on, not 1.5"),
    "no batch": (lambda: rc.fit(net_of(), source_of(), batch_size=0), "batch_size is a whole number from 1 on, not 0"),
    "uneven shards": (
        lambda: rc.fit(net_of(), source_of(), shards=3),
        "A batch of 8 cannot be cut into 3 equal shards",
    ),
    "a seed of None": (lambda: source_of().split(0.5, seed=None), "seed is a whole number from 0 on, not None"),
    "a rate in quotes": (lambda: rc.fit(net_of(), source_of(), learning_rate="0.1"), "number above 0, not 0.1"),
    "validation_split": (
        lambda: rc.fit(net_of(), source_of(), validation_split=0.1),
        "fit has no argument 'validation_split'. Split the source: train, validation = source.split(0.1).",
    ),
    "a mistyped argument": (lambda: rc.fit(net_of(), source_of(), epoch=3), "Did you mean 'epochs'?"),
    "a recipe's name": (lambda: rc.fit(net_of(), source_of(), recipe="lenet5"), "recipe=rc.recipe_of('lenet5')"),
    "a function as preprocess": (lambda: rc.fit(net_of(), source_of(), preprocess=abs), "a Preprocess, as in"),
    "an optimizer in capitals": (lambda: rc.fit(net_of(), source_of(), optimizer="Adam"), "Did you mean 'adam'?"),
    "an optimizer without a net": (lambda: rc.Adam(learning_rate=0.001), "give the net, as in Adam(net, learning_rate"),
    "Keras's loss": (
        lambda: rc.fit(net_of(), source_of(), loss="sparse_categorical_crossentropy"),
        "What Keras calls a cross entropy is softmax_cross_entropy.",
    ),
    "no images": (lambda: rc.evaluate(net_of(), source_of().take(np.arange(0))), "There are no images to evaluate."),
    "a path to predict": (lambda: rc.predict(net_of(), "photo.png"), "must be an array or a list of numbers, not str"),
    "lists of two sizes": (lambda: rc.Source([np.zeros((2, 2)), np.zeros((3, 3))], [0, 1]), "differ in shape"),
    "no labels": (lambda: rc.Source(IMAGES, None), "labels must be an array or a list of numbers, not NoneType"),
    "a name twice": (lambda: rc.Source(IMAGES, LABELS, ["cat", "cat"]), "Two classes are called 'cat'"),
    "summary of a name": (lambda: rc.summary("lenet5"), "write summary(create_net('lenet5'))"),
    "the path first": (
        lambda: rc.save_weights("net.npz", net_of()),
        "The net comes first: write save_weights(net, path)",
    ),
    "the net first": (
        lambda: rc.Run(net_of(), "runs/x", source_of()),
        "Run's first argument is a directory, not a Chain",
    ),
    "a setting of Keras": (
        lambda: rc.Run("runs/x", "lenet5", lr=0.1),
        "has no setting 'lr'. Did you mean 'learning_rate'?",
    ),
    "an option of Keras": (lambda: rc.load_dataset("drawn", val=0.1), "load_dataset has no option 'val'."),
    "a file as a run": (lambda: rc.load_run(__file__), "is a file: name the directory of the run."),
    "nobody's home": (lambda: rc.load_dataset("~nobody-here/x"), "~nobody-here/x does not exist."),
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
    with pytest.raises((AttributeError, ValueError, RunError), match=re.escape(sentence)) as raised:
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
    "numbers as objects, as pandas keeps some": lambda labels: labels.astype(object),
}


@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_labels_of_every_kind_are_taken(kind):
    np.testing.assert_array_equal(rc.Source(IMAGES, LABEL_KINDS[kind](LABELS)).labels, LABELS)


def test_a_training_that_nobody_iterates_over_is_warned_of():
    training = rc.fit(net_of(), source_of())
    assert "not begun: iterate over it" in repr(training)
    with pytest.warns(RuntimeWarning, match=r"rc.fit trained nothing, not begun: iterate over it, as in `for now"):
        del training
        gc.collect()
    training = rc.fit(net_of(), source_of(), epochs=1)
    assert next(training).epoch == 1 and "epoch 1/1" in repr(training)


def test_a_run_below_the_directory_is_asked_about(tmp_path):
    (tmp_path / "lenet5-mnist-1").mkdir()
    (tmp_path / "lenet5-mnist-1/ckpt-000000001.npz").write_bytes(b"")
    with pytest.raises(RunError, match=r"Did you mean .*lenet5-mnist-1\?"):
        rc.load_run(tmp_path)
