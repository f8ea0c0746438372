"""`row` and `Chain`: an architecture is a table of named rows, and the chain runs the table."""

import inspect
import keyword
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf

from rawcnn.data.preprocess import Preprocess
from rawcnn.errors import UsageError, did_you_mean
from rawcnn.layers import Layer
from rawcnn.layers.arguments import check_call, check_shape
from rawcnn.layers.base import check_training
from rawcnn.nets.precision import FLOAT32, Policy
from rawcnn.nets.recompute import Segment, recomputed, segments
from rawcnn.nets.summary import summary, summary_html
from rawcnn.ops.fast.forms import plain_ops
from rawcnn.seeds import fold

OF_THE_CHAIN = ("input_shape", "seed")
"""Arguments that the chain gives to every layer, and a row does not."""


@dataclass(frozen=True)
class Row:
    """A layer that still waits for the shape it follows."""

    layer: Callable[..., Layer]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def check(self) -> None:
        """Raise `UsageError` for arguments that the layer does not take, with the remedy."""
        for key in OF_THE_CHAIN:
            if key in self.kwargs:
                raise UsageError(f"{key} is said once for all rows: give it to Chain(table, {key}=...), not to a row.")
        signature = inspect.signature(self.layer)
        others = [p for p in signature.parameters.values() if p.name not in OF_THE_CHAIN]
        what = getattr(self.layer, "__name__", "The layer")
        check_call(what, signature.replace(parameters=others), self.args, self.kwargs)

    def build(self, input_shape: Sequence[int], seed: int) -> Layer:
        return self.layer(*self.args, input_shape=input_shape, seed=seed, **self.kwargs)


Table = tuple[tuple[str, Row], ...]
Endpoints = tuple[tf.Tensor, dict[str, tf.Tensor]]
"""The logits, and the output of every row (and in training of every head) by name."""


ELSEWHERE = {
    "fit": "for now in rc.fit(net, rc.Source(images, labels), epochs=5): print(now)",
    "compile": "rc.fit(net, source, optimizer='adam', loss='softmax_cross_entropy'), which needs no compile",
    "evaluate": "rc.evaluate(net, rc.Source(images, labels))", "predict": "rc.predict(net, images)",
    "summary": "print(net)", "count_params": "net.num_params()", "layers": "dict(net.rows)",
    "get_layer": "net.conv1, where conv1 is the name of a row", "weights": "rc.named_variables(net)",
    "save": "rc.save_weights(net, 'net.npz')", "save_weights": "rc.save_weights(net, 'net.npz')",
    "load_weights": "rc.load_weights(net, 'net.npz')", "load_state_dict": "rc.load_weights(net, 'net.safetensors')",
    "state_dict": "rc.named_variables(net)", "parameters": "net.trainable_variables",
    "train": "net(images, training=True)", "eval": "net(images)", "forward": "net(images)", "call": "net(images)",
}  # fmt: skip
"""What nets of Keras and PyTorch have, and what is written here."""


def row(layer: Callable[..., Layer], **defaults: Any) -> Callable[..., Row]:
    """A constructor of rows of one kind, with what the paper says once, said once.

    >>> from rawcnn.layers import Conv2D
    >>> conv = row(Conv2D, padding="VALID", activation=tf.nn.relu)
    >>> net = Chain((("conv1", conv(4, 3)), ("conv2", conv(8, 3, stride=2))), input_shape=(9, 9, 1))
    >>> net.conv2.out_shape
    (3, 3, 8)

    The rows' arguments are checked when a `Chain` is built. Raises `UsageError` for what cannot be called.
    """
    if not callable(layer) or isinstance(layer, Layer):
        raise UsageError(f"row takes a layer's class, not {layer!r}: write row(Conv2D).")
    return lambda *args, **kwargs: Row(layer, args, {**defaults, **kwargs})


def _pairs(table: Iterable[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The entries of a table. Raises `UsageError` unless it has some, and all are pairs of a name and a row."""
    rule = 'A table is pairs of a name and a row, as in (("flat", row(Flatten)()), ("logits", row(Dense)(10)))'
    if isinstance(table, Row | str | Mapping) or not isinstance(table, Iterable):
        raise UsageError(f"{rule}, not a {type(table).__name__}.")
    entries = list(table)
    if not entries:
        raise UsageError(f"{rule}, but this one is empty.")
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], Row):
            raise UsageError(f"{rule}: in entry {number} the name comes first.")
        if not (isinstance(entry, tuple | list) and len(entry) == 2):
            alone = isinstance(entry, str) and len(entries) == 2
            comma = " A table of one row needs a comma after it: ((name, row),)." if alone else ""
            is_what = f"{len(entry)} things" if isinstance(entry, tuple | list) else f"a {type(entry).__name__}"
            raise UsageError(f"{rule}, but entry {number} is {is_what}.{comma}")
    return entries


def not_empty(x: tf.Tensor) -> tf.Tensor:
    """`x` as it is; in a graph traced for any number of images, a check that there are some when it runs.

    TensorFlow's convolution of no images has a wrong shape, which `ops.conv2d` mends where the number is known, and
    without the check some row below would fail with a sentence about something else.
    """
    if x.shape[0] is not None:
        return x
    why = "A graph traced for any number of images needs at least one: pass over empty batches."
    check = tf.raw_ops.Assert(condition=tf.shape(x)[0] > 0, data=[why])
    with tf.control_dependencies([check]):
        return tf.identity(x)


class Chain(tf.Module):
    """A net: runs the rows of a table one after the other.

    Each row is an attribute under its own name, and that name is also its key in `endpoints`, in the names of its
    weights, in checkpoints and in the summary. `heads` are more classifiers for training only, each a `Chain` under a
    name of its own: `{"aux1": ("inception_4a", table)}` hangs a table on a row. `seed` decides all initial weights, row
    by row from its name; `policy` decides the dtype of the computation (see `rawcnn.nets.precision`). `expects` is what
    the weights expect of the pixels, where the file that they were loaded from tells (see `load_weights`), else None.
    Raises `UsageError` naming the row that does not fit.
    """

    def __init__(
        self,
        table: Table,
        *,
        input_shape: Sequence[int] | None = None,
        heads: Mapping[str, tuple[str, Table]] | None = None,
        seed: int = 0,
        policy: Policy = FLOAT32,
    ):
        super().__init__(name="chain")
        self.input_shape = check_shape(input_shape)
        if not isinstance(policy, Policy):
            raise UsageError(f"policy is a Policy, not {policy!r}: write policy=rawcnn.nets.precision.MIXED_BFLOAT16.")
        self.policy = policy
        self.expects: Preprocess | None = None
        self._row_names: tuple[str, ...] = ()
        self._head_of: dict[str, str] = {}  # row -> the head that hangs on it
        shape = self.input_shape
        for name, pending in _pairs(table):
            self._check_name(name)
            self._check_row(name, pending)
            try:
                with tf.name_scope(name):  # so that variables are called conv1/w
                    layer = pending.build(shape, fold(seed, name))
            except UsageError as error:
                raise UsageError(f"Row {name!r} cannot follow an output of shape {shape}: {error}") from error
            setattr(self, name, layer)
            self._row_names += (name,)
            shape = layer.out_shape
        self.out_shape = shape
        for name, (at, rows) in (heads or {}).items():
            self._check_name(name)
            if at not in self._row_names:
                raise UsageError(
                    f"Head {name!r} hangs on row {at!r}, which is not in the table: choose one of "
                    f"{', '.join(self._row_names)}."
                )
            if at in self._head_of:
                raise UsageError(f"Heads {self._head_of[at]!r} and {name!r} both hang on row {at!r}: one must move.")
            try:
                with tf.name_scope(name):
                    head = Chain(rows, input_shape=getattr(self, at).out_shape, seed=fold(seed, name), policy=policy)
            except UsageError as error:
                raise UsageError(f"Head {name!r}: {error}") from error
            setattr(self, name, head)
            self._head_of[at] = name

    def __getattr__(self, name: str) -> Any:
        """For what is missing only: what users of other libraries type, and rows with a mistyped name."""
        if name.startswith("_"):
            raise AttributeError(name)
        known = vars(self).get("_row_names", ())
        remedy = f" Write: {ELSEWHERE[name]}" if name in ELSEWHERE else did_you_mean(name, known)
        raise AttributeError(f"A net has no attribute {name!r} and no row of that name.{remedy}")

    def _check_row(self, name: str, pending: object) -> None:
        if not isinstance(pending, Row):
            if callable(pending) and getattr(pending, "__qualname__", "").startswith("row."):
                raise UsageError(f"Row {name!r} has no arguments yet: call what row(...) gave, as in row(Flatten)().")
            kind = pending.__name__ if isinstance(pending, type) else type(pending).__name__
            raise UsageError(
                f"Row {name!r} is {kind} itself, but a table needs rows that wait for their input's shape: write "
                f"row({kind})(...) with the layer's arguments."
            )
        try:
            pending.check()
        except UsageError as error:
            raise UsageError(f"Row {name!r}: {error}") from error

    def _check_name(self, name: str) -> None:
        if not (isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) and not keyword.iskeyword(name)):
            raise UsageError(
                f"Row name {name!r} cannot be an attribute of the net: begin with a letter, and use letters a to z, "
                "digits and underscores, as in 'conv1', but no keyword of Python."
            )
        if hasattr(self, name):
            raise UsageError(f"Row name {name!r} is taken: choose another.")

    @property
    def rows(self) -> Iterator[tuple[str, Layer]]:
        """(name, layer) from the input to the output."""
        return ((name, getattr(self, name)) for name in self._row_names)

    @property
    def heads(self) -> Iterator[tuple[str, str, "Chain"]]:
        """(name, the row it hangs on, head)."""
        return ((name, at, getattr(self, name)) for at, name in self._head_of.items())

    def rows_named(self, names: str | Iterable[str]) -> dict[str, tf.Module]:
        """Rows and heads by name, in the order of the table. `names` has commas between, and two dots for a range.

        Raises `UsageError` for a name that no row has, and for a range that runs backwards or names a head.

        >>> from rawcnn.nets import NETS
        >>> list(NETS["lenet5"]().rows_named("c1..s4,f6"))
        ['c1', 's2', 'c3', 's4', 'f6']
        """
        rows, heads = list(self._row_names), list(self._head_of.values())
        chosen: set[str] = set()
        for text in names.split(",") if isinstance(names, str) else names:
            first, dots, last = (word.strip() for word in text.partition(".."))
            for name in (first, last) if dots else (first,):
                if name in heads and dots:
                    raise UsageError(f"{text!r} is not a range: {name} is a head, which is named alone.")
                if name not in (*rows, *heads):
                    near = did_you_mean(name, [*rows, *heads])
                    raise UsageError(f"There is no row {name!r}.{near} The net has {', '.join([*rows, *heads])}.")
            if dots and rows.index(first) > rows.index(last):
                raise UsageError(f"The range {text!r} runs backwards: write {last}..{first}.")
            chosen |= set(rows[rows.index(first) : rows.index(last) + 1]) if dots else {first}
        return {name: getattr(self, name) for name in (*rows, *heads) if name in chosen}

    def num_params(self) -> int:
        """Trainable parameters of all rows and heads."""
        return sum(layer.num_params() for _, layer in self.rows) + sum(head.num_params() for _, _, head in self.heads)

    def num_statistics(self) -> int:
        """Numbers that no gradient changes: the moving averages of batch normalisation, the filters of `Whitening`."""
        own = sum(layer.num_statistics() for _, layer in self.rows)
        return own + sum(head.num_statistics() for _, _, head in self.heads)

    def __repr__(self) -> str:
        return summary(self)

    def _repr_html_(self) -> str:
        """For notebooks: the summary as a table."""
        return summary_html(self)

    def __call__(self, x: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """The logits: the last row's output, in the policy's dtype. `[N, *input_shape] -> [N, *out_shape]`."""
        return self.endpoints(x, training=training)[0]

    def as_function(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A `tf.function` from float32 images `[N, *input_shape]` to logits, made of plain ops: what exporters take.

        Converters to ONNX and TFLite refuse function calls in a graph, which some faster forms of ops leave there.

        >>> from rawcnn.nets import NETS
        >>> graph = NETS["alexnet"]().as_function().get_concrete_function().graph
        >>> [op.type for op in graph.get_operations() if "Call" in op.type]
        []
        """

        def logits(images: tf.Tensor) -> tf.Tensor:
            with plain_ops():
                return self(images)

        signature = [tf.TensorSpec((None, *self.input_shape), tf.float32, name="images")]
        return tf.function(logits, input_signature=signature, autograph=False)

    def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        """What `tf.saved_model.save` writes: with the variables a function, so that what is loaded can be called."""
        children = dict(super()._trackable_children(save_type, **kwargs))
        return {**children, "__call__": self.as_function()} if save_type == "savedmodel" else children

    def endpoints(
        self,
        x: tf.Tensor,
        *,
        training: bool = False,
        until: str | None = None,
        frozen: Collection[str] = (),
        recompute: bool = False,
    ) -> Endpoints:
        """The pair (logits, endpoints): what `net(x)` gives, and the output of every row by name, in order.

        In training the endpoints also hold each head's logits under the head's name. With `until`, the rows after that
        one are not computed, and its output stands in the place of the logits. Rows and heads in `frozen` compute as in
        testing, also in training. With `recompute`, training computes most rows a second time when their gradients are
        due, and keeps less until then (see `rawcnn.nets.recompute`); of a segment of rows only the last one's output is
        among the endpoints. Raises `UsageError` for an unknown row and for images of another shape.

        >>> from rawcnn.nets import NETS
        >>> logits, endpoints = NETS["lenet5"]().endpoints(tf.zeros((1, 32, 32, 1)))
        >>> logits.shape, endpoints["c3"].shape, list(endpoints)[-1]
        (TensorShape([1, 10]), TensorShape([1, 10, 10, 16]), 'logits')
        """
        check_training(training)
        if until is not None and until not in self._row_names:
            raise UsageError(f"There is no row {until!r}: choose one of {', '.join(self._row_names)}.")
        x = tf.convert_to_tensor(x)
        if x.shape.rank != len(self.input_shape) + 1 or not x.shape[1:].is_compatible_with(self.input_shape):
            raise UsageError(f"The net takes images [N, {', '.join(map(str, self.input_shape))}], not {x.shape}.")
        x = tf.cast(not_empty(x), self.policy.compute)
        outputs: dict[str, tf.Tensor] = {}

        def run(names: Iterable[str], x: tf.Tensor) -> tf.Tensor:
            for name in names:
                with tf.name_scope(name):  # so that graphs and traces show the table's names
                    x = getattr(self, name)(x, training=training and name not in frozen)
            return x

        single = [Segment((name,), twice=False) for name in self._row_names]
        for names, twice in segments(self.rows, {*self._head_of, until}) if training and recompute else single:
            name = names[-1]
            x = outputs[name] = recomputed(partial(run, names), x, "..".join(names)) if twice else run(names, x)
            if training and name in self._head_of:
                head = self._head_of[name]
                with tf.name_scope(head):
                    outputs[head] = getattr(self, head)(x, training=head not in frozen)
            if name == until:
                break
        outputs[name] = tf.cast(x, self.policy.output)
        return outputs[name], outputs
