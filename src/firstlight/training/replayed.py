"""Run a whole step in one launch: a CUDA graph for each shape of batch.

A step of a small network is hundreds of short kernels. Launching them one by one from Python may
take longer than running them. A graph runs them all, always on the same memory: images are
augmented, passed forward and backward, and the weights are updated.
Axes: B images of a batch, H height, W width, C channels, K classes.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from firstlight.recipe import Recipe

WARM_UP = 2
"""Steps before one is recorded, because libraries initialize in the first."""

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]
Recorder = Callable[
    [Callable[[], Tensors], Sequence[Generator]], tuple[Callable[[], None], Tensors]
]
"""Takes some work and the generators that it draws from. Returns a function that repeats the work,
and the tensors where each repetition leaves its results. Recording may do the work too, even
several times."""


class Results(NamedTuple):
    """What a step returns, on the training device."""

    loss: Tensor
    """Mean loss of the batch, float32."""
    correct: Tensor
    """Number of correct answers, int64."""
    logits_BK: Tensor


Step = Callable[[Tensor, Tensor], Results]
"""Takes the numbers B of the images, int64, and the images B×H×W×C, uint8. Updates the weights, and
leaves the gradients in them."""


def recorder(device: str) -> Recorder | None:
    """Return the recorder of a device, if it has one."""
    return _cuda_graph if device == "cuda" else None


def _cuda_graph(
    work: Callable[[], Tensors], generators: Sequence[Generator]
) -> tuple[Callable[[], None], Tensors]:
    gc.collect()  # graphs of finished trainings hold memory
    graph, outer, own = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.Stream()
    for generator in generators:  # a replay draws from its seed at that time
        graph.register_generator_state(generator)
    try:
        own.wait_stream(outer)
        with torch.cuda.stream(own):
            work()  # libraries initialize for each stream
        outer.wait_stream(own)
        # Another thread may be reading pictures into pinned memory.
        with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
            results = work()
    except RuntimeError:
        for generator in generators:  # before PyTorch 2.13 they would think that they are recorded
            generator.graphsafe_set_state(Generator(generator.device))
        raise
    finally:
        torch.cuda.set_stream(outer)  # a failed recording would leave its own stream
    return graph.replay, results


def repeats(recipe: Recipe, model: nn.Module) -> bool:
    """Return whether all steps ask for the same operations with the same numbers.

    Mixes do not: their sizes are drawn by the processor. Nor may code from outside the package and
    PyTorch, because a recording would repeat what its Python once decided.
    """
    parts = (*recipe.augment, recipe.optimizer, *model.modules())
    known = all(type(one).__module__.startswith(("firstlight.", "torch.")) for one in parts)
    return known and recipe.mix is None and recipe.network.code is None


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a step changes, and what it draws from."""

    model: nn.Module
    optimizer: list[Tensor]
    """The optimizer's state."""
    generators: list[Generator]
    reseed: Callable[[], None]
    """Sets the generators to the start of a step."""

    def tensors(self) -> list[Tensor]:
        """Return weights, buffers and the optimizer's state."""
        return [*self.model.parameters(), *self.model.buffers(), *self.optimizer]

    def weights(self) -> list[nn.Parameter]:
        """Return the trained weights."""
        return [weight for weight in self.model.parameters() if weight.requires_grad]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    """A recorded step, and the tensors that it reads and writes."""

    replay: Callable[[], None]
    chosen_B: Tensor
    images_BHWC: Tensor
    results: Results
    gradients: Gradients


class ReplayedStep:
    """A step that ``prepare`` records before the first one. It is then replayed for every full
    batch.

    First, one batch is trained on both ways. The recording is used only if results, gradients,
    weights, buffers and the optimizer's state have the same bits. Otherwise, if recording fails,
    and for a batch of another size, such as the last, the normal step is used.
    """

    def __init__(self, plain: Step, kept: Kept, batch_size: int, record: Recorder) -> None:
        self._plain, self._kept, self._batch_size, self._record = plain, kept, batch_size, record
        self._recording: _Recording | None = None

    def replays(self, images: int) -> bool:
        """Return whether a batch of this many images is replayed."""
        return self._recording is not None and images == self._batch_size

    def prepare(self, chosen_B: Tensor, images_BHWC: Tensor) -> None:
        """Record the step with a full batch. Weights, buffers and the optimizer's state do not
        change; gradients are cleared."""
        before = [tensor.clone() for tensor in self._kept.tensors()]

        def begin() -> None:
            self._restore(before)
            self._kept.reseed()

        for _ in range(WARM_UP):
            begin()
            self._plain(chosen_B, images_BHWC)
        begin()
        after = self._changed(self._plain(chosen_B, images_BHWC))
        wanted = [None if tensor is None else tensor.clone() for tensor in after]
        begin()
        try:
            recording = self._recorded(chosen_B, images_BHWC)
            begin()
            if _same(wanted, self._changed(self._replayed(recording, chosen_B, images_BHWC))):
                self._recording = recording
        except RuntimeError:  # such as too little memory
            torch.cuda.empty_cache()
        begin()
        self._put((None,) * len(self._kept.weights()))

    def __call__(self, chosen_B: Tensor, images_BHWC: Tensor) -> Results:
        """Do a step like the normal one. The generators must be at its start."""
        if self._recording is None or not self.replays(len(chosen_B)):
            return self._plain(chosen_B, images_BHWC)
        return self._replayed(self._recording, chosen_B, images_BHWC)

    def _recorded(self, chosen_B: Tensor, images_BHWC: Tensor) -> _Recording:
        chosen_B, images_BHWC, made = chosen_B.clone(), images_BHWC.clone(), self._gradients()

        def work() -> Tensors:
            results = self._plain(chosen_B, images_BHWC)
            return (*results, *(g for g in self._gradients() if g is not None))

        replay, (loss, correct, logits_BK, *gradients) = self._record(work, self._kept.generators)
        return _Recording(
            replay=replay,
            chosen_B=chosen_B,
            images_BHWC=images_BHWC,
            results=Results(loss, correct, logits_BK),
            gradients=tuple(None if g is None else gradients.pop(0) for g in made),
        )

    def _replayed(self, recording: _Recording, chosen_B: Tensor, images_BHWC: Tensor) -> Results:
        """Return results that later replays do not overwrite, except the logits."""
        recording.chosen_B.copy_(chosen_B)
        recording.images_BHWC.copy_(images_BHWC)
        recording.replay()
        self._put(recording.gradients)
        loss, correct, logits_BK = recording.results
        return Results(loss.clone(), correct.clone(), logits_BK)

    def _changed(self, results: Results) -> list[Tensor | None]:
        """Return everything that a step changed."""
        return [*results, *self._gradients(), *self._kept.tensors()]

    def _gradients(self) -> Gradients:
        return tuple(weight.grad for weight in self._kept.weights())

    def _put(self, gradients: Gradients) -> None:
        for weight, gradient in zip(self._kept.weights(), gradients, strict=True):
            weight.grad = gradient

    def _restore(self, before: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for tensor, value in zip(self._kept.tensors(), before, strict=True):
                tensor.copy_(value)


def _same(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    return all(
        one is other if one is None or other is None else torch.equal(one, other)
        for one, other in zip(some, others, strict=True)
    )
