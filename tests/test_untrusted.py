"""Untrusted names: terminals only show them, spreadsheets do not run them, readers restore them."""

import csv
import io
import json
import random
from types import SimpleNamespace

import pytest

from firstlight import untrusted
from firstlight.untrusted import (
    cell,
    csv_text,
    from_cell,
    json_safe,
    one_line,
    printable,
    right_to_left,
    shell_line,
    shell_word,
)

# Characters that a terminal obeys: C0 except tab and newline, DEL, C1 (0x9b starts an escape
# sequence), and the directional controls of Unicode's bidirectional algorithm (UAX 9, section 2).
OBEYED = [
    *(chr(c) for c in range(0x20) if chr(c) not in "\t\n"),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029",
]


def test_a_terminal_gets_nothing_that_it_obeys() -> None:
    shown = printable("".join(OBEYED) + "\udc80")
    assert shown.isprintable()
    assert printable("\x1b[31mred\x9bm\u202e") == r"\x1b[31mred\x9bm\u202e"


def test_ordinary_text_stays() -> None:
    for text in ("Blumenkohl, 95 %\n\tja", "שלום", "猫", "👩\u200d🚀", "a\u0301"):
        assert printable(text) == text
    assert one_line("cats\nall right\t!") == r"cats\nall right\t!"


def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys() -> None:
    value = {"name": "".join(OBEYED) + "\udcff שלום \\x9b"}
    for document in (
        json_safe(json.dumps(value, ensure_ascii=False)),
        json_safe(json.dumps(value, ensure_ascii=False, indent=2)),
    ):
        assert json.loads(document) == value
        assert printable(document) == document


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "'=", "''-", "\uff1d"])
def test_a_cell_that_begins_like_a_formula_begins_with_an_apostrophe(start: str) -> None:
    name = start + 'cmd|" /C calc"!A0'
    assert cell(name) == "'" + name
    assert from_cell(cell(name)) == name


def test_a_cell_gives_back_whatever_it_was_given() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        name = "".join(draw.choices("'=+-@\t\r\n a,\"", k=draw.randint(0, 6)))
        text = csv_text([[cell(name), "x"], ["next", "line"]])
        (read, _), _ = csv.reader(io.StringIO(text, newline=""))
        assert from_cell(read) == name
        assert not read.startswith(tuple("=+-@\t\r\n"))
    for name in ("cats", "o'clock", "'quoted'", "", "1-2", "a=b"):
        assert cell(name) == from_cell(name) == name


def test_text_from_right_to_left_is_found_without_what_stands_beside_it() -> None:
    text = "שלום עולם, 3 times, of all כלב / חתול: قطة"
    turned = [piece for is_turned, piece in right_to_left(text) if is_turned]
    assert turned == ["שלום עולם", "כלב", "חתול", "قطة"]
    assert "".join(piece for _, piece in right_to_left(text)) == text
    assert right_to_left("חתול 3") == [(True, "חתול 3")]
    assert right_to_left("naïve, 猫") == [(False, "naïve, 猫")]


def test_a_path_in_a_command_is_one_word_to_the_shell_of_its_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shell_word("runs/mnist-quick-1") == "runs/mnist-quick-1"
    assert shell_word("my runs/a") == "'my runs/a'"
    monkeypatch.setattr(untrusted, "sys", SimpleNamespace(platform="win32"))
    assert shell_word(r"runs\mnist-quick-1") == r"runs\mnist-quick-1"
    assert shell_line(["train", r"C:\my runs\a"]) == r'train "C:\my runs\a"'
