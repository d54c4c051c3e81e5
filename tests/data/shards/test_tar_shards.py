"""Tar shards are indexed as WebDataset reads them, and never unpacked."""

import gc
import gzip
import io
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.shards.kit import picture, samples, write_shards, write_tar

import firstlight as fl
from firstlight.data.fixes import Fixes
from firstlight.data.own import load_own
from firstlight.data.shards import load as shards_load
from firstlight.data.shards.files import expanded, find_shards, names_shards
from firstlight.data.shards.set import open_shards
from firstlight.errors import DataError, UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every data set as a large one."""
    monkeypatch.setattr(shards_load, "MOST_LOOKED_THROUGH", 0)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.filterwarnings("ignore")  # WebDataset leaves files open
def test_what_webdataset_writes_and_reads_is_read_here(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "set" / "images-%06d.tar")
    (tmp_path / "set").mkdir()
    with wds.ShardWriter(pattern, maxcount=4, verbose=0) as out:
        for n in range(10):
            image_HWC = pixels(picture(n))
            out.write(
                {"__key__": f"a/{n:03d}", "png": image_HWC, "json": {"label": f"class {n % 3}"}}
            )
    shards = open_shards(find_shards(tmp_path / "set" / "images-{000000..000002}.tar"))
    wanted = wds.WebDataset(
        str(tmp_path / "set" / "images-{000000..000002}.tar"), shardshuffle=False
    )
    found = zip(shards.names(np.arange(len(shards))), shards.labels_N, strict=True)
    for row, (sample, (name, label)) in enumerate(zip(wanted, found, strict=True)):
        assert shards.image(row).read_bytes() == sample["png"]
        assert name.endswith(f".tar/{sample['__key__']}")
        assert shards.class_names[label] == json.loads(sample["json"])["label"]
    del wanted, sample
    gc.collect()


def test_small_sets_are_the_pictures_that_a_folder_would_be(tmp_path: Path) -> None:
    """Same pixels, labels, and split as the same files in folders."""
    shards = write_shards(tmp_path / "shards", 60, 16)
    folder = tmp_path / "folder"
    for n in range(60):
        path = folder / str(n % 2) / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))
    for one, other in zip(fl.load(shards), fl.load(folder), strict=True):
        assert one.class_names == other.class_names == ("0", "1")
        assert one.pictures == other.pictures
        order, order_of_folder = one.content_order, other.content_order
        assert (one.labels_N[order] == other.labels_N[order_of_folder]).all()


def test_large_sets_stay_encoded_and_give_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "set", 40, 7)
    streamed(monkeypatch)
    train, test = fl.load(folder)
    assert train.shards is not None
    assert len(train) + len(test) == 40
    assert len(test) == 6  # 15 % of each class
    for part in (train, test):
        names = part.images_NHWC.names()  # type: ignore[attr-defined]
        for image_HWC, label, name in zip(part.images_NHWC[:], part.labels_N, names, strict=True):
            number = int(name.rpartition("/")[2])
            assert (image_HWC == pixels(picture(number))).all()
            assert label == number % 2


def test_the_split_goes_by_the_files_whatever_shards_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed(monkeypatch)
    first = fl.load(write_shards(tmp_path / "a", 60, 7)).test
    members = samples(range(60))
    swapped = [one for n in range(59, -1, -1) for one in members[2 * n : 2 * n + 2]]
    second = fl.load(write_tar(tmp_path / "b.tar", swapped)).test

    def keys(part: fl.Dataset) -> set[str]:
        assert part.names is not None
        return {name.rpartition("/")[2] for name in part.names}

    assert keys(first) == keys(second)
    assert first.fingerprint != second.fingerprint  # their order in the file differs


def test_identical_files_are_held_out_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed(monkeypatch)
    members = samples(range(40))
    twice = [(f"copy{name}", content) for name, content in members]
    train, test = fl.load(write_tar(tmp_path / "a.tar", [*members, *twice]))
    assert test.names is not None
    numbers = sorted(re.sub(r".*/(copy)?", "", name) for name in test.names)
    assert numbers[::2] == numbers[1::2]
    assert len(train) + len(test) == 80


def test_class_names_come_from_a_file_beside_the_shards(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", 20, 10)
    (folder / "classes.txt").write_text("column\nrow\n")
    assert fl.load(folder).train.class_names == ("column", "row")
    (folder / "classes.txt").write_text("column\n")
    with pytest.raises(
        DataError, match=r"images-000000\.tar: the label 1 is not one of the 1 classes"
    ):
        fl.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("classes.json", '["a", "b", "a"]', "the class name 'a' is used for more than one class"),
        ("classes.txt", "a\nb\na \n", "the class name 'a' is used for more than one class"),
        ("classes.txt", "a\n\nb\n\n", "the name of one class in each line, but line 2 is empty"),
        ("classes.json", '"ab"', "class names must be a list of texts, not 'ab'"),
        ("classes.json", '{"names": ["a", 1]}', "class names must be a list of texts"),
    ],
)
def test_a_damaged_file_of_class_names_is_told_by_its_form(
    name: str, content: str, why: str, tmp_path: Path
) -> None:
    folder = write_shards(tmp_path / "set", 20, 20)
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}: .*{why}"):
        fl.load(folder)


def test_labels_that_are_names_find_their_class_without_spaces(tmp_path: Path) -> None:
    members = [
        one
        for n in range(20)
        for one in ((f"{n:03d}.png", picture(n)), (f"{n:03d}.cls", (b"row", b"column")[n % 2]))
    ]
    write_tar(tmp_path / "set" / "images-0.tar", members)
    names = tmp_path / "set" / "classes.json"
    names.write_text('["column ", " row"]')
    assert fl.load(tmp_path / "set").train.class_names == ("column ", " row")
    names.write_text('["row ", " row", "column"]')
    with pytest.raises(DataError, match=r"classes\.json: .*differ only by spaces"):
        fl.load(tmp_path / "set")


def test_parts_are_told_by_names(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_tar(folder / "train-0.tar", samples(range(30)))
    write_tar(folder / "val-0.tar", samples(range(30, 40)))
    write_tar(folder / "test-0.tar", samples(range(40, 60)))
    train, test = fl.load(folder)
    assert (len(train), len(test)) == (40, 20)
    assert train.held_out_N is not None and train.held_out_N.sum() == 10


def test_a_folder_of_classes_with_a_tar_beside_them_is_no_set_of_shards(tmp_path: Path) -> None:
    for n in range(8):
        (tmp_path / str(n % 2)).mkdir(exist_ok=True)
        (tmp_path / str(n % 2) / f"{n}.png").write_bytes(picture(n))
    write_tar(tmp_path / "download.tar", samples(range(4)))
    assert not names_shards(tmp_path)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        (
            [("a.png", b"no picture at all"), ("a.cls", b"0")],
            r"none of the pictures can be read; the first is a\.tar/a",
        ),
        ([("a.png", picture(0)), ("b.cls", b"0")], "1 of 1 image have no label, such as a.tar/a"),
        ([("a.png", picture(0)), ("a.cls", b"")], "a.cls: the label is empty"),
        ([("a.png", picture(0)), ("a.cls", b"-1")], "the label is -1; numbers go from 0"),
        ([("a.png", picture(0)), ("a.cls", b"\xff\xfe")], "not text"),
        ([("a.png", picture(0)), ("a.json", b"{")], r"a\.json: not JSON"),
        ([("a.png", picture(0)), ("a.json", b'{"label": 1.5}')], "label is float"),
        (
            [("a.png", picture(0)), ("a.json", b'{"label": [1, 2]}')],
            "label is a list of 2. Pictures with several labels are read from a CSV",
        ),
        ([("a.png", picture(0)), ("a.jpg", picture(1))], r"one image per key, got \.png and"),
        (
            [("a.png", picture(0)), ("a.cls", b"3"), ("b.png", picture(1)), ("b.cls", b"cat")],
            "the label of a is a number, that of b a name",
        ),
        ([*samples([1]), *samples([2]), *samples([1])], "the key 00001 is in it twice"),
        ([("a.txt", b"hello")], "no image in it"),
        ([], "no image in it"),
    ],
)
def test_what_is_wrong_with_a_shard_is_told_with_its_name(
    tmp_path: Path, members: list[tuple[str, bytes]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        fl.load(write_tar(tmp_path / "a.tar", members))


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        one = tarfile.TarInfo("a.png")
        one.type, one.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(one)
    with pytest.raises(DataError, match=r"a\.png is a link"):
        fl.load(path)


def test_names_that_lead_out_are_only_names(tmp_path: Path) -> None:
    members = [(f"../../up/{name}", content) for name, content in samples(range(20))]
    train, _ = fl.load(write_tar(tmp_path / "inner" / "a.tar", members))
    assert train.names is not None and train.names[0].startswith("a.tar/../../up/")
    assert not (tmp_path / "up").exists()


def test_a_shard_cut_short_or_damaged_is_told_with_the_place(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(range(10)))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        images = tar.getmembers()[::2]
    second = images[1]
    for end in (
        second.offset_data + 100,  # inside an image
        second.offset + 100,  # inside a header
        second.offset,  # between two members
    ):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"a\.tar: (truncated at|damaged or trunc.*) 0000[01]"):
            fl.load(path)
    damaged = bytearray(whole)
    damaged[second.offset + 10] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.tar: damaged or truncated after 00000"):
        fl.load(path)
    path.write_bytes(b"\x17" * 4096)
    with pytest.raises(DataError, match=r"a\.tar: not a complete tar"):
        fl.load(path)


def test_an_image_whose_bytes_were_changed_in_place_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed(monkeypatch)
    path = write_tar(tmp_path / "a.tar", samples(range(20)))
    train, test = fl.load(path)
    with tarfile.open(path) as tar:
        place = tar.getmembers()[0].offset_data
    before = path.stat()
    train.images_NHWC[:], test.images_NHWC[:]  # the file is open
    with path.open("r+b") as file:
        file.seek(place + 60)
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(
        DataError, match=r"a\.tar: its bytes from 512 on differ from those that were"
    ):
        (train.images_NHWC[:], test.images_NHWC[:])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, 20, 10)
    with pytest.raises(DataError, match=r"images-000002\.tar: no such shard"):
        fl.load(str(tmp_path / "images-{000000..000002}.tar"))
    with pytest.raises(DataError, match="no shards found"):
        fl.load(str(tmp_path / "other-*.tar"))


def test_a_shard_changed_after_it_was_indexed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed(monkeypatch)
    train, _ = fl.load(write_shards(tmp_path / "set", 20, 20))
    write_tar(tmp_path / "set" / "images-000000.tar", samples(range(1, 21)))
    train.images_NHWC.shards.held.close()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"images-000000\.tar: has changed since its index"):
        train.images_NHWC[:2]


def test_an_image_that_cannot_be_decoded_is_named_and_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = samples(range(30))
    members[6] = (members[6][0], members[6][1][:200])
    path = write_tar(tmp_path / "a.tar", members)
    streamed(monkeypatch)
    train, test = fl.load(path)
    with pytest.raises(DataError, match=r"a\.tar/00003: the picture is damaged.* --fixes"):
        (train.images_NHWC[:], test.images_NHWC[:])
    train, test = load_own(path, fixes=Fixes(left_out=("a.tar/00003",)))
    assert len(train.images_NHWC[:]) + len(test.images_NHWC[:]) == 29
    with pytest.raises(DataError, match=r"has no image 'a\.tar/99999'"):
        load_own(path, fixes=Fixes(left_out=("a.tar/99999",)))


@pytest.mark.parametrize("large", [False, True])
def test_images_in_shards_can_be_given_another_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    path = write_tar(tmp_path / "a.tar", samples(range(30)))
    if large:
        streamed(monkeypatch)

    def labels(parts: fl.TrainTest) -> dict[str, int]:
        return {
            bytes(image).hex(): int(label)
            for part in parts
            for image, label in zip(part.images_NHWC[:], part.labels_N, strict=True)
        }

    plain, fixes = load_own(path), Fixes(relabelled={"a.tar/00004": "1"})
    changed = load_own(path, fixes=fixes)
    before, after = labels(plain), labels(changed)
    assert sum(before[name] != after[name] for name in before) == 1
    assert {part.fingerprint for part in plain} != {part.fingerprint for part in changed}
    for wrong, message in (("7", "not there"), ("0", "already")):
        with pytest.raises(DataError, match=message):
            load_own(path, fixes=Fixes(relabelled={"a.tar/00004": wrong}))


def test_files_that_are_no_pictures_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = samples(range(30))
    members[6] = (members[6][0], b"<html>not found</html>")
    path = write_tar(tmp_path / "a.tar", members)
    streamed(monkeypatch)
    train, test = load_own(path)
    assert train.warnings == ("1 file is not a picture, left out: a.tar/00003",)
    assert len(train.images_NHWC[:]) + len(test.images_NHWC[:]) == 29


def test_an_index_that_is_damaged_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed(monkeypatch)
    folder = write_shards(tmp_path / "set", 20, 20)
    before = fl.load(folder).train.fingerprint
    (index,) = (tmp_path / "cache").rglob("*.index")
    blob = bytearray(index.read_bytes())
    blob[len(blob) // 2] ^= 1
    index.write_bytes(blob)
    assert fl.load(folder).train.fingerprint == before


def test_a_set_is_gone_through_in_chunks_with_names_and_files(tmp_path: Path) -> None:
    shards = open_shards(find_shards(write_shards(tmp_path / "set", 20, 9)))
    chunks = list(shards.chunks(5))
    assert [len(rows) for rows in chunks] == [5, 4, 5, 4, 2]
    sources = [source for rows in chunks for source in shards.sources(rows)]
    for number, source in enumerate(sources):
        assert source.name == f"images-{number // 9:06d}.tar/{number:05d}"
        assert source.content.read_bytes() == picture(number)  # type: ignore[union-attr]


def test_what_is_no_file_is_no_shard(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", 20, 9)
    (folder / "folder.tar").mkdir()
    os.mkfifo(folder / "pipe.tar")
    assert len(find_shards(folder).files) == 3
    with pytest.raises(DataError, match="not a regular file"):
        find_shards(str(folder / "pipe{,}.tar"))


def test_braces_are_counted_and_listed() -> None:
    assert expanded("a-{08..10}.{x,y}") == [
        *("a-08.x", "a-08.y", "a-09.x", "a-09.y", "a-10.x", "a-10.y"),
    ]
    assert expanded("{9..11}") == ["9", "10", "11"]
    with pytest.raises(UserError, match="counts down"):
        expanded("{3..1}")
    with pytest.raises(UserError, match="more than"):
        expanded("{0..999}{0..999}")


def test_packed_tars_say_what_to_do(tmp_path: Path) -> None:
    plain = write_tar(tmp_path / "a.tar", samples([1, 2, 3]))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match=r"if it holds shards, unpack it to a \.tar"):
        fl.load(tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(DataError, match=r"Unpack it to a \.tar"):
        fl.load(tmp_path / "a.tar.zst")
