"""The tables of results say what the logs say, and the script notices when they do not."""

import json
import shutil

import pytest

from results import make, rows
from tests.command import ROOT

ROW = rows.Row("mine", "`lenet5` on MNIST", "99 (a paper)", 98.0, 2, "e.py", "mnist", 2, ("--average=0.5",), ("6",))
FLAGS = ("--net=lenet5", "--epochs=2", "--average=0.5", "--dataset=mnist")


def write(logs, seed, accuracy, seconds=60.0, flags=FLAGS, epochs=2):
    folder = logs / "mine" / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "flags.txt").write_text("\n".join((*flags, f"--seed={seed}")) + "\n")
    history = [{"epoch": epoch + 1, "seconds": seconds} for epoch in range(epochs)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
    accuracies = {"1": accuracy, "6": accuracy + 1}
    log = {"test_accuracy": accuracies, "machine": "a machine", "tensorflow": "2", "date": "today"}
    (folder / "result.json").write_text(json.dumps(log))


def test_pages_say_what_the_logs_say():
    """`python results/make.py --check`."""
    wrong = make.differing(make.wanted())
    assert not wrong, f"{wrong}: run python results/make.py"


def test_figures_by_hand(tmp_path):
    for seed, accuracy in ((0, 98.5), (10, 97.7), (2, 98.1)):
        write(tmp_path, seed, accuracy)
    found = make.read(ROW, tmp_path)
    assert [seed.seed for seed in found.seeds] == [0, 2, 10] and found.reached
    assert make.cells(found) == (
        "mine", "`lenet5` on MNIST", "99 (a paper)", "98", "**98.10**", "98.50, 98.10, 97.70", "0.40", "2.0",
    )  # fmt: skip
    assert "With `--crops=6` the same nets give 99.10 % (99.50, 99.10, 98.70)." in make.commands(found)


@pytest.mark.parametrize(("accuracies", "says"), [((97.9, 98.0), "**97.95** (not reached)"), ((99.0,), "(of 2 seeds)")])
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
    result.write_text(result.read_text().replace("9", "8"))
    assert make.differing(make.wanted(logs, page, readme)) == [page, readme]


def test_a_finished_run_is_kept_without_paths_of_this_machine(tmp_path):
    run, logs = tmp_path / "run", tmp_path / "logs"
    run.mkdir()
    (run / "flags.txt").write_text("\n".join((*FLAGS, "--data_dir=/here", "--seed=0")) + "\n")
    (run / "history.jsonl").write_text('{"epoch": 2, "seconds": 6}\n')
    make.keep(ROW, 0, run, {"1": "so\ntest accuracy 98.76%\n", "6": "test accuracy 99.00%\n"}, logs)
    found = make.read(ROW, logs)
    assert found.accuracies() == [98.76] and found.accuracies("6") == [99.0]
    assert "/here" not in (logs / "mine/seed0/flags.txt").read_text()


def test_every_row_can_be_run():
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)
    for row in rows.ROWS:
        assert (ROOT / row.example).is_file() and row.command.startswith(f"python {row.example} --dataset=")
