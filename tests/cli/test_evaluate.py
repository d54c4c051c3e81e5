"""``evaluate``, ``report`` and ``runs`` on a trained run."""

import csv
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from tests.kit import Command

import firstlight as fl

FIGURES = {
    *("predictions", "worst_mistakes", "training_curves", "confusion_counts"),
    *("confusion_normalised", "class_accuracy", "class_samples", "filters"),
    "trust",
}


@pytest.fixture
def run(digits_run: fl.Run, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return shutil.copytree(digits_run.path, tmp_path / "digits-1")


def test_evaluate_prints_the_numbers_and_keeps_them(command: Command, run: Path) -> None:
    (run / "metrics.json").unlink()
    (run / "predictions.csv").unlink()

    done = command("evaluate", run)

    assert done.code == 0
    metrics = json.loads((run / "metrics.json").read_text())
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["true"] == row["predicted"] for row in rows)
    assert len(rows) == metrics["count"] == 360
    assert right == metrics["correct"]
    assert f"accuracy {100 * right / 360:.2f} % of 360 test images (95 % interval" in done.out
    assert "log loss" in done.out and "expected calibration error" in done.out
    assert done.out.splitlines()[-1] == f"report {run / 'report.html'}"
    for row in rows:
        shares = [float(value) for key, value in row.items() if key.startswith("p_")]
        assert sum(shares) == pytest.approx(1, abs=2e-5)  # ten numbers of six decimals
        assert float(row["confidence"]) == max(shares)


def test_json_holds_all_metrics(command: Command, run: Path) -> None:
    metrics = json.loads(command("evaluate", run, "--json").out)

    assert metrics["run"] == str(run)
    assert {"accuracy", "accuracy_interval", "log_loss", "per_class", "confusion"} <= set(metrics)


@pytest.mark.parametrize(
    ("requirement", "code"),
    [
        ("0.1", 0),
        ("accuracy>=0.1", 0),
        ("accuracy >= 0.9999", 4),
        ("0.9999", 4),
        ("log_loss<=1e-9", 4),
        ("log_loss<=50", 0),
        ("expected_calibration_error<=1", 0),
        *((text, 2) for text in ("98", "accuracy<=0.9", "log_loss>=1", "f1>=0.5", "much", "")),
    ],
)
def test_a_requirement_decides_the_exit_code(
    command: Command, run: Path, requirement: str, code: int
) -> None:
    done = command("evaluate", run, "--require", "accuracy>=0", "--require", requirement)

    assert done.code == code
    if code == 4:
        assert "required:" in done.err
        assert "report" in done.out, "the numbers are there all the same"
    if code == 2:
        assert "--require" in done.err and "0.97" in done.err


def test_robustness_is_measured_kept_and_shown(command: Command, run: Path) -> None:
    done = command("evaluate", run, "--robustness")
    assert done.code == 0
    assert "accuracy on 360 test images" in done.out
    plain = json.loads((run / "metrics.json").read_text())["accuracy"]
    curves = json.loads((run / "robustness.json").read_text())["curves"]
    for kind, points in curves.items():
        assert points[0]["accuracy"] == plain
        assert f"{kind}  " in done.out
    assert {p.stem for p in (run / "figures").glob("*.png")} == FIGURES | {
        "robustness",
        "corruptions",
    }
    assert "Robustness" in (run / "report.html").read_text()
    told = json.loads(command("evaluate", run, "--robustness", "--json").out)
    assert told["robustness"]["curves"] == curves


def test_an_unfinished_run_is_told_how_to_go_on(command: Command, run: Path) -> None:
    (run / "summary.json").unlink()

    done = command("evaluate", run)

    assert done.code == 2
    assert (
        f"has no summary.json: the run did not finish. Resume it with: firstlight train "
        f"--resume {run}" in done.err
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("model.safetensors", b""),
        ("data.json", b"{"),
        ("data.json", b"{}"),
        ("data.json", b"\xff\xfe"),
        ("data.json", b'{"name": "digits", "path": 5, "limit": null}'),
    ],
)
def test_a_damaged_file_of_the_run_is_named(
    command: Command, run: Path, name: str, content: bytes
) -> None:
    (run / name).write_bytes(content)

    done = command("evaluate", run)

    assert done.code == 3
    assert name in done.err
    assert "Traceback" not in done.err


def test_report_rebuilds_every_picture_and_the_page(command: Command, run: Path) -> None:
    shutil.rmtree(run / "figures")
    (run / "report.html").unlink()

    done = command("report", run)

    assert (done.code, done.out) == (0, f"report {run / 'report.html'}\n")
    assert {p.stem for p in (run / "figures").iterdir()} == FIGURES
    for picture in (run / "figures").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_command_on_the_page_repeats_the_run_to_the_bit(
    command: Command, run: Path, tmp_path: Path
) -> None:
    spaced = shutil.copytree(run, tmp_path / "a run")
    command("report", spaced)
    shown = re.search(r"firstlight (train .*)", (spaced / "report.html").read_text())
    assert shown is not None

    words = shlex.split(html.unescape(shown[1]).removesuffix("</pre>"))
    done = command(*words, "--out", tmp_path / "again", "--quiet")

    assert done.code == 0, done.err
    weights = [(folder / "model.safetensors").read_bytes() for folder in (run, tmp_path / "again")]
    assert weights[0] == weights[1]


def test_the_report_of_an_unevaluated_run_says_so(command: Command, run: Path) -> None:
    (run / "metrics.json").unlink()

    assert command("report", run).code == 0

    page = (run / "report.html").read_text()
    assert "not been evaluated on its test set yet" in page
    assert f"firstlight evaluate {run}" in page


def test_two_runs_are_compared_on_one_page(command: Command, run: Path) -> None:
    command("train", "digits", "--epochs", "1", "--out", "other", "--quiet")
    command("evaluate", "other", "--json")

    done = command("report", run, "other", "--out", "both.html")

    assert (done.code, done.out) == (0, "report both.html\n")
    page = Path("both.html").read_text()
    accuracies = [
        json.loads(Path(r, "metrics.json").read_text())["accuracy"] for r in (run, "other")
    ]
    for accuracy in accuracies:
        assert f"{100 * accuracy:.2f}\N{NO-BREAK SPACE}%" in page
    assert "train.epochs" in page
    assert command("report", run, run).code == 2
    assert command("report", run, "--out", "x.html").code == 2
    assert "cannot be written" in command("report", run, "other", "--out", "no/x.html").err


def test_a_damaged_run_does_not_hide_the_others(command: Command, run: Path) -> None:
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "recipe.toml").write_text("")
    (broken / "data.json").write_text("{}")

    rows = {Path(r["run"]).name: r for r in json.loads(command("runs", run.parent, "--json").out)}
    assert rows["broken"]["state"] == "damaged"
    assert rows[run.name]["state"] == "finished"


def test_runs_compares_in_pairs(command: Command, run: Path) -> None:
    """Three answers are made wrong in a copy: only the other run gets them right; p is 2/2³."""
    other = shutil.copytree(run, run.parent / "other")
    lines = (other / "predictions.csv").read_text().splitlines()
    names = lines[0].split(",")
    true, predicted = names.index("true"), names.index("predicted")
    changed = 0
    for at, line in enumerate(lines[1:], start=1):
        cells = line.split(",")
        if changed < 3 and cells[true] == cells[predicted]:
            cells[predicted] = str((int(cells[true]) + 1) % 10)
            lines[at] = ",".join(cells)
            changed += 1
    (other / "predictions.csv").write_text("\n".join(lines) + "\n")
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["accuracy"] -= 3 / 360
    metrics["correct"] -= 3
    (other / "metrics.json").write_text(json.dumps(metrics))

    rows = json.loads(command("runs", run, other, "--json").out)
    assert [row["against_best"] for row in rows] == [
        None,
        {"only_first": 3, "only_second": 0, "p": pytest.approx(0.25), "images": 360},
    ]
    assert [row["differences"] for row in rows] == [{}, {}]
    told = command("runs", other, run)
    assert "all runs use the same recipe" in told.out
    assert f"only {run.name} is right on 3, only other on 0" in told.out
    assert "McNemar p = 0.25" in told.out
    assert command("runs", run, run).code == 2
    (other / "metrics.json").write_text("{}")
    assert command("runs", run, other).code == 3
    for one in (run, other):
        (one / "metrics.json").unlink()
    assert "firstlight evaluate" in command("runs", run, other).err


def test_runs_lists_what_there_is(command: Command) -> None:
    assert command("runs").code == 0
    command("train", "digits", "--epochs", "1", "--quiet")

    listed = command("runs")
    assert "digits-tutorial-1" in listed.out
    assert json.loads(command("runs", "--json").out)[0]["run"].endswith("digits-tutorial-1")


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("summary.json", "parameters", "x"),
        ("summary.json", "train_seconds", "x"),
        ("metrics.json", "accuracy", "x"),
        ("metrics.json", "accuracy_interval", []),
        ("metrics.json", "confusion", [[1], [1, 2]]),
        ("metrics.json", "per_class", []),
        ("data.json", "validated_on", 7),
        ("data.json", "limit", "5"),
        ("data.json", "name", ["digits"]),
    ],
)
def test_a_value_that_somebody_changed_is_bad_data_and_no_fault_of_ours(
    command: Command, run: Path, file: str, key: str, value: object
) -> None:
    values = json.loads((run / file).read_text())
    values[key] = value
    (run / file).write_text(json.dumps(values))
    shutil.copytree(run, "other")
    for words in (("report", run), ("report", run, "other"), ("runs", run.parent)):
        done = command(*words)
        assert done.code in (0, 3), done.err  # some verbs do not need the value
        assert "Traceback" not in done.err


def test_answers_that_were_cut_are_not_taken_for_all(command: Command, run: Path) -> None:
    lines = (run / "predictions.csv").read_text().splitlines()[:100]
    (run / "predictions.csv").write_text("\n".join(lines) + "\n")
    done = command("report", run)
    assert done.code == 3
    assert "99 of 360 lines" in done.err
    assert "Write it again with: firstlight evaluate" in done.err


def test_what_was_measured_is_told_even_where_the_report_cannot_be_written(
    command: Command, run: Path
) -> None:
    shutil.rmtree(run / "figures")
    (run / "figures").write_text("a file in the way")
    done = command("evaluate", run)
    assert done.code == 3
    assert "accuracy " in done.out
    assert "figures" in done.err


def test_a_device_and_other_files_are_not_replaced_by_a_page(command: Command, run: Path) -> None:
    shutil.copytree(run, "other")
    Path("page.html").mkdir()
    Path("mine.png").write_bytes(b"mine")
    for out, reason in (("page.html", "is a folder"), ("mine.png", "ends in .html")):
        done = command("report", run, "other", "--out", out)
        assert (done.code, reason in done.err) == (2, True), done.err
    assert Path("mine.png").read_bytes() == b"mine"


def test_runs_are_listed_in_the_order_of_their_numbers(command: Command, run: Path) -> None:
    for number in (2, 10, 9):
        shutil.copytree(run, f"all/digits-{number}")
    listed = json.loads(command("runs", "all", "--json").out)
    assert [Path(row["run"]).name for row in listed] == ["digits-2", "digits-9", "digits-10"]


def test_what_is_no_folder_of_runs_is_said(command: Command, run: Path) -> None:
    for path, reason in (("nowhere", "does not exist"), (run, "is itself a run")):
        done = command("runs", path)
        assert (done.code, reason in done.err) == (2, True), done.err
