"""Train GoogLeNet on CIFAR-10 scaled up, or on a folder of photographs.

    python examples/train_googlenet.py --net=googlenet_dogs --data_dir=dogs-vs-cats/train --epochs=5 --precision=auto
    python examples/train_googlenet.py --net=googlenet --data_dir=imagenette2-320 --epochs=60 --crops=144

Results: see results/photos.md.
Where `googlenet` is not Szegedy et al. 2014, and why:
* Weights begin as He et al. 2015 say, inputs have variance 1, the rate is 0.01, the batch 64: the paper is silent.
* Areas of training views are uniform up to the largest that fits the image; the paper is silent on others.
* The averages of the weights move by a thousandth a step (Polyak); the paper gives no number.
Where `googlenet_dogs` is not what the course runs: the rate falls along a cosine, where it leaves it as it is.
"""

from rawcnn.run import cli

if __name__ == "__main__":
    cli.train(nets=("googlenet", "googlenet_dogs"), net="googlenet", epochs=10)
