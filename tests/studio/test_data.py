"""Looking through a set, correcting its labels, and training on what was corrected."""

import csv
import io
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.studio.conftest import Running, running
from tests.studio.test_collected import files, picture

import firstlight as fl
from firstlight.data.decode import ANY
from firstlight.data.fixes import Fixes, read_fixes
from firstlight.errors import UserError
from firstlight.serve.access import Access
from firstlight.studio.checking import Check
from firstlight.studio.fix_list import FixList, fixes_of
from firstlight.studio.opened import OpenedSets
from firstlight.studio.sets import available
from firstlight.studio.training import Shown, _new
from firstlight.studio.workshop import Workshop

AT = "/api/studio/data"
PETS = "pictures/pets"


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for waits, and a check is made in this process."""
    monkeypatch.setattr("firstlight.studio.studio.Studio.work", lambda _: None)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Four cats and three dogs; the last dog is the first cat once more."""
    for label, seeds in (("cat", range(4)), ("dog", (4, 5, 0))):
        folder = tmp_path / PETS / label
        folder.mkdir(parents=True)
        for at, seed in enumerate(seeds):
            (folder / f"{at}.png").write_bytes(picture(seed))
    return tmp_path / PETS


def shades(folder: Path) -> None:
    """Dark and light pictures, of which one of each is in the other's folder."""
    rng = np.random.default_rng(0)
    for label, at in ((label, at) for label in ("dark", "light") for at in range(16)):
        is_light = (label == "light") != (at == 5)
        image = rng.integers(120, 256, (8, 8, 3), dtype=np.uint8) // (1 if is_light else 4)
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{at}.png")


def fix(client: httpx.Client, **values: Any) -> httpx.Response:
    return client.post(f"{AT}/fix", json={"set": PETS, **values})


def names(client: httpx.Client, **filters: Any) -> list[str]:
    found = client.get(f"{AT}/pictures", params={"set": PETS, **filters}).json()
    return [one["name"] for one in found["pictures"]]


def test_a_set_is_looked_through_by_class_name_and_correction(studio: Running, pets: Path) -> None:
    before = files(pets)
    with studio.client() as client:
        found = client.get(AT, params={"set": PETS}).json()
        assert found["classes"] == [{"name": "cat", "images": 4}, {"name": "dog", "images": 3}]
        assert names(client, **{"class": "dog"}) == ["dog/0.png", "dog/1.png", "dog/2.png"]
        assert names(client, text="T/1") == ["cat/1.png"]
        assert names(client, page=1, count=5) == ["dog/1.png", "dog/2.png"]
        moved = fix(client, pictures=["dog/2.png"], label="cat", reason="=a cat")
        assert moved.status_code == 200, moved.text
        done = fix(client, pictures=["cat/3.png", "dog/0.png"], label="").json()
        assert done["fixes"] == {"file": f"fixes/{PETS}.csv", "left_out": 2, "moved": 1}
        assert names(client, only="fixed") == ["cat/3.png", "dog/0.png", "dog/2.png"]
        assert fix(client, pictures=["cat/3.png"], label=None).json()["fixes"]["left_out"] == 1
        rows = client.get(f"{AT}/pictures", params={"set": PETS, "only": "fixed"}).json()
        assert [(one["class"], one["fix"]) for one in rows["pictures"]] == [
            ("dog", ""),
            ("dog", "cat"),
        ]
        small = client.get(f"{AT}/picture", params={"set": PETS, "name": "cat/1.png"})
        with Image.open(io.BytesIO(small.content)) as opened:
            assert opened.size == (32, 32)
    # The originals are as they were, and a spreadsheet runs nothing.
    assert files(pets) == before
    file = studio.folder / "fixes" / f"{PETS}.csv"
    with file.open(newline="") as lines:
        assert list(csv.reader(lines)) == [
            ["path", "label", "reason"],
            ["dog/0.png", "", ""],
            ["dog/2.png", "cat", "'=a cat"],
        ]
    assert read_fixes(file) == Fixes(left_out=("dog/0.png",), relabelled={"dog/2.png": "cat"})


def test_a_correction_that_does_not_fit_is_refused(studio: Running, pets: Path) -> None:
    del pets
    many = [f"cat/{at}.png" for at in range(4)]
    with studio.client() as client:
        for status, values in (
            (422, {"pictures": ["../pets/cat/0.png"], "label": ""}),
            (422, {"pictures": ["cat/9.png"], "label": ""}),
            (422, {"pictures": many, "label": ""}),
            (422, {"pictures": ["cat/0.png"], "label": "bird"}),
            (422, {"pictures": ["cat/0.png"], "label": 3}),
            (422, {"pictures": "cat/0.png", "label": ""}),
            (422, {"pictures": [], "label": ""}),
            (422, {"found": "copies", "label": ""}),
            (422, {"set": "digits", "pictures": ["train/0"], "label": ""}),
            (404, {"set": "../x", "pictures": ["a"], "label": ""}),
            (404, {"set": "/etc", "pictures": ["a"], "label": ""}),
        ):
            assert fix(client, **values).status_code == status, values
        for word in ("..", "/etc", "runs", "https://example.com/a.zip", "hf:a/b"):
            assert client.get(AT, params={"set": word}).status_code == 404, word
        missing = {"set": PETS, "name": "../../secret.png"}
        assert client.get(f"{AT}/picture", params=missing).status_code == 404
    assert not (studio.folder / "fixes").exists()


def test_a_named_set_shows_the_pixels_of_its_images(studio: Running) -> None:
    digits = fl.load("digits")
    with studio.client() as client:
        while (found := client.get(AT, params={"set": "digits"}).json())["opening"]:
            pass
        assert sum(one["images"] for one in found["classes"]) == 1797
        assert not found["own"]
        params: dict[str, Any] = {"set": "digits", "class": "7", "text": "test/", "count": 1}
        (one,) = client.get(f"{AT}/pictures", params=params).json()["pictures"]
        png = client.get(f"{AT}/picture", params={"set": "digits", "name": one["name"]}).content
    at = int(one["name"].partition("/")[2])
    assert digits.test.label_of(at) == "7"
    with Image.open(io.BytesIO(png)) as opened:
        np.testing.assert_array_equal(np.asarray(opened), digits.test.images_NHWC[at, ..., 0])


def asked_for_strip(client: httpx.Client, word: str) -> httpx.Response:
    """The answer once the strip is made."""
    while (answer := client.get(f"{AT}/strip", params={"set": word})).status_code == 503:
        assert answer.headers["retry-after"] == "1"
    return answer


def strip(client: httpx.Client, word: str) -> list[np.ndarray]:
    """The pictures of a strip."""
    answer = asked_for_strip(client, word)
    assert answer.headers["content-type"] == "image/png", answer.text
    with Image.open(io.BytesIO(answer.content)) as opened:
        sheet = np.asarray(opened)
    side = sheet.shape[0]
    assert sheet.shape == (side, 8 * side, 3)
    return [sheet[:, at * side : (at + 1) * side] for at in range(8)]


def test_a_strip_shows_some_pictures_of_as_many_classes_as_possible(
    studio: Running, tmp_path: Path
) -> None:
    shade = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
    for label, number in (("red", 1), ("green", 2), ("blue", 4)):
        folder = tmp_path / "pictures/paint" / label
        folder.mkdir(parents=True)
        for at in range(number):
            Image.new("RGB", (300, 200), shade[label]).save(folder / f"{at}.png")
    (tmp_path / "pictures/paint/blue/0.png").write_bytes(b"\x89PNG damaged")
    with studio.client() as client:
        tiles = strip(client, "pictures/paint")
        means = [tile.mean((0, 1)).round(-1).astype(int).tolist() for tile in tiles]
        wanted = ["green", "red", "blue", "green", "blue", "blue"]  # the damaged one is passed over
        assert means == [*(list(shade[label]) for label in wanted), [0] * 3, [0] * 3]
        # A picture more is seen at once.
        Image.new("RGB", (9, 9), shade["red"]).save(tmp_path / "pictures/paint/red/1.png")
        assert strip(client, "pictures/paint")[4].mean((0, 1)).argmax() == 0

        train = fl.load("digits").train
        first = [int(np.flatnonzero(train.labels_N == label)[0]) for label in (0, 1, 3, 4)]
        for tile, at in zip(strip(client, "digits"), first, strict=False):
            assert np.array_equal(tile, np.broadcast_to(train.images_NHWC[at], (8, 8, 3)))


def test_a_set_without_a_readable_picture_has_no_strip(studio: Running, pets: Path) -> None:
    for file in pets.rglob("*.png"):
        file.write_bytes(b"no picture")
    with studio.client() as client:
        answer = asked_for_strip(client, PETS)
    assert answer.status_code == 422
    assert "no picture can be read" in answer.text


def test_what_is_added_or_removed_meanwhile_is_seen(pets: Path, tmp_path: Path) -> None:
    (pets / "bird").mkdir()  # a class without a picture yet
    sets = OpenedSets(Workshop(tmp_path), None)
    assert [one["images"] for one in available(Workshop(tmp_path), None) if not one["named"]] == [7]
    while (first := sets.find(PETS)) is None:
        pass
    assert sets.find(PETS) is first  # it is kept
    assert first.image("dog/2.png", ANY)[1] == "image/jpeg"
    (pets / "dog" / "2.png").unlink()
    (pets / "bird" / "0.png").write_bytes(picture(7))
    (pets / "bird" / "1.png").write_bytes(picture(8))
    assert [one["images"] for one in available(Workshop(tmp_path), None) if not one["named"]] == [8]
    while (second := sets.find(PETS)) is None:
        pass
    assert second.class_names == ("bird", "cat", "dog")
    assert "dog/2.png" not in second.names


def test_a_check_says_what_is_wrong_and_what_it_suggests_can_be_left_out(
    studio: Running, pets: Path
) -> None:
    Check(Workshop(studio.folder), PETS).run()
    with studio.client() as client:
        check = client.get(AT, params={"set": PETS}).json()["check"]
        assert (check["done"], check["running"], check["changed"]) == (True, False, False)
        (twice,) = [one for one in check["findings"] if one["kind"] == "two classes"]
        assert twice["severe"]
        assert names(client, only="two classes") == ["cat/0.png", "dog/2.png"]
        assert twice["leave_out"] > 0
        done = fix(client, found="two classes", label="", reason="two classes").json()
        assert done["fixes"]["left_out"] == twice["leave_out"]
        assert set(names(client, only="fixed")) <= {"cat/0.png", "dog/2.png"}
        (pets / "cat" / "9.png").write_bytes(picture(9))
        assert client.get(AT, params={"set": PETS}).json()["check"]["changed"]


def test_wrong_labels_are_found_on_request_and_a_class_is_suggested(
    studio: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firstlight.verbs.choose.SEEN", 400)
    shades(studio.folder / "pictures" / "shades")
    word = "pictures/shades"
    check = Check(Workshop(studio.folder), word)
    with studio.client() as client:
        check.run(labels=True)
        found = client.get(AT, params={"set": word}).json()["check"]
        assert found["labels"] and found["done"] and not found["failed"]
        (doubtful,) = [one for one in found["findings"] if one["kind"] == "doubtful label"]
        assert (doubtful["pictures"], doubtful["leave_out"]) == (2, 0)
        only = client.get(f"{AT}/pictures", params={"set": word, "only": "doubtful label"}).json()
        told = {(one["name"], one["class"], one["suggested"]) for one in only["pictures"]}
        assert told == {("dark/5.png", "dark", "light"), ("light/5.png", "light", "dark")}
        wrong = client.post(f"{AT}/check", json={"set": word, "labels": "yes"})
        assert wrong.status_code == 422 and "true or false" in wrong.text


def test_a_set_of_one_class_so_far_is_checked_but_its_labels_cannot_be(
    studio: Running, pets: Path
) -> None:
    shutil.rmtree(pets / "dog")
    check = Check(Workshop(studio.folder), PETS)
    check.run()
    assert not check.failure and "few" in [one["kind"] for one in check.found["findings"]]
    check.run(labels=True)
    assert "at least two classes" in check.failure


def test_labels_that_cannot_be_judged_say_what_is_missing(
    studio: Running, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    check = Check(Workshop(studio.folder), PETS)
    check.run(labels=True)
    assert "needs cleanlab" in check.failure and "pip install" in check.failure


def test_a_folder_that_cannot_be_checked_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check = Check(Workshop(tmp_path), "empty")
    check.run()
    assert "wanted a folder for each class" in check.failure
    assert check.found == {}


def test_a_training_uses_the_corrections_and_rows_that_do_not_fit_any_more_are_dropped(
    studio: Running, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with studio.client() as client:
        fix(client, pictures=["dog/2.png"], label="cat")
        fix(client, pictures=["cat/1.png", "cat/2.png"], label="")
        (pets / "cat" / "2.png").unlink()
        renamed = {"set": "pets", "class": "cat", "to": "lynx"}
        assert client.post("/api/studio/collected/rename", json=renamed).status_code == 200
        given = {"data": PETS, "start": "none", "fixes": "/etc/passwd"}
        added = client.post("/api/studio/trainings", json=given)
        assert added.status_code == 200, added.text
    (training,) = studio.queue.all()
    assert training.wanted.fixes == f"fixes/{PETS}.csv"
    asked = list[Fixes]()

    def planned(request: Any, *_: object) -> None:
        asked.append(request.fixes)

    monkeypatch.chdir(studio.folder)
    monkeypatch.setattr("firstlight.verbs.contest.train", planned)
    _new(training.wanted, Shown(training), training.run.path)
    assert asked == [Fixes(left_out=("lynx/1.png",), relabelled={"dog/2.png": "lynx"})]


def test_corrections_to_a_folder_are_not_those_of_the_set_with_its_name(
    studio: Running, pets: Path
) -> None:
    pets.rename(studio.folder / "digits")
    with studio.client() as client:
        values = {"pictures": ["cat/0.png"], "label": ""}
        assert fix(client, **values, set="digits").status_code == 422
        assert fix(client, **values, set="./digits").status_code == 200
        for word in ("digits", "./digits"):
            client.post("/api/studio/trainings", json={"data": word})
    wanted = {one.wanted.data: one.wanted.fixes for one in studio.queue.all()}
    assert wanted["digits"] == ""
    assert Path(wanted["./digits"]) == Path("fixes/digits.csv")


def test_without_corrections_there_is_no_list(pets: Path, tmp_path: Path) -> None:
    del pets
    shop = Workshop(tmp_path)
    assert fixes_of(shop, PETS) == ""
    found = FixList(shop, PETS)
    found.rename_class("cat", "lynx")
    assert not found.path.exists()
    found.path.parent.mkdir(parents=True)
    found.path.write_text("name,label\n")
    with pytest.raises(UserError, match="wanted a column path"):
        fixes_of(shop, PETS)
    found.path.write_text("path,label\ncat/77.png,\n")
    assert fixes_of(shop, PETS) == ""


def test_with_a_look_only_token_nothing_is_corrected_or_checked(tmp_path: Path, pets: Path) -> None:
    del pets
    access = Access(token="the-first-person", look_only="the-second-person")
    with (
        running(tmp_path, access) as studio,
        studio.client(Authorization="Bearer the-second-person") as other,
    ):
        assert other.get(AT, params={"set": PETS}).status_code == 200
        assert names(other)
        assert fix(other, pictures=["cat/0.png"], label="").status_code == 403
        assert other.post(f"{AT}/check", json={"set": PETS}).status_code == 403
    assert not (tmp_path / "fixes").exists()
    assert not (tmp_path / "checks").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
