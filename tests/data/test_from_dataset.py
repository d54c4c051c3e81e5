"""Data sets of Hugging Face's ``datasets`` and of PyTorch, and plain rows, compared with their
items."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import firstlight as fl
from firstlight.errors import DataError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
IMAGES: npt.NDArray[np.uint8] = np.random.default_rng(5).integers(0, 256, (40, 32, 32, 3), np.uint8)
NAMES = ("cat", "dog")
WANTED = {image.tobytes(): NAMES[at % 2] for at, image in enumerate(IMAGES)}


def contents(*parts: fl.Dataset) -> dict[bytes, str]:
    """Map pixels to class."""
    return {
        image.tobytes(): part.class_names[label]
        for part in parts
        for image, label in zip(part.images_NHWC, part.labels_N, strict=True)
    }


def hub_set(rows: range = range(40), **columns: Any) -> Any:
    """Return a ``datasets.Dataset`` of these rows, by default with a ``ClassLabel``."""
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    values: dict[str, Any] = {
        "image": [Image.fromarray(IMAGES[at]) for at in rows],
        "label": [at % 2 for at in rows],
    }
    for name, (feature, column) in columns.items():
        features[name], values[name] = feature, column
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


class Pairs(Dataset[Any]):
    """A map-style data set like torchvision's: pictures with numbers, and ``classes``."""

    classes: Any = NAMES

    def __init__(self, picture: Callable[[npt.NDArray[np.uint8]], Any] = Image.fromarray) -> None:
        self.picture = picture

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        if at >= len(self):
            raise IndexError
        return self.picture(IMAGES[at]), at % 2


def to_tensor(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Do the same as torchvision's ``ToTensor``: floats in [0, 1], channels first."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def png(image: npt.NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        hub_set,
        lambda: hub_set().with_format("torch"),
        lambda: {"train": hub_set()},
        lambda: hub_set().rename_column("label", "animal").rename_column("image", "what"),
        Pairs,
        lambda: Pairs(to_tensor),
        lambda: Pairs(lambda image: image),
        lambda: Subset(Pairs(), range(40)),
        lambda: [{"image": one, "label": NAMES[at % 2]} for at, one in enumerate(IMAGES)],
        lambda: [{"pixels": png(one), "kind": NAMES[at % 2]} for at, one in enumerate(IMAGES)],
        lambda: [
            {"img": {"bytes": png(one), "path": None}, "class": NAMES[at % 2], "id": at}
            for at, one in enumerate(IMAGES)
        ],
        lambda: [(Image.fromarray(one), NAMES[at % 2]) for at, one in enumerate(IMAGES)],
    ],
)
def test_the_pixels_and_classes_are_those_of_the_set(data: Callable[[], Any]) -> None:
    found = fl.from_dataset(data())
    assert contents(*found) == WANTED
    assert found.train.class_names == NAMES
    assert len(found.test) == 6, "15 % of each class"


def test_arrays_of_datasets_stay_as_they_are() -> None:
    """Pictures in files this small would be left out."""
    small = IMAGES[:, :8, :8, 0]
    features = datasets.Features(
        {"image": datasets.Array2D((8, 8), "uint8"), "label": datasets.Value("string")}
    )
    rows = {"image": list(small), "label": [NAMES[at % 2] for at in range(40)]}
    found = fl.from_dataset(datasets.Dataset.from_dict(rows, features=features))
    wanted = {image.tobytes(): NAMES[at % 2] for at, image in enumerate(small)}
    assert contents(*found) == wanted


def test_parts_of_a_dataset_dict_are_kept() -> None:
    parts = {
        "train": hub_set(range(24)),
        "validation": hub_set(range(24, 32)),
        "test": hub_set(range(32, 40)),
        "extra": hub_set(range(2)),
    }
    found = fl.from_dataset(datasets.DatasetDict(parts))
    held_N = found.train.held_out_N
    assert held_N is not None
    for part, keep in (("validation", held_N), ("train", ~held_N)):
        chosen = found.train.take(np.flatnonzero(keep))
        wanted = {np.asarray(row["image"]).tobytes() for row in parts[part]}
        assert set(contents(chosen)) == wanted
    assert set(contents(found.test)) == {np.asarray(r["image"]).tobytes() for r in parts["test"]}
    assert "extra: not train, validation or test; left out" in found.train.warnings


def test_a_test_set_beside_and_one_without_labels() -> None:
    beside = fl.from_dataset(hub_set(range(30)), test=hub_set(range(30, 40)))
    assert set(contents(beside.test)) == {one.tobytes() for one in IMAGES[30:]}
    bare = hub_set(range(30, 40)).map(lambda row: {"label": -1})
    hidden = fl.from_dataset({"train": hub_set(range(30)), "test": bare})
    assert contents(*hidden) == dict(list(WANTED.items())[:30])
    assert hidden.train.warnings == ("test: has no labels, left out",)


def test_names_of_classes_are_given_or_left_out() -> None:
    named = fl.from_dataset(TensorDataset(
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.arange(40) % 2
    ), class_names=["no", "yes"])  # fmt: skip
    assert named.train.class_names == ("no", "yes")
    numbered = fl.from_dataset(TensorDataset(torch.from_numpy(IMAGES), torch.arange(40) % 2))
    assert contents(*numbered) == {image: str(NAMES.index(one)) for image, one in WANTED.items()}
    three = datasets.ClassLabel(names=["bird", *NAMES])
    features = datasets.Features({"image": datasets.Image(), "label": three})
    rows = {"image": [Image.fromarray(one) for one in IMAGES], "label": [1, 2] * 20}
    found = fl.from_dataset(datasets.Dataset.from_dict(rows, features=features))
    assert contents(*found) == WANTED
    assert found.train.warnings == ("classes without pictures, left out (1): bird",)


class Turned(Pairs):
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        super().__init__(lambda image: np.roll(image, int(rng.integers(1, 30)), axis=0))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: hub_set().remove_columns("label"), "wanted a column label, got image"),
        (lambda: hub_set().remove_columns("image"), "wanted a column image.* got label"),
        (lambda: hub_set().to_iterable_dataset(), "only be streamed"),
        (
            lambda: hub_set(
                one=(datasets.ClassLabel(names=list(NAMES)), [0] * 40),
                two=(datasets.ClassLabel(names=list(NAMES)), [1] * 40),
            ).remove_columns("label"),
            "one and two each hold classes. Rename the right one to label",
        ),
        (
            lambda: hub_set().map(
                lambda row, at: {"label": -1 if at < 3 else 0}, with_indices=True
            ),
            "3 of 40 labels are missing",
        ),
        (lambda: {"a": hub_set(), "b": hub_set()}, "with the parts train .*got a, b"),
        (lambda: {"train": hub_set(), "training": hub_set()}, "the part train a second time"),
        (Stream, "into a list first|got Stream"),
        (Turned, "returns a different picture each time"),
        (lambda: Pairs(lambda image: (to_tensor(image) - 0.5) / 0.5), "range=\\(-1, 1\\)"),
        (lambda: [(one, 0, 1) for one in IMAGES], "wanted .picture, label. or a dict, got tuple"),
        (lambda: [{"a": one, "b": 0, "c": 1} for one in IMAGES], "as image and its class as label"),
        (lambda: [{"image": one, "label": [0, 1]} for one in IMAGES], "argmax"),
        (lambda: [{"image": one, "label": None} for one in IMAGES], "have no labels"),
        (lambda: [{"image": "a.png", "label": 0}] * 3, "wanted a picture"),
        (lambda: [{"image": b"no", "label": at % 2} for at in range(4)], "none of the pictures"),
        (lambda: pd.DataFrame({"image": [1], "label": [2]}), r'\.to_dict\("records"\)'),
        (lambda: (IMAGES, [0] * 40), "fl.from_images"),
        (lambda: "mnist", "got str"),
        (list, "wanted pictures, got none"),
    ],
)
def test_what_is_wrong_is_told(data: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fl.from_dataset(data())


def test_a_run_says_where_its_data_came_from_and_knows_it_again(tmp_path: Path) -> None:
    data = fl.from_dataset(hub_set())
    run = fl.train(data, settings=["train.epochs=0.1"], out=tmp_path / "run", quiet=True)
    told = json.loads((tmp_path / "run" / "data.json").read_text())
    fingerprint = hub_set()._fingerprint
    assert told["notes"][0] == f"from datasets: fingerprint {fingerprint}, 40 rows"
    again = fl.open_run(run.path, data=fl.from_dataset(hub_set()))
    assert again.evaluate().count == 6
    with pytest.raises(DataError, match="not those that the run was trained with"):
        fl.open_run(run.path, data=fl.from_dataset(hub_set(range(38)))).evaluate()


LISTS: list[list[int]] = [[0], [1], [0, 1], []] * 10


@pytest.mark.parametrize(
    "data",
    [
        lambda: hub_set(label=(datasets.List(datasets.ClassLabel(names=list(NAMES))), LISTS)),
        lambda: hub_set(
            tags=(datasets.List(datasets.ClassLabel(names=list(NAMES))), LISTS)
        ).remove_columns("label"),
        lambda: [
            {"image": one, "label": [NAMES[k] for k in each]}
            for one, each in zip(IMAGES, LISTS, strict=True)
        ],
        lambda: [
            {"image": one, "label": torch.tensor([float(k in each) for k in range(2)])}
            for one, each in zip(IMAGES, LISTS, strict=True)
        ],
    ],
)
def test_a_list_of_labels_is_several_labels(data: Callable[[], Any]) -> None:
    found = fl.from_dataset(data(), class_names=NAMES)
    told = [part.label_of(at) for part in found for at in range(len(part))]
    wanted = [";".join(NAMES[k] for k in each) or "(none)" for each in LISTS]
    assert found.train.several and sorted(told) == sorted(wanted)
