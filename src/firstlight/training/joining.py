"""How the processes that a launcher started join each other."""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch

from firstlight.devices import choose_device
from firstlight.errors import UserError
from firstlight.launcher import restarts
from firstlight.training.interface import VARIABLE, chosen_interface, own_address
from firstlight.training.signs import ToldError, name_of

T = TypeVar("T")

_COMING = timedelta(minutes=5)
"""Time limit for all processes to start."""
_CONNECTING = timedelta(minutes=1)
"""Time limit for them to connect, once all have started."""
_GIVEN_UP = timedelta(hours=12)
"""A live process may take long, for example to decode pictures that the others have. A dead one is
noticed by its missing heartbeat."""
_ANSWER = 5.0
"""Time limit for a machine to answer, in seconds."""
_LOOK = 0.05
"""Seconds between two checks."""
_NETWORK = (
    f"The machines must be able to reach each other on all ports. {VARIABLE} names the network "
    "interface, such as eth0"
)


class Joined(NamedTuple):
    """This process, joined with the others."""

    rank: int
    processes: int
    store: Any
    """torch.distributed's key-value store, which all processes share."""
    interface: str
    """The network interface that was chosen for gloo; empty if gloo chooses."""


def join_group(device: str) -> Joined:
    """Join the processes that a launcher's variables name. ``device`` is ``auto``, ``cpu`` or
    ``cuda``.

    On failure, process 0 raises ``UserError`` and reports it. Once it has started, the others raise
    ``ToldError``.
    """
    rank, count = _numbers()
    store = _store(rank)
    try:
        return Joined(rank, count, store, _joined(store, rank, count, choose_device(device)))
    except UserError as error:
        try:
            if not error.told:
                store.set("failed", f"{name_of(rank)}: {error}")
            told = rank != 0 and store.check(["here 0"])
        except RuntimeError:  # process 0 has ended
            told = False
        if told and not error.told:
            raise ToldError(error.exit_code) from error
        raise


def _numbers() -> tuple[int, int]:
    try:
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if not 0 <= rank < count:
            raise ValueError(f"RANK is {rank} of WORLD_SIZE {count}")
        if not 0 < int(os.environ["MASTER_PORT"]) < 65536 or not os.environ["MASTER_ADDR"]:
            raise ValueError("MASTER_ADDR or MASTER_PORT does not exist")
    except (KeyError, ValueError) as error:
        what = f"{error} is not set" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"the processes cannot connect: {what}. RANK, WORLD_SIZE, MASTER_ADDR and "
            "MASTER_PORT must be set by a launcher, such as torchrun --nproc-per-node 2 -m "
            "firstlight train ..."
        ) from error
    return rank, count


def _store(rank: int) -> Any:
    """The store, kept by process 0 or by its launcher."""
    distributed: Any = torch.distributed
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    keeps = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"

    try:
        if not keeps:
            _wait_for_first(host, port)
        whole = distributed.TCPStore(
            host, port, None, keeps, _COMING, wait_for_workers=False, multi_tenant=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise UserError(
            f"process 0 cannot listen on MASTER_PORT {port}: {why}. Choose a free port"
            if keeps
            else (
                f"{name_of(rank)} cannot reach process 0 at {host}:{port}: {why}. Start process "
                "0 within five minutes, and set MASTER_ADDR to an address of its machine that "
                "the others can reach"
            )
        ) from error
    # A launcher that restarts processes may keep the store.
    return distributed.PrefixStore(f"start {restarts()}", whole)


def _wait_for_first(host: str, port: int) -> None:
    """Wait until process 0 listens. PyTorch would wait too, but print a stack trace each time."""
    end = time.monotonic() + _COMING.total_seconds()
    while True:
        try:
            socket.create_connection((host, port), timeout=_ANSWER).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK)


def _joined(store: Any, rank: int, count: int, device: str) -> str:
    """Join, and return the name of the chosen network interface."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed: Any = torch.distributed
    try:
        store.set(f"here {rank}", own_address(os.environ["MASTER_ADDR"]))
        _wait_for_all(store, rank, count)
        addresses = [store.get(f"here {other}").decode() for other in range(count)]
        if interface := chosen_interface(addresses, rank):
            os.environ[VARIABLE] = interface

        def connected() -> None:
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
                store=distributed.PrefixStore("group", store),
                rank=rank,
                world_size=count,
                timeout=_GIVEN_UP,
            )

        end = time.monotonic() + _CONNECTING.total_seconds()

        def look() -> None:
            _raise_failure(store, rank)
            if time.monotonic() > end:
                raise UserError(
                    f"{_missing(store, 'joined', count)} not connected to the others within a "
                    f"minute. {_NETWORK}"
                )

        _waited(connected, look)
        store.set(f"joined {rank}", "")
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes cannot connect: {str(error).splitlines()[0]}. {_NETWORK}"
        ) from error
    return interface


def _wait_for_all(store: Any, rank: int, count: int) -> None:
    end = time.monotonic() + _COMING.total_seconds()
    while not store.check([f"here {other}" for other in range(count)]):
        _raise_failure(store, rank)
        if time.monotonic() > end:
            raise UserError(
                f"{_missing(store, 'here', count)} not started within five minutes. Start the "
                f"same command on all {count} processes"
            )
        time.sleep(_LOOK)


def _missing(store: Any, key: str, count: int) -> str:
    """The processes that have not set a key, followed by "has" or "have"."""
    ranks = [rank for rank in range(count) if not store.check([f"{key} {rank}"])]
    names = " and ".join(f"process {rank}" for rank in ranks)
    return f"{names} {'have' if len(ranks) > 1 else 'has'}"


def _raise_failure(store: Any, rank: int) -> None:
    """Raise if another process has failed to join. Process 0 reports it."""
    try:
        failed = store.get("failed").decode() if store.check(["failed"]) else ""
    except RuntimeError as error:
        raise UserError(
            "process 0, or its launcher, has ended before all processes were connected"
        ) from error
    if failed:
        raise UserError(f"cannot join {failed}") if rank == 0 else ToldError(UserError.exit_code)


def _waited(work: Callable[[], T], look: Callable[[], None]) -> T:
    """Run ``work`` in another thread and return its result.

    PyTorch's calls may wait for a long time and notice neither Ctrl-C nor an error that ``look``
    raises. Here both end the waiting.
    """
    made, errors = list[T](), list[Exception]()

    def run() -> None:
        try:
            made.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
        look()
    if errors:
        raise errors[0]
    return made[0]
