"""Training by replayed passes, against the same training without; a CPU plays the GPU's part."""

from collections.abc import Callable

import pytest
import torch
from tests.training.test_loop import FAST, equal, recipe, trainer, weights
from torch import Tensor, nn

from firstlight.recipe import Recipe
from firstlight.training.replayed import Recorder, Tensors, recorder

WHITENED = tuple(setting for setting in FAST if "mix" not in setting)
"""Batches of 8 of 43 images: five whole ones and one of three, two and a half times over."""
CHOICES = (
    recipe(*WHITENED),
    recipe(*WHITENED, "train.epoch_share=0.5", "train.class_weights=balanced"),
    recipe("train.epochs=3", "augment.enabled=true", "augment.flip=true"),
)


class Graph:
    """What a CUDA graph does, on a CPU: the same work, its results left in the same memory, and no
    Python run: which tensors are the weights' gradients stays as it was."""

    def __init__(self, spoilt: float = 0.0) -> None:
        self.replays, self.spoilt = 0, spoilt
        self.weights: list[nn.Parameter] = []

    def __call__(self, work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        results = tuple(torch.full_like(result, torch.nan) for result in work())
        learnt = [weight for weight in self.weights if weight.requires_grad]
        for weight, place in zip(learnt, results[2:], strict=bool(learnt)):
            weight.grad = place

        def replay() -> None:
            self.replays += 1
            gradients = [weight.grad for weight in self.weights]
            for place, value in zip(results, work(), strict=True):
                place.copy_(value)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = gradient
            results[-1].add_(self.spoilt)

        return replay, results


def trained(
    chosen: Recipe, monkeypatch: pytest.MonkeyPatch, record: Recorder | None
) -> dict[str, Tensor]:
    monkeypatch.setattr("firstlight.training.loop.recorder", lambda _: record)
    run = trainer(chosen)
    if isinstance(record, Graph):
        record.weights = list(run.model.parameters())
    for _ in run.run():
        pass
    return weights(run)


@pytest.mark.parametrize("chosen", CHOICES)
def test_replayed_passes_train_to_the_same_bits(
    chosen: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    assert equal(trained(chosen, monkeypatch, graph), trained(chosen, monkeypatch, None))
    assert graph.replays > 2


@pytest.mark.parametrize("chosen", CHOICES)
def test_a_graph_that_gives_anything_else_is_not_used(
    chosen: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(spoilt=1e-3)
    assert equal(trained(chosen, monkeypatch, graph), trained(chosen, monkeypatch, None))
    assert graph.replays == 1


def test_where_recording_fails_training_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def out_of_memory(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        nonlocal asked
        asked += 1
        work()
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = trained(CHOICES[0], monkeypatch, out_of_memory)
    assert equal(found, trained(CHOICES[0], monkeypatch, None))
    assert asked == 1


@pytest.mark.parametrize("setting", ["model.dropout=0.4", "augment.mix=mixup"])
def test_what_differs_from_step_to_step_is_not_recorded(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = Graph(), recipe(*WHITENED, setting)
    assert equal(trained(chosen, monkeypatch, graph), trained(chosen, monkeypatch, None))
    assert graph.replays == 0


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firstlight.training.loop.recorder", lambda _: Graph())
    whole, first, second = (trainer(CHOICES[0]) for _ in range(3))
    for _ in whole.run():
        pass
    for step, _ in enumerate(first.run()):
        if step == 7:
            break
    second.restore(*first.state())
    for _ in second.run():
        pass
    assert equal(weights(whole), weights(second))


def test_a_cpu_and_apples_gpu_have_no_recorder() -> None:
    assert recorder("cpu") is None
    assert recorder("mps") is None
    assert recorder("cuda") is not None
