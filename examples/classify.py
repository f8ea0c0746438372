"""Read images of your own with a trained net: photos of one handwritten digit each, or of whatever it was trained on.

python examples/classify.py --run=runs/lenet5-mnist-1 my_seven.jpg another.png
"""

from absl import flags

from rawcnn.errors import RawcnnError, UsageError
from rawcnn.run import cli
from rawcnn.run.classify import load_run
from rawcnn.run.pictures import save_classified

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "Directory of the run whose net is to read the images.", required=True)
flags.DEFINE_string("out", "classified.png", "Where the picture of images and answers goes.")


def main(argv: list[str]) -> None:
    paths = argv[1:]
    if not paths:
        raise UsageError("Which images? Name their files after the flags.")
    classifier = load_run(FLAGS.run)
    images = [classifier.read(path) for path in paths]
    rows = []
    for path, (image, original) in zip(paths, images, strict=True):
        (probabilities,) = classifier.probabilities([image])
        order = probabilities.argsort()[::-1]
        print(f"{path}: {classifier.class_names[order[0]]}")
        print("   " + "  ".join(f"{classifier.class_names[k]}: {probabilities[k]:.1%}" for k in order[:10]), flush=True)
        rows.append((path, original, image, classifier.class_names, probabilities))
    try:
        print(f"picture: {save_classified(rows, FLAGS.out)}")
    except RawcnnError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    cli.run(main)
