"""The net of train_own_net.py in a loop of your own: `make_train_step`, and nothing decides for you.

    python examples/own_loop.py

Result, on 2,000 digits that rawcnn draws itself: test accuracy 88.50 %.
"""

import rawcnn.start

import tensorflow as tf
from train_own_net import build

import rawcnn as rc
from rawcnn.data.sets.drawn import drawn_digits


def main(count: int = 2000, epochs: int = 10, batch_size: int = 64) -> float:
    images, labels = drawn_digits(count)
    train, test = rc.Source(images, labels).split(0.1, seed=0)
    net, preprocess, loss = build(), rc.Preprocess(), rc.softmax_cross_entropy
    steps = len(train) // batch_size  # in an epoch

    # The state is all that training changes: weights, the optimizer's slots, the number of the step.
    state = rc.TrainState(net, rc.Adam(net, rc.cosine(0.003, epochs * steps)))
    train_step = rc.make_train_step(state, loss, preprocess)
    batches = iter(rc.batches(train, batch_size, seed=0, start=int(state.step)))  # batch number k is always the same
    for epoch in range(epochs):
        results = train_step(batches, tf.constant(steps))  # many steps in one call
        print(f"epoch {epoch + 1}  loss {tf.reduce_mean(results.loss):.4f}")

    accuracy = rc.evaluate(net, test).accuracy
    print(f"test accuracy {accuracy:.2%}")
    rc.save_weights(net, "own_loop.npz")
    return accuracy


if __name__ == "__main__":
    main()
