"""A list of corrections: pictures to leave out, and pictures of another class."""

from pathlib import Path

import pytest
from PIL import Image

from firstlight.data.fixes import Fixes, fixed, read_fixes
from firstlight.data.folder import list_folder
from firstlight.data.listing import Listing
from firstlight.data.table import list_csv
from firstlight.errors import DataError


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    for name in ("a/1.png", "a/2.png", "a/4.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    return list_folder(tmp_path)


def classes(listing: Listing) -> dict[str, str]:
    return {one.name: listing.class_names[one.label] for one in listing.pictures}


def test_pictures_are_left_out_and_given_another_class_by_name(listing: Listing) -> None:
    mended = fixed(listing, Fixes(left_out=("a/1.png",), relabelled={"a/2.png": "b"}))
    assert classes(mended) == {"a/2.png": "b", "a/4.png": "a", "b/3.png": "b"}
    assert fixed(listing, Fixes()) == listing


@pytest.mark.parametrize(
    ("fixes", "message"),
    [
        (Fixes(left_out=("a/9.png",)), r"no picture 'a/9.png' to leave out.*such as a/1.png"),
        (Fixes(left_out=("b/3.png",)), "every picture of 'b' would be left out"),
        (Fixes(relabelled={"b/3.png": "a"}), "every picture of 'b' would be left out or given"),
        (Fixes(relabelled={"b/9.png": "a"}), "no picture 'b/9.png' to give another class"),
        (Fixes(relabelled={"a/1.png": "c"}), "class 'c', which is not there; the classes are a, b"),
        (Fixes(relabelled={"a/1.png": "a"}), "class 'a', which it has already"),
    ],
)
def test_a_correction_that_does_not_fit_is_refused(
    listing: Listing, fixes: Fixes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fixed(listing, fixes)


def test_a_picture_with_several_labels_can_only_be_left_out(
    listing: Listing, tmp_path: Path
) -> None:
    file = tmp_path / "several.csv"
    file.write_text("path,label\na/1.png,x;y\na/2.png,x\nb/3.png,y\n")
    several = list_csv(file)
    mended = fixed(several, Fixes(left_out=("a/1.png",)))
    assert [one.name for one in mended.pictures] == ["a/2.png", "b/3.png"]
    with pytest.raises(DataError, match="several labels, so a correction can only leave them out"):
        fixed(several, Fixes(relabelled={"a/2.png": "y"}))


def test_a_list_of_corrections_is_read_like_the_other_csvs(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_bytes("Path;reason\nä/1.png;x\n".encode("utf-16"))
    assert read_fixes(file) == Fixes(left_out=("ä/1.png",))
    file.write_bytes(b"path\n'=1.png\n b\xff.png\n")
    assert set(read_fixes(file).left_out) == {"=1.png", " b\udcff.png"}
    file.write_text("path,label,reason\na.png,cat,\nb.png,,blurred\nb.png,,again\nc.png,'=1,\n")
    assert read_fixes(file) == Fixes(
        left_out=("b.png",), relabelled={"a.png": "cat", "c.png": "=1"}
    )
    file.write_text("name,reason\n")
    with pytest.raises(DataError, match="wanted a column path in the first line, got name,reason"):
        read_fixes(file)
    file.write_text("path,label\na.png,cat\na.png,dog\n")
    with pytest.raises(DataError, match=r"a\.png is listed twice, with different labels"):
        read_fixes(file)
