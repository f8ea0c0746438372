"""The tables of results say what the logs say, and the script notices when they do not."""

import itertools
import json
import re
import shutil
import subprocess
import sys
import time

import pytest

from rawcnn.run.flags import read_flags
from rawcnn.run.plan import recipe_for
from rawcnn.run.settings import Settings
from results import make, picture, race, rows
from tests.command import ROOT

ROW = rows.Row("mine", "`lenet5` on MNIST", "99 (a paper)", 98.0, 2, "e.py", "mnist", 2, ("--average=0.5",), ("6",))
FLAGS = ("--net=lenet5", "--epochs=2", "--average=0.5", "--dataset=mnist")


def write(logs, seed, accuracy, seconds=60.0, flags=FLAGS, epochs=2, others=0.01):
    folder = logs / "mine" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "flags.txt").write_text("\n".join((*flags, f"--seed={seed}")) + "\n")
    history = [{"epoch": epoch + 1, "seconds": seconds} for epoch in range(epochs)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    accuracies = {"1": accuracy, "6": accuracy + 1}
    log = {"test_accuracy": accuracies, "machine": "a machine", "tensorflow": "2", "date": "today", "others": others}
    (folder / "result.json").write_text(json.dumps(log))


def test_pages_say_what_the_logs_say():
    """`python results/make.py --check`."""
    wrong = make.differing(make.wanted())
    assert not wrong, f"{wrong}: run python results/make.py"


def test_the_picture_shows_what_the_logs_say():
    """The numbers that the committed picture was drawn from."""
    assert picture.says(make.PICTURE) == picture.drawn_from(make.curves()), "run python results/make.py"


def test_recipes_promise_what_the_logs_say():
    """Each line of the recipes' docstring, and a line for each recipe that a row trained."""
    text = (ROOT / "rawcnn/train/recipes.py").read_text("utf-8")
    promised = re.findall(r"^\* `(\w+)` (\w+): ([\d.]+) after (\d+) epochs \(row `(\w+)`\)$", text, re.MULTILINE)
    assert text.count("(row `") == len(promised)
    found = {found.row.name: found for found in make.every()}
    for net, recipe, accuracy, epochs, name in promised:
        row = found[name].row
        assert (net, recipe, int(epochs)) == (row.net, recipe_in_log(name), row.epochs)
        assert accuracy == f"{found[name].mean:.2f}", name
    trained = {(f.row.net, recipe_in_log(f.row.name)) for f in found.values() if f.seeds}
    drawn = {("lenet5_relu", "course")}  # on drawn digits and with flags of its own: not what the recipe gives
    assert trained - drawn == {(net, recipe) for net, recipe, *_ in promised}


def recipe_in_log(name):
    flags = (make.LOGS / name / "seed0/flags.txt").read_text("utf-8")
    return re.search(r"^--recipe=(\w+)$", flags, re.MULTILINE)[1]


def test_curves_by_hand(tmp_path):
    """Minutes add up, and the test accuracy is that of the row's protocol; a run without minutes has no curve."""
    write(tmp_path, 0, 98.5, seconds=90.0)
    folder = tmp_path / "mine/seed0"
    lines = (folder / "history.jsonl").read_text().splitlines()
    history = [
        json.loads(line) | {"val_accuracy": accuracy} for line, accuracy in zip(lines, (0.5, 0.755), strict=True)
    ]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, history)))
    curve = picture.of_log("mine", folder, "6")
    assert curve == ("mine", (1.5, 3.0), (50.0, 75.5), 99.5)
    (folder / "history.jsonl").write_text('{"epoch": 1}')
    assert picture.of_log("mine", folder, "6") is None

    kept = {"net": "cifar_wide", "keras": [{"epoch": 1, "seconds": 150.0, "accuracy": 61.5}]}
    (tmp_path / "race.json").write_text(json.dumps(kept))
    keras = picture.of_race(race.read(tmp_path)[0])
    assert keras == ("cifar_wide, Keras", (2.5,), (61.5,), None)

    path = tmp_path / "a.png"
    assert picture.says(path) is None
    picture.save([curve, keras], path)
    assert picture.says(path) == picture.drawn_from([curve, keras]) != picture.drawn_from([curve])


@pytest.mark.parametrize(
    ("ours", "keras", "says"),
    [
        (81.0, 80.0, ("2.0", "1", "9.0 (shared)", "1", "4.5")),
        (81.0, 79.9, ("2.0", "1", "more than 9.0 (shared)", "1", "more than 4.5")),
        (79.9, 81.0, ("more than 2.0", "1", "9.0 (shared)", "1", "less than 4.5")),
        (79.9, 79.9, ("more than 2.0", "1", "more than 9.0 (shared)", "1", "-")),
    ],
)
def test_a_race_by_hand(tmp_path, ours, keras, says):
    """A side that did not get there needs more minutes than it had, and the ratio says so."""
    kept = {
        "net": "cifar_wide", "target": 80.0, "flags": ["--target=80.0"], "machine": "a machine", "date": "today",
        "versions": {"tensorflow": "2", "keras": "3"}, "others": {"rawcnn": 0.0, "keras": 0.3},
        "rawcnn": [{"epoch": 1, "seconds": 120.0, "accuracy": ours}],
        "keras": [{"epoch": 1, "seconds": 540.0, "accuracy": keras}],
    }  # fmt: skip
    (tmp_path / "cifar_wide.json").write_text(json.dumps(kept))
    races = race.read(tmp_path)
    assert race.cells(races[0]) == ("`cifar_wide`", "80", *says)
    text = make.page(make.every(), races)
    assert "\n## Against Keras\n" in text and "a machine; TensorFlow 2, Keras 3; today." in text
    assert "`python -m benchmarks.time_to_accuracy --target=80.0 --data_dir=DIR`" in text


def test_the_page_has_no_empty_chapter(monkeypatch):
    monkeypatch.setattr(make, "OWED", ())
    text = make.page([found for found in make.every() if found.seeds], ())
    assert not any(heading in text for heading in ("Not run yet", "Against Keras", "Still owed"))
    assert text.endswith(").\n")


def test_names_of_curves_do_not_lie_on_each_other(rng):
    assert picture.heights_of_names([(100, 87.0), (1, 86.0), (120, 86.0)]) == [87.0, 86.0, pytest.approx(84.3)]
    ends = [(10 ** rng.uniform(0, 2), rng.uniform(80, 90)) for _ in range(12)]
    heights = picture.heights_of_names(ends, gap=2, near=3)
    for (one, height), (other, below) in itertools.combinations(zip([m for m, _ in ends], heights, strict=True), 2):
        assert abs(height - below) > 1.999 or max(one, other) >= 3 * min(one, other)
    assert all(height <= end for height, (_, end) in zip(heights, ends, strict=True))


def test_figures_by_hand(tmp_path):
    for seed, accuracy in ((0, 98.5), (10, 97.7), (2, 98.1)):
        write(tmp_path, seed, accuracy)
    found = make.read(ROW, tmp_path)
    assert [seed.seed for seed in found.seeds] == [0, 2, 10] and found.reached
    assert make.cells(found) == (
        "mine", "`lenet5` on MNIST", "99 (a paper)", "98", "**98.10**", "98.50, 98.10, 97.70", "0.40", "2.0",
    )  # fmt: skip
    assert "With `--crops=6` the same nets give 99.10 % (99.50, 99.10, 98.70)." in make.commands(found)


@pytest.mark.parametrize(
    ("accuracies", "says"), [((97.9, 98.0), "**97.95** (not reached)"), ((99.0,), "**99.00** (1 of 2 seeds)")]
)
def test_a_target_is_missed_by_the_mean_or_by_too_few_seeds(tmp_path, accuracies, says):
    for seed, accuracy in enumerate(accuracies):
        write(tmp_path, seed, accuracy)
    found = make.read(ROW, tmp_path)
    assert not found.reached and says in make.cells(found)[4]


def test_a_row_without_logs_says_so(tmp_path):
    assert make.cells(make.read(ROW, tmp_path))[4] == "not run yet"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"flags": FLAGS[:2]}, "no --average=0.5"), ({"epochs": 1}, "ends after epoch 1, not 2")],
)
def test_logs_of_another_run_are_refused(tmp_path, options, message):
    write(tmp_path, 0, 98.0, **options)
    with pytest.raises(SystemExit, match=message):
        make.read(ROW, tmp_path)


def test_logs_of_no_row_are_refused(tmp_path):
    (tmp_path / "unheard_of").mkdir()
    with pytest.raises(SystemExit, match=r"unheard_of belongs to no row"):
        make.every(tmp_path)


def test_a_changed_log_page_or_section_is_noticed(tmp_path):
    """Each of the three is changed alone."""
    logs, page, readme = tmp_path / "logs", tmp_path / "page.md", tmp_path / "README.md"
    shutil.copytree(make.LOGS, logs)
    readme.write_text(f"# Mine\n\n{make.BEGIN}\n{make.END}\n\nThe rest.\n")
    for path, text in make.wanted(logs, page, readme).items():
        path.write_text(text)
    assert make.differing(make.wanted(logs, page, readme)) == []
    assert readme.read_text().startswith("# Mine\n") and readme.read_text().endswith("\nThe rest.\n")
    for path in (page, readme):
        text = path.read_text()
        path.write_text(text.replace("**9", "**8", 1))
        assert path.read_text() != text and make.differing(make.wanted(logs, page, readme)) == [path]
        path.write_text(text)
    result = next(iter(sorted(logs.glob("*/seed0/result.json"))))
    log = json.loads(result.read_text())
    log["test_accuracy"] = {protocol: accuracy - 1 for protocol, accuracy in log["test_accuracy"].items()}
    result.write_text(json.dumps(log))
    assert make.differing(make.wanted(logs, page, readme)) == [page, readme]


def test_a_finished_run_is_kept_without_paths_of_this_machine(tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    run.mkdir()
    (run / "flags.txt").write_text("\n".join((*FLAGS, "--data_dir=/here", "--seed=0")) + "\n")
    (run / "history.jsonl").write_text('{"epoch": 2, "seconds": 6}\n')
    make.keep(ROW, 0, run, {"1": "so\ntest accuracy 98.76%\n", "6": "test accuracy 99.00%\n"}, 0.25, logs)
    found = make.read(ROW, logs)
    assert found.accuracies() == [98.76] and found.accuracies("6") == [99.0]
    assert "/here" not in (logs / "mine/seed0/flags.txt").read_text()
    assert make.minutes(found).endswith(" (shared)") and not list(run.glob("kept*"))


def test_every_row_can_be_run():
    """Flags, nets and recipes of each exist; the command itself is not run."""
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)
    for row in rows.ROWS:
        assert (ROOT / row.example).is_file() and row.command.startswith(f"python {row.example} --dataset=")
        assert f'"{row.net}"' in (ROOT / row.example).read_text()
        told, words = read_flags(["train", f"--dataset={row.dataset}", *row.flags], Settings, usage="")
        assert not words and recipe_for(Settings(**told)) is not None
        assert {row.dataset, row.tested_on} - {""} - {"drawn"} <= rows.DATA.keys()


@pytest.mark.parametrize(("others", "says"), [(0.01, "1.0"), (0.3, "1.0 (shared)"), (None, "1.0 (shared)")])
def test_minutes_of_a_machine_that_did_other_work_are_marked(tmp_path, others, says):
    write(tmp_path, 0, 98.0, seconds=30.0, others=others)
    assert make.minutes(make.read(ROW, tmp_path)) == says


def test_a_run_of_another_row_is_not_continued(tmp_path):
    """As when the row was changed since the run began."""
    write(tmp_path / "runs", 0, 98.0, flags=FLAGS[:2])
    with pytest.raises(SystemExit, match=r"seed0/flags.txt is not of row mine: it has no --average=0.5. Remove it."):
        make.train(ROW, 0, tmp_path, tmp_path / "runs", tmp_path / "logs")


def test_photos_are_split_by_their_numbers_once(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"dogs-vs-cats/train does not exist: name the folder"):
        make.data_flags("folder", tmp_path, tmp_path / "runs")
    photos = tmp_path / "dogs-vs-cats/train"
    photos.mkdir(parents=True)
    for name in ("cat.749.jpg", "dog.750.jpg", "dog.1001.jpg"):
        (photos / name).touch()
    for _ in range(2):
        assert make.data_flags("folder", tmp_path, tmp_path / "runs") == (f"--data_dir={tmp_path}/runs/photos",)
    found = sorted(str(path.relative_to(tmp_path / "runs")) for path in (tmp_path / "runs").rglob("*.jpg"))
    assert found == ["photos/test/dog/dog.750.jpg", "photos/train/cat/cat.749.jpg"]


def test_two_rows_that_are_begun_at_once_share_whole_photos(tmp_path, monkeypatch):
    """Two trainings once made one folder together, and each found a part of it."""
    photos = tmp_path / "dogs-vs-cats/train"
    photos.mkdir(parents=True)
    for number in range(9):
        (photos / f"cat.{number}.jpg").touch()
    chosen, others = make.chosen_photos, []

    def overtaken(*given):
        if not others:
            others.append("the other command")
            make.data_flags("folder", tmp_path, tmp_path / "runs")
        chosen(*given)

    monkeypatch.setattr(make, "chosen_photos", overtaken)
    make.data_flags("folder", tmp_path, tmp_path / "runs")
    assert len(list((tmp_path / "runs/photos/train/cat").iterdir())) == 9
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["photos"]


def test_a_readme_without_a_place_for_the_results_is_refused():
    with pytest.raises(SystemExit, match="no place for the results"):
        make.replaced("# rawcnn\n", "the results")


def test_a_command_imports_the_rawcnn_of_its_checkout(tmp_path, monkeypatch):
    (tmp_path / "rawcnn.py").write_text("")  # as if another were installed
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = tmp_path / "examples" / "train.py"
    script.parent.mkdir()
    script.write_text("import rawcnn; print(rawcnn.__file__)")
    said, _ = make.run((str(script),))
    assert said.strip() == str(ROOT / "rawcnn" / "__init__.py")


def test_a_command_is_shown_and_heard_and_its_failure_ends_the_row(capsys):
    said, others = make.run(("-c", "print('test accuracy 98.76%')"))
    assert said == "test accuracy 98.76%\n" and said in capsys.readouterr().err
    assert others is None or 0 <= others <= 1
    with pytest.raises(SystemExit, match=r"ended with status 3. The same command continues the row."):
        make.run(("-c", "raise SystemExit(3)"))


@pytest.mark.slow
def test_a_killed_training_of_a_row_continues_and_done_seeds_are_left_alone(
    home, digits, tmp_path, monkeypatch, capsys
):
    """The whole of --train, with a kill in it, and judged by another data set."""
    monkeypatch.setenv("RAWCNN_DATA", str(home / "data"))
    data, runs, logs = tmp_path / "data", tmp_path / "runs", tmp_path / "logs"
    data.mkdir()
    (data / "mnist").symlink_to(digits)
    row = rows.Row("tiny", "`lenet5_relu` on drawn digits", "-", 0.0, 1, "examples/train_lenet.py", "drawn", 2,
                   ("--smoke",), tested_on="mnist")  # fmt: skip
    run = runs / "tiny/seed0"
    command = [sys.executable, row.example, "--dataset=drawn", *row.flags, "--seed=0", f"--run={run}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        while not (run / "history.jsonl").is_file() and child.poll() is None:
            time.sleep(0.01)
        child.kill()
    assert not (run / "weights.npz").exists()
    make.train_seeds(row, 1, data, runs, logs)
    said = capsys.readouterr().err
    assert "examples/train_lenet.py --resume" in said and "300 test images, --crops=1" in said
    (found,) = make.read(row, logs).seeds
    accuracies = re.findall(r"^test accuracy ([\d.]+)%$", said, re.MULTILINE)
    assert [found.accuracy["drawn"], found.accuracy["1"]] == list(map(float, accuracies))
    assert found.seconds > 0 and found.log["others"] is None and (logs / "tiny/seed0/curves.png").is_file()
    monkeypatch.setattr(make, "run", None)
    make.train_seeds(row, 1, data, runs, logs)
    assert "tiny, seed 0: done before" in capsys.readouterr().err
