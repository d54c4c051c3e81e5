"""``firstlight network``: for recipes, runs and files, with messages if layers cannot be listed."""

import json
import re
from pathlib import Path

import pytest
from tests.kit import Command


def test_a_recipe_s_network_is_listed_for_its_own_data(command: Command) -> None:
    shown = command("network", "mnist-tutorial")
    assert shown.code == 0 and shown.err == ""
    for word in ("conv1", "26×26×32", "102,464", "121,930 parameters", "2,528,000 multiply-adds"):
        assert word in shown.out

    found = json.loads(command("network", "mnist-tutorial", "--json").out)
    assert found["trained"] == 121_930 and found["layers"][0]["output"] == [26, 26, 32]


def test_other_data_and_settings_change_it(command: Command) -> None:
    words = ("network", "mnist-tutorial", "--data", "digits", "--set", "network.1.filters=5")
    found = json.loads(command(*words, "--json", "--set", "network.1.kernel=1").out)
    assert found["layers"][0]["output"] == [8, 8, 5] and found["batch_size"] == 32


def test_a_narrow_terminal_shows_the_numbers_that_settings_need(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich treat it as a terminal
    monkeypatch.setenv("COLUMNS", "80")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", command("network", "mnist-quick").out).splitlines()

    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    numbers = [line.split()[0] for line in table[1:] if line[0].isdigit()]
    assert numbers == [str(number) for number in range(1, 20)]
    assert "convolution, 32 filters of" in lines[3] or "convolution, 32 filters of" in lines[4]


def test_a_run_and_its_weights_are_listed(command: Command) -> None:
    box = Path(__file__).parents[2] / "src/firstlight/box/cifar10"
    run, weights = (
        json.loads(command("network", where, "--json").out)
        for where in ("cifar10", box / "model.safetensors")
    )
    for layers in (run["layers"], weights["layers"]):
        assert [one["multiply_adds"] for one in layers] == [
            one["multiply_adds"] for one in run["layers"]
        ]
        assert sum(one["trained"] + one["fixed"] for one in layers) == 1_163_064


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mnist-quik"], 2, "mnist-quick"),
        (["model.onnx"], 2, "not a list of layers"),
        (["none.safetensors"], 2, "no such file"),
        (["damaged.safetensors"], 3, "damaged"),
        (["mine.toml"], 2, "--data mnist"),
        (["cifar10-tutorial", "--data", "digits"], 2, "layer 4"),
        (["mnist-quick", "--data", "mnits"], 2, "mnist"),
        (["mnist-quick", "--set", "network.99.filters=3"], 2, "no number 99"),
        (["mine.py:net", "--data", "digits"], 2, "--network FILE.py:FUNCTION"),
        (["mine.py"], 2, "--network FILE.py:FUNCTION"),
    ],
)
def test_what_cannot_be_listed_is_told(
    command: Command,
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.safetensors").write_bytes(b"no tensors")
    Path("mine.toml").write_text(
        'name = "mine"\nformat = 2\n[network]\n'
        'layers = [{ flatten = true }, { dense = "classes" }]\n'
    )
    done = command("network", *words)
    assert done.code == code and said in done.err and "Traceback" not in done.err
    assert done.out == ""
