"""lenet.js computes what TensorFlow computes; needs Node (the slow tests ask a browser the same)."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.layers import Inception
from rawcnn.nets import NETS
from rawcnn.nets.chain import Chain, row
from rawcnn.report import live
from rawcnn.report.page import HERE
from rawcnn.report.rows import Field, look
from rawcnn.train.recipes import recipe_of

LENETS = ("lenet5", "lenet5_tanh", "lenet5_relu")
PROGRAM = """
const asked = JSON.parse(require("fs").readFileSync(0));
const rows = openNet(asked.net);
const inputs = asked.images.map((p) => preprocess(Float32Array.from(p), 28, 28, 1, asked.how));
const outputs = inputs.map((input) => forward(rows, input).map((output) => Array.from(output.data)));
const at = asked.at;
const told = at && explain(rows[at.row], at.row ? forward(rows, inputs[0])[at.row - 1] : inputs[0], at.y, at.x, at.k);
console.log(JSON.stringify({ inputs: inputs.map((x) => Array.from(x.data)), outputs, told }));
"""


def in_node(tmp_path, **asked):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here: the browser's test covers this")
    program = tmp_path / "program.js"
    sources = [(HERE / name).read_text(encoding="utf-8") for name in ("lenet.js", "digit.js")]
    program.write_text("\n".join(["'use strict';", *sources, PROGRAM]))
    done = subprocess.run([node, program], input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def how(net):
    preprocess = recipe_of(net).preprocess
    return {"pad": preprocess.pad, "low": preprocess.low, "high": preprocess.high}


@pytest.mark.parametrize("name", LENETS)
def test_javascript_computes_what_tensorflow_computes(name, tmp_path):
    net, (images, _) = NETS[name](seed=3), drawn_digits(10)
    assert live.runs_in_page(net)
    found = in_node(tmp_path, net=live.whole_net(net), images=images.reshape(10, -1).tolist(), how=how(name))
    x = recipe_of(name).preprocess(images)
    assert np.allclose(found["inputs"], x.numpy().reshape(10, -1), atol=1e-6)
    _, endpoints = net.endpoints(x)
    for place, (layer, expected) in enumerate(endpoints.items()):
        expected = expected.numpy().reshape(10, -1)
        values = np.array([of_image[place] for of_image in found["outputs"]])
        assert np.abs(values - expected).max() <= 1e-5 * np.abs(expected).max(), layer


@pytest.mark.parametrize(("name", "row"), [("lenet5", 2), ("lenet5_tanh", 0)])
def test_the_parts_of_one_number_add_up(name, row, tmp_path):
    """Table I connects map 5 of C3 with three maps of S2; C1 of lenet5_tanh looks beyond the edge at (0, 0)."""
    net, (images, _) = NETS[name](seed=3), drawn_digits(1)
    at = {"row": row, "y": 0, "x": 0, "k": 5}
    found = in_node(tmp_path, net=live.whole_net(net), images=images.reshape(1, -1).tolist(), how=how(name), at=at)
    _, endpoints = net.endpoints(recipe_of(name).preprocess(images))
    expected = list(endpoints.values())[row].numpy()[0, 0, 0, 5]
    told = found["told"]
    products = sum((v or 0) * w for part in told["parts"] for v, w in zip(part["values"], part["weights"], strict=True))
    assert told["sum"] == pytest.approx(products + told["bias"], abs=1e-6)
    assert told["value"] == pytest.approx(expected, abs=1e-5)
    assert [part["map"] for part in told["parts"]] == ([0, 1, 5] if row else [0])
    outside = sum(value is None for part in told["parts"] for value in part["values"])
    assert outside == (0 if row else 16)


def test_large_nets_bring_their_first_filters_only():
    net = NETS["cifar_basic"]()
    assert not live.runs_in_page(net)
    saved = live.first_rows(net)
    (row,) = saved["rows"]
    assert row["w"] == [0, 3 * 3 * 3 * 12] and row["b"] == [324, 12] and row["out"] == [32, 32, 12]


@pytest.mark.parametrize(("name", "size", "row", "pixel"), [
    ("lenet5", 32, "c3", (4, 7)), ("lenet5_tanh", 28, "s2", (0, 13)), ("cifar_basic", 32, "conv4", (9, 15)),
    ("googlenet", 64, "inception_3b", (3, 4)), ("alexnet", 227, "pool1", (11, 2)),
])  # fmt: skip
def test_a_pixel_sees_its_field_and_nothing_else(name, size, row, pixel):
    """Changed outside of its field, the input leaves a pixel as it was; changed inside, it does not."""
    build = NETS[name]
    channels = 1 if name.startswith("lenet") else 3
    net = build((size, size, channels), 10) if name != "googlenet" else build((224, 224, 3), 10)
    size = net.input_shape[0]
    field = Field()
    for one, layer in net.rows:
        field = field.after(layer)
        if one == row:
            break
    (top, bottom), (left, right) = (
        (field.start + p * field.jump, field.start + p * field.jump + field.size) for p in pixel
    )
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 1, (1, size, size, channels)).astype(np.float32)
    inside = np.zeros((size, size), bool)
    inside[max(0, top) : bottom, max(0, left) : right] = True
    other = rng.uniform(0, 1, image.shape).astype(np.float32)
    changed_outside = np.where(inside[None, :, :, None], image, other)
    changed_inside = np.where(inside[None, :, :, None], other, image)

    def at_pixel(x):
        return net.endpoints(x, until=row)[1][row].numpy()[0, pixel[0], pixel[1]]

    assert np.allclose(at_pixel(changed_outside), at_pixel(image), atol=1e-5)
    assert not np.allclose(at_pixel(changed_inside), at_pixel(image), atol=1e-3)


def test_maps_of_the_six_convolutions_are_the_row_itself(rng):
    net = Chain((("module", row(Inception)(4, 3, 5, 2, 3, 2)),), input_shape=(9, 9, 6))
    (view,) = look(net, rng.normal(size=(2, 9, 9, 6)).astype(np.float32), 2)
    joined = [part.maps for part in view.parts if not part.name.endswith("reduce")]
    assert np.allclose(np.concatenate(joined, axis=-1), view.maps, atol=1e-5)
    assert [part.field.size for part in view.parts] == [1, 1, 3, 1, 5, 3]
    assert {part.field.start for part in view.parts if part.name == "conv5x5"} == {-2}
