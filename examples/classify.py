"""Read images of your own with a trained net: photos of one handwritten digit each, or of whatever it was trained on.

python examples/classify.py --run=runs/lenet5-mnist-1 my_seven.jpg another.png
"""

from rawcnn.run import cli
from rawcnn.run.command import classify

if __name__ == "__main__":
    cli.run(classify)
