"""``tune``: a search by one worker, its folder, what it may read, and what is refused."""

import csv
import itertools
import json
import shutil
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.kit import Command, striped, tutorial_net

import firstlight as fl
from firstlight.data.dataset import TrainTest
from firstlight.recipe import load_recipe
from firstlight.verbs import shared_work

SMALL = ("digits", "--set", "train.epochs=1")
NET = ("--set", tutorial_net(4, pool_last=False, dense=8))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished search of six trials, and its folder. Do not change them."""
    out = tmp_path_factory.mktemp("tune") / "search"
    settings = ["train.epochs=3", tutorial_net(4, pool_last=False, dense=8)]
    fl.tune("digits", settings=settings, trials=9, seeds=2, out=out, quiet=True)
    return out


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_trial_is_a_run_folder_that_says_how_it_ended(searched: Path) -> None:
    whole = json.loads((searched / "search.json").read_text())
    assert len(whole["trials"]) == 9
    states = set()
    for one in whole["trials"]:
        folder = searched / f"trial-{one['number']:04}"
        note = json.loads((folder / "trial.json").read_text())
        assert note["settings"] == one["settings"]
        recipe = tomllib.loads((folder / "recipe.toml").read_text())
        for key, value in one["settings"].items():
            section, name = key.split(".")
            assert recipe[section][name] == value
        rows = lines(folder / "epochs.csv")
        assert len(rows) == one["epochs"]
        if one["state"] == "finished":
            assert note["state"] == "finished"
            assert float(rows[-1]["validation_accuracy"]) == one["value"]
            assert fl.open_run(folder).summary["epochs"] == 3
        else:
            assert note["state"] == "stopped early"
            assert len(rows) < 3
            with pytest.raises(fl.UserError, match="as a trial of a search it was stopped early"):
                _ = fl.open_run(folder).summary
        states.add(one["state"])
    assert "finished" in states


def test_the_first_trial_is_the_recipe_as_it_is(searched: Path) -> None:
    own = load_recipe("digits-tutorial")
    first = json.loads((searched / "search.json").read_text())["trials"][0]["settings"]
    assert first["optimizer.learning_rate"] == own.optimizer.learning_rate
    assert first["train.batch_size"] == own.train.batch_size


def test_the_best_trial_has_the_highest_held_out_accuracy_and_is_written_as_a_recipe(
    searched: Path,
) -> None:
    whole = json.loads((searched / "search.json").read_text())
    finished = [one for one in whole["trials"] if one["state"] == "finished"]
    best = min(finished, key=lambda one: (-one["value"], one["loss"]))
    assert whole["best"]["number"] == best["number"]
    recipe = load_recipe(searched / "best.toml")
    trial = fl.open_run(searched / f"trial-{best['number']:04}").recipe
    assert recipe.settings() | {"name": "", "description": ""} == trial.settings() | {
        "name": "",
        "description": "",
    }
    assert recipe.name == "digits-tutorial-tuned"


def test_the_reading_is_that_of_runs_made_one_by_one(searched: Path, tmp_path: Path) -> None:
    whole = json.loads((searched / "search.json").read_text())
    assert whole["test"]["n"] == 2
    accuracies = [
        fl.train("digits", searched / "best.toml", seed=seed, out=tmp_path / str(seed), quiet=True)
        .evaluate()
        .accuracy
        for seed in (1, 2)
    ]
    assert [one["value"] for one in whole["test"]["seeds"]] == accuracies
    assert whole["test"]["accuracy_mean"] == pytest.approx(sum(accuracies) / 2)


def test_the_table_of_trials_is_a_csv(searched: Path) -> None:
    rows = lines(searched / "trials.csv")
    whole = json.loads((searched / "search.json").read_text())
    assert [row["state"] for row in rows] == [one["state"] for one in whole["trials"]]
    assert float(rows[1]["optimizer.learning_rate"]) == pytest.approx(
        whole["trials"][1]["settings"]["optimizer.learning_rate"]
    )
    assert (searched / "search.png").read_bytes()[:4] == b"\x89PNG"


def test_a_stopped_search_goes_on_and_ends_as_one_never_stopped(
    searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its third trial, which another turn repeats."""
    settings = ["train.epochs=3", tutorial_net(4, pool_last=False, dense=8)]
    report, calls = shared_work.SharedWork.report, [0]

    def stop(self: shared_work.SharedWork, *more: object) -> bool:
        calls[0] += 1
        if calls[0] == 8:
            raise KeyboardInterrupt
        return report(self, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_work.SharedWork, "report", stop)
    with pytest.raises(fl.UserError, match="Run the same command"):
        fl.tune("digits", settings=settings, trials=9, seeds=0, out=tmp_path / "s", quiet=True)
    found = fl.tune("digits", settings=settings, trials=9, seeds=0, out=tmp_path / "s", quiet=True)

    def course(folder: Path) -> list[object]:
        trials = json.loads((folder / "search.json").read_text())["trials"]
        kept = [one for one in trials if one["state"] != "interrupted"]
        return [
            [one[key] for key in ("slot", "state", "value", "settings")]
            for one in sorted(kept, key=lambda one: one["slot"])
        ]

    assert [one.state for one in found.trials].count("interrupted") == 1
    assert course(tmp_path / "s") == course(searched)


def test_a_finished_search_is_shown_again_and_may_be_made_longer(
    searched: Path, command: Command
) -> None:
    shutil.copytree(searched, "s")
    words = ("tune", "digits", "--set", "train.epochs=3", *NET, "--out", "s", "--json", "--quiet")
    again = command(*words, "--trials", "9", "--seeds", "2")
    assert again.code == 0, again.err
    before = json.loads((searched / "search.json").read_text())
    assert json.loads(again.out)["trials"] == before["trials"]
    longer = json.loads(command(*words, "--trials", "10", "--seeds", "2").out)
    assert [one["number"] for one in longer["trials"]] == list(range(10))


def test_the_test_set_chooses_nothing(tmp_path: Path) -> None:
    """With other test images, the trials and the choice are the same."""
    data = striped(120)
    other = TrainTest(data.train, striped(40).test)
    settings = ["train.epochs=2", tutorial_net(4, pool_last=False, dense=8)]
    found = [
        fl.tune(one, settings=settings, trials=3, seeds=0, out=tmp_path / out, quiet=True)
        for one, out in ((data, "a"), (other, "b"))
    ]
    first, second = ([one.value for one in f.trials] for f in found)
    assert first == second


def test_a_recipe_that_watches_the_test_set_holds_images_out_here(command: Command) -> None:
    done = command(
        *("tune", *SMALL, *NET, "--set", "train.validation=test", "--trials", "1", "--seeds", "0")
    )
    assert done.code == 2
    assert "train.validation=test: tune judges trials by held-out images" in done.err
    Path("t.toml").write_text(
        load_recipe("digits-tutorial")
        .with_settings([NET[1], "train.epochs=1", "train.validation=test"])
        .to_toml()
    )
    words = ("tune", "digits", "--recipe", "t.toml", "--trials", "1", "--seeds", "0")
    done = command(*words)
    assert done.code == 0, done.err
    assert "digits-tutorial is watched by the test set. For the search, " in done.out
    best = load_recipe("runs/tune-digits-tutorial/best.toml")
    assert best.train.validation == "held-out"
    described = json.loads(Path("runs/tune-digits-tutorial/trial-0000/data.json").read_text())
    assert described["validated_on"]["name"].endswith("held out")


def test_settings_that_cannot_be_trained_are_not_tried_again(command: Command) -> None:
    Path("space.toml").write_text('"augment.1.pixels" = [1, 60]\n')
    done = command(
        *("tune", *SMALL, *NET, "--set", "augment=[{ crop = 1 }]", "--search", "space.toml"),
        *("--trials", "4", "--seeds", "0", "--json"),
    )
    assert done.code == 0, done.err
    trials = json.loads(done.out)["trials"]
    stopped = [one for one in trials if one["state"] == "stopped"]
    assert stopped
    assert all(one["settings"]["augment.1.pixels"] == 60 for one in stopped)
    assert all("60" in one["why"] for one in stopped)
    assert len(trials) == 4


def test_another_recipe_space_or_data_in_the_same_search_is_refused(command: Command) -> None:
    words = ("--storage", "s.journal", "--name", "one", "--trials", "1", "--seeds", "0")
    assert command("tune", *SMALL, *NET, *words).code == 0
    other = command("tune", *SMALL, *NET, "--set", "train.batch_size=16", *words)
    assert other.code == 2
    assert "the search one in s.journal uses another recipe (train.batch_size" in other.err
    Path("space.toml").write_text("train.batch_size = [16, 32]\n")
    other = command("tune", *SMALL, *NET, *words, "--search", "space.toml")
    assert other.code == 2
    assert "uses another search space. Give this one another --name" in other.err
    assert command("tune", *SMALL, *NET, *words[:2], "--name", "two", *words[4:]).code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--trials", "0"), 2, "--trials: wanted a whole number from 1 to 100,000, got 0"),
        (("--seeds", "-1"), 2, "--seeds: wanted a whole number from 0 to"),
        (("--budget", "soon"), 2, "--budget: wanted a time above zero"),
        (("--search", "none.toml"), 2, "none.toml: cannot be read: No such file"),
        (("--storage", "s.txt"), 2, "--storage: wanted an SQLite file (FILE.db), a journal file"),
        (("--storage", "mysql://me@host/db"), 2, "choose from sqlite, postgresql"),
        (("--storage", "postgresql://me:secret@127.0.0.1:1/x"), 3, "me:***@127.0.0.1:1/x"),
        (("--storage", "folder.db"), 3, "folder.db: cannot be used: it is a folder"),
        (("--storage", "text.db"), 3, "text.db: cannot be used: file is not a database"),
        (("--storage", "text.journal"), 3, "text.journal: not an Optuna storage"),
        (("--name", "a/b"), 2, "a search is named with letters, digits"),
        (("--out", "text.db"), 2, "text.db: cannot be written"),
        (("--set", "train.epochs=0"), 2, "epochs must be above 0"),
    ],
)
def test_wrong_requests_are_refused_before_a_trial(
    command: Command, words: tuple[str, ...], code: int, message: str
) -> None:
    Path("folder.db").mkdir()
    for name in ("text.db", "text.journal"):
        Path(name).write_text("this is a text\n" * 100)
    done = command("tune", *SMALL, *words)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "secret" not in done.err
    assert not list(Path().glob("runs/*/trial-*"))


def test_a_folder_whose_storage_is_gone_is_not_mixed_with_a_new_search(command: Command) -> None:
    words = ("tune", *SMALL, *NET, "--trials", "1", "--seeds", "0")
    assert command(*words).code == 0
    Path("runs/tune-digits-tutorial/search.db").unlink()
    done = command(*words)
    assert done.code == 2
    assert "holds trials of a search that is not in runs/tune-digits-tutorial/search.db" in done.err


def test_a_password_stays_out_of_run_folders(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["firstlight", "tune", "postgresql://me:secret@host/db"])
    run = fl.train("digits", epochs=1, out="run", quiet=True)
    kept = (run.path / "environment.json").read_text()
    assert "postgresql://me:***@host/db" in kept
    assert "secret" not in kept


def test_without_optuna_it_is_told_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = command("tune", *SMALL)
    assert done.code == 2
    assert "pip install 'firstlight[tune]'" in done.err


def test_no_driver_for_postgresql_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    done = command("tune", *SMALL, "--storage", "postgresql://me@127.0.0.1/db")
    assert done.code == 2
    assert "a PostgreSQL storage needs psycopg" in done.err
    assert "pip install 'psycopg[binary]'" in done.err


def test_a_disk_without_locks_takes_no_sqlite_file(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstlight.locks.try_lock", lambda _: None)
    done = command("tune", *SMALL, "--storage", "s.db")
    assert done.code == 3
    assert "does not support locks" in done.err
    assert "Use a journal file, --storage s.journal" in done.err


def test_a_budget_that_is_over_begins_no_further_trial(command: Command) -> None:
    words = ("tune", *SMALL, *NET, "--seeds", "0", "--storage", "s.journal")
    assert command(*words, "--trials", "2").code == 0
    done = command(*words, "--budget", "0.001s", "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["trials"]) == 2


def test_a_budget_that_is_over_within_the_first_trial_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = itertools.count()  # 0.6 s between two: the second begins a trial, the third does not
    clock = SimpleNamespace(time=lambda: 0.6 * next(looks), perf_counter=time.perf_counter)
    monkeypatch.setattr("firstlight.verbs.tune.time", clock)
    words = ("tune", *SMALL, *NET, "--seeds", "0", "--storage", "s.journal")
    done = command(*words, "--budget", "1s")
    assert done.code == 0, done.err
    assert "The budget of 1 s ran out during the first trial" in done.out
    assert "1 trial: 1 trained to the end" in done.out


def test_a_budget_without_time_for_a_trial_is_refused(command: Command) -> None:
    done = command("tune", *SMALL, *NET, "--storage", "s.journal", "--budget", "0.001s")
    assert done.code == 2
    assert "the budget of 0.001 s ran out before the first trial could start" in done.err


def test_fewer_trials_than_were_asked_for_are_told(command: Command) -> None:
    words = ("tune", *SMALL, *NET, "--seeds", "0", "--storage", "s.journal")
    assert command(*words, "--trials", "2").code == 0
    done = command(*words, "--trials", "1")
    assert "This search keeps its earlier limit: 2 trials" in done.out
