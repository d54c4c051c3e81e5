"""JSON and TOML are read within limits, and JSON is written without NaN."""

import json
from pathlib import Path

import pytest
from tests.kit import Command

from firstlight.errors import UserError
from firstlight.plain import read_json, read_toml, write_json
from firstlight.recipe import load_recipe


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested more than 64 deep"),
        ("9" * 10_000, "a whole number of 10,000 digits"),
        ("-" + "9" * 400, "a whole number of 401 digits"),
        ("1e999", "too large"),
        ("NaN", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[" * 100_000, "nested"),
        ("", "Expecting value"),
    ],
)
def test_json_beyond_bounds_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_json(text)


def test_json_within_bounds_is_what_it_says() -> None:
    for text in ('{"a": [1, 2.5, "x", null, true]}', "5", '"text"', "[" * 60 + "]" * 60):
        assert read_json(text) == json.loads(text)


def test_a_number_that_is_not_finite_is_written_as_null() -> None:
    values = {"a": float("nan"), "b": [float("inf"), 1.5], "c": (float("-inf"),)}
    assert json.loads(write_json(values)) == {"a": None, "b": [None, 1.5], "c": [None]}


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 20_000) + " = 1",
        ".".join(['"a b"'] * 20_000) + " = 1",
        " . ".join(["'a'"] * 20_000) + " = 1",
        "[" + ".".join(["a"] * 20_000) + "]",
        "x = {" + ".".join(["a"] * 20_000) + " = 1}",
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "[" * 100 + "]" * 100,
        "a = " + "9" * 10_000,
        "# " + "a" * (1 << 20),
    ],
)
def test_a_recipe_beyond_bounds_is_one_line_and_no_traceback(text: str, tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_text(f'name = "it"\n{text}\n')
    with pytest.raises(UserError, match="not valid TOML") as told:
        load_recipe(tmp_path / "it.toml")
    assert len(str(told.value)) < 300


def test_a_long_word_is_searched_once_and_read() -> None:
    word = "a" * 500_000
    assert read_toml(f'x = "{word}"\n"{word}" = 1') == {"x": word, word: 1}
    assert read_toml("a.b.c.d.e.f.g.h = 1")["a"]["b"]["c"]["d"]["e"]["f"]["g"] == {"h": 1}


def test_settings_of_the_command_line_have_the_same_bounds(command: Command) -> None:
    for value in ("{" + "a." * 20_000 + "a=1}", "[" * 5000 + "]" * 5000, "9" * 5000):
        done = command("train", "digits", "--set", f"train.epochs={value}")
        assert done.code == 2
        assert len(done.err) < 500


@pytest.mark.parametrize("file", ["summary.json", "metrics.json", "data.json"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, "9" * 10_000, '{"accuracy": NaN, "train_seconds": NaN}', "\0", ""]
)
def test_one_damaged_run_is_listed_as_damaged_and_the_others_show(
    command: Command, file: str, content: str
) -> None:
    whole = {
        "summary.json": '{"train_seconds": 1.5}',
        "metrics.json": '{"accuracy": 0.75}',
        "data.json": '{"name": "digits"}',
    }
    for name, files in (("a-1", whole), ("b-1", {**whole, file: content}), ("c-1", whole)):
        Path("runs", name).mkdir(parents=True)
        for own, text in {"recipe.toml": "", **files}.items():
            Path("runs", name, own).write_text(text)

    done = command("runs", "--json")

    assert done.code == 0, done.err
    rows = {Path(row["run"]).name: row for row in json.loads(done.out)}
    assert [row["state"] for row in rows.values()] == ["finished", "damaged", "finished"]
    assert rows["c-1"]["accuracy"] == 0.75
    assert command("runs").code == 0
