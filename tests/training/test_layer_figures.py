"""The sizes of weights and gradients, compared with arithmetic on the tensors."""

import math

import pytest
import torch
from tests.training.test_loop import equal, portion, recipe, trainer, weights

from firstlight.training import loop
from firstlight.training.layer_figures import LayerFigures, LayerSizes
from firstlight.training.loop import Trainer
from firstlight.training.position import StepRecord

EVERY_STEP = ("train.epochs=3", "train.batch_size=64")  # of 43 images: one step an epoch


def trained(run: Trainer) -> Trainer:
    for _ in run.run():
        pass
    return run


def test_the_figures_are_those_of_the_weights_before_and_after_the_last_step() -> None:
    run = trainer(recipe(*EVERY_STEP, "optimizer.learning_rate=0.01"))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    wanted = []
    for event in run.run():
        if not isinstance(event, StepRecord):
            continue
        for name, weight in run.model.named_parameters():
            if name.endswith(".weight"):
                assert weight.grad is not None
                size = math.sqrt(weight.numel())
                now, change = weight.detach(), (weight - before[name]).detach()
                figures = [now.norm() / size, weight.grad.norm() / size, change.norm() / now.norm()]
                wanted.append((event.epoch, name.removesuffix(".weight"), *map(float, figures)))
        before = {name: value.clone() for name, value in run.model.named_parameters()}
    found = [(r.epoch, r.layer, r.weights, r.gradients, r.update) for r in run.layers]
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert len(found) == 3 * 4
    for one, other in zip(found, wanted, strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-4)


def test_plain_gradient_descent_moves_the_weights_by_the_rate_times_the_gradient() -> None:
    chosen = recipe(*EVERY_STEP, "optimizer.name=sgd", "optimizer.momentum=0")
    run = trained(trainer(chosen))
    rate = chosen.optimizer.learning_rate
    assert run.layers[0].update * run.layers[0].weights == pytest.approx(
        rate * run.layers[0].gradients, rel=1e-3
    )


def test_measuring_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(trainer(recipe(), validation=portion(9, seed=1)))

    class Nothing(LayerSizes):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__(torch.nn.Identity())

    monkeypatch.setattr(loop, "LayerSizes", Nothing)
    without = trained(trainer(recipe(), validation=portion(9, seed=1)))
    assert without.layers == () and len(whole.layers) > 0
    assert equal(weights(whole), weights(without))


@pytest.mark.parametrize("stop_after", [1, 6, 7])
def test_a_resumed_run_has_the_same_figures(stop_after: int) -> None:
    whole, stopped, resumed = (trainer(recipe("train.epochs=2")) for _ in range(3))
    trained(whole)
    for event in stopped.run():
        if isinstance(event, StepRecord) and event.step == stop_after:
            break
    resumed.restore(*stopped.state())
    assert trained(resumed).layers == whole.layers
    assert {one.epoch for one in whole.layers} == {1, 2}


def test_a_frozen_layer_has_no_figures_and_zero_weights_no_ratio() -> None:
    frozen, last = torch.nn.Linear(2, 3).requires_grad_(False), torch.nn.Linear(3, 1)
    torch.nn.init.zeros_(last.weight)
    model = torch.nn.Sequential(frozen, last)
    scores: torch.Tensor = model(torch.ones(1, 2))
    scores.sum().backward()
    sizes = LayerSizes(model)
    sizes.after()
    (found,) = sizes.figures(5, torch.stack(sizes.norms).tolist())
    assert found == LayerFigures(
        epoch=5, layer="1", weights=0.0, gradients=found.gradients, update=0.0
    )
