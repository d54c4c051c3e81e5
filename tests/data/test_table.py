"""CSVs that name pictures: headings, encodings, parts, groups, and refused files."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import firstlight.data.own as own
from firstlight.data.own import load_own
from firstlight.data.table import list_csv
from firstlight.errors import DataError


def picture(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (30, 30), level).save(path)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Create a folder with 1.png and 2.png; returns the path of a CSV in it."""
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    return tmp_path / "all.csv"


def read(file: Path) -> dict[str, str]:
    """Return name: class."""
    listing = list_csv(file)
    return {p.name: listing.class_names[p.label] for p in listing.pictures}


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
        ("a,b,c\n", "got a,b,c"),
        (",".join(f"pixel{i}" for i in range(50)), r"got pixel0,.*,pixel7,… \(50 columns\)$"),
        ("path,label\n", "has headings but no rows"),
        ("path,label\n,a\n", "line 2: wanted a path and a label"),
        ("1.png,a\n2.png,b\n", "the first line names a picture. Add a line with the headings"),
        (
            "path,label\n1.png,a,b\n",
            "line 2: has 3 cells under 2 headings; put cells that hold ','",
        ),
        ("path,label,label\n1.png,a,b\n", "two columns are called 'label'"),
        ("path,label,is_valid\n1.png,a,maybe\n", "line 2: wanted True or False as is_valid"),
        ("path,label\n1.png,a\n./1.png,b\n", "1.png is listed more than once"),
        ("path,label\n1.png,a\nx,b\ny,b\n", "no such file: .*x and 1 other"),
        ("path,label\nno.png,a\n", "line 2: no such file: .*no.png"),
        ("path,label,part\n1.png,a,holdout\n", "line 2: part 'holdout'; choose from train"),
        (
            "path,label,part\n1.png,a,train\n2.png,b,\n",
            "some pictures have a part and others do not",
        ),
        ("path,label\n1.png,a\n1.png,b\n", "1.png is listed more than once"),
        ("path,label\n1.png,a\n2.png,a\n", r"all.csv: wanted at least two .* got one class, 'a'$"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    picture(tmp_path / "1.png")
    picture(tmp_path / "2.png")
    file = tmp_path / "all.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        list_csv(file)


@pytest.mark.parametrize(
    "headings",
    [
        *("path,label", "Path,Label", "filename,label", "image,class", "file_name,category"),
        *("Image Path,Class Name", "image_id,breed", "img,target", " path , label "),
    ],
)
def test_other_headings_mean_the_same(two: Path, headings: str) -> None:
    two.write_text(f"{headings}\n1.png,a\n2.png,b\n")
    assert read(two) == {"1.png": "a", "2.png": "b"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_encodings_are_told_by_the_text(
    two: Path, encoding: str, separator: str, end: str
) -> None:
    lines = [("path", "label"), ("1.png", "Kätzchen"), ("2.png", '"b, c; d"')]
    two.write_bytes(end.join(separator.join(line) for line in (*lines, ("", ""))).encode(encoding))
    assert read(two) == {"1.png": "Kätzchen", "2.png": "b, c; d"}
    guessed = encoding in ("latin-1", "utf-16-le")
    assert any("read as" in note for note in list_csv(two).notes) == guessed


def test_a_line_that_names_the_separator_is_no_heading(two: Path) -> None:
    two.write_text("sep=;\npath;label\n1.png;a\n2.png;\n")
    with pytest.raises(DataError, match="line 4"):
        list_csv(two)


@pytest.mark.parametrize("word", ["", "nan", "None", "NA", "  ", "NULL"])
def test_missing_labels_are_no_class(two: Path, word: str) -> None:
    for number in range(3, 9):
        picture(two.parent / f"{number}.png")
    lines = [f"{n}.png,{word if n > 2 else 'ab'[n - 1]}" for n in range(1, 9)]
    two.write_text("path,label\n" + "\n".join(lines) + "\n")
    message = r"6 of 8 labels are missing .*: lines 4, 5, 6, 7, 8, …"
    with pytest.raises(DataError, match=message):
        list_csv(two)


def test_packed_files_and_binaries_are_told(two: Path) -> None:
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(
        DataError, match=r"an archive or a workbook.*Unpack it, or save the table as CSV"
    ):
        list_csv(two)
    two.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError, match="this is not text"):
        list_csv(two)


def test_columns_that_are_not_used_are_named(two: Path) -> None:
    two.write_text("path,label,angle,source\n1.png,a,3,web\n2.png,b,4,web\n")
    (note,) = list_csv(two).notes
    assert note.startswith("all.csv: 2 columns not used: angle, source.")


# Parts and groups


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0"), ("yes", "no")])
def test_fastais_is_valid_is_a_validation_part(two: Path, yes: str, no: str) -> None:
    picture(two.parent / "3.png")
    two.write_text(f"path,label,is_valid\n1.png,a,{no}\n2.png,b,{no}\n3.png,b,{yes}\n")
    parts = {p.name: p.part for p in list_csv(two).pictures}
    assert parts == {"1.png": "train", "2.png": "train", "3.png": "validation"}


def test_is_valid_decides_what_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    file = noise(tmp_path, lambda i: f"{i % 4 == 0}", "is_valid")
    data = load_own(file)
    assert data.train.held_out_N is not None and data.train.names is not None
    held = {n for n, out in zip(data.train.names, data.train.held_out_N, strict=True) if out}
    assert held == {f"{i}.png" for i in range(0, 40, 4)}


@pytest.mark.parametrize("heading", ["group", "patient", "Patient_ID", "source", "Writer ID"])
def test_a_group_is_kept_on_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heading: str
) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")
    data = load_own(noise(tmp_path, lambda i: f"p{i // 5}", heading))
    sides = [{int(Path(name).stem) // 5 for name in part.names or ()} for part in data]
    assert sides[0] | sides[1] == set(range(8))
    assert sides[0] & sides[1] == set()
    numbers = data.train.groups_N
    assert numbers is not None and len(set(numbers.tolist())) == len(sides[0])


@pytest.mark.parametrize(
    ("cell", "used"),
    [
        (lambda i: "web", False),
        (lambda i: f"camera {i % 2}", False),  # each class has one origin
        (lambda i: f"page {i // 10}", False),
        (lambda i: f"page {i // 8}", True),
    ],
)
def test_an_origin_groups_only_where_each_class_has_enough_of_them(
    tmp_path: Path, cell: Callable[[int], str], used: bool
) -> None:
    listing = list_csv(noise(tmp_path, cell, "source"))
    (note,) = listing.notes
    assert ("1 column not used: source" in note) == (not used)
    assert ("pictures of one source stay on one side" in note) == used
    groups = {p.name: p.group for p in listing.pictures}
    assert groups == {f"{i}.png": cell(i) if used else "" for i in range(40)}


def noise(root: Path, cell: Callable[[int], str], heading: str) -> Path:
    """Create forty pictures of noise in two classes, and a CSV with another column."""
    rng, lines = np.random.default_rng(0), [f"path,label,{heading}"]
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(root / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},{cell(i)}")
    (root / "all.csv").write_text("\n".join(lines))
    return root / "all.csv"


def test_a_group_that_its_maker_split_is_told(two: Path) -> None:
    for number in (3, 4):
        picture(two.parent / f"{number}.png")
    rows = ["1.png,a,train,p", "2.png,b,train,q", "3.png,a,test,p", "4.png,b,test,r"]
    two.write_text("path,label,split,group\n" + "\n".join(rows))
    assert list_csv(two).notes == (
        "1 group in two parts, such as p, so the test will look too good",
    )


# Paths


def test_paths_that_lead_out_of_the_folder_are_taken_only_when_allowed(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "1.png")
    for name in ("in/2.png", "in/3.png"):
        picture(tmp_path / "set" / name)
    file = tmp_path / "set" / "all.csv"
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "set" / "links").symlink_to(tmp_path / "elsewhere")
    outside = tmp_path / "elsewhere" / "1.png"
    for path in (
        "../elsewhere/1.png",
        outside,
        "link.png",
        "links/1.png",
        "in/../../elsewhere/1.png",
    ):
        file.write_text(f"path,label\n{path},a\nin/2.png,a\nin/3.png,b\n")
        with pytest.raises(DataError, match=r"line 2: .*is outside .*--allow-outside"):
            list_csv(file)
        listing = list_csv(file, allow_outside=True)
        assert sum((listing.root / p.name).samefile(outside) for p in listing.pictures) == 1


def test_paths_within_the_folder_may_be_written_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "in" / "2.png")
    picture(tmp_path / "in" / "3.png")
    picture(tmp_path / "4.png")
    file = tmp_path / "all.csv"
    file.write_text(f"path,label\nin\\2.png,a\n{tmp_path / 'in' / '3.png'},b\n./in/../4.png,b\n")
    assert read(file) == {"in/2.png": "a", "in/3.png": "b", "4.png": "b"}
    monkeypatch.chdir(tmp_path)
    assert read(Path("all.csv")) == {"in/2.png": "a", "in/3.png": "b", "4.png": "b"}


def test_classes_whose_names_differ_in_case_alone_are_told(two: Path) -> None:
    two.write_text("path,label\n1.png,Sea Cat\n2.png,sea_cat\n")
    (note,) = list_csv(two).notes
    assert note.startswith("'Sea Cat' and 'sea_cat' are treated as different classes")
    for one, other in (("A", "a"), ("-1", "1"), ("C+", "C-"), ("1.0", "10")):
        two.write_text(f"path,label\n1.png,{one}\n2.png,{other}\n")
        assert list_csv(two).notes == ()
