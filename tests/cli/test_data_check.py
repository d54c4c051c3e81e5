"""``data check``: each problem put into a clean folder is found, named and listed, and no other."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import Command

from firstlight.verbs.labels import LabelCheck

CLASSES = ("cat", "dog")


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create blurred colour noise, no two alike, 25 for training and 6 for testing in each
    class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, count in (("train", 25), ("test", 6)):
        for name in CLASSES:
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
                smooth = np.asarray(coarse.resize((40, 40), Image.Resampling.BICUBIC))
                grain = rng.integers(-20, 21, (40, 40, 1))
                picture = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
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


def faint(root: Path) -> list[str]:
    levels = np.random.default_rng(2).integers(0, 3, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(levels).save(root / "train/dog/faint.png")
    return ["train/dog/faint.png"]


def dark(root: Path) -> list[str]:
    Image.open(root / "train/dog/4.png").point(lambda v: v // 9).save(root / "train/dog/dark.png")
    return ["train/dog/dark.png"]


def bright(root: Path) -> list[str]:
    picture = Image.open(root / "train/dog/4.png").point(lambda v: 226 + v // 9)
    picture.save(root / "train/dog/bright.png")
    return ["train/dog/bright.png"]


def strange(root: Path) -> list[str]:
    page = np.full((40, 40, 3), 255, np.uint8)
    page[::4] = 0
    Image.fromarray(page).save(root / "train/dog/page.png")
    return []


def enlarged(root: Path) -> list[str]:
    small = Image.open(root / "train/dog/4.png").resize((20, 20), Image.Resampling.BOX)
    small.resize((40, 40), Image.Resampling.NEAREST).save(root / "train/dog/large.png")
    (root / "train/dog/4.png").unlink()
    return []


def mirrored(root: Path) -> list[str]:
    picture = Image.open(root / "test/cat/3.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture.save(root / "train/cat/mirrored.png")
    return ["train/cat/mirrored.png"]


def turned_within(root: Path) -> list[str]:
    picture = Image.open(root / "train/cat/3.png").rotate(90)
    picture.save(root / "train/cat/turned.png")
    return []


def turned_across(root: Path) -> list[str]:
    picture = Image.open(root / "train/cat/3.png").rotate(90)
    picture.save(root / "train/dog/turned.png")
    return []


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
    assert "62 pictures in 2 classes; training would use 40 × 40 colour" in done.out
    assert "no problems found" in done.out


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        *((leak, "leak"), (other_class, "two classes"), (twice, "copies"), (cut, "unreadable")),
        *((black, "one colour"), (disguised, "wrong ending"), (few, "few"), (sizes, "sizes")),
        *((modes, "modes"), (mirrored, "altered leak"), (turned_within, "altered copies")),
        *((turned_across, "altered, two classes"), (faint, "nearly one colour")),
        *((strange, "unlike the others"), (enlarged, "enlarged")),
    ],
)
def test_each_fault_is_found_and_what_to_leave_out_is_listed(
    command: Command, clean: Path, spoil: Callable[[Path], list[str]], kind: str
) -> None:
    excluded = spoil(clean)
    done = command("data", "check", clean, "--json", "--fix-list", "fix.csv")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    also: dict[Callable[[Path], list[str]], str] = {
        leak: "sizes",
        sizes: "unlike the others",
        modes: "unlike the others",
    }
    expected = {kind, also.get(spoil, kind)}  # a larger copy; plain noise; grey among colours
    assert {finding["kind"] for finding in found["findings"]} == expected
    with Path("fix.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == excluded
    assert all(row["reason"] == kind for row in rows)


def test_a_copy_is_kept_where_most_copies_are_in_its_class(command: Command, clean: Path) -> None:
    shutil.copy(clean / "train/cat/1.png", clean / "train/cat/one.png")
    shutil.copy(clean / "train/cat/1.png", clean / "train/dog/one.png")

    found = json.loads(command("data", "check", clean, "--json").out)

    assert found["exclude"] == {"train/cat/one.png": "copies", "train/dog/one.png": "two classes"}


@pytest.mark.parametrize(
    ("likely", "left_out"),
    [("cat", {"train/dog/one.png"}), ("dog", {"train/cat/1.png"}), ("bird", None)],
)
def test_a_copy_is_kept_where_the_label_check_agrees_with_its_class(
    command: Command,
    clean: Path,
    monkeypatch: pytest.MonkeyPatch,
    likely: str,
    left_out: set[str] | None,
) -> None:
    pair = other_class(clean)
    judged = LabelCheck(finding=None, notes=(), likely=dict.fromkeys(pair, likely))
    monkeypatch.setattr("firstlight.verbs.check._trained", lambda *_: judged)
    monkeypatch.setattr("firstlight.verbs.check.backbone_here", lambda: "")

    found = json.loads(command("data", "check", clean, "--labels", "--json").out)

    assert set(found["exclude"]) == (left_out or set(pair))


def test_a_class_that_looks_alike_is_named_and_its_pictures_are_no_copies(
    command: Command, clean: Path
) -> None:
    """Pictures from a fixed camera: only the noise differs."""
    rng = np.random.default_rng(0)
    scene = np.asarray(Image.open(clean / "train/dog/1.png").convert("RGB")).astype(float)
    for path in (clean / "train/dog").iterdir():
        noisy = scene + rng.normal(0, 2, scene.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    found = json.loads(command("data", "check", clean, "--json").out)
    assert [finding["kind"] for finding in found["findings"]] == ["alike"]
    assert found["exclude"] == {}


@pytest.mark.parametrize(("spoil", "kind"), [(dark, "nearly black"), (bright, "nearly white")])
def test_a_picture_without_light_or_shade_is_found_and_is_a_copy_all_the_same(
    command: Command, clean: Path, spoil: Callable[[Path], list[str]], kind: str
) -> None:
    (clean / "train/dog/5.png").unlink()
    excluded = spoil(clean)
    (clean / "train/dog/4.png").unlink()
    found = json.loads(command("data", "check", clean, "--json").out)
    assert [f["kind"] for f in found["findings"] if f["exclude"]] == [kind]
    assert found["exclude"] == {excluded[0]: kind}
    assert found["mend_first"] == []


def every(root: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    for path in root.glob("*/*/*.png"):
        change(Image.open(path)).save(path)


def test_a_set_that_was_spoiled_as_a_whole_is_not_sent_to_training(
    command: Command, clean: Path
) -> None:
    every(clean, lambda image: image.point(lambda v: v // 100))
    done = command("data", "check", clean, "--fix-list", "fix.csv", "--page", "page.html")
    assert "! nearly one colour: almost nothing to see in them (62 pictures of 62)" in done.out
    assert "next: fix these first, then firstlight data check" in done.out
    assert "firstlight train" not in done.out
    assert Path("fix.csv").read_text().splitlines() == ["path,reason"]
    assert "Nearly one colour" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("how", "enough"), [(Image.Resampling.NEAREST, 40), (Image.Resampling.BICUBIC, 60)]
)
def test_of_a_set_enlarged_from_fewer_pixels_the_size_that_serves_is_told(
    command: Command, clean: Path, how: Image.Resampling, enough: int
) -> None:
    every(clean, lambda image: image.resize((80, 80), how))
    done = command("data", "check", clean)
    assert f"(62 of 62 pictures): {enough} × {enough} holds as much detail as 80 × 80" in done.out
    assert f"--size {enough} is as good" in done.out


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
    assert "1 pair of copies is in two parts, so the test will look too good" in done.out


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
        (("nowhere",), 2, "no such folder or CSV"),
        (("{set}/train/cat",), 3, "wanted a folder for each class"),
        (("{set}", "--page", "x.png"), 2, "--page: wanted a file name that ends in .html"),
        (("{set}", "--fix-list", "x.txt"), 2, "--fix-list: wanted a file name that ends in .csv"),
        (("{set}", "--page", "no/x.html"), 2, "no/x.html: cannot be written"),
    ],
)
def test_wrong_requests_are_answered_in_words(
    command: Command, clean: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = command("data", "check", *(word.replace("{set}", str(clean)) for word in words))
    assert (done.code, message in done.err) == (code, True), done.err
