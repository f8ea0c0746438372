"""Train AlexNet on CIFAR-10 scaled up, or on a folder of photographs.

python examples/train_alexnet.py --net=alexnet_bn --epochs=10
python examples/train_alexnet.py --net=alexnet_dogs_small --data_dir=dogs-vs-cats/train --epochs=5
"""

from rawcnn import cli

if __name__ == "__main__":
    nets = ("alexnet", "alexnet_bn", "alexnet_valid", "alexnet_dogs", "alexnet_dogs_small")
    cli.train(nets=nets, net="alexnet_bn", epochs=10)
