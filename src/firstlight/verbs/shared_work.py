"""Work that any number of workers share through a storage: a search's trials, or a recipe's seeds.

The work consists of slots, numbered from 0. A slot takes one turn, or several if turns fail; a turn
is one Optuna trial. If a worker is killed, another one notices and does its turn. This module
imports Optuna, so it is itself imported late.
"""

import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from firstlight.errors import DataError, RunInterruptedError, UserError
from firstlight.locks import has_locks, held, is_held
from firstlight.verbs.storage import Address, open_storage, reached

MOST_FAILURES = 3
"""A slot is given up after this many failed turns."""
BEAT_SECONDS, GRACE_SECONDS = 15.0, 60.0
"""Interval of a worker's heartbeat. A worker on another machine that misses it for the grace time
counts as dead."""
POLL_SECONDS = 1.0
"""Seconds between two checks while waiting for other workers."""
_SETTLED = (TrialState.COMPLETE, TrialState.PRUNED)


class LostTurnError(Exception):
    """Other workers considered this one dead and took its turn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """A worker's current turn."""

    number: int
    """Number among all turns, unique."""
    slot: int
    attempt: int
    """Attempt at the slot, from 1."""
    params: dict[str, Any]
    """The sampler's choice."""
    trial: Trial


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The known facts about a turn."""

    number: int
    slot: int
    state: str
    """``finished``, ``stopped`` (early, not repeated), ``failed``, ``interrupted``, ``running`` or
    ``waiting``."""
    value: float | None
    params: dict[str, Any]
    figures: dict[str, Any]
    """The figures that the worker recorded."""
    why: str
    """Why it stopped or failed."""


_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def slots_of(turns: Iterable[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Return the turns of each slot, in order. A slot is identified by the number of its first
    turn."""
    found = dict[int, list[FrozenTrial]]()
    for one in sorted(turns, key=lambda one: one.number):
        if not one.user_attrs.get("surplus"):
            found.setdefault(one.user_attrs.get("slot", one.number), []).append(one)
    return [found[first] for first in sorted(found)]


class SharedWork:
    """A study in a storage, as seen by one worker."""

    def __init__(
        self,
        address: Address,
        study: Study,
        distributions: Mapping[str, optuna.distributions.BaseDistribution],
    ) -> None:
        self.address, self._study, self._distributions = address, study, dict(distributions)
        self._host, self._token = socket.gethostname(), ""
        self._seen: dict[int, tuple[Any, float]] = {}
        self._clock = time.monotonic

    @classmethod
    def joined(
        cls,
        address: Address,
        name: str,
        distributions: Mapping[str, optuna.distributions.BaseDistribution] | None = None,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> "SharedWork":
        """Open the work with this name, or create it. Raises ``DataError`` if the storage cannot be
        reached."""
        storage = open_storage(address)
        with reached(address):
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=sampler or optuna.samplers.RandomSampler(),
                pruner=pruner or optuna.pruners.NopPruner(),
            )
        return cls(address, study, distributions or {})

    def note(self, key: str, value: Any) -> None:
        """Store a plain value for all workers."""
        with reached(self.address):
            self._study.set_user_attr(key, value)

    def noted(self, key: str) -> Any:
        """Return the value stored under a key; None if there is none."""
        with reached(self.address):
            return self._study.user_attrs.get(key)

    def agreed(self, key: str, value: Any) -> Any:
        """Return the value that all workers use: ``value`` if this worker is the first."""
        if self.noted(key) is None:
            self.note(key, value)
        return self.noted(key)

    def do(
        self,
        slots: Callable[[], int | None],
        run: Callable[[Turn], None],
        waits: Callable[[int], None],
    ) -> None:
        """Take turns until all slots are settled, including those of other workers.

        ``slots`` returns their number, asked again each time; None for no more than have begun.
        ``run`` ends with one of ``finish``, ``stop`` and ``fail``. If it raises, this worker ends
        and leaves the slot to another. ``waits`` is called with the number of other workers' turns
        it is waiting for.
        """
        told = False
        with self._present():
            while True:
                limit = slots()
                self._revive(limit)
                turn = self._claim(limit)
                if turn is not None:
                    self._run(turn, run)
                elif self._is_settled(limit):
                    return
                else:
                    if not told:
                        waits(sum(one.state in ("running", "waiting") for one in self.results()))
                    told = True
                    time.sleep(POLL_SECONDS)

    def _run(self, turn: Turn, run: Callable[[Turn], None]) -> None:
        with self._alive(turn):
            try:
                run(turn)
            except LostTurnError:
                return
            except BaseException as error:
                with suppress(LostTurnError, DataError):  # the original error is reported
                    innocent = isinstance(error, KeyboardInterrupt | UserError)
                    why = str(error) or type(error).__name__
                    if isinstance(error, KeyboardInterrupt | RunInterruptedError):
                        why = "interrupted; another trial repeats it"
                    self.fail(turn, why, counts=not innocent)
                raise

    def results(self) -> list[Result]:
        """Return all turns so far, by number."""
        found = [
            Result(
                number=one.number,
                slot=slot,
                state=_state_of(one),
                value=one.value if one.state == TrialState.COMPLETE else None,
                params=dict(one.params),
                figures=dict(one.user_attrs.get("figures", {})),
                why=str(one.user_attrs.get("why", "")) or _usual_reason(one),
            )
            for slot, turns in enumerate(self._slots())
            for one in turns
        ]
        return sorted(found, key=lambda one: one.number)

    def importances(self) -> dict[str, float]:
        """Return the importance of each setting in the finished turns, as shares of 1 (PED-ANOVA;
        Watanabe, Bansal and Hutter 2023). Empty if too few turns are finished."""
        if len({one.value for one in self.results() if one.state == "finished"}) < 2:
            return {}
        with reached(self.address):
            return optuna.importance.get_param_importances(self._study)

    def report(self, turn: Turn, step: int, value: float) -> bool:
        """Report a turn's progress. Returns whether to stop it, because others did better."""
        with self._owned(turn):
            turn.trial.report(value, step)
            return turn.trial.should_prune()

    def write(self, turn: Turn, figures: Mapping[str, Any]) -> None:
        """Store a turn's figures, replacing earlier ones."""
        with self._owned(turn):
            turn.trial.set_user_attr("figures", dict(figures))

    def finish(self, turn: Turn, value: float) -> None:
        """Mark a turn as finished."""
        self._end(turn, TrialState.COMPLETE, value)

    def stop(self, turn: Turn, why: str) -> None:
        """Mark a turn as stopped early; it is not repeated."""
        with self._owned(turn):
            turn.trial.set_user_attr("why", why)
        self._end(turn, TrialState.PRUNED)

    def fail(self, turn: Turn, why: str, *, counts: bool = True) -> None:
        """Mark a turn as failed, and free its slot. ``counts`` is whether the turn may be at
        fault."""
        with self._owned(turn):
            turn.trial.set_user_attr("why", why)
            if not counts:
                turn.trial.set_user_attr("innocent", True)
        self._end(turn, TrialState.FAIL)

    def _end(self, turn: Turn, state: TrialState, value: float | None = None) -> None:
        with self._owned(turn):
            self._study.tell(turn.trial, value, state=state, skip_if_finished=True)

    @contextmanager
    def _owned(self, turn: Turn) -> Iterator[None]:
        with reached(self.address):
            try:
                yield
            except UpdateFinishedTrialError as error:
                raise LostTurnError(f"turn {turn.number}") from error

    def _slots(self) -> list[list[FrozenTrial]]:
        with reached(self.address):
            return slots_of(self._study.get_trials(deepcopy=False))

    def _claim(self, limit: int | None) -> Turn | None:
        """Claim a free turn. Returns None if there is none now."""
        slots = self._slots()
        waiting = any(one.state == TrialState.WAITING for turns in slots for one in turns)
        if not waiting and (limit is None or len(slots) >= limit):
            return None
        with reached(self.address):
            trial = self._study.ask(dict(self._distributions))
            trial.set_user_attr("worker", [self._host, self._token])
        for slot, turns in enumerate(self._slots()):
            at = next((i for i, one in enumerate(turns) if one.number == trial.number), None)
            if at is None:
                continue
            turn = Turn(
                number=trial.number,
                slot=slot,
                attempt=at + 1,
                params=dict(trial.params),
                trial=trial,
            )
            taken = any(one.state in (*_SETTLED, TrialState.RUNNING) for one in turns[:at])
            beyond = at == 0 and (limit is None or slot >= limit)
            if not taken and not beyond:
                return turn
            with suppress(LostTurnError), self._owned(turn):  # another worker was faster
                trial.set_user_attr("surplus", True)
                self._end(turn, TrialState.FAIL)
        return None

    def _is_settled(self, limit: int | None) -> bool:
        slots = self._slots()
        return (limit is None or len(slots) >= limit) and all(map(_settled, slots[:limit]))

    def _revive(self, limit: int | None) -> None:
        """Fail the turns of dead workers, and queue failed ones for another attempt."""
        dead = [
            one
            for turns in self._slots()[:limit]
            for one in turns
            if one.state == TrialState.RUNNING and self._is_dead(one)
        ]
        for one in dead:
            # Another worker may fail the same turn at this moment.
            with reached(self.address), suppress(UpdateFinishedTrialError):
                self._study.tell(one.number, state=TrialState.FAIL, skip_if_finished=True)
        for turns in self._slots()[:limit]:
            if not _settled(turns) and all(one.state.is_finished() for one in turns):
                again = {"slot": turns[0].number}
                with reached(self.address):
                    self._study.enqueue_trial(turns[-1].params, user_attrs=again)

    def _is_dead(self, one: FrozenTrial) -> bool:
        host, token = one.user_attrs.get("worker", (None, None))
        if host == self._host and token and (path := _lock_file(token)).exists():
            return not is_held(path)
        sign, now = (token, one.user_attrs.get("beat")), self._clock()
        before, since = self._seen.setdefault(one.number, (sign, now))
        if before != sign:
            self._seen[one.number] = sign, now
            return False
        return now - since > GRACE_SECONDS

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Hold a lock that other workers on this machine can see, while this worker lives."""
        with ExitStack() as stack:
            token = secrets.token_hex(8)
            with suppress(OSError):
                path = _lock_file(token)
                if has_locks(path.parent):
                    stack.enter_context(held(path, passing=True))
                    self._token = token
            yield
        self._token = ""

    @contextmanager
    def _alive(self, turn: Turn) -> Iterator[None]:
        """Send heartbeats for workers on other machines."""
        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(BEAT_SECONDS):
                count += 1
                # The training itself reports a lost storage.
                with suppress(Exception):
                    turn.trial.set_user_attr("beat", count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _settled(turns: list[FrozenTrial]) -> bool:
    """Whether a slot is done or given up."""
    if any(one.state in _SETTLED for one in turns):
        return True
    guilty = [o for o in turns if o.state == TrialState.FAIL and not o.user_attrs.get("innocent")]
    return len(guilty) >= MOST_FAILURES and all(one.state.is_finished() for one in turns)


def _state_of(one: FrozenTrial) -> str:
    interrupted = one.state == TrialState.FAIL and one.user_attrs.get("innocent")
    return "interrupted" if interrupted else _STATES[one.state]


def _usual_reason(one: FrozenTrial) -> str:
    return "its worker died" if one.state == TrialState.FAIL else ""


def _lock_file(token: str) -> Path:
    return Path(tempfile.gettempdir()) / f"firstlight-worker-{re.sub('[^0-9a-f]', '', token)}.lock"
