"""CSVs as written (by pandas) for competitions and tools: which column is which, where the files
are, and pictures with several labels."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.kit import Command

import firstlight as fl
from firstlight.checked import joined_labels
from firstlight.data.arrays import ArrayForm, ArrayPart, dataset_of
from firstlight.data.table import list_csv, list_pictures
from firstlight.errors import DataError


def pictures(folder: Path, *names: str) -> None:
    rng = np.random.default_rng(len(names))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 30), np.uint8)).save(folder / name)


def written(folder: Path, columns: dict[str, list[Any]], name: str = "train.csv") -> Path:
    pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / name


def read(file: Path) -> dict[str, str]:
    """name: class, or labels joined"""
    listing = list_csv(file)
    return {
        p.name: joined_labels(listing.class_names[k] for k in p.classes) for p in listing.pictures
    }


@pytest.mark.parametrize(
    "headings",
    [
        ("id_code", "diagnosis"),  # APTOS 2019
        ("image_id", "dx"),  # HAM10000
        ("id", "breed"),
        ("file_name", "label_name"),
        ("Filename", "ClassId"),
        ("img_name", "Category Name"),
        ("images", "labels"),
        ("what", "target"),
    ],
)
def test_well_known_headings_are_known(tmp_path: Path, headings: tuple[str, str]) -> None:
    pictures(tmp_path, "1.png", "2.png")
    columns: dict[str, list[Any]] = {
        headings[0]: ["1.png", "2.png"],
        headings[1]: ["a", "b"],
        "width": [30, 30],
    }
    assert read(written(tmp_path, columns)) == {"1.png": "a", "2.png": "b"}


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        # The columns label and path are used, whatever others there are.
        ({"path": "fg", "image": "gf", "label": "ab"}, {"f": "a", "g": "b"}),
        ({"path": "fg", "label": "ab", "category": "xx"}, {"f": "a", "g": "b"}),
        # Two columns with the same meaning.
        ({"path": "fg", "class": "01", "class_name": "ab"}, {"f": "0", "g": "1"}),
        ({"path": "fg", "class_id": "01", "label_name": "ab"}, {"f": "a", "g": "b"}),
        # Only one of two columns names files.
        ({"id": "12", "picture": "fg", "label": "ab"}, {"f": "a", "g": "b"}),
        ({"nr": "12", "scan": "fg", "label": "ab"}, {"f": "a", "g": "b"}),
        # Of two columns that may name files, the one with exact names.
        ({"id": "12", "image": "12", "label": "ab"}, {"1": "a", "2": "b"}),
        # One column per class.
        ({"image": "fg", "MEL": "10", "NV": "01"}, {"f": "MEL", "g": "NV"}),
    ],
)
def test_of_several_columns_the_plain_one_is_taken(
    tmp_path: Path, columns: dict[str, str], wanted: dict[str, str]
) -> None:
    pictures(tmp_path, "f.png", "g.png", "1.png", "2.png")
    cells: dict[str, list[Any]] = {
        name: [f"{one}.png" if one in "fg" or name == "image" else one for one in column]
        for name, column in columns.items()
    }
    found = read(written(tmp_path, cells))
    assert found == {f"{name}.png": label for name, label in wanted.items()}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": "fgh", "class": "aab", "category": "xyz"}, "class and category could each be"),
        ({"file": "fgh", "Label": "aab", "label": "xyz"}, "Label and label could each be"),
        ({"file": "fgh", "image": "gfh", "label": "aab"}, "file and image each name files"),
        ({"one": "fgh", "two": "gfh", "label": "aab"}, "one and two each name files"),
        ({"file": "fgh", "cat": "100", "dog": "001"}, "line 3: .* no 1 in the columns of 0 and"),
    ],
)
def test_what_may_mean_two_things_is_refused(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    pictures(tmp_path, "f.png", "g.png", "h.png")
    cells: dict[str, list[Any]] = {
        name: [f"{one}.png" if one in "fgh" else one for one in column]
        for name, column in columns.items()
    }
    with pytest.raises(DataError, match=message):
        list_csv(written(tmp_path, cells))


# Location of the files


@pytest.mark.parametrize(
    ("place", "cell", "told"),
    [
        ("train/{}.jpg", "{}", "train/….jpg"),
        ("train/train/{}.png", "{}.png", "train/train/…"),
        ("images/{}.png", "{}.png", "images/…"),
        ("{}.png", "{}", "….png"),
    ],
)
def test_files_are_found_in_one_folder_beside_the_csv(
    tmp_path: Path, place: str, cell: str, told: str
) -> None:
    pictures(tmp_path, *(place.format(n) for n in "123"), "test/1.png", "test/2.png")
    file = written(tmp_path, {"id": [cell.format(n) for n in "123"], "label": list("aab")})
    assert read(file) == {place.format(n): label for n, label in zip("123", "aab", strict=True)}
    (note,) = [one for one in list_csv(file).notes if "read from" in one]
    assert note == f"train.csv: the pictures are read from {told}"


def test_the_folder_called_as_the_csv_is_taken_of_two(tmp_path: Path) -> None:
    pictures(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    cells: dict[str, list[Any]] = {"id": ["1.png", "2.png"], "label": ["a", "b"]}
    assert read(written(tmp_path, cells)) == {"train/1.png": "a", "train/2.png": "b"}
    with pytest.raises(DataError, match=r"as test/1.png and as train/1.png. Write the folder"):
        list_csv(written(tmp_path, cells, "all.csv"))


def test_a_folder_of_no_classes_tells_of_the_csv_in_it(tmp_path: Path) -> None:
    pictures(tmp_path, "train/1.png", "train/2.png")
    written(tmp_path, {"id": ["1.png", "2.png"], "label": ["a", "b"]})
    with pytest.raises(
        DataError, match=r"It contains train.csv, which names pictures and classes: train on .*"
    ):
        list_pictures(tmp_path)


def test_a_csv_of_names_is_answered_with_its_own_keys(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    pictures(tmp_path, "test/7.png", "test/9.png")
    written(tmp_path, {"id": [7, 9]}, "test.csv")
    words = ("predict", digits_run.path, "test.csv", "--csv", "out.csv", "--columns", "id,label")
    assert command(*words).code == 0
    out = pd.read_csv("out.csv", dtype=str)
    answers = digits_run.predict([tmp_path / "test/7.png", tmp_path / "test/9.png"])
    assert out.to_dict("list") == {"id": ["7", "9"], "label": [one.best for one in answers]}
    Path("none.csv").write_text("a,b,c\n1,2,3\n")
    told = command("predict", digits_run.path, "none.csv")
    assert (told.code, "or with a column path that names pictures" in told.err) == (3, True)


# Several labels


@pytest.mark.parametrize(
    "labels",
    [
        ("cat;dog", "dog;bird", "bird"),  # dog in two positions
        ("cat", "dog", "cat|dog"),
        ("cat", "dog", "['cat', 'dog']"),
        ("scab rust", "scab", "rust", "rot", "rust rot"),
        ("1,2", "1", "2"),
    ],
)
def test_lists_of_labels_are_read_in_a_csv_and_in_memory(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    names = [f"{at}.png" for at in range(len(labels))]
    pictures(tmp_path, *names)
    file = written(tmp_path, {"path": names, "label": list(labels)})
    found = [set(one.split(";")) for one in read(file).values()]
    # Their words, in this test none of which has a sign or a space in it.
    assert found == [set(re.findall(r"\w+", label)) for label in labels]
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), np.uint8)
    whole, _ = dataset_of(
        [ArrayPart(part="", images=images, labels=labels, images_name="i", labels_name="l")],
        ArrayForm(),
        "images",
    )
    in_memory = [set(whole.label_of(at).split(";")) for at in range(len(labels))]
    assert in_memory == found


def test_columns_of_0_and_1_are_labels_where_a_row_has_several(tmp_path: Path) -> None:
    pictures(tmp_path, "f.png", "g.png", "h.png")
    names = ["f.png", "g.png", "h.png"]
    file = written(tmp_path, {"path": names, "sea": [1, 1, 0], "boat": [0, 1, 0]})
    assert read(file) == {"f.png": "sea", "g.png": "boat;sea", "h.png": "(none)"}
    (note,) = [note for note in list_csv(file).notes if "0 and 1" in note]
    assert note == (
        "train.csv: 2 columns of 0 and 1, a label each: pictures have 0 to 2 of 2 labels, on "
        "average 1.0; 1 picture without any"
    )


def test_an_empty_list_is_a_picture_without_labels_and_an_empty_cell_is_a_mistake(
    tmp_path: Path,
) -> None:
    pictures(tmp_path, "f.png", "g.png", "h.png")
    cells: dict[str, list[Any]] = {"path": ["f.png", "g.png", "h.png"]}
    file = written(tmp_path, {**cells, "labels": ["[a, b]", "[b,a]", "[]"]})
    assert read(file) == {"f.png": "a;b", "g.png": "a;b", "h.png": "(none)"}
    file = written(tmp_path, {**cells, "labels": ["a;b", "b;a", ""]})
    with pytest.raises(DataError, match=r"labels is missing .*: line 4.*without labels write \[\]"):
        list_csv(file)


def test_an_empty_list_is_no_class_where_no_picture_has_two_labels(tmp_path: Path) -> None:
    labels = ["sea", "[]", "boat"]
    pictures(tmp_path, "f.png", "g.png", "h.png")
    file = written(tmp_path, {"path": ["f.png", "g.png", "h.png"], "labels": labels})
    with pytest.raises(DataError, match=r"1 of 3 labels .*'\[\]' \(line 3\).*such as other"):
        list_csv(file)
    with pytest.raises(DataError, match=r"'\[\]' \(label 1\)"):
        fl.from_images(np.zeros((3, 8, 8), np.uint8), labels)


def test_names_that_look_like_lists_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, "f.png", "g.png")
    cells = {"path": ["f.png", "g.png"], "label": ["land;tree", "land;boat"]}
    (note,) = list_csv(written(tmp_path, cells)).notes
    assert "one class, also 'land;boat'" in note and "a column of 0 and 1" in note
    assert list_csv(written(tmp_path, {**cells, "label": ["green, ripe", "red"]})).notes == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": "fgh", "sea": "110", "boat": "011", "whale": "000"}, "no picture has a 1 in"),
        ({"path": "fgh", "a;b": "110", "boat": "011"}, "'a;b' contains ';'"),
        ({"path": "fgh", "part": "ttv", "p": "110", "q": "110", "r": "001"}, "has the label 'r'"),
    ],
)
def test_labels_that_cannot_be_learnt_or_told_apart_are_refused(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    pictures(tmp_path, "f.png", "g.png", "h.png")
    words = {"t": "train", "v": "validation", "f": "f.png", "g": "g.png", "h": "h.png"}
    cells: dict[str, list[Any]] = {
        name: [words.get(one, one) for one in column] for name, column in columns.items()
    }
    with pytest.raises(DataError, match=message):
        list_csv(written(tmp_path, cells))


@pytest.mark.parametrize(
    "labels",
    [
        ("red, ripe", "red, unripe", "green, ripe"),  # names with commas
        ("Animalia;Aves", "Animalia;Pisces"),  # one label contains another, each at its position
        ("ice cream", "ice", "cream"),
        ("polar bear", "brown bear", "bear"),
    ],
)
def test_names_with_signs_in_them_are_names(tmp_path: Path, labels: tuple[str, ...]) -> None:
    names = [f"{at}.png" for at in range(len(labels))]
    pictures(tmp_path, *names)
    assert set(read(written(tmp_path, {"path": names, "label": list(labels)})).values()) == set(
        labels
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 1], [0, 0], [1, 0]]), "row 1 has 0 ones.*one class for each"),
        ([[0, 1], [0, 0], [1, 0]], "row 1 has 0 ones.*one class for each"),
        (np.array([[0, 1], [0, 1], [1, 0]]), "for one-hot rows use labels.argmax"),
        ([[0, 1], [0, 1], [1, 0]], "for one-hot rows use labels.argmax"),
        (np.array([[0, 2], [0, 1], [1, 0]]), "wanted 3 labels, one for each image"),
        ([["a", 1], ["b"], []], "all names, or all whole numbers, got 'both'"),
        ([["a", ""], ["b"], []], "all names, or all whole numbers, got ''"),
        ([["a;b", "c"], ["c"], []], "'a;b' contains ';'"),
        ([["a", "b"], ["b"]], "wanted 3 rows of labels, one for each image, got 2"),
    ],
)
def test_rows_that_may_mean_two_things_are_refused_in_arrays(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fl.from_images(np.zeros((3, 8, 8), np.uint8), labels)
