"""A batch in shards, compared with PyTorch's own gradients and statistics, and with itself when
several processes share the shards."""

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from firstlight.errors import UserError
from firstlight.training.processes import ALONE, Processes
from firstlight.training.shards import ShardedPass, shard_slices, tree_sum


class Threads(Processes):
    """Processes simulated by threads."""

    def __init__(self, rank: int, count: int, table: list[Tensor], barrier: threading.Barrier):
        super().__init__(rank, count)
        self._table, self._barrier = table, barrier

    def gather(self, numbers_N: Tensor) -> list[Tensor]:
        self._table[self.rank] = numbers_N
        self._barrier.wait()
        found = [one.clone() for one in self._table]
        self._barrier.wait()
        return found


def made() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def batch(count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(5)
    return torch.rand((count, 1, 6, 6), generator=rng), torch.randint(3, (count,), generator=rng)


def passed(model: nn.Module, sharded: ShardedPass, count: int) -> tuple[Tensor, Tensor]:
    pixels, labels = batch(count)

    def learn(shard: int, rows: slice) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        logits = model(pixels[rows])
        loss = cross_entropy(logits, labels[rows])
        loss.backward()
        return loss.detach(), logits.detach()

    return sharded(count, 2, learn)


def state(model: nn.Module) -> list[Tensor]:
    gradients = [weight.grad for weight in model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return [g for g in gradients if g is not None] + [b.clone() for b in model.buffers()]


@pytest.mark.parametrize("count", [32, 29, 5])
def test_gradients_and_statistics_are_those_of_shard_after_shard(count: int) -> None:
    """PyTorch's, if it processes the same images in the same parts."""
    model, plain = made(), made()
    loss, logits = passed(model, ShardedPass(model, 3, 4, ALONE), count)
    pixels, labels = batch(count)
    answers, losses = [], torch.zeros(())
    for rows in shard_slices(count, 4, 2):
        if rows.stop > rows.start:
            answers.append(plain(pixels[rows]))
            share = (rows.stop - rows.start) / count
            losses = losses + share * cross_entropy(answers[-1], labels[rows])
    losses.backward()
    torch.testing.assert_close(loss, losses.detach())
    assert torch.equal(logits, torch.cat(answers).detach())
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    for mine, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def shared(processes: int, shards: int, count: int) -> list[list[Tensor]]:
    """Return loss, logits, gradients and statistics of a batch in each of ``processes``
    processes."""
    table, barrier = [torch.zeros(0)] * processes, threading.Barrier(processes)
    models = [made() for _ in range(processes)]
    found: list[list[Tensor]] = [[]] * processes

    def work(rank: int) -> None:
        try:
            sharded = ShardedPass(models[rank], 3, shards, Threads(rank, processes, table, barrier))
            found[rank] = [*passed(models[rank], sharded, count), *state(models[rank])]
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("shards", [8, 6, 12])
@pytest.mark.parametrize("count", [48, 31, 7, 3])
def test_the_bits_do_not_depend_on_how_many_share_out_the_shards(shards: int, count: int) -> None:
    able = (processes for processes in range(1, shards + 1) if shards % processes == 0)
    alone, *others = (one for processes in able for one in shared(processes, shards, count))
    assert alone
    for other in others:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(alone, other, strict=True))


def test_images_are_shared_out_evenly_and_a_small_batch_leaves_shards_empty() -> None:
    def sizes(*of: int) -> list[int]:
        return [rows.stop - rows.start for rows in shard_slices(*of)]

    assert sizes(32, 8, 2) == [4] * 8
    assert sizes(30, 8, 2) == [4, 4, 4, 4, 4, 4, 3, 3]
    assert sizes(5, 4, 2) == [3, 2, 0, 0]
    assert sizes(1, 4, 2) == [1, 0, 0, 0]


def test_neighbors_are_added_first() -> None:
    """(1 + 2^60) + (-2^60 + 1) is not 1 + 2^60 - 2^60 + 1 in float32."""
    terms = [torch.tensor(value) for value in (1.0, 2.0**60, -(2.0**60), 1.0)]
    assert tree_sum(terms).item() == 0.0
    assert tree_sum(terms[:3]).item() == (1.0 + 2.0**60) - 2.0**60


def test_processes_that_do_not_divide_the_shards_are_told_which_would() -> None:
    with pytest.raises(UserError, match="Use 1, 2, 3 or 6 processes"):
        ShardedPass(made(), 3, 6, Processes(0, 4))
    with pytest.raises(UserError, match=r"cannot share 1 shard equally\. Use one process"):
        ShardedPass(made(), 3, 1, Processes(0, 2))


def test_a_buffer_that_shards_cannot_share_out_is_refused() -> None:
    class Counting(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = made()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, pixels: Tensor) -> Tensor:
            self.seen += 1
            answers: Tensor = self.inner(pixels)
            return answers

    model = Counting()
    with pytest.raises(UserError, match="changes its buffer seen in training"):
        passed(model, ShardedPass(model, 3, 4, ALONE), 16)
