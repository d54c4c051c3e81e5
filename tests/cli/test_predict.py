"""``firstlight predict`` with real picture files."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.kit import Command

import firstlight as fl
from firstlight.runs.box import boxed_folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Create three readable pictures of test digits, enlarged, and two unreadable files."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    test = fl.load("digits").test
    for index, name in enumerate(("a.png", "b.jpg", "c.webp")):
        grey_HW = np.kron(test.images_NHWC[index, ..., 0], np.ones((9, 9), dtype=np.uint8))
        Image.fromarray(grey_HW).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_table_shows_the_three_most_probable_classes(
    command: Command, digits_run: fl.Run, pictures: Path
) -> None:
    done = command("predict", digits_run.path, pictures / "a.png", pictures / "b.jpg")

    assert done.code == 0
    header, *rows = done.out.splitlines()[:3]
    assert header.split() == ["image", "answer", "then", "then"]
    assert all(row.count(" %") == 3 for row in rows)


def test_a_broken_picture_is_named_and_the_others_are_answered(
    command: Command, digits_run: fl.Run, pictures: Path
) -> None:
    done = command("predict", digits_run.path, pictures, "--json")

    answers = json.loads(done.out)
    assert [Path(a["name"]).name for a in answers] == ["a.png", "b.jpg", "broken.png", "c.webp"]
    assert [a["error"] is None for a in answers] == [True, True, False, True]
    assert done.code == 3
    assert "1 of 4 pictures could not be read" in done.err
    assert "broken.png" in done.err


def test_what_may_make_an_answer_unknown_is_said(command: Command, tmp_path: Path) -> None:
    Image.new("L", (60, 60), 255).save(tmp_path / "blank.png")
    pair = Image.new("L", (240, 120), 255)
    for left in (30, 140):
        points = [(left, 25), (left + 55, 25), (left + 20, 95)]
        ImageDraw.Draw(pair).line(points, fill=0, width=9, joint="curve")
    pair.save(tmp_path / "pair.png")

    done = command("predict", boxed_folder("mnist"), tmp_path / "blank.png", tmp_path / "pair.png")

    blank, two = (line for line in done.out.splitlines() if ": unknown, because " in line)
    assert "blank.png" in blank
    assert "is below the threshold of" in blank
    assert blank.endswith("The picture is blank")
    assert two.endswith("The picture shows 2 marks side by side: give one at a time")
    assert "next: --save FILE.png draws what the network saw" in done.out


def test_csv_and_json_say_the_same(command: Command, digits_run: fl.Run, pictures: Path) -> None:
    words = ["predict", digits_run.path, pictures / "*.png", pictures / "b.jpg"]
    as_json = json.loads(command(*words, "--json").out)
    as_csv = list(csv.DictReader(io.StringIO(command(*words, "--csv").out)))

    assert len(as_json) == len(as_csv) == 3
    for one, row in zip(as_json, as_csv, strict=True):
        assert row["image"] == one["name"]
        assert row["predicted"] == (one["answer"] or "")
        for name, share in one["probabilities"].items():
            assert float(row[f"p_{name}"]) == pytest.approx(share, abs=1e-6)
    assert command(*words, "--csv", "--json").code == 2


def test_standard_input_is_a_picture(
    command: Command, digits_run: fl.Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BytesIO((pictures / "a.png").read_bytes())

    by_name = json.loads(command("predict", digits_run.path, pictures / "a.png", "--json").out)
    monkeypatch.setattr("sys.stdin", Stdin())
    by_pipe = json.loads(command("predict", digits_run.path, "-", "--json").out)

    assert by_pipe[0]["name"] == "-"
    assert by_pipe[0]["probabilities"] == by_name[0]["probabilities"]


def test_the_pictures_are_drawn_on_request(
    command: Command, digits_run: fl.Run, pictures: Path
) -> None:
    done = command("predict", digits_run.path, pictures / "a.png", "--save", "grid.png")

    assert (done.code, done.err) == (0, "pictures grid.png\n")
    with Image.open("grid.png") as drawn:
        assert drawn.format == "PNG"
        assert min(drawn.size) > 100
    refused = command("predict", digits_run.path, pictures / "a.png", "--save", "grid.jpg")
    assert refused.code == 2
    assert "grid.jpg" in refused.err
    lost = command("predict", digits_run.path, pictures / "a.png", "--save", "no/grid.png")
    assert lost.code == 2
    assert "no/grid.png: cannot be written" in lost.err


def test_nothing_to_answer_is_said(command: Command, digits_run: fl.Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for word in ("gone.png", "empty", "*.webp"):
        done = command("predict", digits_run.path, word)
        assert done.code == 3
        assert word in done.err


def test_a_colour_picture_and_a_drawing_on_paper_are_taken_by_a_digit_model(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    paper_HWC = np.full((120, 90, 3), 245, dtype=np.uint8)
    paper_HWC[20:100, 40:50] = (20, 30, 120)
    Image.fromarray(paper_HWC).save(tmp_path / "one.png")

    done = command("predict", digits_run.path, "one.png")

    assert done.code == 0
    assert "dark on light" in done.out


def test_a_picture_that_is_asked_about_is_not_drawn_over(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    done = command("predict", digits_run.path, "mine.png", "--save", "./mine.png")
    assert done.code == 2
    assert "would replace one of the pictures" in done.err
    assert (tmp_path / "mine.png").read_bytes() == before
