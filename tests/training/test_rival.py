"""When a run that is behind another ends early, and that its recipe then repeats it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.kit import striped, tutorial_net

import firstlight as fl
from firstlight.progress import Silent
from firstlight.recipe import load_recipe
from firstlight.runs.folder import RunFolder
from firstlight.training.rival import Rival
from firstlight.verbs.fit import fit
from firstlight.verbs.job import Side
from firstlight.verbs.plan import plan_on


def run_with(rights: list[float], epochs: int = 40, held_out: int = 100) -> Any:
    """Return a trainer's state after some epochs of ten steps, and the length that it is given."""
    trainer = SimpleNamespace(
        records=[
            SimpleNamespace(steps=10 * (at + 1), validation_accuracy=right)
            for at, right in enumerate(rights)
        ],
        validation=range(held_out),
        steps=10 * epochs,
        ends=None,
    )
    trainer.replan = lambda steps: setattr(trainer, "ends", steps)
    return trainer


@pytest.mark.parametrize(
    ("rights", "wrong", "ends"),
    [
        # After a quarter, 3 × (9 + 1) mistakes are not too many and 31 are.
        ([0.5] * 9 + [0.70], 9, None),
        ([0.5] * 9 + [0.69], 9, 100 + 40),
        # The best epoch counts, not the last.
        ([0.5] * 8 + [0.70, 0.1], 9, None),
        # After a half, 2 × (9 + 1).
        ([0.5] * 19 + [0.80], 9, None),
        ([0.5] * 19 + [0.79], 9, 200 + 40),
        # Between the two, and after them, nothing is checked.
        ([0.1] * 9, 0, None),
        ([0.1] * 11, 0, None),
        ([0.1] * 21, 0, None),
    ],
)
def test_a_run_far_behind_has_a_tenth_of_its_steps_left(
    rights: list[float], wrong: int, ends: int | None
) -> None:
    trainer = run_with(rights)
    assert Rival(wrong=wrong).look(trainer) is (ends is not None)
    assert trainer.ends == ends


def test_a_run_that_watches_nothing_is_not_compared() -> None:
    trainer = run_with([0.1] * 10)
    trainer.validation = None
    assert not Rival(wrong=0).look(trainer)


@pytest.fixture(scope="module")
def guesses() -> fl.TrainTest:
    """Return images whose labels cannot be learned."""
    rng = np.random.default_rng(4)
    return fl.TrainTest(
        *(
            replace(part, labels_N=rng.integers(0, 2, len(part.labels_N)))
            for part in striped(200, 8)
        )
    )


def test_the_recipe_repeats_a_run_that_ended_sooner_to_the_bit(
    guesses: fl.TrainTest, tmp_path: Path
) -> None:
    base = load_recipe("digits-tutorial").with_settings(
        [tutorial_net(4), "train.epochs=20", "train.validation=held-out", "augment=[]"]
    )

    def train(name: str, side: Side | None, recipe: fl.Recipe = base) -> RunFolder:
        job = replace(plan_on(guesses, recipe, "cpu"), side=side)
        return fit(job, Silent(), out=tmp_path / name)

    def weights(folder: RunFolder) -> bytes:
        return (folder.path / "model.safetensors").read_bytes()

    def epochs(folder: RunFolder) -> int:
        return int(folder.read_json("summary.json")["epochs"])

    side = Side(start="", size=None, other="other", other_wrong=0)
    shorter = train("shorter", side)
    assert epochs(shorter) == 5 + 2
    assert weights(train("again", None, shorter.recipe())) == weights(shorter)

    alone, beside = train("alone", None), train("beside", replace(side, other_wrong=20))
    assert epochs(beside) == 20
    assert weights(alone) == weights(beside)
