"""ZIP archives of folders: read like the folder, and refused if they are hostile."""

import io
import stat
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import firstlight.data.archive as archive
import firstlight.data.own as own
from firstlight.data.own import load_own
from firstlight.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (own, archive):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def packed(file: Path, **more: bytes) -> Path:
    """Write twenty pictures in each of two classes, and more files."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for seed in range(40):
            out.writestr(f"set/{('cat', 'dog')[seed % 2]}/{seed}.png", picture(seed))
        for name, content in more.items():
            out.writestr(name, content)
    return file


def test_an_archive_is_taken_like_the_folder_in_it(tmp_path: Path) -> None:
    file = packed(
        tmp_path / "set.zip", **{"__MACOSX/set/cat/._1.png": b"x", "set/readme.txt": b"x"}
    )
    with zipfile.ZipFile(file) as whole:
        whole.extractall(tmp_path / "plain")
    (tmp_path / "plain" / "set" / "readme.txt").unlink()
    from_archive, from_folder = load_own(file), load_own(tmp_path / "plain")
    assert from_archive.train == from_folder.train
    assert from_archive.test == from_folder.test
    assert from_archive.train.name == "set/train"
    assert "set.zip: 1 file left out: not pictures" in from_archive.train.warnings


def test_it_is_unpacked_once_and_anew_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = packed(tmp_path / "set.zip")
    first = load_own(file)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_unpack", lambda *_: pytest.fail("unpacked again"))
        assert load_own(file).train == first.train
    packed(file, **{"set/cat/more.png": picture(99)})
    assert len(load_own(file).train) + len(load_own(file).test) == 41


def test_nothing_is_left_of_an_archive_that_is_refused(tmp_path: Path, cache: Path) -> None:
    file = packed(tmp_path / "set.zip", **{"../evil.png": picture(1)})
    with pytest.raises(DataError, match="points outside the archive"):
        load_own(file)
    assert not list(tmp_path.rglob("evil.png"))
    assert [path.name for path in (cache / "archives").iterdir()] == []


@pytest.mark.parametrize(
    "name",
    ["/etc/evil.png", "set/../../evil.png", "C:/evil.png", "..\\evil.png", "a\\..\\..\\e.png"],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    file = packed(tmp_path / "set.zip", **{name: picture(1)})
    with pytest.raises(DataError, match="points outside the archive"):
        load_own(file)


def test_links_are_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "set.zip")
    link = zipfile.ZipInfo("set/cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"link\.png is not a regular file"):
        load_own(file)


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 200_000)
    monkeypatch.setattr(archive, "MOST_TIMES", 2)
    file = packed(tmp_path / "set.zip", **{"set/cat/bomb.png": bytes(1_000_000)})
    with pytest.raises(DataError, match=r"unpacks to more than 200,000 bytes"):
        load_own(file)
    blob = file.read_bytes()  # claims to be small, in the directory and at the file
    file.write_bytes(blob.replace((1_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"damaged|unpacks to more than"):
        load_own(file)


def test_damaged_encrypted_doubled_and_empty_archives_are_told(tmp_path: Path) -> None:
    file = packed(tmp_path / "set.zip")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="the archive is damaged"):
        load_own(file)
    at = whole.index(b"IDAT", 200)
    file.write_bytes(whole[:at] + bytes(50) + whole[at + 50 :])
    with pytest.raises(DataError, match="the archive is damaged"):
        load_own(file)
    encrypted = bytearray(whole)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[whole.index(mark) + place] |= 1
    file.write_bytes(encrypted)
    with pytest.raises(DataError, match="is encrypted"):
        load_own(file)
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed(file, **{"set/cat/0.png": picture(5)})
    with pytest.raises(DataError, match=r"set/cat/0\.png is in it more than once"):
        load_own(file)
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("train.csv", "path,label")
    with pytest.raises(DataError, match=r"set\.zip: wanted a folder for each class .* got nothing"):
        load_own(file)


def test_a_workbook_is_no_archive_of_pictures(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "table.xlsx", "w") as out:
        out.writestr("[Content_Types].xml", "x")
    with pytest.raises(DataError, match="an archive or a workbook"):
        load_own(tmp_path / "table.xlsx")


def test_one_huge_file_is_refused_as_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_OF_ONE", 50_000)
    file = packed(tmp_path / "set.zip", **{"set/cat/huge.png": bytes(60_000)})
    with pytest.raises(DataError, match=r"unpacks to more than 50,000 bytes \(60,000\)"):
        load_own(file)


@pytest.mark.skipif(sys.platform != "linux", reason="other disks take them for one themselves")
def test_classes_that_a_disk_takes_for_one_are_refused_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = packed(tmp_path / "set.zip", **{"set/Cat/a.png": picture(50)})
    assert load_own(file).train.class_names == ("Cat", "cat", "dog")  # Linux distinguishes them
    monkeypatch.setattr(archive, "_folds_case", lambda _: True)
    other = packed(tmp_path / "other.zip", **{"set/Cat/a.png": picture(51)})
    with pytest.raises(DataError, match="'set/cat' and 'set/Cat' are the same name on this disk"):
        load_own(other)


@pytest.mark.parametrize("name", ["aux", "Con.old", "a:b", "what?", "cat.", "cat ", 'a"b'])
def test_a_name_that_windows_does_not_know_is_told_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archive, "sys", SimpleNamespace(platform="win32"))
    file = packed(tmp_path / "set.zip", **{f"set/{name}/a.png": picture(50)})
    with pytest.raises(DataError, match="which is not a valid file name on Windows") as told:
        load_own(file)
    assert repr(name) in str(told.value)


def test_ordinary_names_are_taken_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "sys", SimpleNamespace(platform="win32"))
    file = packed(tmp_path / "set.zip", **{"set/auxiliary.a/é 1.png": picture(50)})
    assert "auxiliary.a" in load_own(file).train.class_names
