"""``lr-find``: its messages and plot, and that a training agrees."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from tests.kit import Command


def test_the_rate_found_learns_better_than_one_far_below_or_far_above(command: Command) -> None:
    found = command("lr-find", "digits", "--json")
    assert found.code == 0, found.err
    values = json.loads(found.out)
    rate = values["suggestion"]

    accuracies = {}
    for name, tried in (("low", rate / 300), ("found", rate), ("high", rate * 300)):
        words = ("--epochs", "3", "--set", f"optimizer.learning_rate={min(tried, 100)}", "--json")
        done = command("train", "digits", *words)
        kept = json.loads(done.out)["kept_epoch"] if done.code == 0 else None
        accuracies[name] = kept["validation_accuracy"] if kept else 0.0

    assert accuracies["found"] > 0.8
    assert accuracies["found"] > max(accuracies["low"], accuracies["high"]) + 0.1
    assert values["steepest"] <= rate <= values["lowest"]


def test_the_sweep_rises_by_a_constant_factor_and_is_drawn(command: Command) -> None:
    done = command("lr-find", "digits", "--steps", "50", "--save", "plot.png", "--json")

    rates = json.loads(done.out)["rates"]
    factors = [b / a for a, b in pairwise(rates)]
    assert factors == pytest.approx([1e7 ** (1 / 49)] * len(factors))
    with Image.open("plot.png") as picture:
        assert picture.format == "PNG"
    assert not Path("runs").exists()


def test_the_answer_names_the_plot_and_the_next_command(command: Command) -> None:
    done = command("lr-find", "digits", "--steps", "40")

    assert done.code == 0
    assert "plot lr-find-digits-tutorial.png\n" in done.out
    assert "next: firstlight train digits --recipe digits-tutorial --set optimizer." in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("digits", "--steps", "5"), "--steps must be at least 20, not 5"),
        (("digits", "--save", "plot.jpg"), "ends in .png, got plot.jpg"),
        (("digits", "--save", "no/plot.png"), "no/plot.png: cannot be written"),
        (("digitz",), "digitz"),
    ],
)
def test_wrong_requests_are_refused(command: Command, words: tuple[str, ...], message: str) -> None:
    done = command("lr-find", *words)
    assert done.code == 2
    assert message in done.err


def test_where_the_last_layer_is_fitted_alone_there_is_no_rate_to_find(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no cached features
    command("train", "digits", "--epochs", "1", "--out", "first")
    begun = ("--recipe", "digits-tutorial", "--set", "train.start_from=first")
    fitted = (*begun, "--set", "train.start_head=linear")
    done = command("lr-find", "digits", *fitted, "--set", "train.epochs=0")
    assert done.code == 2 and done.out == ""
    assert "takes no learning rate" in done.err
    assert "--set train.epochs=1.39" in done.err  # 2,000 images seen, of 1,437
    assert "pictures" not in done.err  # none was examined for it

    tuned = ("lr-find", "digits", *fitted, "--set", "train.epochs=6", "--steps", "20")
    done = command(*tuned)
    assert done.code == 0, done.err
    assert "looking at 1,437 pictures" in done.err and "sweep of 20 steps" in done.err
    assert "--set train.epochs=6 --set optimizer.learning_rate=" in done.out
    assert command(*tuned, "--json").err == ""
