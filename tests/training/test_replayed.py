"""Training by replayed passes, compared with training without; a CPU takes the GPU's part."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.kit import whitened_net
from tests.training.test_loop import ANY_SIZE, FAST, equal, recipe, trainer, weights
from torch import Tensor, nn

from firstlight.devices import repeatable
from firstlight.recipe import Recipe
from firstlight.training.loop import Trainer
from firstlight.training.position import EpochRecord
from firstlight.training.replayed import Recorder, Tensors, recorder


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable mixed precision on a CPU without instructions for it."""
    monkeypatch.setattr("firstlight.training.loop.computes_in_bfloat16", lambda _: True)


MOVED = "{ crop = 1 }, { flip = 'alternate' }, { cutout = 3 }"
WHITENED = (*FAST, f"augment=[{MOVED}]")
CHOICES = (
    (recipe(*WHITENED), 13),
    (recipe(*WHITENED, "train.epoch_share=0.5", "train.class_weights=balanced"), 6),
    (recipe("train.epochs=3", "augment=[{ rotate = 10 }, { flip = 'random' }]"), 15),
    (recipe(*WHITENED, "train.micro_batch_size=4"), 13),
    (
        recipe(*WHITENED, *ANY_SIZE, "train.small_share=0.4"),
        5 + 8,  # images of each size have their own recording
    ),
)
"""Recipes, and how many whole batches each has, which are replayed."""


class Graph:
    """Does what a CUDA graph does, on a CPU: the same work, with results in the same memory, and
    without running Python: which tensors are the weights' gradients does not change."""

    def __init__(self, spoilt: int | str | None = None) -> None:
        """``spoilt``: the index of a wrong result, or a buffer."""
        self.replays, self.spoilt = 0, spoilt
        self.weights: list[nn.Parameter] = []
        self.buffers: list[Tensor] = []

    def __call__(self, work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        results = tuple(torch.full_like(result, torch.nan) for result in work())
        self._point(results[2:])

        def replay() -> None:
            self.replays += 1
            gradients = [weight.grad for weight in self.weights]
            for place, value in zip(results, work(), strict=True):
                place.copy_(value)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = gradient
            if isinstance(self.spoilt, int):
                results[self.spoilt].add_(1e-3)
            elif self.spoilt == "a buffer":
                self.buffers[-2].add_(1e-3)

        return replay, results

    def _point(self, gradients: Tensors) -> None:
        learnt = [weight for weight in self.weights if weight.requires_grad]
        for weight, place in zip(learnt, gradients, strict=True):
            weight.grad = place


def begun(chosen: Recipe, monkeypatch: pytest.MonkeyPatch, record: Recorder | None) -> Trainer:
    """Return a run that reads its losses late, as on a GPU."""
    monkeypatch.setattr("firstlight.training.loop.recorder", lambda _: record)
    run = trainer(chosen)
    run.read_every = 20
    if isinstance(record, Graph):
        record.weights = list(run.model.parameters())
        record.buffers = list(run.model.buffers())
    return run


Ended = tuple[dict[str, Tensor], list[EpochRecord]]


def ended(run: Trainer) -> Ended:
    for _ in run.run():
        pass
    return weights(run), [replace(record, train_seconds=0.0) for record in run.records]


def trained(chosen: Recipe, monkeypatch: pytest.MonkeyPatch, record: Recorder | None) -> Ended:
    return ended(begun(chosen, monkeypatch, record))


def same(one: Ended, other: Ended) -> bool:
    return equal(one[0], other[0]) and one[1] == other[1]


@pytest.mark.parametrize(("chosen", "replays"), CHOICES)
def test_replayed_passes_train_to_the_same_bits(
    chosen: Recipe, replays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    run = begun(chosen, monkeypatch, graph)
    found = ended(run)
    assert run.replayed_steps == replays
    assert run.cold_start_seconds > 0
    assert same(found, trained(chosen, monkeypatch, None))
    recordings = 2 if chosen.train.small_share else 1
    assert graph.replays == replays + recordings, "one replay more, to compare the bits"


def test_all_that_is_ahead_is_recorded_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, places = Graph(), list[int]()

    def record(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        places.append(run.place.step)
        return graph(work)

    run = begun(CHOICES[-1][0], monkeypatch, record)
    graph.weights, graph.buffers = list(run.model.parameters()), list(run.model.buffers())
    before = weights(run)
    next(run.run())
    assert places == [0, 0]
    assert not equal(weights(run), before)


@pytest.mark.parametrize("spoilt", [0, 1, 2, -1, "a buffer"])
def test_a_graph_that_gives_anything_else_is_not_used(
    spoilt: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = Graph(spoilt), CHOICES[0][0]
    run = begun(chosen, monkeypatch, graph)
    found = ended(run)
    assert (graph.replays, run.replayed_steps) == (1, 0)
    assert same(found, trained(chosen, monkeypatch, None))


def test_where_recording_fails_training_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def out_of_memory(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        nonlocal asked
        asked += 1
        work()
        raise torch.OutOfMemoryError("CUDA out of memory")

    found = trained(CHOICES[0][0], monkeypatch, out_of_memory)
    assert same(found, trained(CHOICES[0][0], monkeypatch, None))
    assert asked == 1


@pytest.mark.parametrize(
    "setting",
    [
        whitened_net(8, 8, pool_last=False, dropout=0.4)[0],
        *(f"augment=[{MOVED}, {{ {mix} = 1 }}]" for mix in ("mixup", "cutmix")),
    ],
)
def test_what_differs_from_step_to_step_is_not_recorded(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = Graph(), recipe(*WHITENED, setting)
    assert same(trained(chosen, monkeypatch, graph), trained(chosen, monkeypatch, None))
    assert graph.replays == 0


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, graphs = CHOICES[0][0], [Graph(), Graph()]
    first, second = (begun(chosen, monkeypatch, graph) for graph in graphs)
    for step, _ in enumerate(first.run()):
        if step == 7:
            break
    second.restore(*first.state())
    found = ended(second)
    assert second.replayed_steps == 13
    assert same(found, trained(chosen, monkeypatch, None))
    assert [graph.replays for graph in graphs] == [6 + 1, 7 + 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_replays_a_graph_and_trains_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    replays, real = 0, recorder("cuda")
    assert real is not None

    def counted(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        replay, results = real(work)

        def count() -> None:
            nonlocal replays
            replays += 1
            replay()

        return count, results

    def run(record: Recorder | None) -> Ended:
        monkeypatch.setattr("firstlight.training.loop.recorder", lambda _: record)
        with repeatable(1, "cuda"):
            return ended(trainer(CHOICES[0][0], device="cuda"))

    assert same(run(counted), run(None))
    assert replays == CHOICES[0][1] + 1


def test_a_cpu_and_apples_gpu_have_no_recorder() -> None:
    assert recorder("cpu") is None
    assert recorder("mps") is None
    assert recorder("cuda") is not None
