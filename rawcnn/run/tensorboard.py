"""What TensorBoard shows of a run: curves, the first filters, the confusion matrix, and the graph by row names.

Written with `tf.summary` alone; TensorBoard itself, the extra `tensorboard`, is needed only to look:
`tensorboard --logdir=DIR`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.summary_pb2 import SummaryMetadata

from rawcnn.errors import RawcnnError
from rawcnn.nets.chain import Chain
from rawcnn.run.confusion import confusion_figure
from rawcnn.run.directory import EVENTS
from rawcnn.run.figures import png_of
from rawcnn.run.inside import convolves
from rawcnn.run.net_pictures import filters_figure
from rawcnn.run.output import tell


class TensorBoard:
    """Writes event files into the run's folder `tensorboard`; what fails is said once and never stops the training.

    `directory` is the run's; `net` gives its graph now and its filters after each epoch; `class_names` name the
    confusion matrix. Values are filed under the step, so an epoch that a resumed run repeats replaces itself.
    """

    def __init__(self, directory: Path, net: Chain, class_names: Sequence[str] = ()):
        self._net, self._class_names = net, tuple(class_names)
        self._failed = self._without_pictures = False
        self._writer: Any = None
        folder = Path(directory, EVENTS)
        first = not list(folder.glob("events.out.tfevents.*"))
        try:
            self._writer = tf.summary.create_file_writer(str(folder))
            if first:
                self._graph()
            self._writer.flush()
        except (tf.errors.OpError, OSError) as error:
            self._give_up(error)

    def epoch(self, row: Mapping[str, Any], confusion: NDArray[np.integer] | None = None) -> None:
        """Write an epoch: every number of `row` but its `epoch` and `step`, the filters, and the confusion matrix.

        Args:
          row: as in `history.jsonl`; `step` is the step it is filed under. Values that are None are left out.
          confusion: int `[K, K]`, rows true, columns predicted; None for none.
        """
        if self._failed:
            return
        try:
            step = int(row["step"])
            with self._writer.as_default():
                for name, value in row.items():
                    if name not in ("epoch", "step") and isinstance(value, int | float):
                        _write("scalars", _tag(name), tf.constant(value, tf.float32), step)
                self._images(step, row["epoch"], confusion)
            self._writer.flush()
        except (tf.errors.OpError, OSError) as error:
            self._give_up(error)

    def _images(self, step: int, epoch: int, confusion: NDArray[np.integer] | None) -> None:
        if self._without_pictures:
            return
        try:
            figures = {}
            if convolves(self._net):
                figures["filters"] = filters_figure(self._net, title=f"epoch {epoch}")
            if confusion is not None:
                figures["confusion"] = confusion_figure(confusion, self._class_names, title=f"epoch {epoch}")
        except RawcnnError as error:  # no matplotlib
            self._without_pictures = True
            tell(f"TensorBoard gets no images: {error}", sys.stderr)
            return
        for tag, figure in figures.items():
            width, height = (str(round(side * figure.dpi)) for side in figure.get_size_inches())
            _write("images", tag, tf.constant([width, height, png_of(figure)]), step)

    def _graph(self) -> None:
        """The net's graph for one image; each op stands under the name of its row."""
        shape = (1, *self._net.input_shape)
        traced = tf.function(self._net, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32))
        with self._writer.as_default():
            tf.summary.graph(traced.graph.as_graph_def())

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        tell(f"TensorBoard gets no more of this run, the training continues: {str(error).splitlines()[0]}", sys.stderr)


def _write(plugin: str, tag: str, tensor: tf.Tensor, step: int) -> None:
    metadata = SummaryMetadata(plugin_data={"plugin_name": plugin})
    tf.summary.write(tag, tensor, step=step, metadata=metadata)


def _tag(name: str) -> str:
    """`val_loss` as loss/validation, so that TensorBoard lays training and validation side by side.

    >>> _tag("val_loss"), _tag("train_accuracy"), _tag("learning_rate")
    ('loss/validation', 'accuracy/training', 'learning_rate')
    """
    first, _, rest = name.partition("_")
    which = {"val": "validation", "train": "training"}.get(first)
    return f"{rest}/{which}" if which else name
