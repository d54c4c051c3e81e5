"""Read a CSV as rows under headings, with any separator and text encoding."""

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from firstlight.data.formats import START, is_picture
from firstlight.errors import DataError

MOST_BYTES = 2 << 30
"""The largest size of a CSV."""
_SEPARATORS = ",;\t|"
_NOT_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_PACKED = (
    *(b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ"),
    b"\x28\xb5\x2f\xfd",
)
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A CSV's headings and the text of its rows."""

    file: Path
    headings: tuple[str, ...]
    """The cells of the first line, stripped."""
    text: str
    """Everything below the headings."""
    separator: str
    first_line: int
    """The number of the first line of ``text``, counted from 1."""
    notes: tuple[str, ...]
    """Messages about how it was read, if that is not obvious."""

    def rows(self, *, strip: bool = True) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, cells) of each row that is not empty. ``strip`` removes spaces around
        cells. Raises ``DataError`` for a row with more cells than headings."""
        reader = csv.reader(lines_of(self.text), delimiter=self.separator)
        try:
            for cells in reader:
                cells = [cell.strip() for cell in cells] if strip else cells
                line = self.first_line - 1 + reader.line_num
                if not any(cells):
                    continue
                if any(cells[len(self.headings) :]):
                    raise DataError(
                        f"{self.file}, line {line}: has {len(cells)} cells under "
                        f"{len(self.headings)} headings; put cells that hold "
                        f"{self.separator!r} in quotes"
                    )
                yield line, cells + [""] * (len(self.headings) - len(cells))
        except csv.Error as error:
            raise DataError(f"{self.file}: cannot be read as a CSV: {error}") from error

    def column(self, words: Sequence[str]) -> int | None:
        """Return the number of the column with the first of these words that is a heading."""
        keys = [heading_key(heading) for heading in self.headings]
        return next((keys.index(word) for word in words if word in keys), None)

    @property
    def shown(self) -> str:
        """The first headings, for messages."""
        if not any(self.headings):
            return "nothing"
        first = ",".join(self.headings[:_SHOWN])
        more = f",… ({len(self.headings)} columns)" if len(self.headings) > _SHOWN else ""
        return f"{first[:200]}{more}"


def heading_key(heading: str) -> str:
    """Return a heading without case, spaces and punctuation, so that ``Image Path`` and
    ``image_path`` are the same."""
    return re.sub(r"[\W_]+", "", heading).lower()


def read_sheet(file: Path, *, guess: bool = True) -> Sheet:
    """Read the file's rows. With ``guess``, a file that is not UTF-8 is read as Latin-1. Without,
    its bytes are kept as Python keeps those of file names. Raises ``DataError``, which says what
    the file is, if it is not a CSV."""
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise DataError(
                f"{file}: a CSV of {size:,} bytes; at most {MOST_BYTES:,} are read. Save the "
                "images as .npz"
            )
        blob = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read as a CSV: {error.strerror}") from error
    text, notes = _as_text(file, blob, guess)
    if "\n" not in text:
        text = text.replace("\r", "\n")  # as old Macs end lines
    line = 1
    if found := re.match(r"sep=(.)\r?\n", text):  # as Excel writes it
        separator, text, line = found[1], text[found.end() :], 2
    else:
        separator = _separator(text)
    while found := re.match(r"[ \t]*\r?\n", text):
        text, line = text[found.end() :], line + 1
    taken = list[str]()
    reader = csv.reader(lines_of(text, taken), delimiter=separator)
    try:
        headings = tuple(cell.strip() for cell in next(reader, []))
    except csv.Error as error:
        raise DataError(f"{file}: cannot be read as a CSV: {error}") from error
    twice = [name for name, count in Counter(headings).items() if name and count > 1]
    if twice and not _are_numbers(headings):
        raise DataError(f"{file}: two columns are called {twice[0]!r}; rename one")
    return Sheet(
        file=file,
        headings=headings,
        text=text[sum(map(len, taken)) :],
        separator=separator,
        first_line=line + reader.line_num,
        notes=notes,
    )


def lines_of(text: str, taken: list[str] | None = None) -> Iterator[str]:
    """Yield the lines one by one with their line ends, and append them to ``taken``. Copying all of
    them would take several times the memory."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        line = text[start:end]
        if taken is not None:
            taken.append(line)
        yield line
        start = end


def _are_numbers(cells: Sequence[str]) -> bool:
    return sum(cell.replace(".", "", 1).isdigit() for cell in cells) > len(cells) // 2


def _as_text(file: Path, blob: bytes, guess: bool) -> tuple[str, tuple[str, ...]]:
    """Return the text, and a note if its encoding was guessed."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if blob.startswith(mark):
            return _decoded(file, blob, encoding), ()
    start = blob[:4096]
    if start[1::2].count(0) > len(start) // 4 and not start[::2].count(0):
        return _decoded(file, blob, "utf-16-le"), ("read as UTF-16",)
    if start[::2].count(0) > len(start) // 4 and not start[1::2].count(0):
        return _decoded(file, blob, "utf-16-be"), ("read as UTF-16",)
    if is_picture(start[:START]):
        raise DataError(f"{file}: cannot be read as a CSV: this is a picture")
    if start.startswith(_PACKED) or start[257:262] == b"ustar":
        raise DataError(
            f"{file}: cannot be read as a CSV: this is an archive or a workbook. Unpack it, or "
            "save the table as CSV, first"
        )
    if _NOT_TEXT.search(start):
        raise DataError(f"{file}: cannot be read as a CSV: this is not text")
    with contextlib.suppress(UnicodeDecodeError):
        return blob.decode(), ()
    if not guess:
        return blob.decode(errors="surrogateescape"), ()
    try:
        return blob.decode("cp1252"), ("not UTF-8: read as Latin-1 (Windows-1252)",)
    except UnicodeDecodeError:
        return blob.decode("latin-1"), ("not UTF-8: read as Latin-1",)


def _decoded(file: Path, blob: bytes, encoding: str) -> str:
    try:
        return blob.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: cannot be read as a CSV: {error}") from error


def _separator(text: str) -> str:
    """Return the separator that is most frequent in the first line, outside quotes."""
    first = re.sub(r'"[^"]*"', "", next(lines_of(text), ""))
    return max(_SEPARATORS, key=lambda sign: (first.count(sign), sign == ","))
