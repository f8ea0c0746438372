"""Five nets in one process, as in a loop over folds: TensorFlow warns of no retracing."""

import logging

import numpy as np

import rawcnn as rc


def test_a_loop_over_folds_is_traced_without_warnings(rng, caplog):
    source = rc.Source(rng.integers(0, 256, (60, 4, 4)), np.arange(60) % 3)
    flat, dense = rc.row(rc.Flatten), rc.row(rc.Dense)
    logger, found = logging.getLogger("tensorflow"), []
    logger.addHandler(caplog.handler)
    try:
        for fold in rc.folds(source, 6):
            net = rc.Chain((("flat", flat()), ("logits", dense(3))), input_shape=(4, 4, 1), seed=fold.number)
            for now in rc.fit(net, fold.train, epochs=1, batch_size=50):
                assert now.step == 1
            found.append(rc.evaluate(net, fold.validation).accuracy)
    finally:
        logger.removeHandler(caplog.handler)
    assert len(found) == 6 and not [one for one in caplog.messages if "retracing" in one]
