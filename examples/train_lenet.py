"""Train LeNet-5 on MNIST, or on digits that rawcnn draws itself where MNIST cannot be had.

python examples/train_lenet.py --epochs=10
"""

from rawcnn import cli

if __name__ == "__main__":
    cli.train(nets=("lenet5", "lenet5_tanh", "lenet5_relu"), net="lenet5", epochs=10)
