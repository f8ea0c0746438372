"""Train a net on CIFAR-10, or on coloured digits that rawcnn draws itself where CIFAR-10 cannot be had.

python examples/train_cifar.py --net=cifar_wide --epochs=5
"""

from rawcnn import cli

if __name__ == "__main__":
    cli.train(nets=("cifar_basic", "cifar_wide", "cifar_fast"), net="cifar_basic", epochs=5)
