"""Every faster form against TensorFlow's own op in float64 and its gradient, and where each is chosen."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate

from rawcnn import ops
from rawcnn.layers.inception import Inception
from rawcnn.machine import AMX, AVX2, AVX512, BFLOAT16, SETS, instruction_set
from rawcnn.ops.fast import winograd as winograd_of
from rawcnn.ops.fast.forms import FORMS, chosen_for, compiled, plain, recorded
from rawcnn.ops.fast.input_gradients import INTERLEAVED
from tests.command import ROOT
from tests.numeric import assert_gradients_match

F32, F64, BF16 = tf.float32, tf.float64, tf.bfloat16
# Of the largest number of a result. Without bfloat16 in hardware oneDNN also adds up in it: TensorFlow's own gradients
# of filters are off by up to 5e-2 there.
TOLERANCE = {F32: 1e-5, F64: 1e-12, BF16: 1e-2 if instruction_set() in BFLOAT16 else 6e-2}
INCEPTION = {"conv1x1": 4, "conv3x3_reduce": 3, "conv3x3": 5, "conv5x5_reduce": 2, "conv5x5": 3, "pool_proj": 2}


class Case(NamedTuple):
    """`op` on tensors of `shapes` takes `form`, and equals `truth`, which is given the same numbers in float64."""

    form: str
    op: Callable[..., tf.Tensor]
    truth: Callable[..., tf.Tensor]
    shapes: list[tuple[int | None, ...]]
    dtypes: tuple[tf.DType, ...] = (F32, F64, BF16)


def conv(form, x, size, filters, *dtypes, stride=1, padding="VALID"):
    return Case(
        form,
        lambda x, w: ops.conv2d(x, w, stride, padding),
        lambda x, w: tf.nn.conv2d(x, w, stride, padding),
        [x, (size, size, x[-1], filters)],
        dtypes,
    )


def one_image(x, size, filters, *dtypes, padding="VALID"):
    """As for a net that XLA compiles to answer for one image."""
    case = conv("conv2d_blocks", x, size, filters, *dtypes, padding=padding)

    def op(x, w):
        with compiled():
            return case.op(x, w)

    return case._replace(op=op)


def on_avx2(case):
    """Windows and numbers of channels that pay on AVX2 only, or were measured there only."""

    def op(*inputs):
        with chosen_for(AVX2):
            return case.op(*inputs)

    return case._replace(op=op)


def biased(form, x, size, filters, *dtypes, padding="VALID"):
    return Case(
        form,
        lambda x, w, b: ops.conv2d(x, w, 1, padding, b),
        lambda x, w, b: tf.nn.conv2d(x, w, 1, padding) + b,
        [x, (size, size, x[-1], filters), (filters,)],
        dtypes,
    )


def lrn(beta):
    kernel = lambda x: tf.nn.local_response_normalization(tf.cast(x, F32), 2, 1.0, 0.5, beta)  # noqa: E731
    return Case("lrn", lambda x: ops.lrn(x, k=1.0, alpha=0.5, beta=beta), kernel, [(2, 3, 2, 7)])


MODULE = Inception(*INCEPTION.values(), input_shape=(6, 5, 3), activation=tf.tanh)  # a trace can make no variables


def inception(x, *weights):
    """The module with tensors for weights: filters and biases of its convolutions, in the order of `INCEPTION`."""
    for name, w, b in zip(INCEPTION, weights[::2], weights[1::2], strict=True):
        conv = getattr(MODULE, name)
        conv.w, conv.b = w, b
    return MODULE(x)


def inception_written_out(x, *weights):
    given = iter(weights)
    step = lambda x: tf.tanh(tf.nn.conv2d(x, next(given), 1, "SAME") + next(given))  # noqa: E731
    branches = [step(x), step(step(x)), step(step(x)), step(tf.nn.max_pool2d(x, 3, 1, "SAME"))]
    return tf.concat(branches, axis=-1)


INCEPTION_SHAPES = [
    (2, 6, 5, 3),
    *[(1, 1, 3, 4), (4,), (1, 1, 3, 3), (3,), (3, 3, 3, 5), (5,)],
    *[(1, 1, 3, 2), (2,), (5, 5, 2, 3), (3,), (1, 1, 3, 2), (2,)],
]

CASES = [
    Case("average_pool", ops.average_pool, lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"), [(2, 4, 6, 32)]),
    Case(
        "average_pool", lambda x: ops.average_pool(x, 3), lambda x: tf.nn.avg_pool2d(x, 3, 3, "VALID"), [(2, 3, 6, 5)]
    ),
    Case("add_bias", ops.add_bias, lambda x, b: x + b, [(3, 5, 4, 16), (16,)]),
    conv("conv2d_rows", (3, 9, 7, 1), 5, 6, BF16),
    conv("conv2d_rows", (3, 7, 8, 1), 4, 6, BF16, padding="SAME"),
    conv("conv2d_strips", (3, 14, 14, 6), 5, 16, F32),  # LeNet's C3
    conv("conv2d_strips", (2, 5, 4, 2), 2, 3, F32),
    conv("conv2d_products", (2, 6, 7, 512), 5, 8, F32, F64),
    conv("conv2d_products", (2, 6, 7, 256), 5, 8, BF16),
    conv("conv2d_products", (2, 6, 5, 512), 4, 8, F32, F64, BF16, padding="SAME"),  # of 3 rows of padding, 1 is above
    conv("conv2d_1x1", (3, 4, 5, 7), 1, 6, BF16),
    biased("conv2d_1x1", (3, 4, 5, 7), 1, 40, BF16),
    biased("conv2d_products", (2, 6, 7, 512), 5, 40, F32, F64, BF16),
    conv("conv2d_interleaved", (2 * INTERLEAVED, 9, 11, 256), 5, 8, BF16),  # 7 columns are the most
    conv("conv2d_interleaved", (INTERLEAVED, 4, 5, 256), 4, 8, BF16),
    conv("conv2d_abreast", (4, 5, 13, 192), 3, 192, BF16, padding="SAME"),  # two images of 13 columns
    conv("conv2d_abreast", (5, 4, 5, 192), 3, 200, BF16, padding="SAME"),  # five of 5
    conv("conv2d_abreast", (6, 5, 8, 192), 4, 192, BF16, padding="SAME"),  # an even window sees more on the right
    biased("conv2d_abreast", (4, 3, 13, 192), 3, 192, BF16, padding="SAME"),
    conv("conv2d_winograd", (4, 16, 16, 160), 3, 164, F32, padding="SAME"),
    conv("conv2d_winograd", (8, 15, 13, 168), 3, 160, F32, padding="SAME"),  # the last tiles hang over
    biased("conv2d_winograd", (8, 12, 12, 160), 3, 161, F32, padding="SAME"),
    conv("conv2d_winograd", (4, 18, 17, 160), 3, 164, F32),
    on_avx2(conv("conv2d_winograd", (12, 13, 15, 128), 4, 132, F32, padding="SAME")),
    on_avx2(conv("conv2d_winograd", (14, 17, 15, 132), 4, 128, F32)),
    on_avx2(conv("conv2d_winograd", (8, 11, 25, 128), 5, 136, F32, padding="SAME")),
    on_avx2(biased("conv2d_winograd", (30, 11, 11, 128), 5, 130, F32)),  # as conv4 of cifar_wide
    on_avx2(conv("conv2d_winograd", (4, 16, 16, 64), 3, 65, F32, padding="SAME")),  # the filter gradient alone
    on_avx2(biased("conv2d_winograd", (16, 12, 13, 48), 5, 128, F32, padding="SAME")),  # as conv2 of alexnet
    conv("conv2d_space_to_depth", (2, 23, 23, 3), 11, 4, F32, F64, BF16, stride=4),
    one_image((1, 28, 28, 1), 5, 6, F32, F64, BF16, padding="SAME"),  # LeNet's C1
    one_image((1, 9, 7, 1), 4, 3, F32, F64),  # one block, and not quite a second
    one_image((1, 5, 6, 1), 2, 2, F32, padding="SAME"),
    one_image((1, 3, 11, 1), 3, 2, F32),
    lrn(0.75),
    lrn(0.6),
    Case("relu", ops.relu, tf.nn.relu, [(3, 4, 5)], (BF16,)),
    Case("gelu", ops.gelu, tf.nn.gelu, [(3, 4, 5)], (F32, BF16)),
    Case("inception", inception, inception_written_out, INCEPTION_SHAPES),
    Case("tanh", ops.tanh, tf.tanh, [(3, 4, 5)], (BF16,)),
]
EACH = pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(c, dtype, id=f"{c.form}-{i}-{dtype.name}") for i, c in enumerate(CASES) for dtype in c.dtypes],
)


@pytest.fixture(autouse=True)
def all_forms():
    """As on a processor with AMX, whichever this is."""
    with chosen_for(AMX):
        yield


def test_every_form_has_a_case():
    assert {case.form for case in CASES} == set(FORMS)


def drawn(rng, shapes, dtype=F64):
    """Normal numbers, those of filters with the variance that keeps the scale of what they filter."""
    return [tf.cast(rng.normal(size=s) / (np.prod(s[:3]) ** 0.5 if i else 1), dtype) for i, s in enumerate(shapes)]


def with_gradients(op, inputs, dy=None):
    """The value of `op` and its gradients by all inputs, given that of the value."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = op(*inputs)
    return [y, *tape.gradient(y, inputs, dy if dy is None else tf.cast(dy, y.dtype))]


def assert_equal(ours, truths, tolerance):
    for number, (our, truth) in enumerate(zip(ours, truths, strict=True)):
        our, truth = tf.cast(our, F64).numpy(), tf.cast(truth, F64).numpy()
        assert our.shape == truth.shape
        error = np.abs(our - truth).max() / np.abs(truth).max()
        assert error <= tolerance, f"{'gradient ' + str(number) if number else 'value'} is off by {error:.2g}"


@EACH
def test_a_form_equals_tensorflows_own(rng, case, dtype):
    inputs = drawn(rng, case.shapes, dtype)
    wide = [tf.cast(each, F64) for each in inputs]
    dy = tf.cast(tf.cast(rng.normal(size=case.truth(*wide).shape), dtype), F64)
    tolerance = max(TOLERANCE[dtype], TOLERANCE[F32] if case.form == "lrn" else 0)  # whose kernel is float32
    tolerance *= 3 if case.form == "inception" else 1  # two convolutions, one after the other
    assert_equal(with_gradients(case.op, inputs, dy), with_gradients(case.truth, wide, dy), tolerance)


def op_types(op, shapes, dtype):
    """The types of all operations that compute `op` and its gradients, those of functions it calls among them."""
    specs = [tf.TensorSpec(shape, dtype) for shape in shapes]
    graph = (
        tf.function(lambda *inputs: with_gradients(op, list(inputs)), autograph=False)
        .get_concrete_function(*specs)
        .graph
    )
    graph = graph.as_graph_def()
    return {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}


@EACH
def test_a_form_is_chosen_unless_switched_off(case, dtype):
    types = op_types(case.op, case.shapes, dtype)
    with plain(case.form):
        assert op_types(case.op, case.shapes, dtype) != types
    with plain(*set(FORMS) - {case.form}):
        alone = op_types(case.op, case.shapes, dtype)
    with plain("all"):
        assert op_types(case.op, case.shapes, dtype) != alone


@pytest.mark.parametrize("isa", SETS[:-1])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.form)
def test_a_form_is_chosen_where_the_table_says_that_it_pays(case, isa):
    dtype = case.dtypes[-1]
    with plain(*set(FORMS) - {case.form}):
        on = op_types(case.op, case.shapes, dtype)
        with chosen_for(isa):
            chosen = op_types(case.op, case.shapes, dtype)
    with plain("all"):
        off = op_types(case.op, case.shapes, dtype)
    assert on != off and chosen == (on if isa in FORMS[case.form].pays else off)


@pytest.mark.parametrize(("isa", "cap"), [(AVX2, "AVX2"), pytest.param(AVX512, "AVX512_CORE", marks=pytest.mark.slow)])
def test_forms_equal_tensorflows_own_on_lower_sets(isa, cap):
    """oneDNN is held to the set in a process of its own."""
    if SETS.index(isa) <= SETS.index(instruction_set()):
        pytest.skip("this processor has no more, and its own set is compared above")
    names = "test_a_form_equals and float32"
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__, "-k", names]
    done = subprocess.run(words, env=os.environ | {"ONEDNN_MAX_CPU_ISA": cap}, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]


# These need to know how many images there are.
COUNTED = ("conv2d_interleaved", "conv2d_abreast", "conv2d_winograd", "conv2d_blocks")


@pytest.mark.parametrize("case", [c for c in CASES if c.form not in COUNTED], ids=lambda c: c.form)
def test_a_form_takes_any_number_of_images(rng, case):
    x, *weights = drawn(rng, case.shapes, case.dtypes[-1])
    specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype), *(tf.TensorSpec(w.shape, w.dtype) for w in weights)]
    traced = tf.function(lambda *inputs: with_gradients(case.op, list(inputs)), input_signature=specs, autograph=False)
    assert_equal(traced(x, *weights), with_gradients(case.op, [x, *weights]), TOLERANCE[x.dtype])
    types = op_types(case.op, [specs[0].shape, *case.shapes[1:]], x.dtype)
    with plain(case.form):
        assert op_types(case.op, [specs[0].shape, *case.shapes[1:]], x.dtype) != types


def unsuited(case, dtype, why):
    return pytest.param(case, dtype, id=f"{case.form}: {why}")


def pool(*shape):
    return Case("average_pool", ops.average_pool, ops.average_pool, [shape])


def bias(*shape):
    return Case("add_bias", ops.add_bias, ops.add_bias, [shape, shape[-1:]])


def abreast(shape, size=3, filters=192, padding="SAME", **more):
    return conv("conv2d_abreast", shape, size, filters, padding=padding, **more)


def winograd(shape, size=3, filters=160, padding="SAME", **more):
    return conv("conv2d_winograd", shape, size, filters, padding=padding, **more)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        unsuited(pool(2, 5, 4, 3), F32, "a row is left"),
        unsuited(pool(2, 4, 5, 3), F32, "a column is left"),
        unsuited(pool(2, 4, 4, 33), F32, "33 channels"),
        unsuited(pool(2, None, 4, 3), F32, "unknown height"),
        unsuited(pool(2, 4, None, 3), F32, "unknown width"),
        unsuited(bias(2, 3, 4, 17), F32, "17 channels"),
        unsuited(bias(2, 3, None, 4), F32, "unknown width"),
        unsuited(conv("conv2d_rows", (2, 7, 7, 1), 5, 6), F32, "float32"),
        unsuited(conv("conv2d_rows", (2, 7, 7, 2), 5, 6), BF16, "2 channels"),
        unsuited(conv("conv2d_rows", (2, 7, 7, 1), 2, 6, stride=2), BF16, "stride"),
        unsuited(conv("conv2d_rows", (2, None, 7, 1), 5, 6), BF16, "unknown height"),
        unsuited(conv("conv2d_rows", (2, 7, None, 1), 5, 6), BF16, "unknown width"),
        unsuited(conv("conv2d_strips", (2, 14, 14, 6), 5, 4), BF16, "bfloat16"),
        unsuited(conv("conv2d_strips", (2, None, 14, 6), 5, 4), F32, "unknown height"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, None, 9, 256), 5, 4), BF16, "unknown height"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 12, None, 256), 10, 4), BF16, "unknown width, large window"),
        unsuited(conv("conv2d_strips", (2, 14, 14, 6), 5, 4), F64, "float64"),
        unsuited(conv("conv2d_strips", (2, 10, 10, 6), 5, 4, padding="SAME"), F32, "padding"),
        unsuited(conv("conv2d_strips", (2, 14, 14, 6), 5, 4, stride=2), F32, "stride"),
        unsuited(conv("conv2d_strips", (2, 14, 14, 1), 5, 4), F32, "1 channel"),
        unsuited(conv("conv2d_strips", (2, 14, 14, 7), 5, 4), F32, "7 channels of 5 columns are more than 32"),
        unsuited(conv("conv2d_strips", (2, 14, None, 6), 5, 4), F32, "unknown width"),
        unsuited(conv("conv2d_products", (2, 7, 7, 512), 3, 4), F32, "3 x 3"),
        unsuited(conv("conv2d_products", (2, 7, 7, 511), 5, 4), F32, "511 channels"),
        unsuited(conv("conv2d_products", (2, 7, 7, 255), 5, 4), BF16, "255 channels"),
        unsuited(conv("conv2d_products", (2, 7, 7, 512), 5, 4, stride=2), F32, "stride"),
        unsuited(conv("conv2d_1x1", (2, 7, 7, 3), 1, 4), F32, "float32"),
        unsuited(conv("conv2d_1x1", (2, 7, 7, 3), 2, 4), BF16, "2 x 2"),
        unsuited(conv("conv2d_1x1", (2, 7, 7, 3), 1, 4, stride=2), BF16, "stride"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED - 1, 9, 9, 256), 5, 4), BF16, "15 images"),
        unsuited(conv("conv2d_interleaved", (None, 9, 9, 256), 5, 4), BF16, "unknown number of images"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 9, 9, 256), 5, 4), F32, "float32"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 9, 12, 256), 5, 4), BF16, "8 columns"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 9, 9, 255), 5, 4), BF16, "255 channels"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 9, 9, 256), 3, 4), BF16, "3 x 3"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 5, 5, 256), 5, 4, padding="SAME"), BF16, "padding"),
        unsuited(conv("conv2d_interleaved", (INTERLEAVED, 9, None, 256), 5, 4), BF16, "unknown width"),
        unsuited(abreast((4, 5, 13, 192)), F32, "float32"),
        unsuited(abreast((4, 5, 13, 191)), BF16, "191 channels"),
        unsuited(abreast((4, 5, 13, 192), filters=191), BF16, "191 filters"),
        unsuited(abreast((4, 5, 13, 192), size=1), BF16, "1 x 1"),
        unsuited(abreast((4, 5, 13, 192), stride=2), BF16, "stride"),
        unsuited(abreast((4, 5, 13, 192), padding="VALID"), BF16, "padding"),
        unsuited(abreast((4, 5, 16, 192)), BF16, "16 columns"),
        unsuited(abreast((5, 5, 13, 192)), BF16, "5 images"),
        unsuited(abreast((None, 5, 13, 192)), BF16, "unknown number of images"),
        unsuited(abreast((4, None, 13, 192)), BF16, "unknown height"),
        unsuited(abreast((4, 5, None, 192)), BF16, "unknown width"),
        unsuited(winograd((4, 16, 16, 160)), BF16, "bfloat16"),
        unsuited(winograd((4, 16, 16, 160)), F64, "float64"),
        unsuited(winograd((4, 16, 16, 160), filters=159), F32, "159 filters"),
        unsuited(winograd((4, 16, 16, 160), size=5), F32, "5 x 5"),
        unsuited(on_avx2(winograd((4, 16, 16, 160), size=6)), F32, "6 x 6"),
        unsuited(on_avx2(winograd((4, 16, 16, 48), filters=64)), F32, "64 filters of 48 channels"),
        unsuited(on_avx2(winograd((16, 14, 14, 32), size=5, filters=128)), F32, "32 channels"),
        unsuited(on_avx2(winograd((32, 7, 7, 48), size=5, filters=128)), F32, "a third hangs over"),
        unsuited(on_avx2(winograd((2, 13, 13, 128), size=5, filters=136)), F32, "50 tiles"),
        unsuited(winograd((4, 16, 16, 160), stride=2), F32, "stride"),
        unsuited(winograd((4, 16, 12, 160)), F32, "48 tiles"),
        unsuited(winograd((None, 16, 16, 160)), F32, "unknown number of images"),
        unsuited(winograd((4, None, 16, 160)), F32, "unknown height"),
        unsuited(winograd((4, 16, None, 160)), F32, "unknown width"),
        unsuited(conv("conv2d_space_to_depth", (2, 12, 12, 3), 3, 4), F32, "no stride"),
        unsuited(conv("conv2d_space_to_depth", (2, 12, 12, 3), 3, 4, stride=3), F32, "no overlap"),
        unsuited(conv("conv2d_space_to_depth", (2, 12, 12, 5), 3, 4, stride=2), F32, "5 channels"),
        unsuited(conv("conv2d_space_to_depth", (2, None, 12, 3), 3, 4, stride=2), F32, "unknown height"),
        unsuited(conv("conv2d_space_to_depth", (2, 12, None, 3), 3, 4, stride=2), F32, "unknown width"),
        unsuited(one_image((2, 7, 7, 1), 5, 6), F32, "2 images"),
        unsuited(one_image((None, 7, 7, 1), 5, 6), F32, "unknown number of images"),
        unsuited(one_image((1, 7, 7, 2), 5, 6), F32, "2 channels"),
        unsuited(one_image((1, 7, 7, 1), 1, 6), F32, "1 x 1"),
        unsuited(one_image((1, None, 7, 1), 5, 6), F32, "unknown height"),
        unsuited(one_image((1, 7, None, 1), 5, 6), F32, "unknown width"),
        unsuited(conv("conv2d_blocks", (1, 7, 7, 1), 5, 6), F32, "not for XLA"),
        unsuited(Case("relu", ops.relu, ops.relu, [(2, 3)]), F32, "float32"),
        unsuited(Case("gelu", ops.gelu, ops.gelu, [(2, 3)]), F64, "float64"),
        unsuited(Case("tanh", ops.tanh, ops.tanh, [(2, 3)]), F32, "float32"),
    ],
)
def test_what_does_not_suit_a_form_takes_the_plain_one(case, dtype):
    types = op_types(case.op, case.shapes, dtype)
    with plain(case.form):
        assert op_types(case.op, case.shapes, dtype) == types


# What is peculiar to one form ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "size", "stride", "padding"),
    [
        (23, 23, 5, 3, "VALID"),  # the last window ends with the image, the last block after it
        (25, 24, 5, 3, "VALID"),  # 2 rows and 1 column are not read
        (22, 19, 7, 4, "VALID"),
        (11, 30, 11, 4, "VALID"),  # one row of windows
        (24, 23, 7, 2, "SAME"),
        (23, 20, 5, 2, "SAME"),
        (22, 24, 11, 4, "SAME"),
        (10, 9, 3, 2, "SAME"),  # no padding above, or one row
        (4, 3, 7, 2, "SAME"),  # a window larger than the image
        (10, 13, 4, 3, "SAME"),
    ],
)
def test_blocks_of_pixels_of_all_sizes(rng, height, width, size, stride, padding):
    case = conv("conv2d_space_to_depth", (2, height, width, 3), size, 2, stride=stride, padding=padding)
    inputs = drawn(rng, case.shapes)
    dy = rng.normal(size=case.truth(*inputs).shape)
    assert_equal(with_gradients(case.op, inputs, dy), with_gradients(case.truth, inputs, dy), 1e-12)
    types = op_types(case.op, case.shapes, F64)
    with plain(case.form):
        assert op_types(case.op, case.shapes, F64) != types


@pytest.mark.parametrize(
    "case",
    [
        conv("conv2d_space_to_depth", (1, 8, 9, 2), 3, 2, stride=2),
        conv("plain", (1, 5, 6, 3), 3, 2),
    ],
    ids=lambda case: case.form,
)
def test_a_convolution_is_a_sum_of_correlations(rng, case):
    x, w = drawn(rng, case.shapes)
    expected = [sum(correlate(x[0, :, :, i], w[:, :, i, k], mode="valid") for i in range(x.shape[-1])) for k in (0, 1)]
    stride = 2 if case.form == "conv2d_space_to_depth" else 1
    np.testing.assert_allclose(case.op(x, w)[0], np.stack(expected, -1)[::stride, ::stride], rtol=1e-9, atol=1e-12)


def test_numeric_gradients_of_convolutions(rng):
    w = rng.normal(size=(3, 3, 3, 2))
    assert_gradients_match(lambda x, w: ops.conv2d(x, w, 1, "VALID"), rng.normal(size=(1, 4, 5, 3)), w)
    assert_gradients_match(lambda x, w: ops.conv2d(x, w, 2, "SAME"), rng.normal(size=(1, 4, 5, 3)), w)


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_numeric_gradient_of_lrn(rng, beta):
    assert_gradients_match(lambda x: ops.lrn(x, k=1.0, alpha=0.5, beta=beta), rng.normal(size=(1, 2, 2, 7)))


@pytest.mark.parametrize(("size", "shape"), [(2, (2, 4, 6, 3)), (3, (2, 6, 3, 2)), (2, (1, 5, 7, 2))])
def test_average_pooling_of_all_sizes(rng, size, shape):
    x = rng.normal(size=shape)
    rows, columns = (length // size for length in shape[1:3])
    whole = x[:, : rows * size, : columns * size].reshape(shape[0], rows, size, columns, size, shape[3])
    np.testing.assert_allclose(ops.average_pool(tf.constant(x), size), whole.mean(axis=(2, 4)), rtol=1e-12)
    assert_gradients_match(lambda x: ops.average_pool(x, size), x)


def test_relu_passes_no_gradient_at_zero():
    x = tf.constant([-1.0, -0.0, 0.0, 1e-30, 2.0], BF16)
    value, gradient = with_gradients(ops.relu, [x])
    assert value.numpy().astype(float).tolist()[:3] == [0.0, 0.0, 0.0]
    assert gradient.numpy().astype(float).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("images", [1, 2, 3, 6])
def test_tiles_are_computed_in_blocks_of_images(rng, images, monkeypatch):
    monkeypatch.setattr(winograd_of, "BLOCK", images * 36 * 16 * 160)
    case = winograd((6, 13, 14, 160), filters=160)
    inputs = drawn(rng, case.shapes, F32)
    assert winograd_of._images_at_once(*inputs, winograd_of.Grid.of(inputs[0], 3, "SAME")) == images
    dy = rng.normal(size=case.truth(*inputs).shape)
    wide = [tf.cast(each, F64) for each in inputs]
    assert_equal(with_gradients(case.op, inputs, dy), with_gradients(case.truth, wide, dy), TOLERANCE[F32])


@pytest.mark.parametrize(
    ("shape", "size", "filters"),
    [((4, 16, 16, 64), 3, 128), ((4, 16, 16, 64), 3, 64), ((16, 12, 12, 48), 5, 128), ((8, 11, 25, 128), 5, 136)],
)
def test_few_channels_and_large_windows_pay_on_avx2_only(shape, size, filters):
    case = winograd(shape, size=size, filters=filters)
    for isa in (AMX, AVX2):
        with chosen_for(isa):
            types = op_types(case.op, case.shapes, F32)
            with plain(case.form):
                assert (op_types(case.op, case.shapes, F32) == types) == (isa == AMX)


def test_where_the_filter_gradient_alone_pays_the_convolution_is_tensorflows_own():
    with chosen_for(AVX2):
        for channels, whole in ((48, False), (128, True)):
            convolve = tf.function(lambda x, w: ops.conv2d(x, w, 1, "SAME"), autograph=False)
            specs = [tf.TensorSpec(shape) for shape in ((16, 12, 12, channels), (5, 5, channels, 136))]
            names = {operation.type for operation in convolve.get_concrete_function(*specs).graph.get_operations()}
            assert ("Conv2D" in names) == (not whole)


def test_where_forms_are_only_recorded_no_passes_are_traced():
    case = winograd((8, 12, 12, 160))
    with recorded() as used:
        types = op_types(case.op, case.shapes, F32)
    assert used == {case.form}
    with plain("all"):
        assert op_types(case.op, case.shapes, F32) == types


def test_layers_with_maps_of_one_size_are_traced_once(monkeypatch):
    combined, calls, found = winograd_of._each_combined, [], []
    monkeypatch.setattr(winograd_of, "_each_combined", lambda *given: calls.append(given) or combined(*given))
    for images, channels in ((7, 160), (7, 168), (14, 160)):
        op_types(winograd((images, 19, 23, channels)).op, [(images, 19, 23, channels), (3, 3, channels, 160)], F32)
        found.append(len(calls))
    assert found[0] > 0 and len(set(found)) == 1


def test_no_form_is_chosen_where_the_window_is_larger_than_the_image():
    with chosen_for(AVX2):
        x, w = tf.zeros((512, 1, 1, 160)), tf.zeros((5, 5, 160, 160))
        assert not winograd_of.suits(x, w, "VALID") and not winograd_of.suits_filters(x, w, "VALID")


@pytest.mark.parametrize("size", winograd_of.FILTERINGS)
def test_minimal_filtering_is_a_correlation(rng, size):
    """Equation 8 in one dimension, and the gradient of the filter, against NumPy's correlation."""
    b, g, a = winograd_of.matrices(size)
    pixels, window, dy = rng.normal(size=b.shape[0]), rng.normal(size=size), rng.normal(size=a.shape[0])
    np.testing.assert_allclose(a @ ((g @ window) * (b @ pixels)), np.correlate(pixels, window, "valid"), rtol=1e-11)
    np.testing.assert_allclose(g.T @ ((b @ pixels) * (a.T @ dy)), np.correlate(pixels, dy, "valid"), rtol=1e-11)


def test_the_matrices_are_those_of_the_paper_for_its_points(monkeypatch):
    """Lavin and Gray 2016, section 4.1, but for signs that cancel: those of the first rows and the last."""
    monkeypatch.setitem(winograd_of.FILTERINGS, 3, winograd_of.Filtering(2, (0, 1, -1)))
    b, g, a = winograd_of.matrices.__wrapped__(3)
    signs = np.array([-1, 1, 1, -1])
    np.testing.assert_array_equal(signs[:, None] * b, [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    np.testing.assert_array_equal(g, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(a, [[1, 1, 1, 0], [0, 1, -1, 1]])
