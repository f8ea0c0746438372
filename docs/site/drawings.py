"""The drawings of nets in `docs/images/`: `python docs/site/drawings.py` draws them again."""

from pathlib import Path

import rawcnn as rc
from rawcnn.run.drawing import save_drawing

NETS = ("lenet5", "alexnet", "vgg16", "googlenet", "cifar_fast")


def main() -> None:
    for name in NETS:
        save_drawing(rc.create_net(name), Path(__file__).parents[1] / "images" / f"{name}.png", title=name)


if __name__ == "__main__":
    main()
