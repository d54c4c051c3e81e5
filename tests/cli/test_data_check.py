"""``data check``: each fault put into a clean folder is found, named and listed; no other is."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command

CLASSES = ("cat", "dog")


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Blurred colour noise, no two alike, 25 to train and 6 to test of each class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, count in (("train", 25), ("test", 6)):
        for name in CLASSES:
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
                picture = coarse.resize((40, 40), Image.Resampling.BICUBIC)
                picture.save(tmp_path / "set" / part / name / f"{i}.png")
    return tmp_path / "set"


def leak(root: Path) -> list[str]:
    picture = Image.open(root / "test/cat/3.png")
    picture.resize((90, 90)).save(root / "train/cat/again.jpg", quality=85)
    return ["train/cat/again.jpg"]


def other_class(root: Path) -> list[str]:
    shutil.copy(root / "train/cat/1.png", root / "train/dog/one.png")
    return ["train/cat/1.png", "train/dog/one.png"]


def twice(root: Path) -> list[str]:
    shutil.copy(root / "train/cat/1.png", root / "train/cat/one.png")
    return ["train/cat/one.png"]


def cut(root: Path) -> list[str]:
    file = root / "train/cat/1.png"
    file.write_bytes(file.read_bytes()[:-200])
    return ["train/cat/1.png"]


def black(root: Path) -> list[str]:
    Image.new("RGB", (40, 40)).save(root / "train/dog/night.png")
    return ["train/dog/night.png"]


def disguised(root: Path) -> list[str]:
    Image.open(root / "train/dog/4.png").save(root / "train/dog/4.png", format="BMP")
    return []


def few(root: Path) -> list[str]:
    for i in range(10):
        (root / f"train/dog/{i}.png").unlink()
    return []


def sizes(root: Path) -> list[str]:
    rng = np.random.default_rng(1)
    wide = Image.fromarray(rng.integers(0, 256, (40, 120, 3), dtype=np.uint8))
    wide.save(root / "train/dog/wide.png")
    return []


def modes(root: Path) -> list[str]:
    Image.open(root / "train/dog/4.png").convert("L").save(root / "train/dog/4.png")
    return []


def test_a_clean_folder_has_no_finding(command: Command, clean: Path) -> None:
    done = command("data", "check", clean)
    assert done.code == 0
    assert "62 pictures in 2 classes; training would take them as 40 × 40 colour" in done.out
    assert "nothing is wrong with them" in done.out


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        *((leak, "leak"), (other_class, "two classes"), (twice, "copies"), (cut, "unreadable")),
        *((black, "one colour"), (disguised, "wrong ending"), (few, "few"), (sizes, "sizes")),
        (modes, "modes"),
    ],
)
def test_each_fault_is_found_and_what_to_leave_out_is_listed(
    command: Command, clean: Path, spoil: Callable[[Path], list[str]], kind: str
) -> None:
    excluded = spoil(clean)
    done = command("data", "check", clean, "--json", "--fix-list", "fix.csv")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    expected = {kind, "sizes"} if spoil is leak else {kind}  # the copy is larger, too
    assert {finding["kind"] for finding in found["findings"]} == expected
    with Path("fix.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == excluded
    assert all(row["reason"] == kind for row in rows)


def test_what_is_severe_comes_first_and_the_list_makes_it_clean(
    command: Command, clean: Path
) -> None:
    for spoil in (twice, black, cut, leak):
        spoil(clean)
    first = json.loads(command("data", "check", clean, "--json", "--fix-list", "fix.csv").out)
    severe = [finding["severe"] for finding in first["findings"]]
    assert severe == sorted(severe, reverse=True)
    assert first["findings"][0]["kind"] == "leak"
    done = command(
        *("train", clean, "--exclude", "fix.csv", "--out", "run", "--quiet"),
        *("--set", "train.epochs=1"),
    )
    assert done.code == 0, done.err
    assert (
        json.loads(Path("run/data.json").read_text())["train"]["images"] == 50
    )  # one was cut, its copy stays


def test_training_says_at_its_start_that_there_is_a_leak(command: Command, clean: Path) -> None:
    leak(clean)
    done = command("train", clean, "--out", "run", "--set", "train.epochs=1")
    assert "1 pair of copies lies in two parts, so a test will look too good" in done.out


def test_the_page_shows_the_pictures_and_loads_nothing(command: Command, clean: Path) -> None:
    leak(clean)
    done = command("data", "check", clean, "--page", "page.html")
    assert "page page.html" in done.out
    page = Path("page.html").read_text()
    assert "data:image/png;base64," in page
    assert "train/cat/again.jpg" in page
    assert "http:" not in page
    assert "https:" not in page


def test_many_names_are_folded_and_each_unreadable_picture_has_its_reason(
    command: Command, clean: Path
) -> None:
    for i in range(20):
        (clean / f"train/dog/猫-{i}.png").write_bytes(b"" if i else b"<html>")
    done = command("data", "check", clean, "--page", "page.html")
    assert "! unreadable: 20 pictures that cannot be read, left out of training" in done.out
    assert "    train/dog/猫-0.png: this is a web page; PNG, JPEG, WebP, BMP" in done.out
    assert "… and 10 more" in done.out
    page = Path("page.html").read_text()
    folded = page.partition("Unreadable: all 20")[2]
    assert "<details" in page and folded.count("the file is empty (0 bytes)") == 19


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nowhere",), 2, "there is no such folder or CSV"),
        (("{set}/train/cat",), 3, "wanted a folder for each class"),
        (("{set}", "--page", "x.png"), 2, "--page writes a file whose name ends in .html"),
        (("{set}", "--fix-list", "x.txt"), 2, "--fix-list writes a file whose name ends in .csv"),
        (("{set}", "--page", "no/x.html"), 2, "no/x.html: cannot be written"),
    ],
)
def test_wrong_requests_are_answered_in_words(
    command: Command, clean: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = command("data", "check", *(word.replace("{set}", str(clean)) for word in words))
    assert (done.code, message in done.err) == (code, True), done.err
