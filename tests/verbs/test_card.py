"""Model cards agree with the run's files, and the hub's own library reads them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from tests.kit import Command, striped
from tests.verbs.own_nets import make

import firstlight as fl
from firstlight.verbs.card import card


def metadata(text: str) -> dict[str, Any]:
    """Return what a YAML parser finds between the two lines ``---``."""
    _, head, _ = text.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(head)
    return values


def test_the_hubs_library_reads_the_accuracy_of_the_run(digits_run: fl.Run) -> None:
    measured = json.loads((digits_run.path / "metrics.json").read_text())
    read: Any = ModelCard(digits_run.card(license="cc-by-4.0"))
    assert read.data.license == "cc-by-4.0"
    assert read.data.library_name == "firstlight"
    assert read.data.model_name == digits_run.path.name
    accuracy, loss = read.data.eval_results
    assert (accuracy.task_type, accuracy.dataset_type) == ("image-classification", "digits")
    assert accuracy.dataset_split == "test"
    assert accuracy.metric_value == pytest.approx(measured["correct"] / measured["count"], abs=1e-6)
    assert (loss.metric_type, loss.metric_value) == (
        "log_loss",
        pytest.approx(measured["log_loss"], abs=1e-6),
    )


def test_a_card_has_the_figures_and_the_licence_of_the_data(digits_run: fl.Run) -> None:
    measured = json.loads((digits_run.path / "metrics.json").read_text())
    text = digits_run.card()
    right = 100 * measured["correct"] / measured["count"]
    assert f"**{right:.2f} %** of 360 test images correct" in text
    assert "1,437 training images" in text
    assert "Licence of the data: CC BY 4.0" in text
    assert "Licence of the weights: not stated." in text
    assert "license" not in metadata(text)
    for row in measured["per_class"]:
        assert f"| {row['name']} | {100 * row['precision']:.1f} % |" in text


def test_a_card_names_no_place_on_this_machine(tmp_path: Path) -> None:
    data = tmp_path / "secret-place" / "stripes.npz"
    data.parent.mkdir()
    images = striped()
    np.savez(data, images=images.train.images_NHWC, labels=images.train.labels_N)
    run = fl.train(data, "digits-tutorial", epochs=1, out=tmp_path / "run", quiet=True)
    run.evaluate()
    text = run.card()
    assert "secret-place" not in text
    assert str(tmp_path) not in text
    assert "- Data: stripes.npz, " in text


def test_without_an_evaluation_a_card_has_no_figures_of_the_test_images(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    shutil.copytree(digits_run.path, tmp_path / "copy")
    (tmp_path / "copy" / "metrics.json").unlink()
    done = command("card", "copy", "--out", "card.md")
    assert done.code == 0
    assert "firstlight evaluate copy" in done.err
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Not measured on the test images yet" in text
    assert "model-index" not in metadata(text)


def test_the_command_prints_what_the_library_gives(command: Command, digits_run: fl.Run) -> None:
    assert command("card", digits_run.path).out == digits_run.card()
    assert command("card", "mnist").out == fl.open_run("mnist").card()


@pytest.mark.parametrize("word", ["MIT License", "", "mit\nx: y", "-"])
def test_what_is_no_licences_word_is_refused(
    command: Command, digits_run: fl.Run, word: str
) -> None:
    done = command("card", digits_run.path, f"--license={word}")
    assert done.code == 2
    assert "apache-2.0" in done.err


def test_a_run_that_did_not_finish_has_no_card(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    shutil.copytree(digits_run.path, tmp_path / "copy")
    (tmp_path / "copy" / "summary.json").unlink()
    done = command("card", "copy")
    assert done.code == 2
    assert "--resume copy" in done.err


def test_a_damaged_run_is_said_to_be_damaged(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    shutil.copytree(digits_run.path, tmp_path / "copy")
    (tmp_path / "copy" / "metrics.json").write_text('{"accuracy": 1}')
    done = command("card", "copy")
    assert done.code == 3
    assert "do not match each other" in done.err


def test_names_of_classes_and_folders_stay_text(digits_run: fl.Run, tmp_path: Path) -> None:
    """Without escaping, each of these would be a cell, a tag, a heading or a key."""
    names = ["a|b", "<img src=x>", "x\n# y", "`c`", "no", "null: 1", "☃ é", "_d_", "1.5", "---"]
    folder = tmp_path / "no: [run]\n- x"
    shutil.copytree(digits_run.path, folder)
    for file in ("data.json", "metrics.json"):
        values = json.loads((folder / file).read_text())
        if file == "data.json":
            values.update(class_names=names, name="pictures: of\nmine")
        else:
            for row, name in zip(values["per_class"], names, strict=True):
                row["name"] = name
        (folder / file).write_text(json.dumps(values))
    text = fl.open_run(folder).card()
    values = metadata(text)
    (result,) = values["model-index"]
    assert result["name"] == folder.name
    assert result["results"][0]["dataset"]["name"] == "pictures: of\nmine"
    assert text.count("\n# ") == 1
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 11
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
    assert "<img" not in text.replace("\\<img", "")


def test_a_run_of_own_code_says_where_its_code_is(tmp_path: Path) -> None:
    run = fl.train(striped(), network=make, epochs=1, out=tmp_path / "run", quiet=True)
    text = fl.open_run(run.path).card()  # no code is named, so none can run
    assert 'fl.open_run("run", network="network.py:make")' in text


def test_a_card_for_the_hub_opens_the_run_from_there(digits_run: fl.Run) -> None:
    text = card(digits_run._folder, place="hf:ann/digits")
    assert 'fl.open_run("hf:ann/digits")' in text
    assert "firstlight predict hf:ann/digits picture.png" in text


def test_a_network_that_learned_nothing_says_so_at_the_head(tmp_path: Path) -> None:
    run = fl.train(
        "digits", epochs=1, optimizer=fl.SGD(learning_rate=1e-9), out=tmp_path / "run", quiet=True
    )
    run.evaluate()
    head, _, _ = run.card().partition("## How to use")
    assert "**The network has learned nothing: " in head
