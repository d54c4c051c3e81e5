"""Pictures that are collected in the page: what is written where, and what is refused."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.studio.conftest import Running, running

from firstlight.data.decode import ANY
from firstlight.data.folder import list_folder
from firstlight.errors import DataError, UserError
from firstlight.serve.access import Access
from firstlight.serve.limits import RefusedError
from firstlight.studio import collected
from firstlight.studio.collected import Collected

AT = "/api/studio/collected"


def picture(seed: int = 0, kind: str = "PNG", side: int = 32) -> bytes:
    pixels_HWC = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels_HWC).save(stream, kind)
    return stream.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    found = sorted(at for at in folder.rglob("*") if at.is_file())
    return {at.relative_to(folder).as_posix(): at.read_bytes() for at in found}


def add(client: httpx.Client, content: bytes, label: str = "cat", name: str = "pets") -> Any:
    return client.post(f"{AT}/picture", params={"set": name, "class": label}, content=content)


@pytest.fixture
def sets(tmp_path: Path) -> Collected:
    found = Collected(tmp_path / "pictures", ANY)
    found.add_class("pets", "cat")
    return found


def test_a_set_is_collected_renamed_and_found_again(studio: Running) -> None:
    content = [picture(0), picture(1, "JPEG"), picture(2, "WEBP")]
    with studio.client() as client:
        assert client.get(AT).json() == {"sets": [], "most": 5000}
        for label in ("cat", " dog\u0301 "):  # a word that is composed, and space around it
            made = client.post(f"{AT}/class", json={"set": "pets", "class": label})
            assert made.status_code == 200, made.text
        assert made.json() == {"class": "do\u01f5"}
        names = [add(client, one).json()["picture"] for one in content]
        assert add(client, content[0]).json() == {"picture": names[0], "new": False}
    # They are a set that trains, in whole files.
    folder = studio.folder / "pictures"
    written = files(folder)
    assert [written[f"pets/cat/{name}"] for name in names[:2]] == content[:2]
    with Image.open(folder / "pets/cat" / names[2]) as opened:
        assert opened.format == "PNG"
    assert len(written) == 3
    with running(studio.folder) as again, again.client() as client:
        found = client.get(f"{AT}/set", params={"set": "pets"}).json()
        assert [(one["name"], len(one["pictures"])) for one in found["classes"]] == [
            ("cat", 3),
            ("do\u01f5", 0),
        ]
        assert sorted(found["classes"][0]["pictures"]) == sorted(names)
        values = {"set": "pets", "class": "cat", "to": "CON chat"}
        assert client.post(f"{AT}/rename", json=values).json() == {"class": "CON chat"}
        asked = {"set": "pets", "class": "CON chat", "picture": names[0]}
        small = client.get(f"{AT}/small", params=asked)
        with Image.open(io.BytesIO(small.content)) as opened:
            assert (opened.format, opened.size) == ("JPEG", (32, 32))
        assert client.post(f"{AT}/remove", json=asked).status_code == 200
        assert client.get(f"{AT}/small", params=asked).status_code == 404
        assert [one.name for one in list_folder(folder / "pets", least=1).pictures] == sorted(
            f"CON chat/{name}" for name in names[1:]
        )
        for label in ("CON chat", "do\u01f5"):
            client.post(f"{AT}/remove", json={"set": "pets", "class": label})
        assert client.get(AT).json()["sets"] == []
        assert list(folder.iterdir()) == []


HOSTILE = [
    *("", " ", "..", ".", "../../cat", "/etc", "a/b", "a\\b", "C:cat", ".hidden", "cat.", "a\0b"),
    *("CON", "nul.png", "Lpt1", "a?b", "a*b", "line\nbreak", "\u202etac", "\u200b", "x" * 61),
    *("train", "Test", "validation", "Thumbs.db", "\udc80"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_folder_everywhere_is_refused(sets: Collected, name: str) -> None:
    before = sorted(sets._place.rglob("*"))
    calls: list[Callable[[], object]] = [
        lambda: sets.add_class(name, "dog"),
        lambda: sets.add_class("pets", name),
        lambda: sets.rename_class("pets", "cat", name),
    ]
    for call in calls:
        with pytest.raises(UserError, match=r"the (set|class): "):
            call()
    assert sorted(sets._place.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["猫", "été 2", "it's", "-rf", "=1+1", "a.b", "🐈", "%2e%2e", "con1"]
)
def test_odd_names_stay_what_they_are(sets: Collected, name: str) -> None:
    assert sets.add_class(name, name) == name
    file, new = sets.add(name, name, picture())
    assert new
    assert sets.described(name)["classes"] == [{"name": name, "pictures": [file]}]
    assert (sets._place / name / name / file).read_bytes() == picture()


def test_no_route_reaches_outside_the_sets(studio: Running) -> None:
    beside = studio.folder / "runs" / "a.png"
    (studio.folder / "pictures" / "pets" / "cat").mkdir(parents=True)
    beside.parent.mkdir()
    for file in (beside, studio.folder / "pictures" / "pets" / "cat" / "a.png"):
        file.write_bytes(picture())
    before = files(studio.folder)
    with studio.client() as client:
        for name in ("..", "../..", "pets/cat", "/etc", "pets\0", "../pictures/pets"):
            for values in (
                {"set": name, "class": "cat", "picture": "a.png", "to": "dog"},
                {"set": "pets", "class": name, "picture": "a.png", "to": "dog"},
                {"set": "pets", "class": "cat", "picture": f"{name}/a.png", "to": name},
            ):
                for route in ("rename", "remove"):
                    found = client.post(f"{AT}/{route}", json=values)
                    assert found.status_code in (404, 422), found.text
                assert client.get(f"{AT}/small", params=values).status_code == 404
                asked = {"set": name, "class": "cat"}, {"set": "pets", "class": name}
                for one in asked:
                    assert client.post(f"{AT}/class", json=one).status_code == 422
                    assert add(client, picture(), one["class"], one["set"]).status_code == 404
    assert files(studio.folder) == before


def test_what_does_not_decode_is_not_written(studio: Running) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    with studio.client() as client:
        client.post(f"{AT}/class", json={"set": "pets", "class": "cat"})
        for content in (b"", b"no picture", picture()[:200], svg, b"PK\3\4"):
            found = add(client, content)
            assert found.status_code == 422
            assert "the picture" in found.json()["error"]
        huge = picture(side=1) + bytes(16 * 1024**2)
        assert add(client, huge).status_code == 413
    assert files(studio.folder / "pictures") == {}


def test_a_set_has_an_end(sets: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    sets.add_class("pets", "dog")
    monkeypatch.setattr(collected, "MOST_PICTURES", 2)
    for label, seed in (("cat", 0), ("dog", 1)):
        sets.add("pets", label, picture(seed))
    with pytest.raises(UserError, match="2 pictures, as many"):
        sets.add("pets", "cat", picture(2))
    monkeypatch.setattr(collected, "MOST_PICTURES", 5000)
    monkeypatch.setattr(collected, "MOST_BYTES", 3 * len(picture()) - 1)
    with pytest.raises(UserError, match="as much as a set"):
        sets.add("pets", "cat", picture(2))
    for name, most in (("MOST_CLASSES", 2), ("MOST_SETS", 1)):
        monkeypatch.setattr(collected, name, most)
        with pytest.raises(UserError, match=f"there are {most}"):
            sets.add_class("pets" if name == "MOST_CLASSES" else "more", "bird")
    assert len(files(sets._place)) == 2


def test_names_that_some_system_takes_for_one_are_refused(sets: Collected) -> None:
    for name, label in (("pets", "Cat"), ("PETS", "dog")):
        with pytest.raises(UserError, match="already"):
            sets.add_class(name, label)
    assert sets.rename_class("pets", "cat", "Cat") == "Cat"


def test_what_lies_elsewhere_or_has_parts_is_no_set_that_grows_here(
    sets: Collected, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere" / "cat").mkdir(parents=True)
    for link in ("link", "pets/link"):
        (tmp_path / "pictures" / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures" / "parts" / "train" / "cat").mkdir(parents=True)
    assert sets.sets() == ["pets"]
    assert [one["name"] for one in sets.described("pets")["classes"]] == ["cat"]
    for name, label in (("link", "cat"), ("pets", "link"), ("parts", "train")):
        with pytest.raises(RefusedError):
            sets.add(name, label, picture())
    assert files(tmp_path) == {}


def test_a_full_disk_is_said_and_leaves_no_part(
    sets: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("firstlight.files.put_in_place", full)
    with pytest.raises(DataError, match="No space left"):
        sets.add("pets", "cat", picture())
    assert files(sets._place) == {}


def test_with_a_look_only_token_nothing_is_collected(tmp_path: Path) -> None:
    access = Access(token="the-first-person", look_only="the-second-person")
    first, second = ({"Authorization": f"Bearer the-{who}-person"} for who in ("first", "second"))
    posts: list[Callable[[httpx.Client], httpx.Response]] = [
        lambda client: client.post(f"{AT}/class", json={"set": "pets", "class": "cat"}),
        lambda client: add(client, picture()),
        lambda client: client.post(
            f"{AT}/rename", json={"set": "pets", "class": "cat", "to": "dog"}
        ),
        lambda client: client.post(f"{AT}/remove", json={"set": "pets", "class": "dog"}),
    ]
    with (
        running(tmp_path, access) as studio,
        studio.client(**first) as owner,
        studio.client(**second) as other,
    ):
        for post in posts:
            assert post(other).status_code == 403
            assert other.get(f"{AT}/set", params={"set": "pets"}).status_code == 200
            assert post(owner).status_code == 200
    allowed = replace(access, all_may_change=True)
    with running(tmp_path, allowed) as studio, studio.client(**second) as other:
        assert posts[0](other).status_code == 200
