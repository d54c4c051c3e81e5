"""The processes of one training, and what they tell one another.

A launcher such as torchrun starts several processes and gives each its number (``RANK``) and how
many there are (``WORLD_SIZE``). They talk by torch.distributed: gloo on a CPU, NCCL on a GPU.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from firstlight.errors import RunInterruptedError, UserError
from firstlight.launcher import named, restarts

T = TypeVar("T")

LOST = 20.0
"""A process that has given no sign for so many seconds is lost."""
_BEAT = 1.0
_COMING = timedelta(minutes=5)
"""For all processes to start."""
_GIVEN_UP = timedelta(hours=12)
"""A process that lives may take long, as to decode pictures that the others have; one that does not
is found out by its signs."""


class ProcessLostError(RunInterruptedError):
    """Another process of the training is gone, and this one is to tell it."""


class ToldError(UserError):
    """What ended the training; another process tells it."""

    told = True

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process tells what is wrong")
        self.exit_code = exit_code


class Processes:
    """This process among those of a training. The default is a process alone."""

    def __init__(self, rank: int = 0, count: int = 1, store: Any = None) -> None:
        """``store``: where torch.distributed lets processes leave short texts for one another."""
        self.rank, self.count, self._store = rank, count, store
        self._signs: _Signs | None = None
        self._watches = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def gather(self, numbers_N: Tensor) -> list[Tensor]:
        """The 1-D tensor of every process, by its rank; all are of one length and dtype.

        Raises ``ProcessLostError`` or ``ToldError`` where one is gone.
        """
        if self.count == 1:
            return [numbers_N]
        found = [torch.empty_like(numbers_N) for _ in range(self.count)]
        try:
            torch.distributed.all_gather(found, numbers_N)
        except RuntimeError as error:
            if self._signs is None:
                raise ProcessLostError(f"a process is gone: {error}") from error
            raise self._signs.lost() from error
        return found

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """Bytes of every process, by its rank."""
        if self.count == 1:
            return [content]
        lengths = [int(one) for one in self.gather(torch.tensor([len(content)]))]
        padded = bytearray(content.ljust(max(1, *lengths), b"\0"))
        found = self.gather(torch.frombuffer(padded, dtype=torch.uint8))
        return [one[:length].numpy().tobytes() for one, length in zip(found, lengths, strict=True)]

    def gather_values(self, value: Any) -> list[Any]:
        """A plain JSON value of every process, by its rank."""
        return [json.loads(one) for one in self.gather_bytes(json.dumps(value).encode())]

    def from_first(self, content: bytes) -> bytes:
        """What the first process has; the others' content does not matter."""
        return self.gather_bytes(content if self.first else b"")[0]

    def value_of_first(self, value: T) -> T:
        """A plain JSON value as the first process has it."""
        if self.count == 1:
            return value
        found: T = json.loads(self.from_first(json.dumps(value).encode()))
        return found

    def agree(self, work: Callable[[], T]) -> T:
        """What ``work`` gives here, where it fails in no process. Otherwise the first process
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
        """Within, a process that is gone ends the others, and so does an error of this one."""
        if self.count == 1 or self._store is None:
            yield
            return
        from torch.distributed.distributed_c10d import PrefixStore

        self._watches += 1
        store = PrefixStore(f"watch {self._watches}", self._store.clone())
        self._signs = _Signs(store, self.rank, self.count)
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
    """Whether a launcher started this process, or the caller joined processes."""
    distributed = torch.distributed
    return named() or (distributed.is_available() and distributed.is_initialized())


def current() -> Processes:
    """The processes that this one has joined; ``ALONE`` before that."""
    return _joined or ALONE


def join(device: str) -> Processes:
    """Join the processes that a launcher started, once.

    Raises ``UserError`` where the launcher's variables make no sense, or the others cannot be
    reached.
    """
    global _joined
    if _joined is None:
        _joined = _join(device)
    return _joined


def _join(device: str) -> Processes:
    distributed = torch.distributed
    if not distributed.is_available():
        raise UserError("this build of PyTorch cannot join processes; train without a launcher")
    if distributed.is_initialized():  # the caller's own
        return Processes(distributed.get_rank(), distributed.get_world_size())
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not 0 <= rank < count:
            raise ValueError(f"RANK is {rank} of WORLD_SIZE {count}")
        whole, _, _ = next(rendezvous("env://", rank, count, timeout=_COMING))
        # A launcher may keep the store when it starts processes again.
        store = PrefixStore(f"start {restarts()}", whole)
        store.set(f"here {rank}", "yes")
        store.wait([f"here {other}" for other in range(count)], _COMING)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            store=PrefixStore("group", store),
            rank=rank,
            world_size=count,
            timeout=_GIVEN_UP,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes cannot be joined: {str(error).splitlines()[0]}. RANK, WORLD_SIZE, "
            "MASTER_ADDR and MASTER_PORT must be as a launcher sets them, such as torchrun "
            "--nproc-per-node 2 -m firstlight train ..., the port must be free, and all processes "
            "must start within five minutes. On several machines, GLOO_SOCKET_IFNAME names the "
            "network interface that reaches the others, such as eth0: it is needed where a "
            "machine's own name stands for 127.0.0.1"
        ) from error
    return Processes(rank, count, store)


class _Signs(threading.Thread):
    """Gives a sign of life each second and looks for those of the others. Where one gives none any
    more, as after a lost machine, this process ends: it may be waiting for the other for ever."""

    def __init__(self, store: Any, rank: int, count: int) -> None:
        super().__init__(daemon=True)
        self._store, self._rank, self._count = store, rank, count
        self._stopped = threading.Event()
        self._names: dict[int, str] = {}
        self._seen = {other: (0, time.monotonic()) for other in range(count) if other != rank}
        name = f"process {rank} (pid {os.getpid()} on {platform.node() or 'this machine'})"
        store.set(f"name {rank}", name)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._look()
            except RuntimeError:  # the launcher, which keeps the signs, ends
                return
            if gone := self._silent(LOST):
                if self._tells(gone):
                    os.write(2, f"firstlight: {self._told(gone)}\n".encode())
                os._exit(RunInterruptedError.exit_code)
            self._stopped.wait(_BEAT)

    def stop(self) -> None:
        """No more signs are given or looked for."""
        self._stopped.set()
        self.join()

    def tell(self) -> None:
        """Let the others know that this process ends and has said why."""
        with suppress(RuntimeError):
            self._store.set("told", "yes")

    def lost(self) -> UserError:
        """What to raise where another process cannot be reached. Takes some seconds."""
        for _ in range(round(LOST / _BEAT)):
            time.sleep(_BEAT)
            try:
                if self._store.check(["told"]):
                    return ToldError(RunInterruptedError.exit_code)
            except RuntimeError:
                return ProcessLostError(self._told([]))
            if gone := self._silent(4 * _BEAT):
                if self._tells(gone):
                    return ProcessLostError(self._told(gone))
                return ToldError(RunInterruptedError.exit_code)
        return ProcessLostError(self._told([]))

    def _look(self) -> None:
        self._store.add(f"sign {self._rank}", 1)
        for other, (signs, _) in list(self._seen.items()):
            now = self._store.add(f"sign {other}", 0)
            if now != signs:
                self._seen[other] = now, time.monotonic()
                if other not in self._names:
                    self._names[other] = self._store.get(f"name {other}").decode()

    def _silent(self, seconds: float) -> list[int]:
        now = time.monotonic()
        return [other for other, (_, at) in self._seen.items() if now - at > seconds]

    def _tells(self, gone: list[int]) -> bool:
        """Whether this is the first process that is left."""
        return self._rank == min(set(range(self._count)) - set(gone))

    def _told(self, gone: list[int]) -> str:
        names = " and ".join(self._names.get(one, f"process {one}") for one in gone)
        return (
            f"{names or 'another process'} {'are' if len(gone) > 1 else 'is'} gone, so the "
            "training ends. What was saved is kept. Go on with: firstlight train --resume RUN, on "
            "any number of processes that divides train.shards"
        )
