"""Trains nets on 2 or 4 virtual devices, and with 2 on one too; prints as JSON what came of it: for `test_strategy`.

TensorFlow takes only one number of devices in a process.
"""

import json
import sys

import numpy as np
import tensorflow as tf

import rawcnn as rc
from rawcnn.data.sets.drawn import drawn_digits
from rawcnn.errors import UsageError
from rawcnn.train.lookahead import Lookahead
from rawcnn.train.strategy import Replicas


def small_net():
    """Batch normalisation, dropout and a head, of 12 x 12 pixels."""
    return rc.Chain(
        (
            ("conv1", rc.row(rc.Conv2D)(4, 3, stride=2, bias=False)),
            ("bn1", rc.row(rc.BatchNorm)(activation=tf.nn.relu)),
            ("drop", rc.row(rc.layers.Dropout)(0.4)),
            ("conv2", rc.row(rc.Conv2D)(6, 3, stride=2)),
            ("bn2", rc.row(rc.BatchNorm)(momentum=0.6)),
            ("flat", rc.row(rc.layers.Flatten)()),
            ("logits", rc.row(rc.layers.Dense)(10)),
        ),
        input_shape=(12, 12, 1),
        heads={"aux": ("conv2", (("flat", rc.row(rc.layers.Flatten)()), ("logits", rc.row(rc.layers.Dense)(10))))},
    )


def lookahead(net):
    return Lookahead(rc.Muon(net, 0.001, weight_decay=0.01), every=2)


SMALL = {"batch_size": 16, "shards": 1}
CASES = {
    "lenet5": (lambda: rc.create_net("lenet5"), SMALL | {"recipe": rc.recipe_of("lenet5"), "accumulate": 2}, {}),
    "small": (small_net, SMALL | {"augment": rc.distort, "mixup": 0.4, "cutmix": 1.0}, {"average": 0.9}),
    "muon": (
        small_net,
        SMALL | {"shards": 2, "recompute": True, "optimizer": lookahead, "freeze": "conv1", "unfreeze_after": 1},
        {},
    ),
    "own": (small_net, SMALL | {"accumulate": 2, "sync_batch_norm": False}, {}),
}
"""By name: the net, arguments of `fit`, and what differs from `Recipe()`."""


def trained(name, strategy, epochs=2):
    """(losses of all steps, the net's numbers after them)."""
    make, told, recipe = CASES[name]
    net = make()
    told = {"recipe": rc.Recipe(**recipe), "epochs": epochs, "pause_every": 1, "seed": 3} | told
    if callable(told.get("optimizer")):
        told["optimizer"] = told["optimizer"](net)
    images, labels = drawn_digits(3 * 16, start=7)
    source = rc.Source(images if name == "lenet5" else images[:, 2:26:2, 2:26:2], labels, tuple("0123456789"))
    losses, before = [], 0.0
    for now in rc.fit(net, source, strategy=strategy, **told):
        losses.append(now.loss_sum - before)
        before = 0.0 if now.epoch_ended else now.loss_sum
    numbers = {name: variable.numpy().ravel().tolist() for name, variable in rc.named_variables(net).items()}
    return losses, numbers


def copies_differ(strategy):
    """Names of the numbers that differ between replicas after a training whose batch normalisation is each one's.

    And those of the moving averages that did not move.
    """
    made = []

    class Kept(Replicas):
        def together(self, state, make_update, pieces):
            update = super().together(state, make_update, pieces)
            made.extend(self._states)
            return update

    kept, Replicas.of = Replicas.of, staticmethod(lambda strategy: Kept(strategy))
    try:
        trained("own", strategy)
    finally:
        Replicas.of = kept
    first, *others = (rc.named_variables(state) for state in made)
    assert len(others) == strategy.num_replicas_in_sync - 1 > 0
    still = [n for n, v in first.items() if n.endswith("moving_mean") and not np.all(v.numpy())]
    return still + [n for other in others for n, v in other.items() if not np.array_equal(v.numpy(), first[n].numpy())]


def error_of(**told):
    net, source = small_net(), rc.Source(np.zeros((64, 12, 12, 1)), np.arange(64) % 10)
    try:
        rc.fit(net, source, strategy="mirrored", **told)
    except UsageError as error:
        return str(error)
    return ""


def main(count):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
    )
    rc.one_thread_per_op(2)
    if count == 4:
        found = {name: {"4": trained(name, "mirrored")} for name in ("lenet5", "small")}
    else:
        cases = [name for name in CASES if name != "own"]
        found = {name: {"none": trained(name, "none"), "2": trained(name, "mirrored")} for name in cases}
        found["differ"] = copies_differ(rc.make_strategy("mirrored"))
        found["errors"] = [error_of(batch_size=17), error_of(batch_size=16, accumulate=2, shards=1)]
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
