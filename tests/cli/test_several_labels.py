"""A CSV of pictures with several labels, from training to answers."""

import csv
import json
import re
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from sklearn import metrics as reference
from tests.kit import Command
from tests.marks import NAMES, marked, trained

import firstlight as fl
from firstlight.backbones import BACKBONES
from firstlight.backbones.efficientnet import EFFICIENTNET_LITE0
from firstlight.data.dataset import Dataset
from firstlight.errors import RunInterruptedError, UserError
from firstlight.evaluate.label_metrics import LabelMetrics
from firstlight.progress import CountingBar
from firstlight.runs.checkpoint import load_model
from firstlight.runs.folder import open_run_folder
from firstlight.runs.record import read_epochs
from firstlight.verbs import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fl.Run:
    """Trained on the columns; beside it lie the pictures."""
    return marked(tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def toy(run: fl.Run) -> fl.Run:
    """Trained on the same pictures; its last layer has a bias, as a backbone's."""
    network = [
        *(fl.layers.Conv(16, kernel=5, activation="relu"), fl.layers.MaxPool(2)),
        *(fl.layers.Conv(16, kernel=3, activation="relu"), fl.layers.GlobalMaxPool()),
        fl.layers.Dense("classes"),
    ]
    file, out = set_of(run) / "columns.csv", run.path.parent / "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))
        return trained(file, out, network=network, learning_rate=0.02)


@pytest.fixture(autouse=True)
def _cache(run: fl.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))


def set_of(run: fl.Run) -> Path:
    return run.path.parent / "set"


def truth(run: fl.Run) -> dict[str, str]:
    with (set_of(run) / "lists.csv").open(newline="") as file:
        return {row["path"]: row["labels"].replace("[]", "") for row in csv.DictReader(file)}


def test_a_run_learns_every_label_and_says_so(run: fl.Run, command: Command) -> None:
    described = json.loads((run.path / "data.json").read_text())
    assert (described["labels"], described["class_names"]) == ("several", [*NAMES])
    told = command("evaluate", run.path)
    assert told.code == 0, told.err
    written = json.loads((run.path / "metrics.json").read_text())
    assert written["labels"] == "several"
    assert f"mean average precision {100 * written['mean_average_precision']:.2f} %" in told.out
    assert written["mean_average_precision"] > 0.9
    assert LabelMetrics.from_json(written) == run.evaluate()
    page = (run.path / "report.html").read_text()
    assert "Metrics of each label" in page and "Confusion matrix" not in page
    assert "unknown" not in page


def test_a_label_whose_threshold_was_not_chosen_is_told(run: fl.Run, command: Command) -> None:
    """Five pictures with a dot are too few to hold ten of them out."""
    with (set_of(run) / "columns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    dots = [row for row in rows if row["dot"] == "1"]
    for row in dots[5:]:
        row["dot"] = "0"
    few = set_of(run) / "few-dots.csv"
    with few.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = ("--set", "train.held_out_fraction=0.3", "--epochs", "1", "--out", "few")
    told = command("train", few, *settings)
    words = "threshold of 50 % for dot: fewer than 10 held-out images have it, or have it not"
    assert words in told.out
    assert words in command("evaluate", "few").out
    page = Path("few/report.html").read_text().replace("\u00a0", " ")
    assert f"A {words}, so no other could be chosen" in page
    metrics = fl.open_run("few").evaluate()
    assert isinstance(metrics, LabelMetrics)
    assert [row.name for row in metrics.per_class if row.threshold == 0.5] == ["dot"]


def test_lists_and_exports_speak_of_labels(run: fl.Run, command: Command) -> None:
    run.evaluate()
    listed = command("runs", run.path.parent).out.splitlines()[0]
    assert "test exact match" in listed and "test accuracy" not in listed
    told = command("export", run.path, "--format", "safetensors", "--out", "x.safetensors").out
    share = f"{100 * metrics_of(run).accuracy:.2f} %"
    assert f"exact match {share}" in told and "same labels as the run for all" in told
    assert (
        "pictures with any of 3 labels" in command("data", "check", set_of(run) / "lists.csv").out
    )


def test_the_figures_are_scikit_learns_of_the_answers_that_are_kept(run: fl.Run) -> None:
    found = run.evaluate()
    assert isinstance(found, LabelMetrics)
    with (run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"]: row["true"] for row in rows}.items() <= truth(run).items()
    true, said = (
        np.array([[name in row[key].split(";") for name in NAMES] for row in rows])
        for key in ("true", "predicted")
    )
    probabilities = np.array([[float(row[f"p_{name}"]) for name in NAMES] for row in rows])
    thresholds = [row.threshold for row in found.per_class]
    assert np.array_equal(said, probabilities >= thresholds)
    assert found.f1_macro == pytest.approx(reference.f1_score(true, said, average="macro"))
    assert found.mean_average_precision == pytest.approx(
        reference.average_precision_score(true, probabilities, average="macro")
    )
    assert found.accuracy == pytest.approx(reference.accuracy_score(true, said))


def test_a_prediction_has_the_labels_that_reach_their_thresholds(
    run: fl.Run, command: Command
) -> None:
    with (run.path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:8]
    files = [str(set_of(run) / row["image"]) for row in rows]
    answers = run.predict(files)
    for row, answer in zip(rows, answers, strict=True):
        assert answer.labels == tuple(filter(None, row["predicted"].split(";")))
        assert answer.answer == (row["predicted"] or "(none)")
        assert not answer.unknown
        assert sum(answer.probabilities.values()) != pytest.approx(1)
    told = json.loads(command("predict", run.path, *files, "--json").out)
    assert [tuple(one["labels"]) for one in told] == [one.labels for one in answers]
    assert command("predict", run.path, *files, "--csv", "out.csv").code == 0
    with Path("out.csv").open(newline="") as file:
        answered = list(csv.DictReader(file))
    assert [one["predicted"] for one in answered] == [row["predicted"] for row in rows]
    assert "confidence" not in answered[0]
    shown = command("predict", run.path, *files, "--save", "out.png")
    assert shown.code == 0 and Path("out.png").is_file()
    words = ("--csv", "sent.csv", "--columns", "id,labels")
    assert command("predict", run.path, *files, *words).code == 0
    with Path("sent.csv").open(newline="") as file:
        assert [one["labels"] for one in csv.DictReader(file)] == [row["predicted"] for row in rows]


def test_lists_and_columns_of_the_same_labels_train_to_the_same_bits(
    run: fl.Run, tmp_path: Path
) -> None:
    other = trained(set_of(run) / "lists.csv", tmp_path / "other")
    weights = [(one.path / "model.safetensors").read_bytes() for one in (run, other)]
    assert weights[0] == weights[1]


def test_a_stopped_run_is_taken_up_to_the_same_bits(
    run: fl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "LEAST_SECONDS", 0.0)
        patch.setattr(fit, "finish", stop)
        with pytest.raises(RunInterruptedError):
            trained(set_of(run) / "columns.csv", tmp_path / "cut")
    again = fl.resume(tmp_path / "cut", quiet=True)
    weights = [(one.path / "model.safetensors").read_bytes() for one in (run, again)]
    assert weights[0] == weights[1]


def test_a_setting_that_is_for_one_class_each_is_refused(run: fl.Run, command: Command) -> None:
    told = command(
        "train", set_of(run) / "columns.csv", "--set", 'train.class_weights="balanced"', "--quiet"
    )
    assert (told.code, "these have several labels" in told.err) == (2, True)


@pytest.mark.parametrize(
    "settings",
    [["augment=[{ mixup = 0.4 }]"], ["augment=[{ cutmix = 0.4 }]"], ["train.label_smoothing=0.1"]],
)
def test_mixed_images_and_smoothed_labels_work_too(
    run: fl.Run, tmp_path: Path, settings: list[str]
) -> None:
    file = set_of(run) / "columns.csv"
    done = trained(file, tmp_path / "run", epochs=4, settings=settings)
    found = done.evaluate()
    assert isinstance(found, LabelMetrics) and found.mean_average_precision > 0.6


def test_what_does_not_work_yet_says_so(run: fl.Run, command: Command) -> None:
    for words in (("data", "pack", set_of(run) / "columns.csv", "--to", "packed"),):
        told = command(*words)
        assert told.code == 2, (words, told)
        assert "do not work yet with several labels for each picture" in told.err, words


def test_the_card_has_the_figures_of_the_labels(run: fl.Run, command: Command) -> None:
    found = metrics_of(run)
    told = command("card", run.path)
    assert told.code == 0, told.err
    share = f"{100 * found.mean_average_precision:.2f} %"
    assert f"Mean average precision **{share}**" in told.out
    assert "Labels: column, dot, row." in told.out
    assert not re.search(r"\bclass(es)?\b", told.out.split("# ", 1)[1])
    for row in found.per_class:
        cells = (row.precision, row.recall, row.f1, row.average_precision, row.threshold)
        shares = " | ".join(f"{100 * (cell or 0):.1f} %" for cell in cells)
        assert f"| {row.name} | {shares} | {row.support} |" in told.out
    read: Any = ModelCard(told.out)
    values = {one.metric_type: one.metric_value for one in read.data.eval_results}
    assert values == {
        "mean_average_precision": pytest.approx(found.mean_average_precision, abs=1e-6),
        "f1": pytest.approx(found.f1_macro, abs=1e-6),
        "accuracy": pytest.approx(found.correct / found.count, abs=1e-6),
        "log_loss": pytest.approx(found.log_loss, abs=1e-6),
    }


def test_an_exported_file_gives_the_same_labels(run: fl.Run, command: Command) -> None:
    done = command("export", run.path, "--out", "labels.onnx")
    assert done.code == 0, done.err
    files = [str(set_of(run) / f"{at}.png") for at in range(20)]
    answers = run.predict(files)
    found = json.loads(command("predict", "labels.onnx", *files, "--json").out)
    assert [tuple(one["labels"]) for one in found] == [one.labels for one in answers]
    session = onnxruntime.InferenceSession("labels.onnx")
    images = np.stack([np.asarray(Image.open(file)) for file in files])[..., None]
    probabilities, given = session.run(["probabilities", "labels"], {"images": images})
    for row, has, answer in zip(probabilities, given, answers, strict=True):
        assert row == pytest.approx([answer.probabilities[name] for name in NAMES], abs=1e-5)
        assert tuple(np.array(NAMES)[has]) == answer.labels
    measured = command("evaluate", "labels.onnx", set_of(run) / "columns.csv", "--json")
    assert json.loads(measured.out)["f1_macro"] == pytest.approx(metrics_of(run).f1_macro)
    for form, file in (("safetensors", "x.safetensors"), ("torch-export", "x.pt2")):
        assert command("export", run.path, "--format", form, "--out", file).code == 0


def metrics_of(run: fl.Run) -> LabelMetrics:
    found = run.evaluate()
    assert isinstance(found, LabelMetrics)
    return found


def test_each_label_can_be_explained(run: fl.Run, command: Command) -> None:
    told = command("explain", run.path, "test:0", "--class", "dot")
    assert told.code == 0 and "evidence for dot" in told.out
    page = (run.path / "explain-test-0-as-dot.html").read_text()
    assert "each label is judged by itself" in page and "is the answer" not in page


def test_robustness_counts_images_whose_labels_are_all_right(run: fl.Run, command: Command) -> None:
    assert command("evaluate", run.path, "--robustness").code == 0
    found = json.loads((run.path / "robustness.json").read_text())
    assert found["curves"]["blur"][0]["accuracy"] == metrics_of(run).accuracy


def test_answers_in_files_have_the_labels(run: fl.Run, command: Command) -> None:
    files = [str(set_of(run) / f"{at}.png") for at in range(6)]
    done = command("predict", run.path, *files, "--out", "answers", "--workers", "1")
    assert done.code == 0, done.err
    with Path("answers/part-00000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [";".join(one.labels or ()) for one in run.predict(files)]
    assert [row["labels"] for row in rows] == wanted
    assert "unknown" not in rows[0]


def test_arrays_with_a_matrix_of_labels_train_as_the_files_do(run: fl.Run, tmp_path: Path) -> None:
    with (set_of(run) / "columns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = np.stack([np.asarray(Image.open(set_of(run) / row["path"])) for row in rows])
    labels = np.array([[int(row[name]) for name in NAMES] for row in rows])
    np.savez(tmp_path / "set.npz", images=images, labels=labels, class_names=NAMES)
    other = fl.train(tmp_path / "set.npz", epochs=8, out=tmp_path / "other", quiet=True)
    weights = [(one.path / "model.safetensors").read_bytes() for one in (run, other)]
    assert weights[0] == weights[1]
    assert "copies in" not in command_free_check(tmp_path / "set.npz")


def command_free_check(file: Path) -> str:
    from firstlight.verbs.check import check_pictures

    return " ".join(
        finding.text
        for finding in check_pictures(file, bars=partial(CountingBar, quiet=True)).findings
    )


def test_a_last_layer_is_fitted_to_several_labels(toy: fl.Run, tmp_path: Path) -> None:
    """To the features of a network that learned the same labels: it is as good as its own."""
    settings = ["train.start_head=linear", "train.epochs=0"]
    file, out = toy.path.parent / "set" / "columns.csv", tmp_path / "other"
    other = trained(file, out, epochs=None, start=toy.path, settings=settings)
    own, fitted = (load_model(open_run_folder(one.path)).model.state_dict() for one in (toy, other))
    changed = [name for name in own if not np.array_equal(own[name], fitted[name])]
    assert [name.rpartition(".")[2] for name in changed] == ["weight", "bias"]
    assert metrics_of(other).log_loss < metrics_of(toy).log_loss + 0.1
    assert metrics_of(other).mean_average_precision > 0.9
    (first,) = read_epochs(open_run_folder(other.path))
    assert first["epoch"] == 0 and first["validation_accuracy"] is not None


def test_a_contest_of_several_labels_is_decided_by_log_loss(
    toy: fl.Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the network that knows these labels and one that has seen 200 images."""
    saved = load_model(open_run_folder(toy.path))
    layers = saved.architecture.network.layers
    backbone = replace(EFFICIENTNET_LITE0, name="toy", layers=lambda: layers)
    monkeypatch.setitem(BACKBONES, "toy", backbone)
    monkeypatch.setattr("firstlight.backbones.weights.open_backbone", lambda _: saved)
    monkeypatch.setattr("firstlight.verbs.contest.backbone_here", lambda: "toy")
    monkeypatch.setattr("firstlight.verbs.choose.SEEN", 200)
    done = command("train", toy.path.parent / "set" / "columns.csv", "--out", "best")
    assert done.code == 0, done.err
    assert "The smaller log loss decides. The better run is in best" in done.out
    won = json.loads(Path("best/contest.json").read_text())
    assert won["start"] == "toy" and won["log_loss"] < won["other_log_loss"]
    # The other network is judged by more parts only until it is clear.
    assert won["held_out"] in accumulate(len(part["losses"]) for part in won["parts"])
    assert fl.open_run("best").evaluate().accuracy > 0.5


def test_a_run_starts_from_another(run: fl.Run, tmp_path: Path) -> None:
    other = trained(
        set_of(run) / "columns.csv", tmp_path / "other", epochs=1, start=run.path, seed=1
    )
    assert metrics_of(other).mean_average_precision > 0.8


def test_copies_with_other_labels_are_found(run: fl.Run, command: Command) -> None:
    file = set_of(run) / "columns.csv"
    (set_of(run) / "copy.png").write_bytes((set_of(run) / "0.png").read_bytes())
    rows = file.read_text().splitlines()
    flipped = ",".join("10"[int(one)] for one in rows[1].split(",")[1:])
    other = set_of(run) / "copies.csv"
    other.write_text("\n".join([*rows, f"copy.png,{flipped}"]) + "\n")
    told = command("data", "check", other)
    assert "copies in two classes (1 pair)" in " ".join(told.out.split())


def test_a_run_of_one_class_each_is_not_measured_on_several_labels(
    run: fl.Run, command: Command, digits_run: fl.Run
) -> None:
    told = command("evaluate", digits_run.path, set_of(run) / "columns.csv")
    assert (told.code, "several labels, but the run answers with one class" in told.err) == (
        2,
        True,
    )
    with pytest.warns(UserWarning, match="a label each"):
        whole = fl.load(set_of(run) / "columns.csv")
    digits = fl.load("digits").test.take(np.arange(20))
    names = tuple(digits.class_names[:3])
    few = np.flatnonzero(digits.labels_N < 3)
    images = np.zeros((len(few), 28, 28, 1), np.uint8)
    one_each = Dataset(
        name="one", images_NHWC=images, labels_N=digits.labels_N[few], class_names=names
    )
    with pytest.raises(UserError, match="those of one part have several labels"):
        fl.train((replace(whole.train, warnings=()), one_each), quiet=True)
