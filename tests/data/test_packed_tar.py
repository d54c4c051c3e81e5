"""Tars of class folders, packed with gzip or bzip2: read like the folder, refused if hostile."""

import gzip
import io
import tarfile
from pathlib import Path

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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create the layout of Imagenette: parts, classes, JPEG; and a table, which is not a
    picture."""
    rng = np.random.default_rng(0)
    for at in range(40):
        place = tmp_path / "set" / ("train" if at < 30 else "val") / ("n01", "n02")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(place / f"{at}.JPEG")
    (tmp_path / "set" / "noisy.csv").write_text("path,label")
    return tmp_path / "set"


def packed(file: Path, folder: Path, *more: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(file, "w:bz2" if "bz2" in file.name else "w:gz") as out:
        out.add(folder, folder.name)
        for about, content in more:
            about.size = len(content)
            out.addfile(about, io.BytesIO(content))
    return file


@pytest.mark.parametrize("name", ["set.tgz", "set.tar.gz", "set.tar.bz2", "SET.TBZ2"])
def test_a_packed_tar_is_taken_like_the_folder_in_it(
    tmp_path: Path, folder: Path, name: str
) -> None:
    found = load_own(packed(tmp_path / name, folder))
    plain = load_own(folder)
    assert (found.train, found.test) == (plain.train, plain.test)
    assert (found.train.held_out_N is None) == (plain.train.held_out_N is None)
    assert found.train.name.lower() == "set/train"
    assert f"{name}: 1 file left out: not pictures" in found.train.warnings


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, to
    return about


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (member("../evil.png"), "points outside the archive"),
        (member("/evil.png"), "points outside the archive"),
        (member("set/train/n01/0.JPEG"), "is in it more than once"),
        (member("set/train/n01/l.png", tarfile.SYMTYPE, "/etc/passwd"), "is not a regular file"),
        (member("set/train/n01/l.png", tarfile.LNKTYPE, "set/noisy.csv"), "is not a regular file"),
        (member("set/train/n01/l.png", tarfile.CHRTYPE), "is not a regular file"),
    ],
)
def test_hostile_members_are_refused_and_nothing_is_left(
    tmp_path: Path, folder: Path, cache: Path, about: tarfile.TarInfo, message: str
) -> None:
    file = packed(tmp_path / "set.tgz", folder, (about, b""))
    with pytest.raises(DataError, match=message):
        load_own(file)
    assert list((cache / "archives").iterdir()) == []
    assert not list(tmp_path.rglob("evil.png"))


def test_bombs_are_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 3_000_000)
    for name in ("set/train/n01/bomb.png", "set/bomb.txt"):  # also files that are not pictures
        file = packed(tmp_path / "set.tgz", folder, (member(name), bytes(20_000_000)))
        monkeypatch.setattr(archive, "MOST_TIMES", 1)
        with pytest.raises(DataError, match=r"unpacks to more than"):
            load_own(file)
    # A name of many megabytes is not read into memory.
    header = tarfile.TarInfo("name")
    header.type, header.size = tarfile.XHDTYPE, 40 << 20
    blob = header.tobuf(tarfile.USTAR_FORMAT) + bytes(40 << 20)
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 30)
    (tmp_path / "long.tgz").write_bytes(gzip.compress(blob, 1))
    with pytest.raises(DataError, match=r"the archive is damaged: a header of 41,943,040 bytes"):
        load_own(tmp_path / "long.tgz")


def test_damaged_ones_are_told(tmp_path: Path, folder: Path) -> None:
    file = packed(tmp_path / "set.tgz", folder)
    whole = file.read_bytes()
    for blob in (
        whole[: len(whole) // 2],
        whole[:-4],
        whole[:5000] + b"\xff" * 20 + whole[5020:],
        gzip.compress(gzip.decompress(whole)[: 512 * 40]),
        whole[:20],
    ):
        file.write_bytes(blob)
        with pytest.raises(DataError, match="the archive is damaged"):
            load_own(file)
