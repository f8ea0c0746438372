"""The table of weights and exports: it is made of errors that are not zero by accident."""

import pytest

from benchmarks import interchange
from rawcnn.nets import NETS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within Keras


def test_each_name_is_a_net():
    assert set(interchange.SMALL) <= set(NETS)
    assert all(name in NETS for _, names in interchange.WEIGHTS.values() for name in names)


def test_the_table_of_one_net(capsys):
    pytest.importorskip("keras")
    for module in ("torch", "onnxruntime", "tf2onnx", "ai_edge_litert"):  # their versions stand in the head
        pytest.importorskip(module)
    interchange.main(["--nets=lenet5_tanh", "--formats=saved_model"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `lenet5_tanh`")]
    weights, exports = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    assert weights[1:3] == ["-", "-"] and all(float(cell) < 1e-5 for cell in [*weights[3:], *exports[1:]])


def test_other_weights_give_an_error_that_shows(tmp_path, monkeypatch):
    """What is compared depends on the file: a net that does not load it is far away."""
    pytest.importorskip("keras")
    monkeypatch.setattr(interchange, "load_weights", lambda net, path, bgr: None)
    assert interchange.from_keras("lenet5_tanh", tmp_path) > 0.1
