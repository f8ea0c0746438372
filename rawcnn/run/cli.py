"""The command line that all training examples share: absl flags, one run from data to pictures, errors as one line."""

import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rawcnn.run import signals

with signals.quitting():  # TensorFlow takes seconds to import: a Ctrl-C then needs no traceback
    import rawcnn.start  # noqa: F401

    import tensorflow as tf
    from absl import app, flags

    from rawcnn.data import datasets
    from rawcnn.data.images.headers import MAX_PIXELS
    from rawcnn.errors import RawcnnError, UsageError
    from rawcnn.machine import cores, one_thread_per_op, shards_of
    from rawcnn.nets import input_shape, precision
    from rawcnn.run import directory as rundir
    from rawcnn.run.output import tell
    from rawcnn.run.session import MAY_CHANGE, Session
    from rawcnn.train.inputs import CROPS
    from rawcnn.train.optimizers import OPTIMIZERS
    from rawcnn.train.recipes import RECIPES, Recipe, recipe_of

FLAGS = flags.FLAGS
SMOKE_EPOCHS, SMOKE_BATCH, SMOKE_HELD_OUT = 2, 20, 0.1
SMOKE_IMAGES, SMOKE_LARGE_IMAGES, LARGE = 1000, 100, 64  # the second where the net's own input has more pixels a side
BENDS = ("cosine", "warm-up, cosine")  # schedules whose rates depend on the number of epochs from the first step on
NOT_SAVED = ("run", "resume", "overwrite")


def define_flags(nets: Sequence[str], *, net: str, epochs: int) -> list[str]:
    """Define the flags of a training example, with its defaults, and return their names."""
    before = set(FLAGS)
    flags.DEFINE_enum("net", net, list(nets), "The net to train.")
    flags.DEFINE_string(
        "recipe", None, "How to train: paper, lab or ours, as far as the net has them; by default its first."
    )
    flags.DEFINE_enum(
        "dataset",
        "auto",
        datasets.NAMES,
        "What to train on; auto is what --data_dir holds, else MNIST or CIFAR-10, else drawn digits.",
    )
    flags.DEFINE_string(
        "data_dir", None, "Directory with the data set's files; without it: the cache, else a download."
    )
    flags.DEFINE_integer("epochs", epochs, "Passes over the training images.", lower_bound=1)
    flags.DEFINE_integer("batch_size", None, "Images per update; each net has its own default.", lower_bound=1)
    flags.DEFINE_enum("optimizer", None, sorted(OPTIMIZERS), "Update rule; each net has its own default.")
    flags.DEFINE_float(
        "learning_rate", None, "Learning rate at the start; it falls as the recipe says.", lower_bound=0.0
    )
    flags.DEFINE_integer("input_size", None, "Pixels a side of the net's input; by default its own.", lower_bound=1)
    flags.DEFINE_enum("crops", "1", CROPS, "Views of each test image whose answers are averaged.")
    flags.DEFINE_float("average", None, "Decay of the weights' moving averages, 0 for none.", 0.0, 1.0)
    flags.DEFINE_integer("patience", 0, "Stop after so many epochs without a better one; 0: never.", lower_bound=0)
    flags.DEFINE_enum("precision", "float32", precision.NAMES, "What to compute in; weights are always float32.")
    flags.DEFINE_integer(
        "seed", 0, "Decides initial weights, order of images and distortions.", lower_bound=0, upper_bound=2**32 - 1
    )
    flags.DEFINE_float(
        "sample", 1.0, "Share of the training images to use, of each class.", lower_bound=0.0, upper_bound=1.0
    )
    flags.DEFINE_float("validation", None, "Share (below 1) or count of the images to hold out.", lower_bound=0.0)
    flags.DEFINE_enum("bad_images", "error", ("error", "skip"), "What to do about image files that cannot be read.")
    flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Refuse image files that declare more pixels.", lower_bound=1)
    flags.DEFINE_string("run", None, "Directory for all results; by default a new one below runs/.")
    flags.DEFINE_boolean("resume", False, "Go on with the run in --run, with its flags, from its last checkpoint.")
    flags.DEFINE_boolean("overwrite", False, "Delete the run in --run and begin anew.")
    flags.DEFINE_integer(
        "save_every", 500, "Steps between checkpoints; there is one after each epoch too.", lower_bound=1
    )
    flags.DEFINE_enum(
        "on_save_error", "stop", ("stop", "warn"), "What to do when a checkpoint cannot be written: stop, or go on."
    )
    flags.DEFINE_integer("threads", None, "Threads to compute with; by default one a core.", lower_bound=1)
    flags.DEFINE_boolean("deterministic", False, "Use only ops that repeat bit for bit; waits for data then read 0%.")
    flags.DEFINE_boolean(
        "distort", False, "Distort training images, elastically and in the plane, instead of the recipe's changes."
    )
    flags.DEFINE_boolean(
        "smoke", False, f"Try it out: {SMOKE_IMAGES} images ({SMOKE_LARGE_IMAGES} large ones), {SMOKE_EPOCHS} epochs."
    )
    names = [name for name in FLAGS if name not in before]
    for name in names:
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[name])  # so that --help shows them
    return names


def train(nets: Sequence[str], *, net: str, epochs: int) -> None:
    """Run a training example: parse the command line, train, and exit with status 0, or 2 after a one-line error."""
    names = define_flags(nets, net=net, epochs=epochs)
    run(lambda argv: _train(names, argv))


def run(main: Callable[[list[str]], None]) -> None:
    """`app.run(main)`, with a mistake as one line on stderr and status 2; Ctrl-C exits 130, SIGTERM 143."""

    def checked(argv: list[str]) -> None:
        try:
            with signals.handled():
                main(argv)
        except RawcnnError as error:
            sys.exit(_fail(str(error), 2))
        except KeyboardInterrupt as interrupt:
            status = interrupt.status if isinstance(interrupt, signals.Stopped) else 130
            sys.exit(_fail(f"{str(interrupt) or 'Ctrl-C'}: {_how_to_go_on()}", status))
        except OSError as error:
            sys.exit(_fail(f"{error.filename or 'a file'}: {error.strerror}.", 2))
        except tf.errors.ResourceExhaustedError as error:
            sys.exit(_fail(f"out of memory ({error.message.splitlines()[0]}): try a smaller --batch_size.", 2))

    app.run(checked)


def _fail(message: str, status: int) -> int:
    tell(f"{Path(sys.argv[0]).name}: {message}", sys.stderr)
    return status


def _how_to_go_on() -> str:
    """What to type after a run was stopped."""
    if "resume" not in FLAGS:  # an example that trains nothing
        return "stopped."
    if FLAGS.run and Path(FLAGS.run, rundir.FLAGS).is_file():
        command = [Path(sys.executable).name, sys.argv[0], f"--run={FLAGS.run}", "--resume"]
        return f"stopped; go on with {shlex.join(command)}"
    return "stopped before training; the same command begins again, and a download goes on where it was."


def _train(names: Sequence[str], argv: Sequence[str]) -> None:
    recipe = _settle_flags(argv)
    shards = _use_threads(recipe)
    directory = None
    if FLAGS.run:  # before the data, so that a mistake in --run shows at once
        directory = rundir.RunDir(FLAGS.run, resume=FLAGS.resume, overwrite=FLAGS.overwrite)
    height, _, channels = input_shape(FLAGS.net)
    limit = (SMOKE_IMAGES if height <= LARGE else SMOKE_LARGE_IMAGES) if FLAGS.smoke else None
    data = datasets.load(
        FLAGS.dataset,
        FLAGS.data_dir,
        colour=channels == 3,
        validation=FLAGS.validation,
        seed=FLAGS.seed,
        sample=FLAGS.sample,
        limit=limit,
        bad_images=FLAGS.bad_images,
        max_pixels=FLAGS.max_pixels,
    )
    FLAGS.dataset = data.name
    if directory is None:
        FLAGS.run = str(rundir.unused_name(FLAGS.net, FLAGS.dataset))
        directory = rundir.RunDir(FLAGS.run)
    Session(directory, data, {name: FLAGS[name].value for name in names if name not in NOT_SAVED}, shards).run()


def _use_threads(recipe: Recipe) -> int:
    """Settle how many threads compute, before TensorFlow's first op; returns the shards of a batch side by side."""
    FLAGS.threads = FLAGS.threads or cores()
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    if recipe.small_ops:
        one_thread_per_op(FLAGS.threads)
        return shards_of(FLAGS.batch_size, FLAGS.threads)
    if FLAGS.threads != cores():
        tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
        tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    return 1


def _settle_flags(argv: Sequence[str]) -> Recipe:
    """Refuse what does not go together, and give every flag that was left out its value, mostly the recipe's."""
    if len(argv) > 1:
        raise UsageError(f"{argv[1]!r} is no flag: flags begin with two dashes, as in --epochs=10. See --help.")
    if FLAGS.resume and FLAGS.overwrite:
        raise UsageError("--resume and --overwrite exclude each other: choose one.")
    if (FLAGS.resume or FLAGS.overwrite) and not FLAGS.run:
        raise UsageError("Which run? Name its directory with --run=DIR.")
    if FLAGS.resume:
        _take_over(rundir.read_flags(FLAGS.run))
    FLAGS.recipe = FLAGS.recipe or next(iter(RECIPES[FLAGS.net]))
    FLAGS.input_size = FLAGS.input_size or input_shape(FLAGS.net)[0]
    recipe = recipe_of(FLAGS.net, FLAGS.recipe)
    FLAGS.precision = _settled("precision", FLAGS.precision)  # "auto" on another machine might mean another
    if FLAGS.smoke and FLAGS.validation is None:
        FLAGS.validation = SMOKE_HELD_OUT
    for name in ("batch_size", "optimizer", "learning_rate", "average", "validation"):
        if FLAGS[name].value is None:
            FLAGS[name].value = getattr(recipe, name)
    if FLAGS.smoke:
        FLAGS.epochs = min(FLAGS.epochs, SMOKE_EPOCHS)
        FLAGS.batch_size = min(FLAGS.batch_size, SMOKE_BATCH)
        if not FLAGS.data_dir:
            FLAGS.dataset = "drawn"
    return recipe


def _settled(name: str, value: Any) -> Any:
    """What a flag's value stands for on this machine."""
    return precision.parse(value).compute.name if name == "precision" else value


def _take_over(saved: dict[str, str]) -> None:
    """Give flags that the command line leaves out the values they had when the run began; refuse other changes."""
    changed = {}
    for name, text in saved.items():
        try:
            flag = FLAGS[name]
            value: Any = flag.parser.parse(text)
        except (KeyError, ValueError):
            raise UsageError(f"{FLAGS.run}: --{name}={text} in its flags.txt is no flag of this example.") from None
        if flag.using_default_value:
            flag.value = value
        elif _settled(name, flag.value) != _settled(name, value):
            changed[name] = f"--{name} was {value} and is now {flag.value}"
    allowed = [name for name in MAY_CHANGE if not (name == "threads" and FLAGS.deterministic)]
    refused = [change for name, change in changed.items() if name not in allowed]
    if refused:
        raise UsageError(
            f"{FLAGS.run} cannot be resumed: {'; '.join(refused)}. Only --{', --'.join(allowed)} may change; "
            "leave the others out, or begin another run."
        )
    for change in changed.values():
        tell(change)
    _say_what_bends(changed)


def _say_what_bends(changed: Collection[str]) -> None:
    """Say aloud where a change makes the rest of the run another than if it had begun so."""
    if "epochs" in changed and recipe_of(FLAGS.net, FLAGS.recipe).schedule in BENDS:
        tell("The learning rate follows a cosine over all epochs: from here on it is another than the run began with.")
    if FLAGS.threads and FLAGS.threads != cores():
        tell(f"Computing with {FLAGS.threads} threads, as the run began or as told; this machine has {cores()} cores.")
    if "threads" in changed:
        tell("With another number of threads the rest of the run is as good, but not bit for bit the same.")
