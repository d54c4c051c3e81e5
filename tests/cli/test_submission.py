"""``predict RUN test.csv --csv FILE --columns ImageId,Label``, as Kaggle's digits require."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.kit import Command

import firstlight as fl

IMAGES_NHW: npt.NDArray[np.uint8] = np.rint(load_digits().images[1500:1530] * 255 / 16).astype(
    np.uint8
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write ``test.csv`` like Kaggle's: only pixels."""
    pixels = pd.DataFrame(IMAGES_NHW.reshape(-1, 64), columns=[f"pixel{i}" for i in range(64)])
    pixels.to_csv(tmp_path / "test.csv", index=False)
    return tmp_path / "test.csv"


def best(run: fl.Run) -> list[int]:
    """Return the class of each image, as the library predicts it from the array."""
    return [int(answer.best or "") for answer in run.predict(IMAGES_NHW)]


def test_the_file_is_the_one_that_pandas_would_write(
    command: Command, digits_run: fl.Run, table: Path
) -> None:
    words = ("predict", digits_run.path, table, "--csv", "submission.csv")
    done = command(*words, "--columns", "ImageId,Label")
    assert (done.code, done.out) == (0, "answers submission.csv: 30 answers\n")
    wanted = pd.DataFrame({"ImageId": np.arange(1, 31), "Label": best(digits_run)})
    assert (
        Path("submission.csv").read_bytes()
        == wanted.to_csv(index=False, lineterminator="\n").encode()
    )
    printed = command("predict", digits_run.path, table, "--columns", "ImageId,Label", "--csv")
    assert printed.out == Path("submission.csv").read_text()
    assert command(*words, "--columns", "ImageId,Label").code == 0, "the same line again replaces"


def test_a_column_of_that_name_has_the_keys(
    command: Command, digits_run: fl.Run, table: Path
) -> None:
    pixels = pd.read_csv(table)
    pixels.insert(0, "id", np.arange(100, 130))
    pixels.to_csv("keyed.csv", index=False)
    done = command("predict", digits_run.path, "keyed.csv", "--csv=a.csv", "--columns", "id,label")
    assert done.code == 0
    written = pd.read_csv("a.csv")
    assert list(written.columns) == ["id", "label"]
    assert written["id"].tolist() == list(range(100, 130))
    assert written["label"].tolist() == best(digits_run)


def test_pictures_are_called_by_their_names(
    command: Command, digits_run: fl.Run, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    for at in range(3):
        Image.fromarray(IMAGES_NHW[at]).save(tmp_path / "a" / f"{at}.png")
    done = command("predict", digits_run.path, "a", "--csv", "--columns", "image,answer")
    assert done.out.splitlines()[0] == "image,answer"
    assert [line.split(",")[0] for line in done.out.splitlines()[1:]] == ["0.png", "1.png", "2.png"]


def test_csv_without_columns_is_written_whole(
    command: Command, digits_run: fl.Run, table: Path
) -> None:
    printed = command("predict", digits_run.path, table, "--csv")
    assert command("predict", digits_run.path, table, "--csv", "all.csv").code == 0
    assert Path("all.csv").read_text() == printed.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("test.csv", "--columns", "a,b"), 2, "add --csv"),
        (("test.csv", "--csv", "--columns", "a"), 2, "--columns: wanted two headings"),
        (("test.csv", "--csv", "--columns", "a,a"), 2, "--columns: wanted two headings"),
        (("test.csv", "test.csv", "--csv", "--columns", "a,b"), 2, "two pictures would be called"),
        (("test.csv", "--csv", "test.csv"), 2, "would replace one of the inputs"),
        (("test.csv", "--csv", "other.csv"), 2, "already exists and holds something else"),
        (("--csv", "test.csv"), 2, "Missing argument"),
        (("test.csv", "--csv", "no/a.csv"), 2, "no/a.csv: cannot be written"),
        (("test.csv", "gone.png", "--csv", "a.csv", "--columns", "a,b"), 3, "Nothing was answered"),
        (("test.csv", "--out", "o", "--columns", "a,b"), 2, "do not go with --out"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_lost(
    command: Command,
    digits_run: fl.Run,
    table: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    before = table.read_bytes()
    Path("other.csv").write_text("path,label\na.png,1\n")
    done = command("predict", digits_run.path, *words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert table.read_bytes() == before
    assert Path("other.csv").read_text() == "path,label\na.png,1\n"
    assert not Path("a.csv").exists()
