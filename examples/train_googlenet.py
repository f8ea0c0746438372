"""Train GoogLeNet.

python examples/train_googlenet.py --net=googlenet_dogs --data_dir=dogs-vs-cats/train --epochs=5
"""

from rawcnn import cli

if __name__ == "__main__":
    cli.train(nets=("googlenet", "googlenet_dogs"), net="googlenet", epochs=10)
