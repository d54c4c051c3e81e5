"""A class name identifies one class, wherever names come from."""

from pathlib import Path

import numpy as np
import pytest
from tests.kit import Command, striped

import firstlight as fl
from firstlight.checked import class_names
from firstlight.errors import DataError
from firstlight.export.keras_import import read_keras
from firstlight.runs.folder import RunFolder
from firstlight.runs.record import read_answers
from firstlight.verbs.import_keras import import_keras

TWICE = "the class name 'row' is used for more than one class"


def test_names_are_texts_each_once() -> None:
    assert class_names(["a", "A", "a ", ""], "it") == ("a", "A", "a ", "")
    for wrong in ("ab", ["a", 1], None, {"a": 1}):
        with pytest.raises(DataError, match="it: class names must be a list of texts"):
            class_names(wrong, "it")
    with pytest.raises(DataError, match="it: the class name 'b' is used for more than one class"):
        class_names(["a", "b", "c", "b"], "it")


def test_a_data_set_of_two_classes_of_one_name_is_refused() -> None:
    train = striped().train
    with pytest.raises(DataError, match=TWICE):
        fl.Dataset(
            name="it",
            images_NHWC=train.images_NHWC,
            labels_N=train.labels_N,
            class_names=("row", "row"),
        )
    with pytest.raises(DataError, match=TWICE):
        fl.from_images(train.images_NHWC, train.labels_N, class_names=["row", "row"])


def test_an_npz_with_a_name_twice_is_refused(command: Command) -> None:
    train = striped().train
    np.savez("it.npz", images=train.images_NHWC, labels=train.labels_N, class_names=["row", "row"])
    done = command("train", "it.npz")
    assert done.code == 3, done
    assert TWICE in done.err


def test_a_keras_model_is_not_imported_with_a_name_twice(tmp_path: Path) -> None:
    file = Path(__file__).parent / "export" / "keras" / "colour.keras"
    shape = read_keras(file).image_shape
    with pytest.raises(DataError, match=TWICE):
        part = fl.Dataset(
            name="it/train",
            images_NHWC=np.zeros((3, *shape), np.uint8),
            labels_N=np.arange(3),
            class_names=("row", "row", "column"),
        )
        import_keras(file, data=fl.TrainTest(part, part), out=tmp_path / "run")


def test_answers_on_disk_with_a_name_twice_or_no_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"count": 1, "correct": 1}')
    answers = "image,true,predicted,confidence,p_row,{}\n0,row,row,0.5,{},0.5\n"
    for second, first_probability, says in (
        ("column", "0.5", None),
        ("row", "0.5", TWICE),
        ("column", "nan", "not probabilities"),
        ("column", "7", "not probabilities"),
    ):
        text = answers.format(f"p_{second}", first_probability)
        (tmp_path / "predictions.csv").write_text(text)
        if says is None:
            assert read_answers(RunFolder(tmp_path)).true_N.tolist() == [0]
            continue
        with pytest.raises(DataError, match=says):
            read_answers(RunFolder(tmp_path))
