"""Events for TensorBoard, read back: what it will show is what the run was."""

import io

import rawcnn.start  # noqa: F401

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.util.event_pb2 import Event

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.data.source import Source
from rawcnn.nets import NETS
from rawcnn.run.directory import EVENTS, RunDir
from rawcnn.run.session import Run
from rawcnn.run.tensorboard import TensorBoard

NAMES = ("cat", "개")


def row(epoch, **more):
    values = {"epoch": epoch, "step": 10 * epoch, "train_loss": 1 / epoch, "val_loss": 2 / epoch}
    return values | {"train_accuracy": 0.5, "val_accuracy": 0.25, "learning_rate": 0.01, "seconds": 3.5} | more


def net():
    return NETS["lenet5_relu"](num_classes=2, seed=0)


def events(directory):
    files = sorted(str(path) for path in (directory / EVENTS).iterdir())
    return [Event.FromString(record.numpy()) for file in files for record in tf.data.TFRecordDataset(file)]


def values(directory, plugin):
    """{tag: {step: tensor}} of a plugin."""
    found = {}
    for event in events(directory):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == plugin:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
    return found


def test_scalars_are_filed_under_their_step(tmp_path):
    board = TensorBoard(tmp_path, net(), NAMES)
    board.epoch(row(1))
    board.epoch(row(2, val_loss=None))
    scalars = values(tmp_path, "scalars")
    assert set(scalars) == {"loss/training", "loss/validation", "accuracy/training", "accuracy/validation",
                            "learning_rate", "seconds"}  # fmt: skip
    assert scalars["loss/training"] == {10: 1.0, 20: 0.5} and scalars["loss/validation"] == {10: 2.0}
    assert scalars["learning_rate"][20] == np.float32(0.01) and scalars["seconds"][10].dtype == np.float32


def test_filters_and_confusion_are_images(tmp_path):
    board = TensorBoard(tmp_path, net(), NAMES)
    board.epoch(row(1), np.array([[3, 1], [0, 2]]))
    images = values(tmp_path, "images")
    assert set(images) == {"filters", "confusion"}
    for by_step in images.values():
        width, height, png = by_step[10]
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG" and image.size == (int(width), int(height))


def test_the_graph_has_the_names_of_the_rows(tmp_path):
    made = net()
    TensorBoard(tmp_path, made, NAMES)
    (graph,) = [GraphDef.FromString(event.graph_def) for event in events(tmp_path) if event.graph_def]
    scopes = {node.name.split("/")[0] for node in graph.node}
    assert {name for name, layer in made.rows} <= scopes


def test_a_resumed_run_appends(tmp_path):
    for epoch in (1, 2):
        TensorBoard(tmp_path, net(), NAMES).epoch(row(epoch))
    assert values(tmp_path, "scalars")["loss/training"] == {10: 1.0, 20: 0.5}
    assert len([event for event in events(tmp_path) if event.graph_def]) == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / EVENTS).write_text("a file is in the way")
    board = TensorBoard(tmp_path, net(), NAMES)
    board.epoch(row(1))
    board.epoch(row(2))
    (line,) = capsys.readouterr().err.splitlines()
    assert "TensorBoard gets no more of this run, the training continues" in line


def test_a_writer_that_fails_later_is_said_once(tmp_path, capsys, monkeypatch):
    board = TensorBoard(tmp_path, net(), NAMES)

    def full(*arguments, **more):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary, "write", full)
    board.epoch(row(1))
    board.epoch(row(2))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("No space left on device")


def test_without_matplotlib_there_are_scalars_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    board = TensorBoard(tmp_path, net(), NAMES)
    board.epoch(row(1), np.eye(2, dtype=int))
    board.epoch(row(2))
    assert values(tmp_path, "images") == {} and len(values(tmp_path, "scalars")["seconds"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("TensorBoard gets no images: Pictures need matplotlib")


@pytest.mark.parametrize("name", ["lenet5", "googlenet"])
def test_nets_of_all_kinds(tmp_path, name):
    TensorBoard(tmp_path, NETS[name](num_classes=10), [str(i) for i in range(10)]).epoch(row(1))
    assert set(values(tmp_path, "images")) == {"filters"}


def test_a_run_that_is_asked_to_writes_and_a_resumed_one_appends(tmp_path):
    digits = Source(*drawn_digits(120), tuple("0123456789"))
    Run(tmp_path / "run", "lenet5_relu", digits, epochs=1, batch_size=20, validation=0.2, tensorboard=True).train()
    result = Run(tmp_path / "run", "lenet5_relu", digits, resume=True, epochs=2).train()
    scalars, images = (values(tmp_path / "run", plugin) for plugin in ("scalars", "images"))
    wanted = {row.step: np.float32(row.val_accuracy) for row in result.history}
    assert scalars["accuracy/validation"] == wanted and len(wanted) == 2
    assert set(images) == {"filters", "confusion"} and set(images["confusion"]) == set(wanted)


def test_overwriting_a_run_deletes_its_pictures_and_events_too(tmp_path):
    TensorBoard(tmp_path, net(), NAMES).epoch(row(1))
    for name in ("history.jsonl", "net.png", "maps.png", "bitmaps.png"):
        (tmp_path / name).write_text("")
    RunDir(tmp_path, overwrite=True).close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.lock"]
    RunDir(tmp_path).close()  # an empty folder of events is no stranger's
