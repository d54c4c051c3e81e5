"""Which pictures of a folder are used, and the messages about the others."""

from pathlib import Path

import pytest
from PIL import Image

import firstlight.data.formats as formats
from firstlight.data.folder import list_folder
from firstlight.errors import DataError


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 30), level).save(path)


def labelled(root: Path) -> dict[str, tuple[str, str]]:
    """Return name: (class, part)."""
    listing = list_folder(root)
    return {p.name: (listing.class_names[p.label], p.part) for p in listing.pictures}


def test_classes_are_the_sorted_folder_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "Č/3.JPG", "10/4.png", "9/5.png"):
        picture(tmp_path / name)
    listing = list_folder(tmp_path)
    assert listing.class_names == ("10", "9", "a", "b", "Č")
    assert [(p.name, p.label, p.part) for p in listing.pictures] == [
        *(("10/4.png", 0, ""), ("9/5.png", 1, ""), ("a/1.png", 2, "")),
        *(("b/2.png", 3, ""), ("Č/3.JPG", 4, "")),
    ]
    assert listing.notes == ()


@pytest.mark.parametrize("word", ["val", "valid", "validation", "VAL"])
def test_parts_are_matched_by_class_name(tmp_path: Path, word: str) -> None:
    for name in ("train/a/1.png", "train/b/2.png", f"{word}/b/3.png", "test/a/4.png"):
        picture(tmp_path / name)
    assert labelled(tmp_path) == {
        "train/a/1.png": ("a", "train"),
        "train/b/2.png": ("b", "train"),
        f"{word}/b/3.png": ("b", "validation"),
        "test/a/4.png": ("a", "test"),
    }
    assert list_folder(tmp_path).notes == (
        "test has no pictures of b",
        "validation has no pictures of a",
    )


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train/1.png", "car/2.png", "plane/3.png"):
        picture(tmp_path / name)
    assert list_folder(tmp_path).class_names == ("car", "plane", "train")


def test_what_systems_leave_behind_is_passed_over_in_silence(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "a/.hidden.png", "__MACOSX/a/1.png", ".git/c/3.png"):
        picture(tmp_path / name)
    for name in ("a/Thumbs.db", "a/.DS_Store", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    assert list_folder(tmp_path).notes == ()
    assert len(list_folder(tmp_path).pictures) == 2


def test_everything_else_that_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/deeper/still/2.png", "b/3.png", "loose.png"):
        picture(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    assert list_folder(tmp_path).notes == (
        f"1 picture directly in {tmp_path}: without a class, left out",
        "a/: 1 file left out, not pictures: notes.txt",
        "a/: 1 picture from its subfolders",
        "empty/: no pictures in it, so not a class",
    )


def test_a_loop_of_links_ends_and_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.pictures] == ["a/1.png", "b/2.png"]
    assert "a link back to a folder already visited, not followed" in listing.notes[0]


def test_a_link_up_to_all_classes_does_not_put_them_into_one(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a" / "1.png")
    picture(tmp_path / "set" / "b" / "2.png")
    for at, target in enumerate((tmp_path / "set", tmp_path)):
        (tmp_path / "set" / "a" / f"up{at}").symlink_to(target, target_is_directory=True)
    listing = list_folder(tmp_path / "set")
    assert [p.name for p in listing.pictures] == ["a/1.png", "b/2.png"]
    assert [note.rpartition(": ")[2] for note in listing.notes] == [
        "a link back to a folder already visited, not followed"
    ] * 2


def test_pictures_of_a_telephone_that_cannot_be_read_are_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "_reads_heic", lambda: False)
    for name in ("a/1.HEIC", "b/2.heic"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    message = (
        r"(?s)got no picture in any class folder\n.*1\.HEIC .*for HEIC install firstl.*\[heic\]"
    )
    with pytest.raises(DataError, match=message):
        list_folder(tmp_path)


def test_a_name_as_long_as_the_system_takes_and_names_of_any_script_are_names(
    tmp_path: Path,
) -> None:
    for name in (f"a/{'n' * 250}.png", "b/Ünïcödé 猫.png", "猫 🐈/1.png"):
        picture(tmp_path / name)
    listing = list_folder(tmp_path)
    assert listing.class_names == ("a", "b", "猫 🐈")
    assert len(listing.pictures) == 3


def test_two_spellings_of_one_name_in_unicode_are_one_class(tmp_path: Path) -> None:
    for name in ("caf\u00e9/1.png", "cafe\u0301/2.png", "tea/3.png"):
        picture(tmp_path / name)
    assert list_folder(tmp_path).class_names == ("caf\u00e9", "tea")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "wanted a folder for each class with its pictures inside, .* got nothing"),
        (("1.png", "2.png"), "got 2 pictures directly in it"),
        (("a/1.png",), "of at least two classes; got one class, 'a'"),
        (("train/a/1.png", "train/b/1.png", "test/c/1.png"), "test has the class 'c', which train"),
    ],
)
def test_a_folder_without_classes_is_refused_with_what_was_wanted(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        picture(tmp_path / name)
    with pytest.raises(DataError, match=message):
        list_folder(tmp_path)


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        picture(tmp_path / name)
    (tmp_path / "a" / "2.png").rename(tmp_path / "a" / "00000038.png:large")
    (tmp_path / "b" / "4.png").rename(tmp_path / "b" / "4.jpg?v=2")
    (tmp_path / "b" / "BMW.txt").write_text("BMW is no bitmap, and P5 no picture")
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.pictures] == [
        *("a/00000038.png:large", "a/1.png", "b/3.png", "b/4.jpg?v=2"),
    ]
    assert listing.notes == ("b/: 1 file left out, not pictures: BMW.txt",)


# Split folders


def pictures(root: Path, *names: str) -> None:
    for level, name in enumerate(names):
        picture(root / name, level)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("train", "test1"), ("training", "testing"), ("Training_Set", "test-set")),
        *(("trainImages", "testImages"), ("train2017", "val2017"), ("01_train", "02_test")),
        *(("seg_train/seg_train", "seg_test/seg_test"), ("letters_train", "letters_test")),
        ("training_set/training_set", "test_set/test_set"),
    ],
)
def test_split_folders_under_other_names_are_parts_and_no_classes(
    tmp_path: Path, train: str, test: str
) -> None:
    pictures(tmp_path, *(f"{part}/{name}/1.png" for part in (train, test) for name in "ab"))
    part = "validation" if "val" in test else "test"
    assert labelled(tmp_path) == {
        f"{train}/a/1.png": ("a", "train"),
        f"{train}/b/1.png": ("b", "train"),
        f"{test}/a/1.png": ("a", part),
        f"{test}/b/1.png": ("b", part),
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("learn/a", "learn/b", "exam/a", "exam/b"), r"exam, learn hold no pictures .*\(a, b\)"),
        (("train/a", "train/b", "exam/a", "exam/b"), "next to it is exam, which is neither"),
        (("train/a", "train/b", "test/a", "more/a"), "more has classes like train, but its name"),
        (("train/a", "train/b", "unlabelled"), "next to it is unlabelled, which is neither"),
        (("train/a", "train/b", "Training/a", "test/a"), "Training/ and train/ are both train"),
        (
            ("val/a", "val/b", "cars"),
            "val/ holds the classes a, b, but no folder next to it is the",
        ),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "cat, dog hold no pictures of their"),
        (("train/x/a", "train/x/b", "train/y/a", "test/x/a"), "train/x, train/y hold no pictures"),
        (("a", "b", "more/a", "more/b"), "more/ holds folders with the same names as those"),
    ],
)
def test_folders_that_may_be_parts_or_classes_are_an_error_that_names_them(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    pictures(tmp_path, *(f"{name}/{at}.png" for at, name in enumerate(names)))
    with pytest.raises(DataError, match=message):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("cat/siamese/1.png", "cat/persian/2.png", "dog/pug/3.png"),
        ("cat/images/1.png", "dog/images/2.png"),
        ("cat/cat/1.png", "dog/dog/2.png"),
        ("train/1.png", "cat/2.png", "test_tube/3.png"),
        ("training_shoes/red/1.png", "training_shoes/blue/2.png", "sandals/3.png"),
    ],
)
def test_folders_within_classes_stay_within_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    pictures(tmp_path, *names)
    assert labelled(tmp_path) == {name: (name.partition("/")[0], "") for name in names}


@pytest.mark.parametrize("around", ["set", "set/set", "archive/set/data"])
def test_doubled_inner_folders_are_seen_through(tmp_path: Path, around: str) -> None:
    names = [f"{around}/{name}" for name in ("a/1.png", "b/2.png")]
    pictures(tmp_path, *names)
    (tmp_path / "__MACOSX" / "set").mkdir(parents=True)
    assert labelled(tmp_path) == {names[0]: ("a", ""), names[1]: ("b", "")}
    assert f"{around}/ is the only folder with pictures" in " ".join(list_folder(tmp_path).notes)


@pytest.mark.parametrize("parts", [(), ("train/", "test/")])
def test_a_second_copy_inside_is_left_out(tmp_path: Path, parts: tuple[str, ...]) -> None:
    names = [f"{part}{name}/1.png" for part in parts or ("",) for name in "ab"]
    pictures(tmp_path, *names)
    pictures(tmp_path / "set", *names)
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.pictures] == sorted(names)
    assert listing.notes == ("set/: a second copy of the pictures next to it, left out",)


def test_other_pictures_of_the_same_names_are_no_copy(tmp_path: Path) -> None:
    for name, content in (("a/1.png", b"1"), ("b/1.png", b"2"), ("s/a/1.png", b"3")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="s/ holds folders with the same names as those next"):
        list_folder(tmp_path)


def test_a_test_part_without_classes_is_left_out_and_said(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a/1.png", "train/b/2.png", "test1/3.png", "test1/4.png")
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.pictures] == ["train/a/1.png", "train/b/2.png"]
    assert listing.notes == ("2 pictures directly in test1/: without a class, left out",)
