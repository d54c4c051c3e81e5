"""Pass a batch in shards, some in each process, with the same bits for any number of processes.

Floating-point sums depend on their order, and batch norm depends on its images. So a batch has a
fixed number of shards, whichever process handles them: batch norm sees one shard at a time, the
gradients are added pairwise in a fixed tree, and running statistics are updated in shard order.
Axes: S shards, B images of a batch, P weights, K classes.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from firstlight.errors import UserError
from firstlight.training.processes import Processes

T = TypeVar("T")
Learn = Callable[[int, slice], tuple[Tensor, Tensor]]
"""Takes a shard's number and its images in the batch, returns their mean loss and logits, and
leaves the gradients of that mean in the weights."""


def shard_slices(images: int, shards: int, least: int) -> list[slice]:
    """Return the images of each shard of a batch, as evenly as possible. In a small batch, the last
    shards are empty, so that each of the others has at least ``least`` images."""
    taken = min(shards, max(1, images // least))
    size, larger = divmod(images, taken)
    ends = [shard * size + min(shard, larger) for shard in range(taken + 1)]
    found = [slice(start, end) for start, end in pairwise(ends)]
    return found + [slice(images, images)] * (shards - taken)


def tree_sum(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of at least one tensor: neighbors are added, then their sums, and so on."""
    while len(terms) > 1:
        pairs = [one + other for one, other in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, terms[-1]] if len(terms) % 2 else pairs
    return terms[0]


def check_divides(processes: int, shards: int) -> None:
    """Raise ``UserError`` if the processes cannot have equally many shards."""
    if shards % processes:
        able = [f"{n:,}" for n in range(1, shards + 1) if shards % n == 0]
        few = f"{', '.join(able[:-1])} or {able[-1]} processes" if able[1:] else "one process"
        raise UserError(
            f"{processes} processes cannot share {shards} shard{'s' if able[1:] else ''} "
            f"equally. Use {few}, or another --set train.shards"
        )


def check_buffers(model: nn.Module, work: Callable[[], None]) -> None:
    """Raise ``UserError`` if ``work``, a pass in training mode, changes buffers that cannot be
    combined over shards."""
    norms = _Norms(model)
    with norms.apart():
        work()
    norms.seen()


class ShardedPass:
    """The forward and backward pass of a batch in shards."""

    def __init__(self, model: nn.Module, classes: int, shards: int, processes: Processes) -> None:
        """Raises ``UserError`` if the processes cannot have equally many shards."""
        check_divides(processes.count, shards)
        self._model, self._classes = model, classes
        self._shards, self._processes = shards, processes
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._own = shards // processes.count
        self._block = self._own & -self._own
        """This many shards are a branch of the tree inside one process."""
        self.stop = False
        """Whether this process was asked to stop; set from outside."""
        self.stopping = False
        """Whether any process was asked to stop when the last batch was passed."""

    def __call__(self, images: int, least: int, learn: Learn) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch and its logits B×K. Leave its gradients in the weights,
        and its statistics in the batch norms."""
        slices = shard_slices(images, self._shards, least)
        first = self._processes.rank * self._own
        norms = _Norms(self._model)
        sums_P, losses, stats, logits_BK = list[Tensor](), list[Tensor](), list[Tensor](), []
        for shard in range(first, first + self._own):
            rows = slices[shard]
            count = rows.stop - rows.start
            if count:
                with norms.apart():
                    loss, logits = learn(shard, rows)
                logits_BK.append(logits)
                sums_P.append(self._gradients(count / images))
                losses.append(loss.reshape(1) * (count / images))
                stats.append(norms.seen())
            else:
                device = self._weights[0].device
                sums_P.append(torch.zeros(sum(w.numel() for w in self._weights), device=device))
                losses.append(torch.zeros(1, device=device))
                stats.append(norms.blank())
        return self._together(slices, norms, (sums_P, losses, stats, logits_BK))

    def _together(
        self,
        slices: list[slice],
        norms: "_Norms",
        own: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]],
    ) -> tuple[Tensor, Tensor]:
        sums_P, losses, stats, logits_BK = own
        largest = max(rows.stop - rows.start for rows in slices)
        device = losses[0].device
        room_BK = torch.zeros((self._own * largest, self._classes), device=device)
        mine = slices[self._processes.rank * self._own :][: self._own]
        held = [i for i, rows in enumerate(mine) if rows.stop > rows.start]
        for at, logits in zip(held, logits_BK, strict=True):
            room_BK[at * largest : at * largest + len(logits)] = logits
        blocks_P = [
            tree_sum(sums_P[at : at + self._block]) for at in range(0, self._own, self._block)
        ]
        parts = [*blocks_P, *losses, *stats, room_BK.reshape(-1)]
        sizes = [part.numel() for part in parts]
        told = [one.split(sizes) for one in self._processes.gather(torch.cat(parts))]
        count = len(blocks_P)
        self._put(tree_sum([one for pieces in told for one in pieces[:count]]))
        all_losses = [one for pieces in told for one in pieces[count : count + self._own]]
        end = count + 2 * self._own
        stats = [one for pieces in told for one in pieces[count + self._own : end]]
        norms.take([one for one, rows in zip(stats, slices, strict=True) if rows.stop > rows.start])
        # From processor to processor: reading a flag on a GPU would wait for the step.
        asked = self._processes.gather(torch.tensor([self.stop], dtype=torch.uint8))
        self.stopping = any(bool(one) for one in asked)
        rooms = [pieces[end].view(self._own, largest, self._classes) for pieces in told]
        shards = [shard for room in rooms for shard in room]
        answered = [s[: rows.stop - rows.start] for s, rows in zip(shards, slices, strict=True)]
        return tree_sum(all_losses).squeeze(0), torch.cat(answered)

    def answers(
        self, batches: Sequence[Tensor], answer: Callable[[Sequence[Tensor]], Tensor]
    ) -> Tensor:
        """Return logits N×K of numbered images, batch by batch. Each process predicts some whole
        batches, and all processes receive all results."""
        count, rank = self._processes.count, self._processes.rank
        ends = [len(batches) * process // count for process in range(count + 1)]
        sizes = [sum(len(one) for one in batches[a:b]) for a, b in pairwise(ends)]
        own = batches[ends[rank] : ends[rank + 1]]
        room_NK = torch.zeros((max(sizes), self._classes), device=batches[0].device)
        if own:
            room_NK[: sizes[rank]] = answer(own)
        rooms = self._processes.gather(room_NK.reshape(-1))
        shaped = (room.view(-1, self._classes) for room in rooms)
        return torch.cat([room[:size] for room, size in zip(shaped, sizes, strict=True)])

    def decided(self, value: T) -> T:
        """Return the first process's value to all processes."""
        return self._processes.value_of_first(value)

    def _gradients(self, share: float) -> Tensor:
        """Return the gradients in the weights times the shard's fraction of the batch, float32
        P."""
        each = [torch.zeros_like(w) if w.grad is None else w.grad for w in self._weights]
        return torch.cat([one.reshape(-1) for one in each]) * share

    def _put(self, sum_P: Tensor) -> None:
        for weight, piece in zip(
            self._weights, sum_P.split([w.numel() for w in self._weights]), strict=True
        ):
            weight.grad = torch.empty_like(weight).copy_(piece.view(weight.shape))


class _Norms:
    """The running statistics of batch norms, set aside while shards are passed."""

    def __init__(self, model: nn.Module) -> None:
        self._norms = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and module.training
            and module.running_mean is not None
        ]
        self._device = next(model.parameters()).device
        self._before = [buffer.clone() for buffer in self._buffers()]
        known = {id(buffer) for norm in self._norms for buffer in norm.buffers()}
        self._others = {
            name: (buffer, buffer.clone())
            for name, buffer in model.named_buffers()
            if id(buffer) not in known
        }

    def _buffers(self) -> list[Tensor]:
        found = []
        for norm in self._norms:
            assert norm.running_mean is not None and norm.running_var is not None
            found += [norm.running_mean, norm.running_var]
        return found

    def apart(self) -> "_Apart":
        """Replace the running statistics by a shard's own, inside this context."""
        return _Apart(self._norms, self._buffers())

    def seen(self) -> Tensor:
        """Return the statistics of the last shard, 1-D. Raises ``UserError`` if it changed buffers
        that cannot be combined."""
        for name, (buffer, before) in self._others.items():
            if not torch.equal(buffer, before):
                raise UserError(
                    f"the network changes its buffer {name} in training, which is not possible "
                    "with shards. Train it on one process, without train.shards"
                )
        buffers = [buffer.reshape(-1) for buffer in self._buffers()]
        return torch.cat(buffers) if buffers else torch.zeros(0, device=self._device)

    def blank(self) -> Tensor:
        """Return statistics of the same length for a shard without images."""
        return torch.zeros(sum(b.numel() for b in self._before), device=self._device)

    def take(self, of_shards: list[Tensor]) -> None:
        """Update the running statistics, shard after shard."""
        buffers, sizes = self._buffers(), [buffer.numel() for buffer in self._before]
        for buffer, before in zip(buffers, self._before, strict=True):
            buffer.copy_(before)
        for stats in of_shards:
            pieces = stats.split(sizes) if sizes else ()
            for norm in self._norms:
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked += 1
            for at, (buffer, piece) in enumerate(zip(buffers, pieces, strict=True)):
                norm = self._norms[at // 2]
                momentum = norm.momentum
                if momentum is None:  # the mean of all batches
                    assert norm.num_batches_tracked is not None
                    momentum = 1.0 / float(norm.num_batches_tracked)
                buffer.mul_(1 - momentum).add_(piece.view(buffer.shape), alpha=momentum)


class _Apart:
    def __init__(self, norms: list[nn.modules.batchnorm._BatchNorm], buffers: list[Tensor]) -> None:
        self._norms, self._buffers = norms, buffers

    def __enter__(self) -> None:
        self._kept = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 1.0  # new values replace the old ones exactly
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked = norm.num_batches_tracked.clone()
        for buffer in self._buffers:
            buffer.zero_()

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, tracked) in zip(self._norms, self._kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
