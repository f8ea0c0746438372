"""Train a net on CIFAR-10, or on coloured digits that rawcnn draws itself if there is no CIFAR-10.

    python examples/train_cifar.py --net=cifar_wide --epochs=5 --precision=auto
    python examples/train_cifar.py --net=cifar_fast --epochs=10 --precision=bfloat16 --validation=0 --crops=6

Result on CIFAR-10's test images, one run: cifar_wide 86.21 % (a course: 81.07 %). See results/README.md.
cifar_fast: 94.18 % of 5,000 held-out training images, one run; its test images are in results/README.md.
Where `cifar_wide` is not what the course runs: the rate falls along a cosine instead of staying. Batch normalisation
stands before and after each pool: only so are there the course's 15,573,150 parameters.
`cifar_fast` is Keller Jordan's airbench94 with Muon, but for what docs/cifar-fast.md lists.
"""

from rawcnn.run import cli

if __name__ == "__main__":
    cli.train(nets=("cifar_basic", "cifar_wide", "cifar_fast"), net="cifar_basic", epochs=5)
