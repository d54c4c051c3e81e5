"""A layer, an augmentation, an optimizer, a schedule and a data set from outside the package: one
line in their table is enough."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.kit import Command, striped
from torch import Generator, Tensor, nn

import firstlight as fl
from firstlight.augment import AUGMENTATIONS, Augmentation
from firstlight.augment.augmentation import Seen
from firstlight.checked import number
from firstlight.data import catalog
from firstlight.data.catalog import CATALOG
from firstlight.data.entry import Content, Entry
from firstlight.data.idx_set import IdxFiles
from firstlight.errors import DataError
from firstlight.layers import LAYERS, Layer, Shape
from firstlight.optimizers import OPTIMIZERS, Optimizer
from firstlight.optimizers.rules import Rule, groups
from firstlight.recipe import parse_recipe
from firstlight.schedules import SCHEDULES, Schedule


@dataclass(frozen=True, repr=False)
class Square(Layer):
    """x², times a factor."""

    kind: ClassVar[str] = "square"
    title: ClassVar[str] = "square"
    main: ClassVar[str] = "factor"
    does: ClassVar[str] = "squares every number"

    factor: float = number(1.0, least=0.1, most=9.0)

    def output(self, shape: Shape) -> Shape:
        return shape

    def build(self, shape: Shape, rng: Generator) -> nn.Module:
        return Squaring(self.factor)


class Squaring(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs * inputs


@dataclass(frozen=True, repr=False)
class Invert(Augmentation):
    """Invert some images."""

    kind: ClassVar[str] = "invert"
    main: ClassVar[str] = "share"

    share: float = number(0.5, least=0.0, most=1.0)

    def apply(self, pixels_BCHW: Tensor, seen: Seen, rng: Generator) -> Tensor:
        chosen_B = torch.rand(len(pixels_BCHW), generator=rng) < self.share
        other = seen.on_pixels(lambda plain: 1 - plain, pixels_BCHW)
        return torch.where(chosen_B[:, None, None, None], other, pixels_BCHW)

    def words(self) -> str:
        return "inverted or not"


class SignRule(Rule):
    kinds = ()

    def _move(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, decay: float
    ) -> None:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.sub_(rate * gradient.sign())


@dataclass(frozen=True, repr=False)
class Sign(Optimizer):
    """A step of the same size for every weight."""

    kind: ClassVar[str] = "sign"

    def rules(self, shares: Any, batch_size: int, precision: Any) -> list[Rule]:
        return [SignRule(groups(shares, self.learning_rate, 0.0))]


@dataclass(frozen=True, repr=False)
class Halving(Schedule):
    """Half of the peak at the end."""

    kind: ClassVar[str] = "halving"

    def factor(self, done: float) -> float:
        return 1 - done / 2


def read_stripes() -> dict[str, tuple[Any, Any]]:
    return {
        name: (part.images_NHWC, part.labels_N) for name, part in striped(120, 12)._asdict().items()
    }


def entry(**changes: Any) -> Entry:
    shas = {
        f"{name}_{what}": hashlib.sha256(array.astype(np.uint8).tobytes()).hexdigest()
        for name, arrays in read_stripes().items()
        for what, array in zip(("images", "labels"), arrays, strict=True)
    }
    plain = Entry(
        name="stripes",
        title="Rows and columns",
        class_names=("row", "column"),
        image_shape=(12, 12, 1),
        train_count=120,
        test_count=120,
        reader=read_stripes,
        content=Content(**shas),
        licence="CC0",
        citation="none",
        light_on_dark=True,
        centred_strokes=False,
    )
    return replace(plain, **changes)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[tuple[dict[str, Any], str, Any]] = [
        (LAYERS, "square", Square),
        (AUGMENTATIONS, "invert", Invert),
        (OPTIMIZERS, "sign", Sign),
        (SCHEDULES, "halving", Halving),
        (CATALOG, "stripes", entry()),
    ]
    for table, word, part in tables:
        monkeypatch.setitem(table, word, part)


TOML = """
name = "toys"
[network]
layers = [
  { conv = 8, kernel = 5 },
  { square = 0.5 },
  { global-average-pool = true },
  { dense = "classes" },
]
[[augment]]
invert = 0.2
[optimizer]
name = "sign"
learning_rate = 0.005
[schedule]
name = "halving"
[train]
epochs = 20
batch_size = 20
validation = "none"
"""


@pytest.mark.usefixtures("registered")
def test_parts_from_outside_are_trained_with_from_toml_and_from_python(command: Command) -> None:
    Path("toys.toml").write_text(TOML)
    done = command("train", "stripes", "--recipe", "toys.toml", "--quiet", "--out", "first")
    assert done.code == 0, done.err

    run = fl.train(
        "stripes",
        network=[
            fl.layers.Conv(8, kernel=5),
            Square(0.5),
            fl.layers.GlobalAveragePool(),
            fl.layers.Dense("classes"),
        ],
        augment=[Invert(0.2)],
        optimizer=Sign(0.005),
        schedule=Halving(),
        epochs=20,
        batch_size=20,
        settings=["train.validation=none"],
        out="second",
        quiet=True,
    )

    first = fl.open_run("first")
    assert run.recipe == replace(first.recipe, name="own-network")
    assert first.evaluate().accuracy == run.evaluate().accuracy > 0.9
    weights = [(run_of.path / "model.safetensors").read_bytes() for run_of in (first, run)]
    assert weights[0][-64:] == weights[1][-64:], "the same bits"
    assert parse_recipe(run.recipe.to_toml(), source="again") == run.recipe
    listed = command("data", "list")
    assert "stripes" in listed.out and listed.code == 0
    assert command("data", "fetch", "stripes").code == 0
    assert run.report().exists()


def test_a_part_that_is_in_no_table_is_told_before_it_is_trained_with() -> None:
    for part in (
        {"network": [Square(0.5), fl.layers.Flatten(), fl.layers.Dense("classes")]},
        {"augment": [Invert()]},
        {"optimizer": Sign()},
        {"schedule": Halving()},
    ):
        with pytest.raises(fl.UserError, match=r"is not registered.*\[\"\w+\"\] = "):
            fl.train("digits", quiet=True, **part)


@pytest.mark.usefixtures("registered")
def test_a_reader_that_gives_other_data_than_its_entry_says_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = entry().content
    assert known is not None
    monkeypatch.setitem(CATALOG, "stripes", entry(content=replace(known, test_labels="0" * 64)))
    with pytest.raises(
        DataError, match=r"its reader and its catalogue entry disagree.*test labels should be 000"
    ):
        fl.load("stripes")


@pytest.mark.parametrize(
    "changes",
    [
        {"reader": "zip"},
        {"reader": IdxFiles()},
        {"files": catalog.CIFAR10.files},
        {"reader": catalog.CIFAR10.reader},
    ],
)
def test_an_entry_without_what_its_reader_needs_is_told_as_it_is_made(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="stripes: reader must be"):
        entry(**changes)


def test_a_function_without_checksums_of_its_arrays_is_told_as_it_is_made() -> None:
    with pytest.raises(ValueError, match="stripes: content must be given"):
        entry(content=None)
