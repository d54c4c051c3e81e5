"""The command as a whole: help, version, exit codes, and how errors look."""

import os
import subprocess
import sys

import pytest
from tests.kit import Command

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
        (["train"], 2, "train what? Give a data set, such as: firstlight train mnist"),
        (["train", "mnst"], 2, "did you mean mnist? there are mnist"),
        (["train", "digits", "--epochs", "many"], 2, "Invalid value for '--epochs'"),
        (["train", "digits", "--epochs", "0"], 2, "train.epochs"),
        (["train", "digits", "--seed", "-1"], 2, "train.seed"),
        (["train", "digits", "--limit", "1"], 2, "--limit must be at least 2 images, not 1"),
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
        (["train", "digits", "--device", "tpu"], 2, "there are auto, cpu, cuda, mps"),
        (["train", "digits", "--nproc", "2"], 2, "torchrun --standalone --nproc-per-node 2"),
        (["train", "digits", "--nproc_per_node=2"], 2, "is an option of the launcher"),
        (["train", "--resume", "nowhere"], 2, "nowhere: no such run folder"),
        (["train", "--seed", "1", "--resume", "x"], 2, "leave out --seed"),
        (["train", "--resume", "x", "--seed", "0"], 2, "leave out --seed"),
        (["train", "mnist", "--data-dir", "gone"], 3, "gone: no such folder"),
        (["evaluate", "nowhere"], 2, "nowhere: no such run folder"),
        (["evaluate", "."], 2, "is not a run folder, it has no recipe.toml"),
        (["predict", "nowhere", "x.png"], 2, "nowhere: no such run folder"),
        (["report", "nowhere"], 2, "nowhere: no such run folder"),
        (["data", "show", "mnst"], 2, "no data set is called 'mnst'; there are mnist"),
        (["data", "fetch", "mnst"], 2, "no data set is called 'mnst'; there are mnist"),
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
