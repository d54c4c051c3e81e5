"""The learning-rate sweep: the images that it trains on."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.training.test_loop import GROWING, recipe, trainer

from firstlight.errors import UserError
from firstlight.training.position import StepRecord
from firstlight.training.sweep import sweep


def test_a_sweep_sees_whole_images_alone() -> None:
    run = trainer(recipe(*GROWING, "train.epochs=10"))
    shapes: set[tuple[int, ...]] = set()
    run.model.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape[2:])))
    sweep(run, 20)
    assert shapes == {(10, 12)}


def told(losses: list[float]) -> Any:
    """Stands for a training whose steps have these losses."""
    total, records = 0.0, []
    for step, loss in enumerate(losses, start=1):
        total += 4 * loss
        mean = total / (4 * step)
        records.append(StepRecord(epoch=1, step=step, seen=4 * step, loss=mean, accuracy=0.5))
    settings = SimpleNamespace(
        optimizer=SimpleNamespace(learning_rate=0.1), train=SimpleNamespace(batch_size=4)
    )
    return SimpleNamespace(recipe=settings, run=lambda: iter(records))


def test_single_batches_do_not_end_a_sweep_at_once() -> None:
    """After a fitted last layer the loss is small, and that of one batch many times another's."""
    losses = [0.001, 0.05, 0.01, 0.08, *[0.03, 0.05] * 6, *[0.5, 2.0, 5.0, 9.0]]
    found = sweep(told(losses), 40)
    assert found.losses == pytest.approx(losses[: len(found.losses)])
    assert len(found.losses) > 10


def test_a_loss_that_is_never_a_number_is_refused() -> None:
    def run() -> Any:
        yield from ()
        raise UserError("the loss became nan")

    trainer = told([])
    trainer.run = run
    with pytest.raises(UserError, match="diverges at once"):
        sweep(trainer, 40)
