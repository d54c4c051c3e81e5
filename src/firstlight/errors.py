"""Every error that a user can cause, with the exit code the command gives it.

Each message says what was wanted, what came, and what to do next. A misused function raises
``ValueError`` instead, and an ``assert`` guards our own invariants.
"""

import re

_WORD, _LINE = 500, 1000


def shortened(message: str) -> str:
    """A message whose long words and lines are cut in their middle: what came may be an array,
    written out, or any text."""
    message = re.sub(
        rf"\S{{{_WORD},}}",
        lambda word: f"{word[0][:80]}…({len(word[0]):,} characters)…{word[0][-40:]}",
        message,
    )
    return "\n".join(
        line
        if len(line) <= _LINE
        else f"{line[: _LINE // 5]} … ({len(line):,} characters) … {line[-_LINE // 2 :]}"
        for line in message.split("\n")
    )


class UserError(Exception):
    """Something the person at the keyboard can mend: a wrong request (exit code 2)."""

    exit_code = 2
    told = False
    """Whether it was said already, as by another process."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class DataError(UserError):
    """Data that is missing, damaged or not what it claims to be (exit code 3)."""

    exit_code = 3


class OtherDataError(DataError):
    """Data that is whole, and not what a run was trained with (exit code 3)."""


class UnreachableError(DataError):
    """Data that is not on this machine and that no address gave (exit code 3)."""


class ThresholdError(UserError):
    """A required threshold was not met (exit code 4)."""

    exit_code = 4


class RunInterruptedError(UserError):
    """The run was stopped from outside and can be resumed (exit code 130)."""

    exit_code = 130


class NothingLearntWarning(UserWarning):
    """A trained network answers no better than a guess. The message says how, and what to try."""
