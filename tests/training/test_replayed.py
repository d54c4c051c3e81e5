"""Training by replayed steps, compared with training without; a CPU takes the GPU's part."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from tests.kit import whitened_net
from tests.training.test_loop import ANY_SIZE, FAST, equal, recipe, trainer, weights
from torch import Generator, Tensor, nn

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
    (recipe(*WHITENED, "train.micro_batch_size=4", "train.clip_norm=0.1"), 13),
    (recipe(*WHITENED, "optimizer.name=adam", "train.average_decay=0.9"), 13),
    (
        recipe(
            whitened_net(8, 8, pool_last=False, dropout=0.4)[0],
            "optimizer.name=sgd",
            "train.epochs=2",
        ),
        10,
    ),
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
        """``spoilt``: the index of a wrong result, or what is wrong."""
        self.replays, self.spoilt = 0, spoilt
        self.run: Trainer | None = None

    @property
    def weights(self) -> list[nn.Parameter]:
        assert self.run is not None
        return list(self.run.model.parameters())

    def __call__(
        self, work: Callable[[], Tensors], generators: Sequence[Generator]
    ) -> tuple[Callable[[], None], Tensors]:
        results = tuple(torch.full_like(result, -9) for result in work())
        self._point(results[3:])

        def replay() -> None:
            self.replays += 1
            gradients = [weight.grad for weight in self.weights]
            for place, value in zip(results, work(), strict=True):
                place.copy_(value)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = gradient
            assert self.run is not None
            if isinstance(self.spoilt, int):
                results[self.spoilt].add_(1)
            elif self.spoilt == "a buffer":
                list(self.run.model.buffers())[-2].add_(1e-3)
            elif self.spoilt == "a weight":
                self.weights[-1].data.add_(1e-3)
            elif self.spoilt == "the optimizer's state":
                list(self.run.optimizers.state().values())[-1].add_(1e-3)

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
        record.run = run
    return run


def cannot(
    work: Callable[[], Tensors], generators: Sequence[Generator]
) -> tuple[Callable[[], None], Tensors]:
    """A device that could record, but has no memory for it."""
    work()
    raise torch.OutOfMemoryError("CUDA out of memory")


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
def test_replayed_steps_train_to_the_same_bits(
    chosen: Recipe, replays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    run = begun(chosen, monkeypatch, graph)
    found = ended(run)
    assert run.replayed_steps == replays
    assert run.cold_start_seconds > 0
    assert same(found, trained(chosen, monkeypatch, cannot))
    plain = trained(chosen, monkeypatch, None)
    for name, value in found[0].items():  # the rate is rounded to float32
        torch.testing.assert_close(value, plain[0][name], atol=1e-3, rtol=1e-3)
    recordings = 2 if chosen.train.small_share else 1
    assert graph.replays == replays + recordings, "one replay more, to compare the bits"


def test_all_that_is_ahead_is_recorded_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, places = Graph(), list[int]()

    def record(
        work: Callable[[], Tensors], generators: Sequence[Generator]
    ) -> tuple[Callable[[], None], Tensors]:
        places.append(run.place.step)
        return graph(work, generators)

    run = graph.run = begun(CHOICES[-1][0], monkeypatch, record)
    before = weights(run)
    next(run.run())
    assert places == [0, 0]
    assert not equal(weights(run), before)


@pytest.mark.parametrize(
    "spoilt", [0, 1, 2, 3, -1, "a buffer", "a weight", "the optimizer's state"]
)
def test_a_graph_that_gives_anything_else_is_not_used(
    spoilt: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = Graph(spoilt), CHOICES[0][0]
    run = begun(chosen, monkeypatch, graph)
    found = ended(run)
    assert (graph.replays, run.replayed_steps) == (1, 0)
    assert same(found, trained(chosen, monkeypatch, cannot))


@pytest.mark.parametrize("mixes", ["mixup", "cutmix"])
def test_what_differs_from_step_to_step_is_not_recorded(
    mixes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, chosen = Graph(), recipe(*WHITENED, f"augment=[{MOVED}, {{ {mixes} = 1 }}]")
    assert same(trained(chosen, monkeypatch, graph), trained(chosen, monkeypatch, cannot))
    assert graph.replays == 0


def test_code_from_outside_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python may decide otherwise in each step."""

    class Outside(nn.Identity):
        pass

    graph, chosen = Graph(), CHOICES[0][0]
    run = begun(chosen, monkeypatch, graph)
    run.model.add_module("outside", Outside())
    for _ in run.run():
        pass
    assert (graph.replays, run.replayed_steps) == (0, 0)


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, graphs = CHOICES[0][0], [Graph(), Graph()]
    first, second = (begun(chosen, monkeypatch, graph) for graph in graphs)
    for step, _ in enumerate(first.run()):
        if step == 7:
            break
    second.restore(*first.state())
    found = ended(second)
    assert second.replayed_steps == 13
    assert same(found, trained(chosen, monkeypatch, cannot))
    assert [graph.replays for graph in graphs] == [6 + 1, 7 + 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("chosen", "wanted"), [CHOICES[0], CHOICES[-1]])
def test_a_gpu_replays_a_graph_and_trains_to_the_same_bits(
    chosen: Recipe, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replays, real = 0, recorder("cuda")
    assert real is not None

    def counted(
        work: Callable[[], Tensors], generators: Sequence[Generator]
    ) -> tuple[Callable[[], None], Tensors]:
        replay, results = real(work, generators)

        def count() -> None:
            nonlocal replays
            replays += 1
            replay()

        return count, results

    def run(record: Recorder | None) -> Ended:
        monkeypatch.setattr("firstlight.training.loop.recorder", lambda _: record)
        with repeatable(1, "cuda"):
            return ended(trainer(chosen, device="cuda"))

    assert same(run(counted), run(cannot))
    assert replays == wanted + (2 if chosen.train.small_share else 1)


def test_a_cpu_and_apples_gpu_have_no_recorder() -> None:
    assert recorder("cpu") is None
    assert recorder("mps") is None
    assert recorder("cuda") is not None
