"""Train AlexNet on CIFAR-10 scaled up, or on a folder of photographs.

    python examples/train_alexnet.py --net=alexnet_bn --epochs=10 --precision=auto
    python examples/train_alexnet.py --net=alexnet_dogs_small --data_dir=dogs-vs-cats/train --epochs=5
    python examples/train_alexnet.py --net=alexnet --recipe=paper --data_dir=imagenette2-320 --epochs=90 --crops=10

Results: see results/photos.md.
Where `alexnet --recipe=paper` is not Krizhevsky et al. 2012, and why:
* 227 pixels instead of 224, which do not give the 55x55 outputs that the paper prints.
* Crops lie anywhere between the pixels of the unscaled image, as large a part of it as in the paper.
* Outputs are scaled up in training instead of down in testing where neurons are dropped: the same expectation.
* The mean of ImageNet's colours is subtracted, not the mean image; colours changed by PCA are clipped to 0 ... 255.
* The rate falls tenfold when validation accuracy has not risen for 3 epochs; the authors judged by eye.
Where `alexnet_bn` and the others are not what courses run: the rate falls along a cosine, where they leave it as it is.
"""

from rawcnn.run import cli

if __name__ == "__main__":
    nets = ("alexnet", "alexnet_bn", "alexnet_valid", "alexnet_dogs", "alexnet_dogs_small")
    cli.train(nets=nets, net="alexnet_bn", epochs=10)
