"""The processes of one training, and how they communicate.

A launcher such as torchrun starts several processes and gives each its number (``RANK``) and the
number of processes (``WORLD_SIZE``). They use torch.distributed: gloo on a CPU, NCCL on a GPU.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from firstlight.devices import choose_device
from firstlight.errors import UserError
from firstlight.launcher import named
from firstlight.training.joining import join_group
from firstlight.training.signs import ProcessLostError, Signs, ToldError, name_of

T = TypeVar("T")


class Processes:
    """This process among those of a training. The default is a single process."""

    def __init__(
        self, rank: int = 0, count: int = 1, store: Any = None, interface: str = ""
    ) -> None:
        """``store`` and ``interface`` are those of ``Joined``."""
        self.rank, self.count, self._store, self.interface = rank, count, store, interface
        self._signs: Signs | None = None
        self._watches = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def gather(self, numbers_N: Tensor) -> list[Tensor]:
        """Collect a 1-D tensor from every process, by rank; all have the same length and dtype.

        Raises ``ProcessLostError`` or ``ToldError`` if a process is gone.
        """
        if self.count == 1:
            return [numbers_N]
        found = [torch.empty_like(numbers_N) for _ in range(self.count)]
        try:
            torch.distributed.all_gather(found, numbers_N)
        except RuntimeError as error:
            if self._signs is None:
                raise ProcessLostError(f"a process was lost: {error}") from error
            raise self._signs.lost() from error
        return found

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """Collect bytes from every process, by rank."""
        if self.count == 1:
            return [content]
        lengths = [int(one) for one in self.gather(torch.tensor([len(content)]))]
        padded = bytearray(content.ljust(max(1, *lengths), b"\0"))
        found = self.gather(torch.frombuffer(padded, dtype=torch.uint8))
        return [one[:length].numpy().tobytes() for one, length in zip(found, lengths, strict=True)]

    def gather_values(self, value: Any) -> list[Any]:
        """Collect a plain JSON value from every process, by rank."""
        return [json.loads(one) for one in self.gather_bytes(json.dumps(value).encode())]

    def from_first(self, content: bytes) -> bytes:
        """Return the first process's content; the others' content does not matter."""
        return self.gather_bytes(content if self.first else b"")[0]

    def value_of_first(self, value: T) -> T:
        """Return the first process's value, plain JSON."""
        if self.count == 1:
            return value
        found: T = json.loads(self.from_first(json.dumps(value).encode()))
        return found

    def agree(self, work: Callable[[], T]) -> T:
        """Return the result of ``work`` if it fails in no process. Otherwise the first process
        raises the error of the lowest rank, and the others raise ``ToldError``."""
        error: UserError | None = None
        try:
            value = work()
        except UserError as own:
            error = own
        told = self.gather_values(None if error is None else [error.exit_code, str(error)])
        wrong = [(rank, *one) for rank, one in enumerate(told) if one is not None]
        if not wrong:
            return value
        rank, code, text = wrong[0]
        if not self.first:
            raise ToldError(code)
        if error is not None and rank == 0:
            raise error
        other = UserError(f"process {rank}: {text}")
        other.exit_code = code
        raise other

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside this block, a lost process or an error in this one ends the other processes."""
        if self.count == 1 or self._store is None:
            yield
            return
        from torch.distributed.distributed_c10d import PrefixStore

        self._watches += 1
        store = PrefixStore(f"watch {self._watches}", self._store.clone())
        self._signs = Signs(store, self.rank, self.gather_values(name_of(self.rank)))
        self._signs.start()
        try:
            yield
        except UserError:
            self._signs.tell()
            raise
        finally:
            self._signs.stop()
            self._signs = None


ALONE = Processes()
_joined: Processes | None = None


def launched() -> bool:
    """Whether a launcher started this process, or the caller has joined processes."""
    distributed = torch.distributed
    return named() or (distributed.is_available() and distributed.is_initialized())


def current() -> Processes:
    """The processes that this one has joined, or ``ALONE``."""
    return _joined or ALONE


def join(device: str) -> Processes:
    """Join the processes that a launcher started, once. ``device`` is ``auto`` or a device's name.

    Raises ``UserError`` if there is no such device, the launcher's variables are invalid, or the
    others cannot be reached.
    """
    global _joined
    if _joined is None:
        _joined = _join(device)
    return _joined


def _join(device: str) -> Processes:
    distributed = torch.distributed
    if not distributed.is_available():
        raise UserError(
            "this build of PyTorch cannot train on several processes. Train without a launcher"
        )
    if distributed.is_initialized():  # the caller has done so
        choose_device(device)
        return Processes(distributed.get_rank(), distributed.get_world_size())
    return Processes(*join_group(device))
