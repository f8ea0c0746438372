"""Train a VGG net on CIFAR-10 scaled up, or on a folder of photographs.

    python examples/train_vgg.py --net=vgg11 --data_dir=imagenette2-320 --epochs=10 --precision=auto
    python examples/train_vgg.py --net=vgg16 --recipe=paper --data_dir=imagenette2-320 --epochs=74 --crops=dense
    python examples/train_vgg.py --net=vgg11 --input_size=32 --epochs=5        # CIFAR-10 as it is

Where `--recipe=paper` is not Simonyan and Zisserman 2014, and why:
* Weights begin as He et al. 2015 say, inputs have variance 1: the paper starts its deeper nets from a trained net A.
* Batches of 64: the paper's 256 lay on four GPUs.
* Dense testing looks at the central square, not at all of the image.
No net has been trained to the end here: the paper's are for ImageNet.
"""

from rawcnn.run import cli

if __name__ == "__main__":
    cli.train(nets=("vgg11", "vgg13", "vgg16c", "vgg16", "vgg19"), net="vgg11", epochs=10)
