"""The command as a user runs it: in a process of its own, with what it prints, writes and refuses."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from rawcnn.data.sets.drawn import drawn_digits
from tests.command import CLASSIFY, TRAIN, call, environment, flags_for, history_of


def slow(*values):
    """Values for `parametrize` that only the slow suite tries: each is a process that imports TensorFlow."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values
    ]


def test_what_a_user_sees(whole):
    lines = whole[1].stdout.splitlines()
    assert lines[0] == "data set mnist: 1,260 training, 140 validation and 300 test images of 28x28x1"
    assert lines[1] == "10 classes: 0 1 2 3 4 5 6 7 8 9"
    assert any(re.fullmatch(r"total +61,706 +416,520", line) for line in lines)
    both = r"loss \d+\.\d{4}  acc \d+\.\d\d%  val loss \d+\.\d{4}  val acc \d+\.\d\d%"
    epoch = rf"epoch \d/3  {both}  best \d+\.\d\d% \(epoch \d\)  [\d.]+s  [\d,]+ img/s"
    assert sum(bool(re.fullmatch(epoch, line)) for line in lines) == 3
    start = whole[1].stdout.split("epoch 1/3")[0]
    for words in ("CPU, ", " thread", "float32 (", "TensorFlow 2.", "adam, learning rate 0.003", "batches of 20"):
        assert words in start
    assert "loss softmax_cross_entropy" in start and "tested at the end: the last epoch, on 300 test images" in start
    assert "tested: the weights of epoch 3, the last" in lines
    assert any(re.fullmatch(r"last epoch 3: validation loss \d+\.\d{4}, accuracy \d+\.\d\d%", line) for line in lines)
    assert re.fullmatch(r"test loss \d+\.\d{4}", lines[-2])
    assert re.fullmatch(r"test accuracy \d+\.\d\d%", lines[-1])
    assert float(lines[-1].split()[-1].rstrip("%")) > 60


def test_what_a_run_leaves(whole):
    run = whole[0]
    names = {path.name for path in run.iterdir()}
    pictures = {"curves.png", "confusion.png", "mistakes.png"}
    assert pictures | {"history.jsonl", "weights.npz", "flags.txt", "run.lock"} <= names
    assert 2 <= len([name for name in names if re.fullmatch(r"ckpt-\d{9}\.npz", name)]) <= 3
    assert not [name for name in names if name.endswith(".tmp")]
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in history] == [63, 126, 189]
    assert {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"} <= history[0].keys()
    for picture in pictures:
        with Image.open(run / picture) as image:
            assert min(image.size) > 200
    with np.load(run / "weights.npz", allow_pickle=False) as weights:
        assert sum(weights[name].size for name in weights.files) == 61_706


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [10, 40, 130])
def test_a_killed_run_resumes_bitwise(whole, home, digits, kill_after):
    run = home / f"killed-{kill_after}"
    flags = flags_for(run, digits, "--save_every=10")
    process = subprocess.Popen(
        [sys.executable, TRAIN, *flags], env=environment(home), cwd=home, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (run.is_dir() and any(int(p.stem[5:]) >= kill_after for p in run.glob("ckpt-*.npz"))):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "weights.npz").exists()
    done = call(TRAIN, f"--run={run}", "--resume", home=home)
    assert "continuing after step" in done.stdout and done.stdout.splitlines()[-1] == whole[1].stdout.splitlines()[-1]
    assert history_of(run) == history_of(whole[0])
    with np.load(run / "weights.npz") as one, np.load(whole[0] / "weights.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_finished_run_is_refused_then_resumed_to_the_same_end(whole, home, digits):
    run, first = whole
    before = (run / "weights.npz").read_bytes()
    refused = call(TRAIN, *flags_for(run, digits), home=home, status=2)
    assert f"{run} holds a run already: continue with --resume, or delete it with --overwrite." in refused.stderr
    assert (run / "weights.npz").read_bytes() == before
    again = call(TRAIN, f"--run={run}", "--resume", home=home)
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


def test_resuming_with_another_net_or_seed_is_refused(whole, home):
    done = call(TRAIN, f"--run={whole[0]}", "--resume", "--net=lenet5", "--seed=1", home=home, status=2)
    assert "--net was lenet5_relu and is now lenet5" in done.stderr and "--seed was 0 and is now 1" in done.stderr


def test_help_is_short_and_complete(home):
    done = call(TRAIN, "--help", home=home)
    flags = re.findall(r"^  --(?:\[no\])?(\w+) ", done.stdout, re.MULTILINE)
    wanted = "net dataset data_dir epochs batch_size optimizer learning_rate precision seed sample run resume overwrite"
    assert set(flags) >= {*wanted.split(), "save_every", "distort", "smoke"} and len(flags) < 60
    assert done.stdout.startswith("Train LeNet-5 on MNIST") and flags[0] == "run"
    (first,) = [part for part in done.stdout.split("\n\n") if part.startswith("What everyone needs")]
    assert len(re.findall("^  --", first, re.MULTILINE)) <= 13


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["epochs=3"], "'epochs=3' is not a flag: flags begin with two dashes"),
        (["--run=/dev/null/x"], "cannot be written"),
        (["--data_dir=nowhere"], "nowhere does not exist. Check the spelling."),
        *slow(
            (["--resume"], "Which run? Name its directory with --run=DIR."),
            (["--run=x", "--resume", "--overwrite"], "exclude each other"),
            (["--run=nowhere", "--resume"], "nowhere"),
            (["--dataset=mnist", "--data_dir="], "data_dir is empty"),
            (["--sample=0"], "sample must be above 0"),
            (["--dataset=drawn", "--smoke", "--sample=0.01", "--run=small"], "fill no batch of 20"),
        ),
    ],
)
def test_mistakes_are_one_line(home, flags, message):
    done = call(TRAIN, *flags, home=home, status=2)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("train_lenet.py: ") and message in line


@pytest.mark.parametrize("flag", ["--epoch=3", *slow("--net=lenet6", "--epochs=0", "--sample=1.5", "--seed=-1")])
def test_wrong_flags_are_named(home, flag):
    (line,) = call(TRAIN, flag, home=home, status=2).stderr.strip().splitlines()
    assert flag.split("=")[0].strip("-") in line


def test_damaged_data_is_refused_before_anything_is_written(home, digits, tmp_path):
    for path in digits.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-100])
    done = call(TRAIN, f"--data_dir={tmp_path}", f"--run={home / 'damaged'}", home=home, status=2)
    assert str(images) in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (home / "damaged").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs file size limits")
def test_a_full_disk_keeps_what_was_saved(whole, home, digits):
    """No file may be as large as the first checkpoint: it cannot be written, and training is not begun."""
    run = home / "full"
    script = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
        f"sys.argv = {[str(TRAIN), *flags_for(run, digits)]!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(home), cwd=home, timeout=240
    )
    assert done.returncode == 2, done.stderr
    assert "ckpt-000000000.npz" in done.stderr and "cannot be written (File too large)" in done.stderr
    assert "epoch 1/3" not in done.stdout


@pytest.mark.slow
def test_smoke_needs_no_data_and_no_flags(home, tmp_path):
    done = call(TRAIN, "--smoke", home=home, cwd=tmp_path)
    assert "data set drawn" in done.stdout and done.stdout.splitlines()[-1].startswith("test accuracy ")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["lenet5-drawn-1"]


@pytest.mark.slow
def test_every_flag_at_once(home):
    flags = ("--net=lenet5_tanh", "--distort", "--precision=bfloat16", "--optimizer=sgd", "--learning_rate=0.05")
    done = call(TRAIN, "--smoke", "--sample=0.5", "--seed=4", f"--run={home / 'all'}", *flags, home=home)
    assert "450 training, 100 validation and 1,000 test images" in done.stdout
    assert {"--precision=bfloat16", "--sample=0.5", "--distort=True"} <= set(
        (home / "all/flags.txt").read_text().split()
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_line_that_lives(home, tmp_path):
    import fcntl
    import pty
    import termios

    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    command = [sys.executable, TRAIN, "--smoke"]
    with subprocess.Popen(
        command, stderr=terminal, stdout=subprocess.DEVNULL, env=environment(home), cwd=tmp_path
    ) as run:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(screen, 65536)
            except OSError:  # the terminal is gone when the process is
                break
            if not part:
                break
            shown += part
    os.close(screen)
    assert run.returncode == 0
    state = rb"\r\x1b\[Kepoch \d/2  step +\d+/\d+  loss [\d.]+  acc +[\d.]+%  [\d,]+ img/s  data \d+%  eta"
    assert len(re.findall(state, shown)) >= 3 and b"\n" not in shown.strip()


@pytest.mark.slow
def test_flags_of_another_example_are_refused(whole, home, tmp_path):
    (tmp_path / "flags.txt").write_text("--net=lenet5\n--colour=blue\n")
    done = call(TRAIN, f"--run={tmp_path}", "--resume", home=home, status=2)
    assert "flags.txt: rawcnn has no flag '--colour'." in done.stderr


def test_classify_reads_ones_own_images(whole, home, tmp_path):
    images, labels = drawn_digits(4, start=9000)
    for k, image in enumerate(images):  # as a scan: dark ink on light paper, enlarged
        Image.fromarray(235 - (image[..., 0] * 0.85).astype(np.uint8)).resize((280, 280)).save(tmp_path / f"{k}.png")
    done = call(CLASSIFY, f"--run={whole[0]}", *[f"{k}.png" for k in range(4)], home=home, cwd=tmp_path)
    read = re.findall(r"^(\d)\.png: (\d)$", done.stdout, re.MULTILINE)
    assert [int(k) for k, _ in read] == [0, 1, 2, 3]
    assert sum(int(digit) == label for (_, digit), label in zip(read, labels, strict=True)) >= 2
    shares = [float(p) for p in re.findall(r"\d: ([\d.]+)%", done.stdout)]
    assert len(shares) == 40 and sum(shares[:10]) == pytest.approx(100, abs=0.6)
    with Image.open(tmp_path / "classified.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.parametrize(
    ("write", "message"),
    [(lambda path: path.write_text("<html>not an image</html>"), "bad.png"), (lambda path: None, "bad.png")],
)
@pytest.mark.slow
def test_classify_names_what_it_cannot_read(whole, home, tmp_path, write, message):
    write(tmp_path / "bad.png")
    done = call(CLASSIFY, f"--run={whole[0]}", "bad.png", home=home, cwd=tmp_path, status=2)
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_classify_needs_a_run(home, tmp_path):
    assert "holds no checkpoint" in call(CLASSIFY, f"--run={tmp_path}", "a.png", home=home, status=2).stderr
