"""The storage through which workers share their work: an SQLite file, a journal file, or
PostgreSQL.

Optuna manages it. This module imports Optuna, so it is itself imported late.
"""

import errno
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from firstlight.checked import nearest
from firstlight.errors import DataError, UserError
from firstlight.locks import has_locks
from firstlight.packages import imported
from firstlight.untrusted import without_password

SQLITE, JOURNAL = (".db", ".sqlite", ".sqlite3"), ".journal"
CONNECT_SECONDS, LOST_SECONDS, BUSY_SECONDS = 10, 30, 60
"""Time limits for a server's first answer and for later silence; and how long other workers may
hold an SQLite file."""
_BLOCK = 1 << 16
_RECORD = b'{"op_code":'
"""The start of each line in a journal."""
_OPENINGS = 5
"""Several workers may create the tables at once; all but one of them retry."""
_WHAT = (
    "an SQLite file (FILE.db), a journal file on a shared disk (FILE.journal), or a server "
    "(postgresql://USER@HOST/DATABASE)"
)
_POSTGRES = re.compile(r"(postgres|postgresql)(\+\w+)?://")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A storage that the user named."""

    kind: str
    """``sqlite``, ``journal`` or ``postgresql``."""
    where: str
    """A path, or an address with its scheme."""

    def __str__(self) -> str:
        return without_password(self.where)

    @property
    def is_here(self) -> bool:
        """Whether it is an existing file."""
        return self.kind != "postgresql" and os.path.lexists(self.where)


def address_of(text: str) -> Address:
    """Parse the value of ``--storage``. Raises ``UserError`` if it is not valid."""
    if _POSTGRES.match(text):
        rest = text.partition("://")[2]
        return Address(kind="postgresql", where=f"postgresql://{rest}")
    scheme = re.match(r"(\w[\w+.-]*)://", text)
    if scheme is not None and scheme[1] != "sqlite":
        hint = nearest(scheme[1], ("sqlite", "postgresql"), what="choose from")
        raise UserError(f"--storage: wanted {_WHAT}, got {without_password(text)!r}; {hint}")
    path = text.removeprefix("sqlite:///") if scheme is not None else text
    if Path(path).suffix == JOURNAL:
        return Address(kind="journal", where=path)
    if path and (scheme is not None or Path(path).suffix in SQLITE):
        return Address(kind="sqlite", where=path)
    raise UserError(f"--storage: wanted {_WHAT}, got {text!r}")


def open_storage(address: Address) -> BaseStorage:
    """Open the storage, and create it if necessary.

    Raises ``DataError`` if it cannot be reached, and ``UserError`` for a missing driver.
    """
    if address.kind == "postgresql":
        imported("psycopg", "a PostgreSQL storage", "'psycopg[binary]'")
    with reached(address):
        if address.kind != "postgresql":
            _prepare(address)
        for opening in range(1, _OPENINGS + 1):
            try:
                return _opened(address)
            except (SQLAlchemyError, StorageInternalError) as error:
                if opening == _OPENINGS or not re.search("exist|unique|duplicate", str(error)):
                    raise
                time.sleep(0.2 * opening)
    raise AssertionError("the last opening returns or raises")


def _opened(address: Address) -> BaseStorage:
    if address.kind == "journal":
        return JournalStorage(_Journal(address.where))
    if address.kind == "sqlite":
        url, arguments = f"sqlite:///{address.where}", {"timeout": BUSY_SECONDS}
    else:
        url = address.where.replace("postgresql://", "postgresql+psycopg://", 1)
        arguments = {
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": 1000 * LOST_SECONDS,
            "keepalives_idle": LOST_SECONDS // 3,
            "keepalives_interval": LOST_SECONDS // 3,
            "keepalives_count": 2,
        }
    engine: dict[str, Any] = {"connect_args": arguments, "pool_pre_ping": True}
    return RDBStorage(url, engine_kwargs=engine)


class _Journal(JournalFileBackend):
    """Optuna's backend with a complete last line: a partial line, left by a full disk or a killed
    process, is removed before anything is appended."""

    def __init__(self, where: str) -> None:
        self._path, self._alone = Path(where), JournalFileOpenLock(where)
        super().__init__(where, self._alone)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write all of these records, or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._alone.acquire()
        try:
            with self._path.open("r+b", buffering=0) as file:
                end = _end_of_last_line(file)
                file.seek(end)
                left = file.read(len(_RECORD)) or b""
                if not _RECORD.startswith(left):  # never truncate a file of another kind
                    raise ValueError("its last line is not a record")
                file.truncate(end)
                file.seek(end)
                try:
                    _write_all(file, lines.encode())
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        finally:
            self._alone.release()


def _write_all(file: RawIOBase, content: bytes) -> None:
    """A full disk may write a part and refuse the rest."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]


def _end_of_last_line(file: RawIOBase) -> int:
    """Return the end of the last complete line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start) or b""
        if (found := block.rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _prepare(address: Address) -> None:
    """Refuse a missing folder, and an SQLite file on a file system without locks."""
    path = Path(address.where)
    if not path.absolute().parent.is_dir():
        raise DataError(f"{address}: no such folder {path.parent}; create it, or correct --storage")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if address.kind == "sqlite" and not has_locks(path.absolute().parent):
        raise DataError(
            f"{address}: its disk does not support locks, so several workers would corrupt an "
            f"SQLite file. Use a journal file, --storage {path.with_suffix(JOURNAL)}, or a "
            "PostgreSQL server"
        )


@contextmanager
def reached(address: Address) -> Iterator[None]:
    """Convert errors of the storage to a ``DataError`` that names it."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
        raise DataError(f"{address}: {_trouble(error)}; {_what_to_do(address, error)}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(
            f"{address}: cannot be used: {why}; {_what_to_do(address, error)}"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{address}: not an Optuna storage, or a damaged one ({error}). Choose another "
            "--storage"
        ) from error
    except (ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise DataError(
            f"{address}: not written by this version of Optuna ({optuna.__version__}): "
            f"{_first(error)}. Choose another --storage"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's own messages."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _trouble(error: BaseException) -> str:
    """Return the cause, in the words of the database."""
    cause: BaseException = error
    while not isinstance(cause, DatabaseError) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, DatabaseError) and cause.orig is not None:
        cause = cause.orig
    return f"cannot be used: {_first(cause)}"


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_password(lines[0][:300]).rstrip(".") if lines else type(error).__name__


def _what_to_do(address: Address, error: BaseException) -> str:
    if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error):
        return "free some disk space, then run the same command again"
    if address.kind == "postgresql":
        return "check that the server runs and accepts this user, then run the same command again"
    return "choose another --storage"
