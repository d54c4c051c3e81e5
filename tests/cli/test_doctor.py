"""``firstlight doctor``: what is installed, and what to do about what is missing."""

import json
import platform
from importlib import metadata
from pathlib import Path

import pytest
from tests.kit import Command

from firstlight.verbs import doctor


def test_it_says_what_is_here(command: Command, nothing_cached: Path) -> None:
    mnist = nothing_cached / "sets" / "mnist"
    mnist.mkdir(parents=True)
    for part in ("train", "t10k"):
        (mnist / f"{part}-images-idx3-ubyte").touch()
        (mnist / f"{part}-labels-idx1-ubyte").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTLIGHT_DATA", str(mnist.parent))
        told = command("doctor", "--no-speed", "--json")
        shown = command("doctor", "--no-speed")
    found = json.loads(told.out)
    assert (told.code, shown.code) == (0, 0)
    assert found["python"] == platform.python_version()
    assert found["torch"] == metadata.version("torch")
    assert found["data"]["mnist"] == str(mnist)
    assert found["data"]["cifar10"] is None
    assert found["problems"] == []
    assert str(mnist) in shown.out
    assert "firstlight data fetch fashion_mnist" in shown.out


def test_what_is_wrong_is_told_with_what_to_do(
    command: Command, nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nothing_cached / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(nothing_cached / "file"))
    monkeypatch.setenv("FIRSTLIGHT_DATA", str(nothing_cached / "nowhere"))
    monkeypatch.setenv("FIRSTLIGHT_CACHE", "much")
    monkeypatch.setenv("FIRSTLIGHT_SHARD_CACHE", "0GB")
    told = command("doctor", "--no-speed")
    assert told.code == 0
    assert "FIRSTLIGHT_CACHE=much: wanted a size such as 40GB" in told.out
    assert "FIRSTLIGHT_SHARD_CACHE=0GB: wanted a size above zero" in told.out
    assert "nowhere: no such folder" in told.out
    assert "cannot be written" in told.out and "XDG_CACHE_HOME" in told.out


def test_missing_and_old_packages_are_named_with_the_command_that_gets_them(
    command: Command, nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(name: str) -> str:
        if name == "optuna":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "pillow" else metadata.version(name)

    monkeypatch.setattr(doctor, "version", changed)
    told = command("doctor", "--no-speed")
    assert "without tune: pip install 'firstlight[tune]' (optuna)" in told.out
    assert "wanted pillow>=" in told.out and ", got pillow 1.0: pip install" in told.out


def test_its_speed_is_measured_on_training_steps(
    command: Command, nothing_cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 0.01)
    speed = json.loads(command("doctor", "--json").out)["speed"]
    assert speed["images_per_second"] > 0 and speed["gflops"] > 0
    assert list(nothing_cached.rglob("runs")) == []


def test_completion_gives_commands_and_options(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_FIRSTLIGHT_COMPLETE", "complete_bash")
    for words, at, completed in (
        ("firstlight trai", "1", ["train"]),
        ("firstlight train --see", "2", ["--seed"]),
        ("firstlight cache cl", "2", ["clear"]),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", at)
        assert command().out.split() == completed
