"""Run a step's forward and backward pass in one launch: a CUDA graph for each shape of batch.

The pass of a small network is many short kernels. Launching them one by one from Python may take
longer than running them. A graph runs them all, always on the same memory.
Axes: B images, C channels, H height, W width, K classes.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WARM_UP = 2
"""Passes before one is recorded, because libraries initialize in the first."""

Tensors = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]
Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes pixels B×C×H×W and labels B, returns loss and logits B×K, and leaves gradients in the
weights."""
Recorder = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
"""Takes some work, and returns a function that repeats it and the tensors where each repetition
leaves its results. Recording may do the work too, even several times."""


def recorder(device: str) -> Recorder | None:
    """Return the recorder of a device, if it has one."""
    return _cuda_graph if device == "cuda" else None


def _cuda_graph(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    gc.collect()  # graphs of finished trainings hold memory
    graph, outer, own = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.Stream()
    try:
        own.wait_stream(outer)
        with torch.cuda.stream(own):
            work()  # libraries initialize for each stream
        outer.wait_stream(own)
        with torch.cuda.graph(graph, stream=own):
            results = work()
    finally:
        torch.cuda.set_stream(outer)  # a failed recording would leave its own stream
    return graph.replay, results


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    """A recorded pass, and the tensors that it reads and writes."""

    replay: Callable[[], None]
    pixels_BCHW: Tensor
    labels_B: Tensor
    loss: Tensor
    logits_BK: Tensor
    gradients: Gradients


class ReplayedPass:
    """A pass that ``prepare`` records before the first step. It is then replayed for every full
    batch.

    First, one batch is passed both ways. The recording is used only if loss, logits, gradients and
    buffers have the same bits. Otherwise, if recording fails, and for a batch of another size, such
    as the last, the normal pass is used.
    """

    def __init__(self, plain: Pass, model: nn.Module, batch_size: int, record: Recorder) -> None:
        self._plain, self._model, self._batch_size = plain, model, batch_size
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._record = record
        self._recording: _Recording | None = None

    def replays(self, images: int) -> bool:
        """Return whether a batch of this many images is replayed."""
        return self._recording is not None and images == self._batch_size

    def prepare(self, pixels_BCHW: Tensor, labels_B: Tensor) -> None:
        """Record the pass with a full batch. Weights and buffers do not change."""
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
        """Return loss and logits B×K, like the normal pass; leave gradients in the weights."""
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
        """Restore buffers, such as batch norms' running means, which saw a batch once too often."""
        for buffer, value in zip(self._model.buffers(), buffers, strict=True):
            buffer.copy_(value)


def _same(some: Gradients, others: Gradients) -> bool:
    return all(
        one is other if one is None or other is None else torch.equal(one, other)
        for one, other in zip(some, others, strict=True)
    )
