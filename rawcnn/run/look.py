"""`rawcnn look`: a data set before training. Its splits and classes, the sizes of its images, and some of them."""

import sys
import unicodedata
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawcnn.data.datasets import DataSet, load_dataset
from rawcnn.data.images.stream import EncodedSource
from rawcnn.data.named import directory_of
from rawcnn.data.preprocess import Preprocess
from rawcnn.data.source import Labelled, Source
from rawcnn.errors import RawcnnError, UsageError
from rawcnn.run.fields import FIRST, check_all, setting
from rawcnn.run.figures import BLUE, GREY, INK, VERMILION, StrPath, new_figure, save, short, show
from rawcnn.run.flags import read_flags
from rawcnn.run.output import tell
from rawcnn.run.progress import columns_of, wrapped
from rawcnn.run.settings import Settings
from rawcnn.train.inputs import Inputs
from rawcnn.train.recipes import Recipe

MOST_IMAGES, MOST_CLASSES, MOST_BARS = 25, 30, 20
PHOTO = 224  # pixels a side of what most nets for photos take
USUAL = 79  # letters of a line where there is no terminal
UNEVEN = 3  # times as many images in the largest class as in the smallest: worth a remark
USAGE = (
    "usage: rawcnn look --data_dir=DIR   or   rawcnn look --dataset=mnist\n"
    "Shows a data set before training: its splits, classes and image sizes, and a picture of some images.\n"
    "With --fit or --input_size the picture shows the images as a net would be given them."
)


def _as_in_training(name: str) -> Any:
    """A flag that means the same as for `rawcnn train`."""
    (item,) = (item for item in fields(Settings) if item.name == name)
    return field(default=item.default, metadata=item.metadata)


@dataclass(frozen=True)
class LookFlags:
    """What `rawcnn look` is told."""

    dataset: str = _as_in_training("dataset")
    data_dir: str | None = _as_in_training("data_dir")
    out: str = setting("look.png", FIRST, "Where the picture goes.", path=True)
    seed: int = setting(0, FIRST, "Decides which images are shown, and which are held out.", low=0, high=2**32 - 1)
    validation: float | None = _as_in_training("validation")
    class_names: str | None = _as_in_training("class_names")
    bad_images: str = _as_in_training("bad_images")
    max_pixels: int = _as_in_training("max_pixels")
    fit: str | None = _as_in_training("fit")
    input_size: int | None = _as_in_training("input_size")

    def __post_init__(self) -> None:
        check_all(self)


def command(argv: list[str]) -> None:
    """Show the data set that `argv` names."""
    told, words = read_flags(argv, LookFlags, usage=USAGE)
    if words:
        raise UsageError(
            f"{words[0]!r} is not a flag: name a folder with --data_dir={words[0]}. See rawcnn look --help."
        )
    flags = LookFlags(**told)
    options: dict[str, Any] = {} if flags.validation is None else {"validation": flags.validation}
    options |= {"seed": flags.seed, "bad_images": flags.bad_images, "max_pixels": flags.max_pixels, "log": tell}
    if flags.dataset == "auto" and flags.data_dir is not None:
        directory_of(flags.data_dir)  # which says what is wrong with it; a data set's name would be taken too
        data = load_dataset(flags.data_dir, class_names=flags.class_names, **options)
    else:
        data = load_dataset(flags.dataset, flags.data_dir, class_names=flags.class_names, **options)
    tell(described(data, columns_of(sys.stdout)))
    if flags.fit is None and flags.input_size is None and _oblong(data):
        hint = "Nets take squares: see what --fit=squeeze, --fit=crop or --fit=pad makes of them."
        tell(f"\n{wrapped(hint, columns_of(sys.stdout) or USUAL)}")
    try:
        path = save_look(data, flags.out, fit=flags.fit, size=flags.input_size, seed=flags.seed)
    except RawcnnError as error:
        tell(f"no picture: {error}")
        return
    tell(f"picture: {path}")


# In words


def described(data: DataSet, columns: int | None = None) -> str:
    """Splits, classes with their numbers of images, and sizes of images, in lines of up to `columns` letters."""
    width = columns or USUAL
    first = wrapped(data.describe().splitlines()[0], width)
    return "\n\n".join([first, _classes(data, width), _sizes(data, width)])


def _splits(data: DataSet) -> dict[str, Labelled]:
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    return {name: source for name, source in splits.items() if source is not None}


def _classes(data: DataSet, width: int) -> str:
    """A line for each class: its images in each split, and its name, which comes last since it may be in any script."""
    splits, names = _splits(data), data.train.class_names
    counts = {name: np.bincount(source.labels, minlength=len(names)) for name, source in splits.items()}
    wide = {split: max(len(split), len(f"{numbers.max():,}")) for split, numbers in counts.items()}
    lines = ["  ".join([*(f"{split:>{wide[split]}}" for split in splits), "class"])]
    room = max(8, width - len(lines[0]) + len("class"))
    for k, name in enumerate(names[:MOST_CLASSES]):
        numbers = [f"{counts[split][k]:{wide[split]},}" for split in splits]
        lines.append("  ".join([*numbers, _cut(name, room)]))
    if len(names) > MOST_CLASSES:
        lines.append(f"and {len(names) - MOST_CLASSES:,} more classes")
    few, many = int(counts["training"].argmin()), int(counts["training"].argmax())
    fewest, most = int(counts["training"][few]), int(counts["training"][many])
    if most >= UNEVEN * fewest:
        words = (
            f"The classes are uneven: {fewest:,} training images of {_cut(names[few], room)}, {most:,} of "
            f"{_cut(names[many], room)}. The accuracy is then mostly that of the large classes."
        )
        lines += ["", wrapped(words, width)]
    return "\n".join(lines)


def _cut(name: str, room: int) -> str:
    """A name in up to `room` columns of a terminal, where Chinese, Japanese and Korean letters take two each."""
    return short(name, room // 2 if any(unicodedata.east_asian_width(letter) in "WF" for letter in name) else room)


def _sizes(data: DataSet, width: int) -> str:
    """How large the images are, by their headers."""
    found = _file_sizes(data)
    if found is None:
        rows, columns, channels = data.train.shape
        kind = {1: "grey", 3: "in colour"}.get(channels, f"of {channels} channels")
        return wrapped(f"every image has {columns}x{rows} pixels and is {kind}", width)
    heights, widths = found.T
    small, large = int((heights * widths).argmin()), int((heights * widths).argmax())
    facts = (
        f"sizes of all {len(found):,} images, width x height: smallest {widths[small]}x{heights[small]}, largest "
        f"{widths[large]}x{heights[large]}, median {np.median(widths):.0f}x{np.median(heights):.0f}"
    )
    shapes = [np.mean(widths > heights), np.mean(widths == heights), np.mean(widths < heights)]
    percents = [f"{name} {fraction:.0%}" for name, fraction in zip(("wide", "square", "tall"), shapes, strict=True)]
    return "\n".join([wrapped(facts, width), ", ".join(percents), "", *_bars(np.minimum(heights, widths), width)])


def _oblong(data: DataSet) -> bool:
    """Whether some image is not a square."""
    sizes = _file_sizes(data)
    heights, widths = np.array([data.train.shape[:2]]).T if sizes is None else sizes.T
    return bool((heights != widths).any())


def _bars(lengths: NDArray[np.integer], width: int) -> list[str]:
    """How many images have a shorter side of so many pixels: a bar for each power of 2."""
    powers = np.floor(np.log2(lengths)).astype(int)
    counts = {power: int((powers == power).sum()) for power in range(int(powers.min()), int(powers.max()) + 1)}
    labels = [f"{2**power}-{2 ** (power + 1) - 1}" for power in counts]
    head, wide = "shorter side", len(f"{max(counts.values()):,}")
    wide = max(wide, len("images"))
    room, most = max(4, width - len(head) - wide - 4), max(counts.values())
    rows = [
        f"{label:>{len(head)}}  {n:{wide},}  {'#' * (max(1, round(n / most * room)) if n else 0)}".rstrip()
        for label, n in zip(labels, counts.values(), strict=True)
    ]
    return [f"{head}  {'images':>{wide}}", *rows]


def _file_sizes(data: DataSet) -> NDArray[np.integer] | None:
    """(height, width) of all images `[N, 2]`, None for images in memory, which have one size."""
    sizes = [source.sizes for source in _splits(data).values() if isinstance(source, EncodedSource)]
    return np.concatenate(sizes) if sizes else None


# As a picture


def save_look(data: DataSet, path: StrPath, *, fit: str | None = None, size: int | None = None, seed: int = 0) -> Path:
    """Draw 25 training images of mixed classes, how many images the classes have, and how large images are.

    Args:
      data: a data set.
      path: the PNG to write.
      fit: one of "squeeze", "crop" and "pad": images are shown as a net would be given them. None: as they are.
      size: pixels a side of the net's input, by default 224 for files, else those of the images.
      seed: decides which images are shown.

    Raises:
      RawcnnError: matplotlib is missing, an image cannot be read, or the file cannot be written.
    """
    train, names = data.train, data.train.class_names
    some = train.take(mixed(train.labels, MOST_IMAGES, seed))
    given = fit is not None or size is not None
    images = _given(some, fit, size) if given else _as_they_are(some)
    how = f", as a net is given them: --fit={fit or 'squeeze'}, {images[0].shape[0]} pixels a side" if given else ""
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(max(8.0, 2.2 * columns), 2.35 * rows + 4.2, f"{data.name}: {len(images)} training images{how}")
    above, below = figure.subfigures(2, 1, height_ratios=(2.35 * rows, 3.6))
    panels = above.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[len(images) :]:
        axes.set_visible(False)
    for axes, image, label in zip(panels, images, some.labels, strict=False):
        show(axes, image)
        axes.set_title(short(names[int(label)], 22), fontsize=11, color=INK, parse_math=False)
    sizes = _file_sizes(data)
    charts = below.subplots(1, 1 if sizes is None else 2, squeeze=False).ravel().tolist()
    _draw_classes(charts[0], train.labels, names)
    if sizes is not None:
        _draw_sizes(charts[1], sizes)
    return save(figure, path)


def mixed(labels: NDArray[np.integer], count: int, seed: int) -> NDArray[np.integer]:
    """Up to `count` images by chance, in any order, with each class among them if there are no more than `count`.

    >>> sorted(np.array([0, 0, 0, 0, 0, 1])[mixed(np.array([0, 0, 0, 0, 0, 1]), 2, seed=0)].tolist())
    [0, 1]
    """
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    others = np.setdiff1d(np.arange(len(order)), firsts)
    return np.asarray(order[np.sort(np.concatenate([np.sort(firsts), others])[:count])])


def _as_they_are(source: Labelled) -> list[NDArray[np.uint8]]:
    """Each in its own shape, large ones with fewer pixels."""
    if not isinstance(source, EncodedSource):
        assert isinstance(source, Source)
        return list(np.rint(source.images).astype(np.uint8))
    images = []
    for index, (height, width) in enumerate(source.sizes.tolist()):
        step = max(1, max(height, width) // 300)
        images.append(source.rgb(index)[::step, ::step])
    return images


def _given(source: Labelled, fit: str | None, size: int | None) -> list[NDArray[np.uint8]]:
    """As squares of `size` pixels."""
    height, width, _ = source.shape
    side = size or (PHOTO if height is None or width is None else min(height, width))
    inputs = Inputs.of(Recipe(Preprocess(low=0.0, high=255.0), fit=fit), source, side)
    return list(np.rint(inputs.shown(inputs.test_images(source)).numpy()).astype(np.uint8))


def _draw_classes(axes: Any, labels: NDArray[np.integer], names: tuple[str, ...]) -> None:
    """Bars: of many classes those with the most images."""
    counts = np.bincount(labels, minlength=len(names))
    shown = np.arange(len(names)) if len(names) <= MOST_BARS else np.argsort(-counts, kind="stable")[:MOST_BARS]
    places = np.arange(len(shown))
    axes.barh(places, counts[shown], color=BLUE, height=0.72)
    axes.set_yticks(places, [short(names[int(k)], 18) for k in shown], parse_math=False)
    for place, k in zip(places, shown, strict=True):
        axes.annotate(f"{counts[k]:,}", (counts[k], place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    more = f" (the {MOST_BARS} largest of {len(names)} classes)" if len(names) > MOST_BARS else ""
    axes.set_title(f"training images of each class{more}", fontsize=11, color=INK, loc="left")
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_sizes(axes: Any, sizes: NDArray[np.integer]) -> None:
    """How many images have which width and which height."""
    from matplotlib.ticker import MaxNLocator

    edges = np.histogram_bin_edges(sizes, bins=24)
    for column, name, colour in ((1, "width", BLUE), (0, "height", VERMILION)):
        axes.hist(sizes[:, column], bins=edges, histtype="step", linewidth=2, color=colour, label=name)
    axes.set_title("sizes of all images", fontsize=11, color=INK, loc="left")
    axes.set_xlabel("pixels")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.legend(frameon=False)
