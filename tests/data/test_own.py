"""Folders of pictures as data sets: pixels compared with Pillow's, splits, and the cache."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.kit import disk_calls

import firstlight.data.duplicates as duplicates
import firstlight.data.kept as kept
import firstlight.data.own as own
from firstlight.data.check import check
from firstlight.data.dataset import Dataset
from firstlight.data.duplicates import groups, near_copies
from firstlight.data.folder import list_folder
from firstlight.data.own import Form, load_own
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError, UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def folder(root: Path, per_class: int = 20, *, size: tuple[int, int] = (30, 34)) -> Path:
    """Create colour noise in two classes, with the file's number in its name."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:03d}.png")
    return root


def test_pixels_are_the_files_own_and_labels_those_of_their_folders(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    seen = 0
    for part in load_own(root):
        assert part.names is not None
        for name, label, image_HWC in zip(part.names, part.labels_N, part.images_NHWC, strict=True):
            assert part.class_names[label] == name.partition("/")[0]
            assert np.array_equal(image_HWC, np.asarray(Image.open(root / name)))
            seen += 1
    assert seen == 40


def test_the_test_part_is_a_share_of_each_class_and_does_not_depend_on_names(
    tmp_path: Path,
) -> None:
    one = load_own(folder(tmp_path / "one", 40))
    assert np.bincount(one.test.labels_N).tolist() == [6, 6]
    renamed = folder(tmp_path / "two", 40)
    for path in sorted(renamed.glob("*/*.png")):
        path.rename(path.with_name(f"{999 - int(path.stem)}.png"))
    other = load_own(renamed)

    def contents(images: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in images}

    assert contents(one.test.images_NHWC) == contents(other.test.images_NHWC)


def test_copies_saved_anew_stay_on_one_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(30):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            picture = coarse.resize((60, 60), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "set" / name / f"{i}.png")
            picture.save(tmp_path / "set" / name / f"{i}-again.jpg", quality=80)
    data = load_own(tmp_path / "set")
    assert data.train.names is not None and data.test.names is not None
    pairs = [{n.rpartition(".")[0].removesuffix("-again") for n in p.names or ()} for p in data]
    assert pairs[0] & pairs[1] == set()
    assert len(data.test) == 2 * len(pairs[1])


def test_near_copies_are_found_and_strangers_are_not() -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    images[7] = np.clip(images[3].astype(int) + 6, 0, 255)
    images[20] = images[7]
    images[30], images[31] = 90, 90  # one colour: nothing to compare
    assert near_copies(images) == [(3, 7), (3, 20), (7, 20)]
    assert groups(5, [(0, 3), (3, 4)]).tolist() == [0, 1, 2, 0, 0]


def test_a_second_start_decodes_nothing_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    first = load_own(root)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(own, "decode_into", refuse)
    second = load_own(root)
    for path in root.glob("*/*.png"):
        os.utime(path, (1, 1))  # touched, not changed
    third = load_own(root)
    assert first.train == second.train == third.train
    assert np.array_equal(first.test.images_NHWC, third.test.images_NHWC)


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    before = load_own(root)
    Image.new("RGB", (30, 34), "red").save(root / "cat" / "000.png")
    after = load_own(root)
    assert {before.train, before.test} != {after.train, after.test}


def test_a_set_larger_than_memory_stays_on_disk_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    small = load_own(root)
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    large = load_own(root)
    assert isinstance(large.train.images_NHWC, StoredImages)
    chosen = np.array([5, 2, 3, 30])
    for index in (chosen, slice(3, 9), slice(0, 20, 7), 4, (slice(0, 5), 0)):
        assert np.array_equal(large.train.images_NHWC[index], small.train.images_NHWC[index])
    assert large.train.take(chosen) == small.train.take(chosen)


def test_pictures_of_many_kinds_become_one_shape(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 6, size=(64, 64))
    rng = np.random.default_rng(3)
    grey = Image.fromarray(rng.integers(0, 256, (80, 50), dtype=np.uint8))
    grey.save(root / "cat" / "grey.png")
    grey.convert("P").save(root / "cat" / "palette.gif")
    grey.convert("LA").save(root / "dog" / "alpha.webp", lossless=True)
    Image.fromarray(np.full((70, 70), 40_000, np.uint16)).save(root / "dog" / "deep.png")
    data = load_own(root)
    assert data.train.image_shape == (64, 64, 3)
    assert load_own(root, Form(size=40)).train.image_shape == (40, 40, 3)
    assert "64 × 64 colour; the median of shorter sides of 64" in data.train.notes


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "000.png").read_bytes()[:200])
    (root / "dog" / "empty.jpg").write_bytes(b"")
    data = load_own(root)
    assert len(data.train) + len(data.test) == 40
    notes = [note for note in data.train.notes if note.endswith("left out")]
    assert notes[0].startswith("cat/broken.png: the picture is damaged or truncated")
    assert notes[1].startswith("dog/empty.jpg: the file is empty")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_and_a_link_to_nothing_hold_nothing_up(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    expected = [
        "cat/pipe.png: wanted a picture, got something that is not a regular file; left out",
        "dog/gone.png: no such file; left out",
    ]
    data = load_own(root)
    assert len(data.train) + len(data.test) == 40
    assert [note for note in data.train.notes if note.endswith("left out")] == expected
    (unreadable,) = (f for f in check(list_folder(root)).findings if f.kind == "unreadable")
    assert unreadable.exclude == ("cat/pipe.png", "dog/gone.png")


@pytest.mark.parametrize(("copies", "count"), [(1, 2), (12, 24)])
def test_pictures_of_which_none_can_be_held_out_are_refused(
    tmp_path: Path, copies: int, count: int
) -> None:
    root = folder(tmp_path / "set", 1)
    for path in sorted(root.glob("*/*.png")):
        for i in range(1, copies):
            shutil.copy(path, path.with_name(f"{i}.png"))
    also = ", copies of one another" if copies > 1 else ""
    with pytest.raises(DataError, match=f"different things; got {count} pictures{also}"):
        load_own(root)


def test_of_very_many_copies_few_pairs_link_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_EACH", 3)
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_COLUMNS", 5)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    images[3:40:2] = np.clip(images[1].astype(int) + rng.integers(-5, 6, (19, 1, 1, 1)), 0, 255)
    pairs = near_copies(images)
    odd = list(range(1, 40, 2))
    assert pairs == [(i, j) for at, i in enumerate(odd) for j in odd[at + 1 : at + 4]]
    assert len(set(groups(40, pairs)[1::2].tolist())) == 1


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for path in (root / "cat").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no readable picture of 'cat'"):
        load_own(root)


@pytest.mark.parametrize("size", [0, 7, 513])
def test_an_impossible_size_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match="--size must be 8 to 512 pixels"):
        load_own(folder(tmp_path / "set"), Form(size=size))


def test_what_was_worked_out_of_the_pixels_is_kept_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    root = folder(tmp_path / "set")
    load_own(root)
    for part in load_own(root):
        assert part.known is not None
        images_NHWC = np.asarray(part.images_NHWC)
        anew = Dataset(
            name="anew",
            images_NHWC=images_NHWC,
            labels_N=part.labels_N,
            class_names=part.class_names,
        )
        assert part.fingerprint == anew.fingerprint
        assert np.array_equal(part.content_order, anew.content_order)
        for channel in range(3):
            by_level = np.bincount(images_NHWC[..., channel].ravel(), minlength=256)
            assert np.array_equal(part.level_counts[channel], by_level)
        assert part.take(np.arange(3)).known is None, "true of the whole part alone"


def cached(cache: Path) -> Path:
    """Return the folder of the only cached data set."""
    (sums,) = cache.glob("pictures/*/sha256")
    return sums.parent


def swapped_labels(about: bytes) -> bytes:
    values = json.loads(about)
    values["labels"] = [1 - label for label in values["labels"]]
    return json.dumps(values).encode()


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "zeros": ("pixels", lambda blob: blob[: len(blob) // 2] + bytes(len(blob) - len(blob) // 2)),
    "one bit": ("pixels", lambda blob: bytes([blob[0] ^ 1]) + blob[1:]),
    "cut short": ("pixels", lambda blob: blob[:-1]),
    "longer": ("pixels", lambda blob: blob + b"!"),
    "labels": ("about.json", swapped_labels),
    "nothing": ("about.json", lambda blob: b""),
    "no sums": ("sha256", lambda blob: b""),
    "strange sums": ("sha256", lambda blob: bytes(range(256))),
}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_noticed_and_made_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str, in_memory: bool
) -> None:
    if not in_memory:
        monkeypatch.setattr(kept, "IN_MEMORY", 0)
    root = folder(tmp_path / "set")
    first = load_own(root)
    whole = {path.name: path.read_bytes() for path in cached(cache).iterdir()}
    name, spoil = DAMAGES[damage]
    (cached(cache) / name).write_bytes(spoil(whole[name]))
    again = load_own(root)
    (note,) = set(again.train.notes) - set(first.train.notes)
    assert "was damaged" in note and note.endswith("made again")
    assert {path.name: path.read_bytes() for path in cached(cache).iterdir()} == whole
    assert again.train == first.train
    assert np.array_equal(np.asarray(again.test.images_NHWC), np.asarray(first.test.images_NHWC))
    assert load_own(root).train.notes == first.train.notes
    assert not list((cache / "pictures").glob(".*"))


@pytest.mark.parametrize("gone", ["pixels", "about.json", "sha256"])
def test_a_cache_without_one_of_its_files_is_made_again(
    tmp_path: Path, cache: Path, gone: str
) -> None:
    root = folder(tmp_path / "set")
    first = load_own(root)
    (cached(cache) / gone).unlink()
    again = load_own(root)
    assert "was damaged" in again.train.notes[-1]
    assert again.train == first.train and again.test == first.test


def test_fingerprints_are_those_of_the_pixels_that_are_there(tmp_path: Path, cache: Path) -> None:
    root = folder(tmp_path / "set")
    load_own(root)
    pixels = np.fromfile(cached(cache) / "pixels", np.uint8)
    for part in load_own(root):
        anew = replace(part, known=None)
        assert part.fingerprint == anew.fingerprint
    loaded = load_own(root)
    both = np.concatenate([loaded.train.images_NHWC, loaded.test.images_NHWC])
    assert np.array_equal(both.ravel(), pixels)


def test_storage_that_reads_back_otherwise_is_an_error(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    load_own(root)
    monkeypatch.setattr(kept, "_sum_of", lambda file: "0" * 64)
    (cached(cache) / "pixels").write_bytes(b"")
    with pytest.raises(DataError, match="reads back damaged"):
        load_own(root)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot sync a folder")
def test_all_is_on_disk_before_it_has_its_name_and_that_before_the_old_is_removed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    calls = disk_calls(monkeypatch)
    load_own(root)
    assert calls.finished().unsafe == []
    target = cached(cache)
    assert target in calls.places("rename")
    (target / "pixels").write_bytes(b"")
    calls = disk_calls(monkeypatch)
    load_own(root)
    moved_away, *lost = calls.finished().unsafe  # a damaged one need not be on disk
    assert ".old" in moved_away and lost == []
    kinds = [(what, path) for what, _, path in calls.made]
    at = kinds.index(("rename", target))
    before = {inode for what, inode, _ in calls.made[:at] if what == "sync"}
    assert {path.stat().st_ino for path in (target, *target.iterdir())} <= before
    assert calls.made[at + 1][:2] == ("sync", target.parent.stat().st_ino)
    assert ("remove", Path("pixels")) in kinds[at + 2 :]  # the old one


def listed(root: Path, names: tuple[str, str]) -> Path:
    """Write a CSV of the folder's pictures with other class names."""
    called = dict(zip(("cat", "dog"), names, strict=True))
    lines = [f"{p.relative_to(root)},{called[p.parent.name]}" for p in sorted(root.glob("*/*"))]
    file = root / "labels.csv"
    file.write_text("path,label\n" + "\n".join(lines) + "\n")
    return file


def test_renamed_labels_are_not_answered_by_an_older_cache(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    numbered = load_own(listed(root, ("0", "1")))
    named = load_own(listed(root, ("cat", "dog")))
    assert numbered.train.class_names == numbered.test.class_names == ("0", "1")
    assert named.train.class_names == named.test.class_names == ("cat", "dog")
    assert numbered.train.fingerprint != named.train.fingerprint
    assert load_own(listed(root, ("0", "1"))).train == numbered.train


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no time of change")
def test_files_that_change_places_are_seen_although_size_and_time_stay(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for path in root.glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    for path in root.glob("*/*.bmp"):
        os.utime(path, (1, 1))
    before = load_own(root)
    one, other = root / "cat" / "000.bmp", root / "dog" / "000.bmp"
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    after = load_own(root)
    found = {
        name: image_HWC
        for part in after
        for name, image_HWC in zip(part.names or (), part.images_NHWC, strict=True)
    }
    assert np.array_equal(found["cat/000.bmp"], np.asarray(Image.open(one)))
    assert before.train != after.train or before.test != after.test


DECODE = "import sys; from pathlib import Path; from firstlight.data.own import load_own; "


def limited(root: Path, cache: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Load a folder in a separate process, after running ``code``."""
    return subprocess.run(
        [sys.executable, "-c", f"{DECODE}{code}; load_own(Path({str(root)!r}))"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal and no such lock")
def test_what_a_process_leaves_that_is_killed_while_decoding_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    die = (
        "import os, signal, firstlight.data.own as own; own.decode_into = "
        "lambda file, *_: (file.write_bytes(b'half'), os.kill(os.getpid(), signal.SIGKILL))"
    )
    done = limited(root, tmp_path / "home", die)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (shelf,) = (tmp_path / "home").rglob("pictures")
    (left,) = (path for path in shelf.iterdir() if path.is_dir())  # its lock is beside it
    assert (left / "decoded").read_bytes() == b"half"
    monkeypatch.setattr(own, "cache_folder", lambda: shelf.parent)
    load_own(root)
    assert not left.exists()
    assert not [path for path in shelf.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_storage_that_takes_no_more_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    )
    done = limited(root, tmp_path / "home", full)
    assert "DataError" in done.stderr and "set XDG_CACHE_HOME to" in done.stderr
    (shelf,) = (tmp_path / "home").rglob("pictures")
    assert list(shelf.iterdir()) == []


def test_a_failed_decoding_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "decode_into", full)
    with pytest.raises(DataError, match=r"No space left on device\. Free some"):
        load_own(folder(tmp_path / "set"))
    assert list((cache / "pictures").iterdir()) == []
