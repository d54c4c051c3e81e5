"""CSVs whose rows are images: scikit-learn's digits and noise, written in common layouts."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from tests.kit import Command

import firstlight as fl
import firstlight.data.own as own
from firstlight.data.asked import pictures_asked
from firstlight.data.own import load_own
from firstlight.data.pictures import prepare
from firstlight.errors import DataError
from firstlight.pixels import Preprocess

UInt8Array = npt.NDArray[np.uint8]
RNG = np.random.default_rng(3)
IMAGES_NHW = RNG.integers(0, 256, (40, 9, 9), dtype=np.uint8)
LABELS = [("cat", "dog")[i % 2] for i in range(40)]
PIXELS = [f"pixel{i}" for i in range(81)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "cache_folder", lambda: tmp_path / "cache")


def written(
    file: Path,
    headings: Sequence[str] | None,
    row: Callable[[int], Sequence[object]],
    separator: str = ",",
    end: str = "\n",
) -> Path:
    lines = [] if headings is None else [separator.join(headings)]
    lines += [separator.join(map(str, row(i))) for i in range(40)]
    file.write_bytes((end.join(lines) + end).encode())
    return file


def contents(data: fl.TrainTest) -> dict[bytes, str]:
    """Map pixels to class, over both parts."""
    return {
        image.tobytes(): part.class_names[label]
        for part in data
        for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
    }


WANTED = {image.tobytes(): label for image, label in zip(IMAGES_NHW, LABELS, strict=True)}


@pytest.mark.parametrize(("separator", "end"), [(",", "\n"), (";", "\r\n"), ("\t", "\n")])
def test_kaggles_layout_gives_the_pixels_and_labels_of_each_row(
    tmp_path: Path, separator: str, end: str
) -> None:
    file = written(
        tmp_path / "train.csv",
        ["label", *PIXELS],
        lambda i: [LABELS[i], *IMAGES_NHW[i].ravel()],
        separator,
        end,
    )
    data = load_own(file)
    assert contents(data) == WANTED
    assert data.train.warnings == ()


@pytest.mark.parametrize(
    ("headings", "row"),
    [
        (["id", "label", *PIXELS], lambda i: [i, LABELS[i], *IMAGES_NHW[i].ravel()]),
        ([*PIXELS, "Class Name"], lambda i: [*IMAGES_NHW[i].ravel(), f'"{LABELS[i]}"']),
        (None, lambda i: [*IMAGES_NHW[i].ravel(), LABELS[i]]),
        (None, lambda i: [LABELS[i], *IMAGES_NHW[i].ravel()]),
        (
            ["label", *(f"{r}x{c}" for r in range(1, 10) for c in range(1, 10))],
            lambda i: [LABELS[i], *IMAGES_NHW[i].ravel()],
        ),
    ],
)
def test_other_layouts_give_the_same(
    tmp_path: Path,
    headings: Sequence[str] | None,
    row: Callable[[int], Sequence[object]],
) -> None:
    file = written(tmp_path / "a.csv", headings, row)
    assert contents(load_own(file)) == WANTED


def test_columns_sorted_as_words_are_put_into_the_order_of_the_pixels(tmp_path: Path) -> None:
    names = sorted(PIXELS)  # pixel0, pixel1, pixel10, pixel11, ...
    places = [int(name.removeprefix("pixel")) for name in names]
    file = written(
        tmp_path / "a.csv", ["label", *names], lambda i: [LABELS[i], *IMAGES_NHW[i].ravel()[places]]
    )
    assert contents(load_own(file)) == WANTED


def test_numbers_without_headings_begin_with_the_label(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", None, lambda i: [i % 3, *IMAGES_NHW[i].ravel()])
    data = load_own(file)
    assert data.train.class_names == ("0", "1", "2")
    assert "a.csv: no headings: the first column is used as the class" in data.train.notes


def test_the_label_is_last_where_the_first_column_has_one_value_alone(tmp_path: Path) -> None:
    corner = IMAGES_NHW.copy()
    corner[:, 0, 0] = 0  # as in the UCI repository's digits
    file = written(tmp_path / "a.csv", None, lambda i: [*corner[i].ravel(), i % 2])
    data = load_own(file)
    assert contents(data) == {image.tobytes(): str(i % 2) for i, image in enumerate(corner)}
    assert "a.csv: no headings: the last column is used as the class" in data.train.notes


def test_parts_groups_and_floats_are_as_in_other_tables(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.csv",
        ["label", "split", "patient", "angle", *PIXELS],
        lambda i: [
            LABELS[i],
            "test" if i < 10 else "train",
            f"p{i // 4}",
            i,
            *(IMAGES_NHW[i].ravel() / 255).round(6),
        ],
    )
    with pytest.raises(DataError, match="got 82 columns of numbers: name the others label, part"):
        load_own(file)
    text = file.read_text().replace("angle", "id")
    file.write_text(text)
    data = load_own(file)
    assert contents(data) == WANTED
    assert len(data.test) == 10
    assert data.train.groups_N is not None
    assert len(np.unique(np.r_[data.train.groups_N, data.test.groups_N])) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[4].__setitem__(7, "x"),
            r"line 6: wanted a number .* got 'x' in c",
        ),
        (lambda rows: rows[4].__setitem__(7, ""), r"line 6: wanted a number .* got '' in column 8"),
        (
            lambda rows: rows[4].__setitem__(7, "nan"),
            r"line 6: wanted a number .* got 'nan'",
        ),
        (lambda rows: rows[4].append("9"), "line 6: has 83 cells under 82 headings"),
        (lambda rows: rows[4].__setitem__(0, "nan"), "1 of 40 labels is missing .*: line 6"),
        (lambda rows: rows.clear(), "wanted the columns path,label in the first line"),
    ],
)
def test_damaged_rows_are_told_by_their_line(
    tmp_path: Path, change: Callable[[list[list[str]]], None], message: str
) -> None:
    rows = [[LABELS[i], *map(str, IMAGES_NHW[i].ravel())] for i in range(40)]
    change(rows)
    lines = [",".join(["label", *PIXELS]), *(",".join(row) for row in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        load_own(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (80, "got 80 columns of numbers: name the others label"),
        (243, "243 would be a colour picture of 9 × 9, but a CSV does not"),
    ],
)
def test_pixels_that_make_no_square_are_refused(tmp_path: Path, pixels: int, message: str) -> None:
    headings = ["label", *(f"p{i}" for i in range(pixels))]
    file = written(tmp_path / "a.csv", headings, lambda i: [LABELS[i], *[i] * pixels])
    with pytest.raises(DataError, match=message):
        load_own(file)


def test_a_table_of_few_columns_is_no_table_of_images(tmp_path: Path) -> None:
    file = written(tmp_path / "a.csv", ["a", "b", "c", "label"], lambda i: [i, i, i, LABELS[i]])
    with pytest.raises(DataError, match=r"wanted the columns path,label .* got a,b,c,label"):
        load_own(file)


def test_levels_that_may_mean_anything_are_asked_for_and_not_guessed(tmp_path: Path) -> None:
    digits = load_digits()
    file = written(
        tmp_path / "a.csv",
        ["label", *(f"pixel{i}" for i in range(64))],
        lambda i: [digits.target[i], *digits.data[i].astype(int)],
    )
    with pytest.raises(DataError, match="range"):
        load_own(file)


def test_emnists_images_are_set_upright(tmp_path: Path) -> None:
    file = written(
        tmp_path / "emnist-letters-train.csv",
        None,
        lambda i: [LABELS[i], *IMAGES_NHW[i].T.ravel()],
    )
    assert contents(load_own(file)) == WANTED


def test_rows_are_asked_about_one_by_one(tmp_path: Path) -> None:
    test = written(tmp_path / "test.csv", PIXELS, lambda i: IMAGES_NHW[i].ravel())
    sources = list(pictures_asked([str(test)]))
    grey = Preprocess(height=9, width=9, channels=1, mean=(0.0,), std=(1.0,))
    assert [source.name for source in sources[:2]] == [f"{test}:1", f"{test}:2"]
    assert all(
        np.array_equal(prepare(source, grey).image_HWC[..., 0], image)
        for source, image in zip(sources, IMAGES_NHW, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("path,label\nnone.png,1\n", "line 2: no such file: "),
        ("path,label\n", "has headings but no rows"),
        ("a,b\n1,2\n", "wanted a CSV with a column for each pixel, or with a column path"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
    ],
)
def test_a_table_that_cannot_be_asked_about_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ask.csv").write_text(text)
    grey = Preprocess(height=9, width=9, channels=1, mean=(0.0,), std=(1.0,))
    for word in ("ask.csv", "./ask.csv", str(tmp_path / "ask.csv")):
        (source,) = pictures_asked([word])
        with pytest.raises(DataError) as told:
            prepare(source, grey)
        assert str(told.value).startswith(f"{word}: {why}")
        assert str(told.value).count("ask.csv") == 1


def test_the_command_trains_on_a_table_and_answers_one(tmp_path: Path, command: Command) -> None:
    digits = load_digits()
    images, headings = (digits.data * 255 / 16).round().astype(int), [f"p{i}" for i in range(64)]

    def table(name: str, rows: slice, *, labels: bool) -> None:
        lines = [",".join([*(["label"] if labels else []), *headings])]
        for label, row in zip(digits.target[rows], images[rows], strict=True):
            lines.append(",".join(map(str, [*([label] if labels else []), *row])))
        Path(name).write_text("\n".join(lines))

    table("train.csv", slice(0, 1400), labels=True)
    table("test.csv", slice(1400, 1500), labels=False)
    recipe = ("--recipe", "digits-tutorial", "--epochs", 8)
    assert command("train", "train.csv", *recipe, "--out", "run", "--quiet").code == 0
    lines = command("predict", "run", "test.csv", "--csv").out.splitlines()[1:]
    assert lines[0].startswith("test.csv:1,")
    found = [max(range(10), key=lambda k: float(line.split(",")[3 + k])) for line in lines]
    assert (np.array(found) == digits.target[1400:1500]).mean() > 0.85
    Path("list.csv").write_text("path,label\nx.png,1\n")
    told = command("predict", "run", "list.csv")
    assert (told.code, "x.png" in told.err) == (3, True), told.err


def test_the_range_of_pixels_is_stated_beside_the_file(tmp_path: Path, command: Command) -> None:
    """scikit-learn's digits range from 0 to 16, which the file itself cannot say."""
    images_NHW, labels = load_digits(return_X_y=True)[0].reshape(-1, 8, 8), load_digits().target
    lines = ["label," + ",".join(f"p{i}" for i in range(64))]
    lines += [
        ",".join(map(str, [label, *image.astype(int).ravel()]))
        for image, label in zip(images_NHW[:300], labels[:300], strict=True)
    ]
    file, run = tmp_path / "digits.csv", tmp_path / "run"
    file.write_text("\n".join(lines))
    told = command("data", "check", file)
    assert (told.code, "--range 0 16" in told.err) == (3, True)

    checked = command("data", "check", file, "--range", "0", "16")
    assert checked.code == 0
    assert "300 pictures in 10 classes; training would use 8 × 8 grey" in checked.out

    words = ("train", file, "--range", "0", "16", "--epochs", "3", "--quiet", "--out", run)
    done = command(*words)
    assert done.code == 0, done.err
    levels = fl.from_images(images_NHW[:300], labels[:300], range=(0, 16))
    whole = fl.open_run(run).evaluate()
    assert whole.count == len(levels.test)

    # Other numbers of the same kind give the answers of the same pictures in 0 to 255.
    other = tmp_path / "other.csv"
    other.write_text("\n".join([lines[0], *lines[1:41]]))
    stated = command("evaluate", run, other, "--range", "0", "16", "--json")
    plain = np.rint(images_NHW[:40] * 255 / 16).astype(np.uint8)
    wanted = fl.open_run(run).evaluate((plain, labels[:40]))
    assert f'"accuracy": {wanted.accuracy!r}' in stated.out
    asked = command("predict", run, other, "--range", "0", "16", "--csv")
    answers = [line.split(",")[1] for line in asked.out.splitlines()[1:]]
    assert answers == [one.answer or "" for one in fl.open_run(run).predict(plain)]


def test_a_range_that_means_nothing_is_refused(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for words in (
        ("train", "mnist"),
        ("train", folder),
        ("data", "check", folder),
        ("train", "--resume", folder),
        ("evaluate", folder),
    ):
        told = command(*words, "--range", "0", "16")
        assert (told.code, "--range" in told.err) == (2, True), (words, told.err)


def test_arrays_are_checked_as_files_are(tmp_path: Path, command: Command) -> None:
    """One image is in both parts; indices start at 0 in each."""
    images = np.concatenate([IMAGES_NHW, IMAGES_NHW[7:8]])
    labels = np.array([*LABELS, LABELS[7]])
    np.savez(
        tmp_path / "a.npz",
        train_images=images[:35],
        train_labels=labels[:35],
        test_images=images[35:],
        test_labels=labels[35:],
    )
    told = command("data", "check", tmp_path / "a.npz", "--json")
    found = json.loads(told.out)
    assert [f["groups"] for f in found["findings"] if f["kind"] == "leak"] == [
        [["train[7]", "test[5]"]]
    ]
    assert found["exclude"] == {}
    for option in ("--labels", "--allow-outside"):
        assert command("data", "check", tmp_path / "a.npz", option).code == 2
    assert command("data", "check", tmp_path / "a.npz", "--fix-list", tmp_path / "x.csv").code == 2


def kaggle(folder: Path, *, labelled_test: bool = False) -> Path:
    """Write ``train.csv`` and ``test.csv`` like Kaggle's digits by pandas, and the sample
    submission."""
    folder.mkdir()
    pixels = pd.DataFrame(IMAGES_NHW.reshape(40, 81), columns=PIXELS)
    labelled = pixels.copy()
    labelled.insert(0, "label", LABELS)
    labelled[:30].to_csv(folder / "train.csv", index=False)
    (labelled if labelled_test else pixels)[30:].to_csv(folder / "test.csv", index=False)
    sample = pd.DataFrame({"ImageId": range(1, 11), "Label": 0})
    sample.to_csv(folder / "sample_submission.csv", index=False)
    return folder


def test_kaggles_folder_is_trained_on_without_the_test_that_has_no_labels(tmp_path: Path) -> None:
    data = load_own(kaggle(tmp_path / "digits"))
    assert contents(data) == dict(list(WANTED.items())[:30])
    assert data.train.name == "digits/train"
    (note,) = data.train.warnings
    assert note.startswith(
        "test.csv: has no labels, left out. To get answers for it: firstlight predi"
    )


def test_a_line_that_names_the_separator_hides_no_table(tmp_path: Path) -> None:
    file = kaggle(tmp_path / "digits") / "train.csv"
    file.write_text("sep=;\n\n" + file.read_text().replace(",", ";"))
    assert contents(load_own(tmp_path / "digits")) == dict(list(WANTED.items())[:30])


def test_a_test_table_with_labels_is_the_test_part(tmp_path: Path) -> None:
    data = load_own(kaggle(tmp_path / "digits", labelled_test=True))
    assert contents(data) == WANTED
    tested = {image.tobytes() for image in data.test.images_NHWC}
    assert tested == {image.tobytes() for image in IMAGES_NHW[30:]}
    # The same content under other names is another part.
    (tmp_path / "digits" / "test.csv").rename(tmp_path / "digits" / "validation.csv")
    data = load_own(tmp_path / "digits")
    assert data.train.held_out_N is not None
    held = {image.tobytes() for image in data.train.images_NHWC[data.train.held_out_N]}
    assert held == tested


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.csv", "b.csv"), "wanted one CSV of pixels for each part, such as .* got a.csv, b.csv"),
        (
            ("train.csv", "mnist_train.csv"),
            "got mnist_train.csv, train.csv. Put the files of one data set",
        ),
        (("test.csv",), "wanted train.csv with labels, got test.csv"),
    ],
)
def test_tables_whose_part_is_not_plain_are_refused(
    tmp_path: Path, names: Sequence[str], message: str
) -> None:
    for name in names:
        written(tmp_path / name, ["label", *PIXELS], lambda i: [LABELS[i], *IMAGES_NHW[i].ravel()])
    with pytest.raises(DataError, match=message):
        load_own(tmp_path)


def test_a_renamed_emnist_is_read_anew(tmp_path: Path) -> None:
    file = written(
        tmp_path / "a.csv", ["label", *PIXELS], lambda i: [LABELS[i], *IMAGES_NHW[i].T.ravel()]
    )
    assert contents(load_own(file)) != WANTED
    assert contents(load_own(file.rename(tmp_path / "emnist.csv"))) == WANTED
