"""Train a VGG net.

python examples/train_vgg.py --net=vgg11 --epochs=10
"""

from rawcnn import cli

if __name__ == "__main__":
    cli.train(nets=("vgg11", "vgg13", "vgg16c", "vgg16", "vgg19"), net="vgg11", epochs=10)
