"""A step's forward and backward pass in one launch: on a GPU, a CUDA graph for each shape of batch.

The pass of a small network is many short kernels, and to launch them one by one from Python may
take longer than they do. A graph runs them all, always on the same memory.
Axes: B images, C channels, H height, W width, K classes.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WARM_UP = 2
"""Passes before one is recorded: libraries set themselves up in the first."""

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]
Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From pixels B×C×H×W and labels B to loss and logits B×K; it leaves gradients in the weights."""
Recorder = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
"""From some work to what repeats it, and the memory where each repetition leaves its results. To
record may do the work too, or several times."""


def recorder(device: str) -> Recorder | None:
    """What records work on a device, where there is such a thing."""
    return _cuda_graph if device == "cuda" else None


def _cuda_graph(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    gc.collect()  # graphs of trainings that are over hold memory
    graph, outer, own = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.Stream()
    try:
        own.wait_stream(outer)
        with torch.cuda.stream(own):
            work()  # libraries set themselves up for each stream
        outer.wait_stream(own)
        with torch.cuda.graph(graph, stream=own):
            results = work()
    finally:
        torch.cuda.set_stream(outer)  # a recording that fails would leave its own
    return graph.replay, results


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    """What replays a pass, and where it reads and leaves its tensors."""

    replay: Callable[[], None]
    pixels_BCHW: Tensor
    labels_B: Tensor
    loss: Tensor
    logits_BK: Tensor
    gradients: Gradients


class ReplayedPass:
    """A pass that is recorded by ``prepare``, before the first step, and then replayed for every
    whole batch.

    A batch is first passed both ways. Only if that gives the same bits, of loss, logits, gradients
    and buffers, are there replays. Otherwise, and if recording fails, every pass is the plain one;
    so is that of a batch of another size, such as the last.
    """

    def __init__(self, plain: Pass, model: nn.Module, batch_size: int, record: Recorder) -> None:
        self._plain, self._model, self._batch_size = plain, model, batch_size
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._record = record
        self._recording: _Recording | None = None

    def replays(self, images: int) -> bool:
        """Return whether a batch of so many images is replayed."""
        return self._recording is not None and images == self._batch_size

    def prepare(self, pixels_BCHW: Tensor, labels_B: Tensor) -> None:
        """Record the pass with a whole batch, which changes neither weights nor buffers."""
        before = self._buffers()
        for _ in range(WARM_UP):
            self._plain(pixels_BCHW, labels_B)
        self._restore(before)
        results = self._plain(pixels_BCHW, labels_B)
        gradients, after = self._gradients(), self._buffers()
        recording = self._recorded(self._record, pixels_BCHW, labels_B)
        if recording is not None:
            self._restore(before)
            again = self._replayed(recording, pixels_BCHW, labels_B)
            replayed = (*again, *self._gradients(), *self._buffers())
            if _same((*results, *gradients, *after), replayed):
                self._recording = recording
        self._restore(before)
        self._put((None,) * len(self._weights))

    def __call__(self, pixels_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and logits B×K, as the plain pass does; leave gradients in the weights."""
        if self._recording is None or not self.replays(len(labels_B)):
            return self._plain(pixels_BCHW, labels_B)
        return self._replayed(self._recording, pixels_BCHW, labels_B)

    def _recorded(
        self, record: Recorder, pixels_BCHW: Tensor, labels_B: Tensor
    ) -> _Recording | None:
        pixels_BCHW, labels_B, made = pixels_BCHW.clone(), labels_B.clone(), self._gradients()

        def work() -> Tensors:
            results = self._plain(pixels_BCHW, labels_B)
            return (*results, *(g for g in self._gradients() if g is not None))

        try:
            replay, (loss, logits_BK, *gradients) = record(work)
        except RuntimeError:  # such as too little memory
            return None
        return _Recording(
            replay=replay,
            pixels_BCHW=pixels_BCHW,
            labels_B=labels_B,
            loss=loss,
            logits_BK=logits_BK,
            gradients=tuple(None if g is None else gradients.pop(0) for g in made),
        )

    def _replayed(
        self, recording: _Recording, pixels_BCHW: Tensor, labels_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        recording.pixels_BCHW.copy_(pixels_BCHW)
        recording.labels_B.copy_(labels_B)
        recording.replay()
        self._put(recording.gradients)
        return recording.loss.clone(), recording.logits_BK.clone()

    def _gradients(self) -> Gradients:
        return tuple(weight.grad for weight in self._weights)

    def _put(self, gradients: Gradients) -> None:
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient

    def _buffers(self) -> Tensors:
        return tuple(buffer.clone() for buffer in self._model.buffers())

    def _restore(self, buffers: Tensors) -> None:
        """Such as the running means of batch norms, which have seen a batch once too often."""
        for buffer, value in zip(self._model.buffers(), buffers, strict=True):
            buffer.copy_(value)


def _same(some: Gradients, others: Gradients) -> bool:
    return all(
        one is other if one is None or other is None else torch.equal(one, other)
        for one, other in zip(some, others, strict=True)
    )
