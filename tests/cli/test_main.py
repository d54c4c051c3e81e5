"""The command as a whole: help, version, exit codes, and the form of errors."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from tests.kit import Command
from typer.main import get_command

import firstlight as fl
from firstlight.cli.app import app

VERBS = [
    "train",
    "evaluate",
    "predict",
    "explain",
    "report",
    "network",
    "runs",
    "data list",
    "data fetch",
    "data show",
    "recipe list",
    "recipe show",
    "recipe compare",
]


@pytest.mark.parametrize("verb", ["", *VERBS, "data", "recipe"])
def test_every_verb_explains_itself(command: Command, verb: str) -> None:
    shown = command(*verb.split(), "--help")

    assert shown.code == 0
    assert f"Usage: firstlight {verb}".rstrip() in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_json_on_request(command: Command, verb: str) -> None:
    assert "--json" in command(*verb.split(), "--help").out


def test_the_version_is_that_of_the_package(command: Command) -> None:
    from importlib.metadata import version

    assert command("--version").out == f"firstlight {version('firstlight')}\n"


def test_without_a_verb_the_help_is_shown(command: Command) -> None:
    shown = command()

    assert "Usage: firstlight" in shown.out + shown.err
    assert "train" in shown.out + shown.err


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["fly"], 2, "No such command 'fly'"),
        (["train", "mnist", "--peek"], 2, "No such option"),
        (["train"], 2, "wanted a data set to train on, such as: firstlight train mnist"),
        (["train", "mnst"], 2, "did you mean mnist? the data sets are mnist"),
        (["train", "digits", "--epochs", "many"], 2, "Invalid value for '--epochs'"),
        (["train", "digits", "--epochs", "0"], 2, "train.epochs"),
        (["train", "digits", "--seed", "-1"], 2, "train.seed"),
        (["train", "digits", "--limit", "1"], 2, "--limit: wanted at least 2 images, got 1"),
        (["train", "digits", "--set", "train.epoch=3"], 2, "train.epochs"),
        (["train", "digits", "--set", "train.epochs"], 2, "train.epochs"),
        (["train", "digits", "--set", "train.epochs=lots"], 2, "train.epochs"),
        (["train", "digits", "--recipe", "digits-tutorail"], 2, "digits-tutorial"),
        (["train", "digits", "--recipe", "gone.toml"], 2, "gone.toml"),
        (
            ["train", "digits", "--recipe", "cifar10-tutorial"],
            2,
            "its window of 2×2 pixels is larger",
        ),
        (["train", "digits", "--device", "tpu"], 2, "wanted auto, cpu, cuda or mps"),
        (["train", "digits", "--nproc", "2"], 2, "torchrun --standalone --nproc-per-node 2"),
        (["train", "digits", "--nproc_per_node=2"], 2, "is an option of the launcher"),
        (["train", "--resume", "nowhere"], 2, "nowhere: no such run folder"),
        (["train", "--seed", "1", "--resume", "x"], 2, "leave out --seed"),
        (["train", "--resume", "x", "--seed", "0"], 2, "leave out --seed"),
        (["train", "mnist", "--data-dir", "gone"], 3, "gone: no such folder"),
        (["evaluate", "nowhere"], 2, "nowhere: no such run folder"),
        (["evaluate", "."], 2, "is not a run folder: it has no recipe.toml"),
        (["predict", "nowhere", "x.png"], 2, "nowhere: no such run folder"),
        (["report", "nowhere"], 2, "nowhere: no such run folder"),
        (["data", "show", "mnst"], 2, "unknown data set 'mnst'; choose from mnist"),
        (["data", "fetch", "mnst"], 2, "unknown data set 'mnst'; choose from mnist"),
    ],
)
def test_a_wrong_request_is_answered_in_words_with_its_code(
    command: Command, words: list[str], code: int, reason: str
) -> None:
    answer = command(*words)

    assert (answer.code, answer.out) == (code, "")
    assert reason in answer.err.replace("\n", " ")
    assert "Traceback" not in answer.err


def test_the_command_ends_quietly_when_its_reader_has_seen_enough() -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "firstlight", "data", "show", "mnist"]
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    reader.wait()
    done = subprocess.run(
        program, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, env=environment
    )
    reader.stdin.close()

    assert done.stderr == ""


ALL_VERBS = [
    name if not hasattr(one, "commands") else f"{name} {inner}"
    for name, one in get_command(app).commands.items()  # type: ignore[attr-defined]
    for inner in getattr(one, "commands", {name: one})
]


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_help_names_arguments_plainly_and_shows_examples_that_parse(
    command: Command, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command(*verb.split(), "--help").out
    assert not re.search(r"<(str|int|float|path|list|Path)|\[\[|\.\.\.\]\.\.\.|\{", shown)
    assert max(map(len, shown.splitlines())) <= 80
    examples = [line.strip() for line in shown.partition("Examples:")[2].strip().splitlines()]
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[: 1 + len(verb.split())] == ["firstlight", *verb.split()]
        found = get_command(app)
        for word in verb.split():
            found = found.commands[word]  # type: ignore[attr-defined]
        context = found.make_context(verb, words[1 + len(verb.split()) :], resilient_parsing=True)
        assert not context.args  # nothing is left over


def test_the_list_of_commands_cuts_no_sentence_off(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["data"], ["recipe"], ["backbones"], ["cache"]):
        shown = command(*words, "--help").out.partition("Commands:")[2]
        assert shown and "..." not in shown


def test_what_is_changed_most_has_an_option(command: Command) -> None:
    words = ("--lr", "0.02", "--batch-size", "50", "--no-augment", "--epochs", "1")
    trained = command("train", "digits", *words, "--out", "run", "--quiet")
    assert trained.code == 0
    recipe = fl.load_recipe("run/recipe.toml")
    assert recipe.optimizer.learning_rate == 0.02
    assert (recipe.train.batch_size, recipe.augment) == (50, ())
    refused = command("train", "digits", "--lr", "0")
    assert (refused.code, "--lr: " in refused.err) == (2, True)


def test_what_is_wrong_in_all_processes_of_a_machine_is_told_by_the_first(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "there"}.items():
        monkeypatch.setenv(name, value)
    for rank, told in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        done = command("train", "digits", "--recipe", "nosuch")
        assert done.code == 2
        assert done.err.count("'nosuch' is not a recipe") == told


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it

class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from firstlight.cli.main import main
assert "typer" not in sys.modules
main()
"""


def test_an_interruption_while_the_command_is_imported_is_told_in_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "firstlight: interrupted; nothing was saved\n"
