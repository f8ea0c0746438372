"""One command: from flags to a run directory with checkpoints, history and pictures."""

from rawcnn.errors import not_callable

not_callable(__name__, "write rc.Run(directory, net, source, epochs=5).train().")
