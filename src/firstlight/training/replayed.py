"""A step's forward and backward pass in one launch: on a GPU, a CUDA graph recorded once.

The pass of a small network is some hundred kernels of a few microseconds each; to launch them one
by one from Python takes longer than they do. A graph runs them all, always on the same memory.
Axes: B images, C channels, H height, W width, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WARM_UP = 2
"""Passes before the one that is recorded: libraries set themselves up in the first."""

Tensors = tuple[Tensor, ...]
Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From pixels B×C×H×W and labels B to loss and logits B×K; it leaves gradients in the weights."""
Recorder = Callable[[Callable[[], Tensors]], tuple[Callable[[], None], Tensors]]
"""From some work to what repeats it, and the memory where each repetition leaves its results."""


def recorder(device: str) -> Recorder | None:
    """What records work on a device, where there is such a thing."""
    return _cuda_graph if device == "cuda" else None


def _cuda_graph(work: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()
    return graph.replay, results


@dataclass(frozen=True, kw_only=True, eq=False)
class _Recording:
    replay: Callable[[], None]
    pixels_BCHW: Tensor
    labels_B: Tensor
    loss: Tensor
    logits_BK: Tensor
    gradients: Tensors


class ReplayedPass:
    """A pass that is recorded with the third whole batch, and replayed with those after it.

    Only what gives the plain pass's bits is replayed: loss, logits and gradients of the third batch
    are computed both ways and must be equal. Where they are not, and where recording fails, every
    pass stays the plain one; so does that of a batch of another size, such as the last.
    """

    def __init__(self, plain: Pass, model: nn.Module, batch_size: int, record: Recorder) -> None:
        self._plain, self._model, self._batch_size = plain, model, batch_size
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._record: Recorder | None = record
        self._recording: _Recording | None = None
        self._passes = 0

    def __call__(self, pixels_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and logits B×K of the plain pass, and its gradients in the weights."""
        if self._record is None or len(labels_B) != self._batch_size:
            return self._plain(pixels_BCHW, labels_B)
        if self._recording is None:
            loss, logits_BK = self._plain(pixels_BCHW, labels_B)
            self._passes += 1
            if self._passes > WARM_UP:
                self._begin(self._record, pixels_BCHW, labels_B, (loss, logits_BK))
            return loss, logits_BK
        recording = self._recording
        recording.pixels_BCHW.copy_(pixels_BCHW)
        recording.labels_B.copy_(labels_B)
        recording.replay()
        self._put(recording.gradients)
        return recording.loss.clone(), recording.logits_BK.clone()

    def _begin(
        self, record: Recorder, pixels_BCHW: Tensor, labels_B: Tensor, results: Tensors
    ) -> None:
        """Record the pass that has just been made, and keep it if it gives the same once more."""
        gradients, buffers = self._gradients(), [b.clone() for b in self._model.buffers()]
        pixels_BCHW, labels_B = pixels_BCHW.clone(), labels_B.clone()
        try:
            replay, again = record(
                lambda: (*self._plain(pixels_BCHW, labels_B), *self._gradients())
            )
            replay()
            same = len(again) == len(results) + len(gradients) and all(
                torch.equal(*pair) for pair in zip(again, (*results, *gradients), strict=True)
            )
        except RuntimeError:  # such as too little memory for a second pass
            same = False
        with torch.no_grad():  # means of the batch norms, which have seen the batch once too often
            for buffer, value in zip(self._model.buffers(), buffers, strict=True):
                buffer.copy_(value)
        self._put(gradients)
        if not same:
            self._record = None
            return
        self._recording = _Recording(
            replay=replay,
            pixels_BCHW=pixels_BCHW,
            labels_B=labels_B,
            loss=again[0],
            logits_BK=again[1],
            gradients=again[2:],
        )

    def _gradients(self) -> Tensors:
        return tuple(weight.grad for weight in self._weights if weight.grad is not None)

    def _put(self, gradients: Tensors) -> None:
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
