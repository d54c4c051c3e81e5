"""All errors that a user can cause, with the command's exit code for each.

Each message says what was expected, what was found, and what to do next. A misused function raises
``ValueError`` instead, and ``assert`` checks our own invariants.
"""

import re

_WORD, _LINE = 500, 1000


def shortened(message: str) -> str:
    """Cut long words and lines of a message in the middle, because the user's value may be a whole
    array or any text."""
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
    """A mistake that the user can fix: a wrong request (exit code 2)."""

    exit_code = 2
    told = False
    """Whether it was already reported, for example by another process."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class DataError(UserError):
    """Data that are missing, damaged or not what they claim to be (exit code 3)."""

    exit_code = 3


class OtherDataError(DataError):
    """Undamaged data that differ from those a run was trained with (exit code 3)."""


class UnreachableError(DataError):
    """Data that are neither on this machine nor at any known address (exit code 3)."""


class ThresholdError(UserError):
    """A required threshold was not met (exit code 4)."""

    exit_code = 4


class RunInterruptedError(UserError):
    """The run was stopped from outside and can be resumed (exit code 130)."""

    exit_code = 130


class NothingLearntWarning(UserWarning):
    """A trained network is no better than guessing. The message says how, and what to try."""
