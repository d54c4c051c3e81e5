"""Which pictures of a folder count, and what is said of the others."""

from pathlib import Path

import pytest
from PIL import Image

from firstlight.data.folder import list_csv, list_folder
from firstlight.errors import DataError


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 30), level).save(path)


def labelled(root: Path) -> dict[str, tuple[str, str]]:
    """name: (class, part)"""
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
        "test has no picture of b",
        "validation has no picture of a",
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
        f"1 picture directly in {tmp_path}: of no class, left out",
        "a/: 1 file left out, no picture by name: notes.txt",
        "a/: 1 of its pictures lie in folders below it",
        "empty/: no picture in it, so no class",
    )


def test_a_loop_of_links_ends_and_is_said(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.pictures] == ["a/1.png", "b/2.png"]
    assert "a link back to a folder that is met already, not followed" in listing.notes[0]


def test_a_link_up_to_all_classes_does_not_put_them_into_one(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a" / "1.png")
    picture(tmp_path / "set" / "b" / "2.png")
    for at, target in enumerate((tmp_path / "set", tmp_path)):
        (tmp_path / "set" / "a" / f"up{at}").symlink_to(target, target_is_directory=True)
    listing = list_folder(tmp_path / "set")
    assert [p.name for p in listing.pictures] == ["a/1.png", "b/2.png"]
    assert [note.rpartition(": ")[2] for note in listing.notes] == [
        "a link back to a folder that is met already, not followed"
    ] * 2


def test_pictures_of_a_telephone_that_cannot_be_read_are_told_with_what_to_do(
    tmp_path: Path,
) -> None:
    for name in ("a/1.HEIC", "b/2.heic"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    message = r"(?s)got no picture in any class folder\n.*1\.HEIC .*save HEIC and AVIF as JPEG"
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


def test_a_csv_names_paths_labels_and_parts(tmp_path: Path) -> None:
    for name in ("x/1.png", "x/2.png", "y.png"):
        picture(tmp_path / name)
    file = tmp_path / "all.csv"
    file.write_text("path,label,part\nx/1.png,dog,train\nx/2.png,cat,train\ny.png,cat,test\n")
    listing = list_csv(file)
    assert listing.class_names == ("cat", "dog")
    assert [(p.name, p.label, p.part) for p in listing.pictures] == [
        ("x/1.png", 1, "train"),
        ("x/2.png", 0, "train"),
        ("y.png", 0, "test"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted the columns path,label in the first line, got nothing"),
        ("file,class\n", "got file,class"),
        ("path,label\n1.png,\n", "line 2: wanted a path and a label"),
        ("path,label\nno.png,a\n", "line 2: there is no file .*no.png"),
        ("path,label,part\n1.png,a,holdout\n", "line 2: part 'holdout'; there are train"),
        ("path,label,part\n1.png,a,train\n2.png,b,\n", "some pictures have a part and others none"),
        ("path,label\n1.png,a\n1.png,b\n", "1.png stands there more than once"),
        ("path,label\n1.png,a\n2.png,a\n", "got one class, 'a'"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    file = tmp_path / "all.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        list_csv(file)


def test_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        picture(tmp_path / name)
    listing = list_folder(tmp_path)
    assert [p.name for p in listing.without(["a/1.png"]).pictures] == ["a/2.png", "b/3.png"]
    with pytest.raises(DataError, match=r"no picture 'a/9.png'.*such as a/1.png"):
        listing.without(["a/9.png"])
    with pytest.raises(DataError, match="every picture of 'b' would be left out"):
        listing.without(["b/3.png"])
