"""Folders of pictures as data sets: pixels against Pillow's, splits, and the cache."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import firstlight.data.own as own
from firstlight.data.duplicates import groups, near_copies
from firstlight.data.own import load_own
from firstlight.data.stored import StoredImages
from firstlight.errors import DataError, UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def folder(root: Path, per_class: int = 20, *, size: tuple[int, int] = (30, 34)) -> Path:
    """Colour noise in two classes; the file's number is in its name."""
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
    images[30], images[31] = 90, 90  # one colour: nothing to tell
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
    monkeypatch.setattr(own, "IN_MEMORY", 0)
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
    assert load_own(root, size=40).train.image_shape == (40, 40, 3)
    assert "64 × 64 colour; the median of shorter sides of 64" in data.train.notes


def test_what_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "000.png").read_bytes()[:200])
    (root / "dog" / "empty.jpg").write_bytes(b"")
    data = load_own(root)
    assert len(data.train) + len(data.test) == 40
    notes = [note for note in data.train.notes if note.endswith("left out")]
    assert notes[0].startswith("cat/broken.png: the picture is damaged or cut short")
    assert notes[1].startswith("dog/empty.jpg: the file is empty")


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for path in (root / "cat").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no readable picture of 'cat'"):
        load_own(root)


@pytest.mark.parametrize("size", [0, 7, 513])
def test_an_impossible_size_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match="--size must be 8 to 512 pixels"):
        load_own(folder(tmp_path / "set"), size=size)


def test_a_failed_decoding_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own, "decode_into", full)
    with pytest.raises(DataError, match=r"No space left on device\. Make room"):
        load_own(folder(tmp_path / "set"))
    assert list((cache / "pictures").iterdir()) == []
