"""Train LeNet-5 on MNIST, or on digits that rawcnn draws itself if MNIST cannot be downloaded.

    python examples/train_lenet.py --epochs=10

Result on MNIST's test digits, means of three seeds: lenet5 99.02 %, lenet5_relu 99.18 %, lenet5_tanh 99.06 %; lenet5
with --distort --epochs=30 99.36 %. See results/lenet.md. The paper: 99.05 %, distorted 99.2 %.
Where this is not LeCun et al. 1998, and why:
* Adam and a cosine instead of the stochastic diagonal Levenberg-Marquardt method: one update rule for all nets here.
* 2,000 of the 60,000 images are held out, to show validation curves without looking at the test digits.
* The bitmaps of the RBF units are drawn in the manner of figure 3, which is printed too small to copy; j in equation 9,
  for which the paper gives no value, is 5.
"""

from rawcnn.run import cli

if __name__ == "__main__":
    cli.train(nets=("lenet5", "lenet5_tanh", "lenet5_relu"), net="lenet5", epochs=10)
