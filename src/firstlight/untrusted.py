"""Text that others chose, such as names of classes and files, made safe for where it goes.

A terminal obeys control characters, a spreadsheet runs cells that begin like a formula, and text
written from right to left turns around what stands beside it.
"""

import csv
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence

# Control characters but tab and newline, line and paragraph separators, what turns the direction
# of writing, and the halves that stand for bytes of a file name that are no text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What a spreadsheet takes for the start of a formula, also in full width; any number of
# apostrophes before it, so that a name which has one already comes back as it was.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

# An underscore within a word marks nothing.
_MARK = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")

# Hebrew, Arabic and their neighbours, with marks and the digits between them.
_LETTER = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RIGHT_TO_LEFT = re.compile(f"([{_LETTER}][{_LETTER}\u200e\u200f0-9]*(?:[ _'-]+[{_LETTER}]+)*)")

_NAME = re.compile(f"[{_LETTER}][{_LETTER}\u200e\u200f0-9 _'().-]*")


def shell_word(text: object) -> str:
    """A name or a path as one word of a command that a person copies into a shell.

    Windows' shells know no apostrophes, and a path there is full of backslashes.
    """
    return shell_line([str(text)])


def shell_line(words: Sequence[str]) -> str:
    """A command as it is typed."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def without_password(text: str) -> str:
    """A text with stars in place of the password of an address, such as a server's."""
    return re.sub(r"(\w://[^:/@\s]*):[^\s]*@", r"\1:***@", text)


def printable(text: str) -> str:
    """Text that a terminal only shows: each character it would obey stands as its escape, such as
    ``\\x1b``. Tabs and newlines stay."""
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    """``printable``, with tabs and newlines as escapes too: a name that cannot feign a line."""
    return printable(text.replace("\t", "\\t").replace("\n", "\\n"))


def json_safe(document: str) -> str:
    """The same JSON with each character that a terminal would obey as JSON's own escape."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, also in a table: no mark, link or tag begins in it."""
    return _MARK.sub(r"\\\g<0>", one_line(text))


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Rows as CSV, a newline after each. Names are to be passed through ``cell`` first."""
    text = io.StringIO()
    # Only characters of the line's end are quoted, so a carriage return must be one of them.
    writer = csv.writer(text, lineterminator="\r\n")
    lines = []
    for row in rows:
        writer.writerow(row)
        lines.append(text.getvalue()[:-2] + "\n")
        text.seek(0)
        text.truncate()
    return "".join(lines)


def cell(text: str) -> str:
    """A CSV cell that no spreadsheet runs: an apostrophe before what begins like a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """What ``cell`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def right_to_left(text: str) -> list[tuple[bool, str]]:
    """The text in pieces, each with whether it is written from right to left.

    Such a piece is one or several words; what stands between two names belongs to neither. A text
    that is one name as a whole, numbers included, is one piece.
    """
    if _NAME.fullmatch(text):
        return [(True, text)]
    pieces = _RIGHT_TO_LEFT.split(text)
    return [(at % 2 == 1, piece) for at, piece in enumerate(pieces) if piece]


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
