"""Make untrusted text, such as names of classes and files, safe for its destination.

A terminal obeys control characters, a spreadsheet runs cells that look like formulas, and
right-to-left text reorders the text beside it.
"""

import csv
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence

# Control characters except tab and newline, line and paragraph separators, direction controls, and
# surrogates that represent undecodable bytes of a file name.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What a spreadsheet takes for the start of a formula, also in full width; with any number of
# apostrophes before it, so that a name that already starts with one is restored unchanged.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

# An underscore inside a word has no meaning in Markdown.
_MARK = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")

# Hebrew, Arabic and related scripts, with marks and the digits between them.
_LETTER = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RIGHT_TO_LEFT = re.compile(f"([{_LETTER}][{_LETTER}\u200e\u200f0-9]*(?:[ _'-]+[{_LETTER}]+)*)")

_NAME = re.compile(f"[{_LETTER}][{_LETTER}\u200e\u200f0-9 _'().-]*")


def shell_word(text: object) -> str:
    """Quote a name or a path as one word of a shell command to copy.

    Windows shells have no apostrophe quoting, and paths there contain backslashes.
    """
    return shell_line([str(text)])


def shell_line(words: Sequence[str]) -> str:
    """Format a command as typed in a shell."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def without_password(text: str) -> str:
    """Replace the password in an address, such as a server's, with stars."""
    return re.sub(r"(\w://[^:/@\s]*):[^\s]*@", r"\1:***@", text)


def printable(text: str) -> str:
    """Escape each character that a terminal would obey, for example as ``\\x1b``. Tabs and newlines
    stay."""
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    """Like ``printable``, but also escape tabs and newlines, so that a name cannot fake a line."""
    return printable(text.replace("\t", "\\t").replace("\n", "\\n"))


def json_safe(document: str) -> str:
    """Return the same JSON with each character that a terminal would obey as a JSON escape."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def markdown_text(text: str) -> str:
    """Escape text for Markdown, also in a table, so that no markup, link or tag begins in it."""
    return _MARK.sub(r"\\\g<0>", one_line(text))


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """Format rows as CSV with a newline after each. Pass names through ``cell`` first."""
    text = io.StringIO()
    # Only line terminators are quoted, so a carriage return must be one of them.
    writer = csv.writer(text, lineterminator="\r\n")
    lines = []
    for row in rows:
        writer.writerow(row)
        lines.append(text.getvalue()[:-2] + "\n")
        text.seek(0)
        text.truncate()
    return "".join(lines)


def cell(text: str) -> str:
    """Make a CSV cell that no spreadsheet runs: an apostrophe precedes anything that looks like a
    formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """Return the text that ``cell`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def right_to_left(text: str) -> list[tuple[bool, str]]:
    """Split the text into pieces, each with whether it is right-to-left.

    Such a piece is one or more words; text between two names belongs to neither. A text that is a
    single name, numbers included, is one piece.
    """
    if _NAME.fullmatch(text):
        return [(True, text)]
    pieces = _RIGHT_TO_LEFT.split(text)
    return [(at % 2 == 1, piece) for at, piece in enumerate(pieces) if piece]


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
