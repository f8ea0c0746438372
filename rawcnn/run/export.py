"""Export: a trained net as a SavedModel, an ONNX file or a TFLite file, from uint8 images to probabilities.

The file is checked in its own runtime before it is left on the disk: its answers must be those of the run.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rawcnn.start

import numpy as np
import tensorflow as tf

import rawcnn
from rawcnn.data.datasets import KNOWN
from rawcnn.errors import RawcnnError, RunError, UsageError, did_you_mean
from rawcnn.files.whole import whole_file
from rawcnn.nets.folding import fold_batch_norm
from rawcnn.nets.precision import FLOAT32
from rawcnn.ops.fast.forms import plain_ops
from rawcnn.run.classify import Classifier, load_run
from rawcnn.run.directory import EXPORTS
from rawcnn.run.given import data_of
from rawcnn.run.lock import check_not_in_use

FORMATS = tuple(EXPORTS)
TOLERANCE = 1e-4
"""The largest difference of a probability with which an export is kept."""
CHECKED, MULTIPLY_ADDS = (4, 200), 20e9
"""How many images an export is checked on: between these two, as many as cost a net so many multiply-adds."""
OPSET = 18
"""Version of ONNX's operators: of 2022, which all runtimes of today read."""

Predict = Callable[[np.ndarray], np.ndarray]
"""Images uint8 `[N, H, W, C]` -> probabilities `[N, K]`, computed by the runtime of the format."""
StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked: against the run's own answers on `images` images."""

    path: Path
    images: int
    kind: str
    largest_difference: float
    agreeing: int

    def __str__(self) -> str:
        return (
            f"checked on {self.images:,} {self.kind}: largest difference of probabilities "
            f"{self.largest_difference:.1e}, answers agree on {self.agreeing:,} of {self.images:,}"
        )


def export(
    run: Classifier | StrPath,
    path: StrPath,
    *,
    format: str = "saved_model",
    images: np.ndarray | None = None,
    data_dir: StrPath | None = None,
) -> Exported:
    """Write the net of a run for other programs: uint8 images `[N, H, W, C]` in, `probabilities` `[N, K]` out.

    N may be any number; preprocessing and the test view are part of the graph. Of a run that averages its weights the
    averages are exported. Batch normalisation is folded into the convolutions.

    Args:
      run: a run's directory, or a `Classifier`, as `load_run` gives it.
      path: the file to write, or for `saved_model` the directory; it must not exist yet.
      format: "saved_model", "onnx" (extra `onnx`) or "tflite" (extra `tflite`). TFLite gets a `.json` with the class
        names next to it; the others hold them.
      images: uint8 images to check the export on. By default test images of the run's data, else random pixels.
      data_dir: where the run's data are now, if not where they were.

    Raises:
      UsageError: an unknown format, a path that exists, or a missing extra.
      RunError: no run, a run that is being written, a net that cannot be converted, or answers that differ from the
        run's by more than 1e-4. Then nothing is written.
    """
    path = Path(os.path.expanduser(path))
    _check(path, format)
    classifier = _classifier(run)
    shown, kind = _images(classifier, images, data_dir)
    with plain_ops():  # eagerly, some faster forms are traced for every new shape, and TensorFlow warns of that
        wanted = np.concatenate([_answers(classifier, some) for some in _blocks(shown)])
    try:
        predict, write = _MAKERS[format](_Exportable(classifier), metadata(classifier))
        got = np.concatenate([predict(some) for some in _blocks(shown)])
    except Exception as error:  # whatever a converter or a runtime raises
        if isinstance(error, RawcnnError):
            raise
        what = " ".join(str(error).split())[:300]
        raise RunError(f"This net cannot be exported as {format} ({type(error).__name__}: {what}).") from error
    done = _compared(path, kind, got, wanted)
    try:
        write(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}): choose another --out.") from error
    return done


def metadata(classifier: Classifier) -> dict[str, Any]:
    """What an export says about itself: class names in the order of the probabilities, and the images that it takes."""
    return {
        "class_names": list(classifier.class_names),
        "net": classifier.record.settings.net if classifier.record else "",
        "image_shape": list(classifier.image_shape),
        "central_fraction": classifier.inputs.central_fraction,
        "fit": classifier.inputs.fit or ("squeeze" if classifier.inputs.of_files else "crop"),
        "rawcnn": rawcnn.__version__,
    }


# Before work starts


def _check(path: Path, format: str) -> None:
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}.{did_you_mean(format, FORMATS)} Choose {', '.join(FORMATS)}.")
    written = [path, _json_of(path)] if format == "tflite" else [path]
    for one in written:
        if one.exists() or one.is_symlink():
            raise UsageError(f"{one} exists already: choose another --out, or delete it first.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a directory: make it first, or choose another --out.")
    try:
        if format == "onnx":
            import onnxruntime  # noqa: F401
            import tf2onnx  # noqa: F401
        elif format == "tflite":
            import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise UsageError(f'--format={format} needs an extra ({error}): pip install "rawcnn[{format}]".') from None


def _classifier(run: Classifier | StrPath) -> Classifier:
    if not isinstance(run, Classifier):
        check_not_in_use(Path(os.path.expanduser(run)))
        run = load_run(run)
    net = copy(run.net)
    object.__setattr__(net, "policy", FLOAT32)  # tf.Module's own would tell the original
    return replace(run, net=net)


def _images(classifier: Classifier, given: np.ndarray | None, data_dir: StrPath | None) -> tuple[np.ndarray, str]:
    """Images to check an export on, uint8 `[N, H, W, C]`, and what they are."""
    height, width, channels = classifier.image_shape
    work = sum(layer.multiply_adds() for _, layer in classifier.net.rows)
    count = int(np.clip(MULTIPLY_ADDS / max(work, 1), *CHECKED))
    if given is not None:
        images = classifier.inputs.checked(given)
        if not len(images) or images.dtype != np.uint8:
            raise UsageError(f"images must be at least one image in uint8, not {len(images)} in {images.dtype}.")
        return images, "given images"
    record = classifier.record
    if record is not None and record.data.name in KNOWN:
        try:
            settings = record.settings if data_dir is None else replace(record.settings, data_dir=os.fspath(data_dir))
            test = data_of(None, settings, record.input_shape).test
            if tuple(test.class_names) == classifier.class_names:
                chosen = np.unique(np.linspace(0, len(test) - 1, count).astype(int))
                return classifier.inputs.test_images(test.take(chosen)), "test images"
        except RawcnnError:  # the data are gone; to compare two programs, any pixels do
            pass
    draw = np.random.Generator(np.random.Philox(key=0))
    return draw.integers(0, 256, (count, height, width, channels), np.uint8), "images of random pixels"


# The check


def _answers(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The run's probabilities by the net as it is: nothing folded, frozen or compiled."""
    probabilities: np.ndarray = tf.nn.softmax(classifier.net(classifier.inputs.shown(tf.constant(images)))).numpy()
    return probabilities


def _blocks(images: np.ndarray) -> list[np.ndarray]:
    """The first image alone, then 16 at a time: an export must take any number."""
    return [images[:1], *(images[i : i + 16] for i in range(1, len(images), 16))]


def _compared(path: Path, kind: str, got: np.ndarray, wanted: np.ndarray) -> Exported:
    if got.shape != wanted.shape:
        raise RunError(f"{path} was not written: it gives probabilities {got.shape}, the run {wanted.shape}.")
    difference = float(np.abs(got - wanted).max())
    done = Exported(path, len(got), kind, difference, int((got.argmax(1) == wanted.argmax(1)).sum()))
    if not difference <= TOLERANCE:  # NaN too
        raise RunError(f"{path} was not written, because its answers are not those of the run: {done}.")
    return done


# The formats: each makes a pair of `predict` and `write(path)`

Made = tuple[Predict, Callable[[Path], None]]


class _Exportable(tf.Module):
    """The function that is exported, with the variables that it reads."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.net = fold_batch_norm(classifier.net)
        inputs, shape = classifier.inputs, (None, *classifier.image_shape)

        def probabilities(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
            with plain_ops():
                shown = inputs.shown(tf.cast(images, tf.float32))  # ONNX has a resize of uint8 that rounds
                return {"probabilities": tf.nn.softmax(self.net(shown), name="probabilities")}

        self.signature = [tf.TensorSpec(shape, tf.uint8, name="images")]
        self.function = tf.function(probabilities, input_signature=self.signature, autograph=False)


def _saved_model(module: _Exportable, about: Mapping[str, Any]) -> Made:
    def write(path: Path) -> None:
        with _folder_next_to(path) as scratch:
            made = Path(scratch, "made")
            tf.saved_model.save(module, made, signatures={"serving_default": module.function})
            (made / "assets.extra").mkdir()
            with whole_file(made / "assets.extra" / "metadata.json") as file:
                file.write(_json(about))
            os.rename(made, path)

    return lambda images: module.function(tf.constant(images))["probabilities"].numpy(), write


def _folder_next_to(path: Path) -> AbstractContextManager[str]:
    return TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp")


def _onnx(module: _Exportable, about: Mapping[str, Any]) -> Made:
    import onnxruntime
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(module.function, input_signature=module.signature, opset=OPSET)
    _name_output(model.graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0], partial(_write, content)


def _name_output(graph: Any) -> None:
    """Call the only output "probabilities"."""
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = ["probabilities" if name == output.name else name for name in node.output]
    output.name = "probabilities"


def _tflite(module: _Exportable, about: Mapping[str, Any]) -> Made:
    from ai_edge_litert.interpreter import Interpreter

    concrete = module.function.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()
    runner = Interpreter(model_content=content).get_signature_runner()

    def write(path: Path) -> None:
        _write(_json(about), _json_of(path))
        _write(content, path)

    return lambda images: runner(images=images)["probabilities"], write


def _json(about: Mapping[str, Any]) -> bytes:
    return (json.dumps(about, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _json_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write(content: bytes, path: Path) -> None:
    with whole_file(path) as file:
        file.write(content)


_MAKERS: Mapping[str, Callable[[_Exportable, Mapping[str, Any]], Made]] = {
    "saved_model": _saved_model, "onnx": _onnx, "tflite": _tflite,
}  # fmt: skip
