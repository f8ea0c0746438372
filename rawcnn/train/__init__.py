"""Training: `simple.fit`, `evaluate` and `predict`; below them one step, whole epochs, recipes and checkpoints."""

from rawcnn.errors import not_callable

not_callable(
    __name__,
    "rc.fit(net, source, epochs=5) trains a net, rc.Run(directory, net, source).train() keeps checkpoints too.",
)
